"""Bulk: how low-rank structure is learned inside of random connectivity, in the limit of many neurons and at full N."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.bulk import RandomBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.moments import visible_moments
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above, symbol
from overlap_learning.random_connectivity import Depth
from overlap_learning.studies.equivalence.completion import equivalent
from overlap_learning.studies.random_connectivity import strength_learning
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYOUT = Layout()
#: What learns, by the rates of a rule.
LEARNED: dict[str, dict[str, float] | None] = {
    "vectors": None,
    "W": {"W": 1.0, "m": 0.0, "u": 0.0, "v": 0.0, "z": 0.0},
    "both": {"W": 1.0},
}
#: Orders of the moments that are shown.
N_ORDERS = 6


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment, which no paper has published.

    Args:
        decays: of the filters A and B.
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        shown: strengths g whose learning is drawn; the last one also at full N.
        strengths: g of the curves over strength.
        learning_rate: eta.
        n_steps: of learning.
        n_later: steps of A, of B and of A in the sequence A-B-A.
        criterion: the share of the first loss whose time is compared.
        twin: uu and mu of the network that does the same before learning.
        n_neurons: N of the full networks, in growing order; the last one is drawn.
        n_networks: networks for each N.
        tolerance: of the theory's overlaps.
        seed: of the networks.
    """

    decays: tuple[float, float] = (0.2, 0.5)
    duration: float = 8.0
    dt: float = 0.1
    shown: tuple[float, ...] = (0.0, 0.4, 0.8)
    strengths: tuple[float, ...] = (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
    learning_rate: float = 2e-2
    n_steps: int = 200
    n_later: int = 400
    criterion: float = 0.3
    twin: tuple[float, float] = (2.5, 0.7)
    n_neurons: tuple[int, ...] = (100, 200, 400)
    n_networks: int = 12
    tolerance: float = 1e-3
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(
    duration=6.0, dt=0.2, strengths=(0.0, 0.3, 0.6, 0.8), n_steps=100, n_later=150, n_neurons=(50, 100), n_networks=6,
    learning_rate=3e-2,
)  # fmt: skip


class _Full(NamedTuple):
    """Networks of N neurons beside the theory.

    Attributes:
        solution: of all of them.
        values: largest singular values of the change of W, shape [n_networks, 8].
    """

    solution: Solution
    values: np.ndarray


def figure_bulk(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Loss, overlaps, speed, equivalent networks, a sequence of tasks and the change of W, for bulks of strength g.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full networks; None: if a person is watching.

    Source: theory page, section 9.
    """
    tasks = [exponential_filter(decay=d, duration=settings.duration, dt=settings.dt) for d in settings.decays]
    start = Overlaps.from_entries(LAYOUT, zu=0.1, vm=0.1)
    depth = Depth(settings.tolerance)
    shown = strength_learning(settings.shown, tasks[0], start, _rule(settings, None), depth=depth)
    speeds = {
        name: strength_learning(
            settings.strengths, tasks[0], start, _rule(settings, rates), criterion=settings.criterion, depth=depth
        )
        for name, rates in LEARNED.items()
    }
    strength = settings.shown[-1]
    model = _model(strength)
    full = {n: _full(settings, model, tasks[0], start, None, n, progress) for n in settings.n_neurons}
    both = _full(settings, model, tasks[0], start, LEARNED["both"], settings.n_neurons[-1], progress)
    both_theory = integrate(model, tasks[0], start, _rule(settings, LEARNED["both"]), depth=depth)
    uu, mu = settings.twin
    twin = equivalent(start, model, uu=uu, mu=mu)
    twin_theory = integrate(model, tasks[0], twin, _rule(settings, None), depth=depth)
    twin_full = _full(settings, model, tasks[0], twin, None, settings.n_neurons[-1], progress)
    sequences = {g: _sequence(settings, g, tasks, start) for g in settings.shown}

    figure, panels = page("Low-rank structure that is learned inside of a random bulk", 2, 3)
    last = full[settings.n_neurons[-1]].solution
    _draw_losses(panels[0], settings, shown.solutions, last)
    _draw_overlaps(panels[1], shown.solutions[-1], last)
    _draw_speeds(panels[2], speeds, settings.criterion)
    _draw_twins(panels[3], [shown.solutions[-1], twin_theory], [last, twin_full.solution])
    _draw_sequences(panels[4], sequences)
    _draw_values(panels[5], both_theory, both.values)

    scatter = {n: _scatter(each.solution, shown.solutions[-1]) for n, each in full.items()}
    exponent = np.polyfit(np.log(list(scatter)), np.log(list(scatter.values())), 1)[0]
    end = shown.solutions[-1].overlaps.gram[-1][LAYOUT.entry_indices]
    apart = np.asarray(last.overlaps.gram[:, -1])[:, *LAYOUT.entry_indices] - end
    error = apart.std(axis=0, ddof=1) / np.sqrt(settings.n_networks)
    # An overlap that cannot move has no scatter.
    worst = np.max(np.abs(apart.mean(axis=0)) / np.where(error > 1e-12, error, np.inf))
    first, second = (np.asarray(sequences[strength][i].overlaps.gram[-1]) for i in (0, 2))
    outputs = [float(each.loss[0]) for each in (*shown.solutions, twin_theory)]
    numbers = [
        Number("mean overlaps of full networks off the theory, largest, in standard errors", float(worst)),
        Number("exponent in N of the typical distance of a network", float(exponent), None, -0.5),
        Number("estimated error of the theory, largest",
               max(float(each.stats["bulk_error"]) for each in (*shown.solutions, both_theory, twin_theory))),
        Number("first loss, largest difference between strengths and twins", max(outputs) - min(outputs), None, 0.0),
        *(Number(f"time to {100 * settings.criterion:g} % of the loss over that at g = 0, {name} learning, g = {g:g}",
                 float(t / each.times[0]))
          for name, each in speeds.items() for g, t in zip(each.strengths, each.times, strict=True) if g in (0.6, 0.8)),
        Number(f"A-B-A: overlaps off those after A, largest, g = {strength:g}", float(np.abs(second - first).max())),
        Number("largest singular value of the change of W, theory against full N", float(both.values[:, 0].mean()),
               float(both.values[:, 0].std(ddof=1) / np.sqrt(settings.n_networks)),
               float(_values(both_theory)[-1, 0])),
    ]  # fmt: skip
    arrays: dict[str, Any] = {
        "strength": (("strength",), np.asarray(settings.strengths), "g"),
        "scatter": (("size",), list(scatter.values()), "typical distance of the overlaps of a network to the theory"),
        "full_values": (("network", "value"), both.values, "singular values of the change of W at full N"),
        "full_loss": (("network", "point"), last.loss, "loss of full networks"),
        "moments": (("shown", "phase", "order"), [[_moments(each) for each in s] for s in sequences.values()],
                    "size of the visible moments of each order after A, B, A"),
        **{f"time_{name}": (("strength",), each.times, "time to the criterion") for name, each in speeds.items()},
    }  # fmt: skip
    runs = {f"g{g:g}": run for g, run in zip(settings.shown, shown.solutions, strict=True)}
    return collect(figure, settings, numbers, _NOTES, runs=runs | {"twin": twin_theory}, arrays=arrays)


def _model(g: float) -> Model:
    return Model(LAYOUT, Linear(), RandomBulk(g))


def _rule(settings: Settings, rates: dict[str, float] | None, n_steps: int | None = None) -> GradientDescent:
    return GradientDescent(settings.learning_rate, settings.n_steps if n_steps is None else n_steps, rates=rates)


def _full(
    settings: Settings,
    model: Model,
    task: Task,
    start: Overlaps,
    rates: dict[str, float] | None,
    n_neurons: int,
    progress: bool | None,
) -> _Full:
    batch = Overlaps(jnp.stack([start.gram] * settings.n_networks), LAYOUT)
    networks = BulkNetwork.sample(model, batch, n_neurons, key=jax.random.key(settings.seed))
    solution = train(model, task, networks, _rule(settings, rates), progress=progress)
    final = solution.final
    assert isinstance(final, BulkNetwork)
    values = np.linalg.svd(np.asarray(final.bulk) - np.asarray(networks.bulk), compute_uv=False)
    return _Full(solution, values[:, :8])


def _sequence(settings: Settings, g: float, tasks: list[Task], start: Overlaps) -> list[Solution]:
    """Learning A, B and A again."""
    runs: list[Solution] = []
    now: Any = start
    # The error of three runs, one after another, is to be within the tolerance.
    depth = Depth(settings.tolerance / 10)
    for task in (tasks[0], tasks[1], tasks[0]):
        runs.append(integrate(_model(g), task, now, _rule(settings, None, settings.n_later), depth=depth, throw=False))
        now = runs[-1].final
    return runs


def _moments(run: Solution) -> np.ndarray:
    """The size of the visible moments of each order, shape [N_ORDERS]."""
    moments = visible_moments(run.final, N_ORDERS - 1)  # pyright: ignore[reportArgumentType]
    return np.linalg.norm(np.asarray(moments), axis=(1, 2))


def _scatter(full: Solution, theory: Solution) -> float:
    """The typical distance of a network to the theory: the median over networks, root mean square over overlaps."""
    apart = np.asarray(full.overlaps.gram[:, -1] - theory.overlaps.gram[-1])
    return float(np.median(np.sqrt(np.mean(np.square(apart), axis=(1, 2)))))


def _values(solution: Solution) -> np.ndarray:
    return np.asarray(solution.singular_values)


def _band(ax: "Axes", time: Any, values: np.ndarray, colour: str) -> None:
    """Median and quartiles of networks at some points."""
    chosen = np.unique(np.linspace(0, len(time) - 1, 12).round().astype(int))
    _marks(ax, np.asarray(time)[chosen], values[:, chosen], colour)


def _marks(ax: "Axes", x: Any, values: np.ndarray, colour: str) -> None:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    ax.errorbar(
        x, middle, [middle - low, high - middle], linestyle="none",
        marker="o", markersize=3.5, markerfacecolor="none", color=colour, linewidth=0.9,
    )  # fmt: skip


def _draw_losses(ax: "Axes", settings: Settings, runs: list[Solution], full: Solution) -> None:
    for g, run, colour in zip(settings.shown, runs, COLOURS, strict=False):
        ax.plot(run.time, run.loss, color=colour, label=f"g = {g:g}")
    _band(ax, full.time[0], np.asarray(full.loss), COLOURS[len(runs) - 1])
    ax.set(yscale="log", xlabel=r"learning time $\tau$", ylabel="loss, vectors learn")
    legend_above(ax)


def _draw_overlaps(ax: "Axes", run: Solution, full: Solution) -> None:
    for name, colour in zip(("zm", "zu", "vu", "mm", "uu", "mu"), COLOURS, strict=False):
        ax.plot(run.time, run.overlaps.entries()[name], color=colour, label=symbol(name))
        rows, columns = (part.start for part in LAYOUT.locate(name))
        _band(ax, full.time[0], np.asarray(full.overlaps.gram[:, :, rows, columns]), colour)
    ax.set(xlabel=r"learning time $\tau$", ylabel="overlaps at the largest g")
    legend_above(ax, ncols=3)


def _draw_speeds(ax: "Axes", speeds: dict[str, Any], criterion: float) -> None:
    for (name, each), colour in zip(speeds.items(), COLOURS, strict=False):
        ax.plot(each.strengths, each.times / each.times[0], "o-", markersize=4, color=colour, label=name)
    ax.set(xlabel="strength g of the bulk", ylabel=f"time to {100 * criterion:g} % of the loss / at g = 0")
    legend_above(ax)


def _draw_twins(ax: "Axes", theory: list[Solution], full: list[Solution]) -> None:
    for run, networks, colour, name in zip(theory, full, COLOURS, ("a network", "its equivalent"), strict=False):
        ax.plot(run.time, run.loss, color=colour, label=name)
        _band(ax, run.time, np.asarray(networks.loss), colour)
    ax.set(yscale="log", xlabel=r"learning time $\tau$", ylabel="loss of equivalent networks, largest g")
    legend_above(ax)


def _draw_sequences(ax: "Axes", sequences: dict[float, list[Solution]]) -> None:
    for (g, runs), colour in zip(sequences.items(), COLOURS, strict=False):
        for phase, style in ((0, "-"), (2, ":")):
            sizes = _moments(runs[phase])
            ax.plot(range(N_ORDERS), np.maximum(sizes, 1e-6), style, marker="o", markersize=4, color=colour,
                    label=f"g = {g:g}" if phase == 0 else None)  # fmt: skip
    ax.set(
        yscale="log", xlabel=r"order j of $(v, z)^T W_0^j (m, u) / N$", ylabel="visible moments after A, A-B-A (dotted)"
    )
    ax.set_ylim(bottom=1e-4)
    legend_above(ax)


def _draw_values(ax: "Axes", theory: Solution, full: np.ndarray) -> None:
    values = _values(theory)
    for k in range(4):
        ax.plot(theory.time[1:], values[1:, k], color=COLOURS[k], label=f"$s_{k + 1}$")
        _marks(ax, theory.time[-1:], full[:, k : k + 1], COLOURS[k])
    ax.set(yscale="log", xlabel=r"learning time $\tau$", ylabel=r"singular values of $\Delta W$, both learn")
    ax.set_ylim(bottom=1e-5)
    legend_above(ax, ncols=4)


_NOTES = (
    "Lines are the limit of infinitely many neurons, marks the median and the quartiles of full networks.",
    "Before learning the strength of the bulk is invisible: all losses begin alike. What learning makes of it is the "
    "moments of order 1 and more of panel e, which the outputs see.",
)
