"""Holonomy: a loop of tasks, learned slowly, leaves a trace that tells its direction."""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientFlow
from overlap_learning.model.activations import Linear
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above, symbol
from overlap_learning.studies.memory.holonomy import curvature, transport
from overlap_learning.studies.memory.linearisation import relaxation_rates
from overlap_learning.studies.memory.loops import Residue, stepped_loop, transported_loop
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The rectangle amplitude, decay: the parameters of the filter at its corners.
CORNERS = ((1.0, 0.2), (1.0, 0.4), (1.6, 0.4), (1.6, 0.2), (1.0, 0.2))
#: The overlap that is drawn where there is room for one.
SHOWN = "zu"


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment, which no paper has published.

    Args:
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        scale: of the start's random overlaps.
        seed: of the start and of the network.
        n_per_side: in how many steps each side of the rectangle is learned.
        full_n_per_side: the same at full N.
        n_neurons: N.
        learning_time: gradient flow for each step of the task: to convergence.
        sizes: sides of small loops, relative to the rectangle.
        side_times: learning times of a side of which no step is learned to convergence.
        n_slow: steps of such a side.
    """

    duration: float = 8.0
    dt: float = 0.1
    scale: float = 0.3
    seed: int = 1
    n_per_side: tuple[int, ...] = (1, 2, 4, 8)
    full_n_per_side: tuple[int, ...] = (1, 2)
    n_neurons: int = 200
    learning_time: float = 60.0
    sizes: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05)
    side_times: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    n_slow: int = 64


STANDARD = Settings()
QUICK = Settings(
    n_per_side=(1, 2, 4), full_n_per_side=(1,), n_neurons=50, sizes=(0.2, 0.1), side_times=(2.0, 8.0), n_slow=16
)


class Filters(NamedTuple):
    """Exponential filters of amplitude `theta[0]` and decay `theta[1]`, as a function of theta."""

    duration: float
    dt: float

    def __call__(self, theta: jax.Array) -> Task:
        base = exponential_filter(duration=self.duration, dt=self.dt)
        target = theta[0] * jnp.exp(-theta[1] * base.times[:-1])
        return Task(base.inputs, base.targets.at[0, 1:, 0].set(target), base.weights, base.dt)


def figure_holonomy(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """A rectangle in the space of tasks, learned in ever smaller steps and ever more slowly, in theory and at full N.

    Args:
        settings: the sizes of the experiment.
        progress: not used; runs of gradient flow have no bar.

    Source: theory page, section 5 (memory as holonomy).
    """
    model, family = Model(Layout(), Linear()), Filters(settings.duration, settings.dt)
    flow, converge = _flow(settings.learning_time), _flow(5 * settings.learning_time)
    start = Overlaps.random(model.layout, key=jax.random.key(settings.seed), scale=settings.scale)
    learned = integrate(model, family(jnp.array(CORNERS[0])), start, converge, trust=False).final
    assert isinstance(learned, Overlaps)
    network = Network.sample(learned, settings.n_neurons, key=jax.random.key(settings.seed))

    def stepped(start: Overlaps | Network, n: int) -> Residue:
        return _by_entry(model, stepped_loop(model, family, np.array(CORNERS), start, flow, n))

    def transported(corners: np.ndarray) -> Residue:
        return _by_entry(model, transported_loop(model, family, corners, learned))

    corners = np.array(CORNERS)
    theory = [stepped(learned, n) for n in settings.n_per_side]
    full = [stepped(network, n) for n in settings.full_n_per_side]
    limit = transported(corners)
    slope = _entries(model, np.asarray(curvature(model, family, jnp.array(CORNERS[0]), learned)[1, 0]))
    small = [transported(corners[0] + size * (corners - corners[0])) for size in settings.sizes]
    areas = [size**2 * _area() for size in settings.sizes]
    # The slowest mode on the way, at the corners.
    relaxation = min(
        float(relaxation_rates(model, family(jnp.array(corner)), at)[0])
        for corner, at in zip(corners[:-1], _corner_states(model, family, learned), strict=True)
    )
    lagging = [
        _by_entry(
            model,
            stepped_loop(model, family, corners, learned, _flow(time / settings.n_slow), settings.n_slow, converge),
        )
        for time in settings.side_times
    ]
    slowness = [relaxation * time for time in settings.side_times]

    names = model.layout.entry_names
    figure, panels = page("Memory as holonomy: a loop of tasks, learned in small steps and slowly", 2, 3)
    _draw_path(panels[0])
    _draw_odd(panels[1], settings, names, theory, full, limit)
    _draw_even(panels[2], settings, names, theory)
    _draw_area(panels[3], names, areas, small, slope)
    by_steps, by_time = ([_distance(one, limit) for one in found] for found in (theory, lagging))
    _draw_distance(panels[4], np.array(settings.n_per_side, float), by_steps, "steps per side, each to convergence")
    label = r"slowest relaxation rate $\times$ learning time of a side"
    _draw_distance(panels[5], np.array(slowness), by_time, label)

    i = names.index(SHOWN)
    agreement = max(
        float(np.abs(one.odd - theory[settings.n_per_side.index(n)].odd).max())
        for n, one in zip(settings.full_n_per_side, full, strict=True)
        if n in settings.n_per_side
    )
    numbers = [
        *(
            Number(f"s_{SHOWN}, each side in {n}: half the difference of loop and reverse",
                   float(one.odd[i]), expected=float(limit.odd[i]))
            for n, one in zip(settings.n_per_side, theory, strict=True)
        ),
        *(
            Number(f"s_{SHOWN}, each side in {n}: half the sum", float(one.even[i]), expected=0.0)
            for n, one in zip(settings.n_per_side, theory, strict=True)
        ),
        Number(f"full N = {settings.n_neurons}: largest deviation of half the difference from the theory",
               agreement, expected=0.0),
        Number("slowest relaxation rate along the loop, per learning time", relaxation),
        *(
            Number(f"each side in {settings.n_slow} steps and learning time {time:g}: {part} / largest residue",
                   distance[i], expected=0.0)
            for time, distance in zip(settings.side_times, by_time, strict=True)
            for i, part in enumerate(("deviation of half the difference from the limit", "half the sum"))
        ),
        *(
            Number(f"s_{SHOWN} per area, small loop of size {size:g}",
                   float(one.odd[i]) / area, expected=float(slope[i]))
            for size, area, one in zip(settings.sizes, areas, small, strict=True)
        ),
    ]  # fmt: skip
    notes = (
        "Expected: of half the difference, the limit of infinitely many steps (parallel transport); of half the sum, "
        "0, approached as 1/n; per area, the curvature at the corner, approached as the loop shrinks.",
        "The limit is adiabatic. A side of the loop that takes a learning time T is slow if T times the slowest "
        "relaxation rate is large; before anything is measured the first task is learned to convergence again.",
    )
    arrays = {
        "theory_odd": (("n_per_side", "overlap"), [one.odd for one in theory], "half the difference, theory"),
        "theory_even": (("n_per_side", "overlap"), [one.even for one in theory], "half the sum, theory"),
        "full_odd": (("full_n_per_side", "overlap"), [one.odd for one in full], "half the difference, full N"),
        "full_even": (("full_n_per_side", "overlap"), [one.even for one in full], "half the sum, full N"),
        "limit_odd": (("overlap",), limit.odd, "half the difference, transport"),
        "small_odd": (("size", "overlap"), [one.odd for one in small], "half the difference, small loops"),
        "slow_odd": (("side_time", "overlap"), [one.odd for one in lagging], "half the difference, slow sides"),
        "slow_even": (("side_time", "overlap"), [one.even for one in lagging], "half the sum, slow sides"),
        "slowness": (("side_time",), slowness, "slowest relaxation rate times learning time of a side"),
        "area": (("size",), areas, "area of the small loops"),
        "curvature": (("overlap",), slope, "curvature: residue per area"),
    }
    return collect(figure, settings, numbers, notes, arrays=arrays)


def _flow(duration: float) -> GradientFlow:
    return GradientFlow(duration, save_at=[duration])


def _corner_states(model: Model, family: Filters, learned: Overlaps) -> list[Overlaps]:
    """What the task leads to, infinitely slowly, at each corner."""
    corners = np.array(CORNERS[:-1])
    return [learned, *(transport(model, family, corners[: i + 1], learned) for i in range(1, len(corners)))]


def _distance(residue: Residue, limit: Residue) -> tuple[float, float]:
    """How far the odd part is from the limit, and the even one from 0, as parts of the limit's largest entry."""
    size = np.abs(limit.odd).max()
    return float(np.abs(residue.odd - limit.odd).max() / size), float(np.abs(residue.even).max() / size)


