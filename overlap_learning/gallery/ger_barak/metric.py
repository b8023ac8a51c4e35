"""Metric: the zero pattern of Gbar, and which overlaps enter it (Ger & Barak 2026, Fig. 11)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from overlap_learning.dynamics.gradient import loss_gradient
from overlap_learning.dynamics.metric import metric
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import random_network
from overlap_learning.model.activations import Erf, Linear
from overlap_learning.model.activity import simulate
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network, with_vectors
from overlap_learning.plot.style import symbol
from overlap_learning.studies.terms import metric_terms
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Settings:
    """What is computed at full N to check the metric; its pattern needs no sizes.

    Args:
        n_neurons: N of the network whose velocity is measured.
        duration: of the trials, in neuronal time constants.
        dt: the Euler step.
        n_trials: trials of the nonlinear task.
        seed: of the network and the trials.
    """

    n_neurons: int = 10_000
    duration: float = 10.0
    dt: float = 0.05
    n_trials: int = 10
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=1000, dt=0.1)


def figure_11(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """The metric of a rank-1 network, linear and nonlinear: each entry as the sum of overlaps that it is.

    Args:
        settings: the sizes of the check at full N.
        progress: not used: nothing is trained.

    Source: Ger & Barak 2026, Fig. 11 and eq. 9.
    """
    del progress
    layout = Layout(n_in=1, rank=1, n_out=1)
    network_key, task_key = jax.random.split(jax.random.key(settings.seed))
    network = random_network(layout, settings.n_neurons, network_key)
    cases = {
        "linear": (Model(layout, Linear()), exponential_filter(0.2, settings.duration, settings.dt)),
        "nonlinear": (
            Model(layout, Erf()),
            flip_flop(key=task_key, n_trials=settings.n_trials, duration=settings.duration, dt=settings.dt),
        ),
    }
    terms = metric_terms(cases["linear"][0])
    figure, panels = page("Fig. 11: the metric of learning, rank 1: which overlaps enter", 1, 2, width=7.4, height=6.2)
    numbers = []
    arrays: dict[str, Any] = {"coefficients": (("row", "column", "overlap"), terms, "of each overlap, in each entry")}
    for ax, (name, (model, task)) in zip(panels, cases.items(), strict=True):
        _draw(ax, name, model, terms)
        by_metric, measured = _velocities(model, network, task)
        arrays[f"{name}_velocity"] = (("overlap",), by_metric, "dsigma/dtau by the metric")
        arrays[f"{name}_velocity_full"] = (("overlap",), measured, "dsigma/dtau of the full network")
        numbers += _numbers(name, model, terms, by_metric, measured)
    data = collect(figure, settings, numbers, _NOTES, arrays=arrays)
    names = list(layout.entry_names)
    return data._replace(data=data.data.assign_coords(overlap=names, row=names, column=names))


def _velocities(model: Model, network: Network, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The velocity of every overlap under gradient flow: by the metric, and from the gradient of every neuron."""
    rows, columns = model.layout.entry_indices
    _, slope = loss_gradient(model, task, network.overlaps)
    per_overlap = slope[rows, columns] * np.where(rows == columns, 0.5, 1.0)
    by_metric = -metric(model, network.overlaps) @ per_overlap

    def loss(vectors):
        return task.loss(simulate(model, with_vectors(network, vectors), task))

    # In the convention of the theory neurons learn at the rate N eta, so the gradient counts N-fold.
    change = -jax.jit(jax.grad(loss))(network.vectors)
    cross = change.T @ network.vectors
    return np.asarray(by_metric), np.asarray((cross + cross.T)[rows, columns])


def _numbers(name: str, model: Model, terms: np.ndarray, by_metric: np.ndarray, measured: np.ndarray) -> list[Number]:
    seen = np.isin(model.layout.entry_names, model.visible_names)
    used = np.any(terms[:, seen] != 0, axis=-1)
    entering = np.any(terms[:, seen] != 0, axis=(0, 1))
    between = np.any(terms[seen][:, seen] != 0, axis=(0, 1))
    exact = 0.0 if model.is_linear else None
    return [
        Number(f"columns that meet a gradient (visible overlaps), {name}", int(seen.sum())),
        Number(f"entries in those columns, {name}", used.size),
        Number(f"of them not zero, {name}", int(used.sum())),
        Number(f"invisible overlaps that enter them, {name}", int((entering & ~seen).sum())),
        Number(f"invisible overlaps that enter the visible ones' motion, {name}", int((between & ~seen).sum())),
        Number(f"velocity of the overlaps, metric minus full N, largest share, {name}",
               float(np.abs(by_metric - measured).max() / np.abs(measured).max()), None, exact),
    ]  # fmt: skip


def _draw(ax: "Axes", name: str, model: Model, terms: np.ndarray) -> None:
    """Each entry as a sum of overlaps, on colour where it is not zero and meets a gradient."""
    names = model.layout.entry_names
    order = [names.index(n) for n in (*model.visible_names, *model.invisible_names)]
    n_visible, p = len(model.visible_names), len(names)
    terms = terms[np.ix_(order, order)]
    for a in range(p):
        for b in range(p):
            parts = [_term(terms[a, b, e], names[e]) for e in range(p) if terms[a, b, e] != 0]
            colour = "white" if not parts else "#BBD5EA" if b < n_visible else "0.90"
            ax.fill([b, b + 1, b + 1, b], [a, a, a + 1, a + 1], color=colour, linewidth=0)
            ax.text(
                b + 0.5, a + 0.5, "\n+ ".join(parts), ha="center", va="center", fontsize=7.5,
                color="black" if b < n_visible else "0.55",
            )  # fmt: skip
    for line in range(p + 1):
        width = 1.4 if line in (0, n_visible, p) else 0.4
        ax.axhline(line, color="0.4", linewidth=width)
        ax.axvline(line, color="0.4", linewidth=width)
    ax.set_xlim(0, p)
    ax.set_ylim(p, 0)
    ax.set_xticks(np.arange(p) + 0.5, [symbol(names[e]) for e in order])
    ax.set_yticks(np.arange(p) + 0.5, [symbol(names[e]) for e in order])
    ax.tick_params(length=0)
    ax.set(
        xlabel=f"derivative of the loss with respect to: visible (first {n_visible}) | invisible (always 0)",
        ylabel="velocity of: visible | invisible",
    )
    ax.set_title(f"{name} network", fontsize=10)


def _term(coefficient: float, name: str) -> str:
    return name if coefficient == 1 else f"{coefficient:g} {name}"


_NOTES = (
    "A blue entry is the sum of overlaps written in it. Columns of invisible overlaps are grey: the loss has no slope "
    "along them, so what stands there moves nothing.",
    "The metric itself is the same for linear and nonlinear networks; what differs is which overlaps the loss sees.",
)
