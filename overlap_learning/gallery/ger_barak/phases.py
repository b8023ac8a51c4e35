"""Phases: task A, B, A, B, A, one after another, as Figs. 3, 6 and 7 of Ger & Barak 2026 share them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from overlap_learning.gallery.kit.runs import random_network
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, label_ends, legend_above, symbol
from overlap_learning.studies.equivalence.completion import equivalent
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Published:
    """The published start and tasks.

    Args:
        n_neurons: N.
        uu: norm of u at the start.
        mu: overlap of m and u at the start.
        decays: c of task A and of task B.
        duration: of a trial, in neuronal time constants.
        dt: the Euler step.
        seed: of the start, the neurons and the noise.
    """

    n_neurons: int = 500
    uu: float = 32**2 / 500
    mu: float = 400 / 500
    decays: tuple[float, float] = (0.2, 0.4)
    duration: float = 20.0
    dt: float = 0.05
    seed: int = 0


class Beginning(NamedTuple):
    """A linear model of rank 1, tasks A and B, the start of the theory, and neurons with the same overlaps."""

    model: Model
    tasks: tuple[Task, Task]
    start: Overlaps
    neurons: Network


def begin(settings: Published, start_key: jax.Array, neuron_key: jax.Array) -> Beginning:
    """What the phases begin with."""
    model = Model(Layout(n_in=1, rank=1, n_out=1), Linear())
    drawn = random_network(model.layout, settings.n_neurons, start_key).overlaps
    start = equivalent(drawn, model, uu=settings.uu, mu=settings.mu)
    a, b = (exponential_filter(decay, settings.duration, settings.dt) for decay in settings.decays)
    return Beginning(model, (a, b), start, Network.sample(start, settings.n_neurons, key=neuron_key))


def invariants_as_arrays(series: dict[str, np.ndarray]) -> dict[str, Any]:
    """The invariants of each course, for the data of a figure."""
    return {
        f"{name}_invariants": ((f"{name}_time", "invariant"), value, "eigenvalues of Sign G")
        for name, value in series.items()
    }


def label_invariants(ax: "Axes", last: float, values: np.ndarray) -> None:
    """The invariants' names at their ends."""
    names = [rf"$\lambda_{{{i + 1}}}$" for i in range(len(values))]
    label_ends(ax, [(last, float(value)) for value in values], names, list(COLOURS[: len(values)]))


def draw_returns(
    ax: "Axes", model: Model, phases: Sequence[Solution], looks: Sequence[tuple[int, str, str, str]]
) -> None:
    """How far each overlap is, after later phases, from where the first one left it.

    Args:
        ax: where.
        model: of the phases.
        phases: their solutions.
        looks: number, label, marker and colour of each later phase.
    """
    names = (*model.visible_names, *model.invisible_names)
    first = phases[0].overlaps.entries()
    for phase, label, marker, colour in looks:
        later = phases[phase].overlaps.entries()
        distance = [abs(float(later[name][-1] - first[name][-1])) for name in names]
        ax.plot(range(len(names)), distance, linestyle="none", marker=marker, markersize=7, label=label, color=colour,
                markerfacecolor="none")  # fmt: skip
    ax.set(yscale="log", xlabel="visible | invisible overlaps")
    ax.set_xticks(range(len(names)), [symbol(name) for name in names])
    ax.axvline(len(model.visible_names) - 0.5, color="0.7", linewidth=0.8, zorder=0)
    legend_above(ax)