def _area() -> float:
    (low_a, low_c), _, (high_a, high_c), *_ = CORNERS
    return (high_a - low_a) * (high_c - low_c)


def _entries(model: Model, gram: np.ndarray) -> np.ndarray:
    rows, columns = model.layout.entry_indices
    return gram[rows, columns]


def _by_entry(model: Model, residue: Residue) -> Residue:
    """The same of each distinct overlap, shape [p] each."""
    return Residue(*(_entries(model, gram) for gram in residue))


def _draw_path(ax: "Axes") -> None:
    corners = np.array(CORNERS)
    for first, last in itertools.pairwise(corners):
        ax.annotate("", last, first, arrowprops={"arrowstyle": "->", "color": COLOURS[0], "linewidth": 1.6})
    ax.plot(*corners.T, linestyle="none", marker="o", color="black", markersize=4)
    ax.annotate("start", corners[0], (8, -14), textcoords="offset points")
    ax.set(xlabel="amplitude of the target", ylabel="decay of the target")
    ax.margins(0.15)


def _draw_odd(
    ax: "Axes",
    settings: Settings,
    names: tuple[str, ...],
    theory: list[Residue],
    full: list[Residue],
    limit: Residue,
) -> None:
    shown = _largest(limit.odd)
    for colour, i in zip(COLOURS, shown, strict=False):
        ax.axhline(limit.odd[i], color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
        ax.plot(settings.n_per_side, [r.odd[i] for r in theory], color=colour, linewidth=1.4, label=symbol(names[i]))
        ax.plot(
            settings.full_n_per_side, [r.odd[i] for r in full], color=colour, linestyle="none", marker="o",
            markerfacecolor="none",
        )  # fmt: skip
    ax.plot([], [], color="0.4", linestyle=(0, (4, 2)), linewidth=0.9, label="transport")
    ax.plot([], [], color="0.4", linestyle="none", marker="o", markerfacecolor="none", label="full N")
    ax.set_xscale("log", base=2)
    ax.set_xticks(settings.n_per_side, [str(n) for n in settings.n_per_side])
    ax.set(xlabel="steps per side", ylabel="(loop - reverse) / 2")
    legend_above(ax)


def _draw_even(ax: "Axes", settings: Settings, names: tuple[str, ...], theory: list[Residue]) -> None:
    n = np.array(settings.n_per_side, float)
    for colour, i in zip(COLOURS, _largest(theory[0].even), strict=False):
        ax.plot(n, [abs(r.even[i]) for r in theory], color=colour, marker="o", markersize=4, label=symbol(names[i]))
    top = np.abs(theory[0].even).max()
    ax.plot(n, 1.6 * top * n[0] / n, color="0.5", linewidth=0.9, linestyle=":", label="slope -1")
    ax.set_xscale("log", base=2)
    ax.set_xticks(settings.n_per_side, [str(n) for n in settings.n_per_side])
    ax.set(yscale="log", xlabel="steps per side", ylabel="|loop + reverse| / 2")
    legend_above(ax)


def _draw_area(ax: "Axes", names: tuple[str, ...], areas: list[float], small: list[Residue], slope: np.ndarray) -> None:
    for colour, i in zip(COLOURS, _largest(slope), strict=False):
        per_area = [one.odd[i] / area for one, area in zip(small, areas, strict=True)]
        ax.plot(areas, per_area, color=colour, marker="o", markersize=4, label=symbol(names[i]))
        ax.axhline(slope[i], color=colour, linewidth=0.9, linestyle=(0, (1, 1.5)))
    ax.plot([], [], color="0.4", linestyle=(0, (1, 1.5)), linewidth=0.9, label="curvature")
    ax.set(xscale="log", xlabel="area enclosed in the space of tasks", ylabel="residue / area")
    legend_above(ax)


def _draw_distance(ax: "Axes", x: np.ndarray, distances: list[tuple[float, float]], label: str) -> None:
    odd, even = np.array(distances).T
    ax.plot(x, odd, color=COLOURS[0], marker="o", markersize=4, label="(loop - reverse) / 2, off the limit")
    ax.plot(x, even, color=COLOURS[1], marker="s", markersize=4, label="|loop + reverse| / 2")
    ax.plot(x, 1.5 * even[-1] * x[-1] / x, color="0.5", linewidth=0.9, linestyle=":", label="slope -1")
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_minor_formatter("")
    ax.set(xlabel=label, ylabel="relative to the largest residue")
    legend_above(ax, ncols=1)


def _largest(values: np.ndarray, n: int = 4) -> list[int]:
    return np.argsort(-np.abs(values))[:n].tolist()
