"""History: task A, B, A, B, and A with noise; what returns, what is conserved, and what noise erases (Figs. 3, 6)."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import overlap_learning.plot as plot
from overlap_learning.gallery.ger_barak.phases import (
    Published,
    begin,
    draw_returns,
    invariants_as_arrays,
    label_invariants,
)
from overlap_learning.gallery.kit.page import mark_phases, network, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import end_gram, largest_difference
from overlap_learning.learning.rules import GradientDescent, GradientFlow
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activity import reduced_outputs
from overlap_learning.plot.overlaps import overlap_colours
from overlap_learning.plot.style import COLOURS, FULL, legend_above, symbol
from overlap_learning.studies.memory.conserved import conserved_matrix, invariants_along, trace_along, trace_drift
from overlap_learning.studies.memory.course import joined, phase_edges
from overlap_learning.studies.memory.drift import Drift, invariant_drift
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = ("A", "B", "A", "B", "A, noise")


@dataclass(frozen=True)
class Settings(Published):
    """The published settings.

    Args:
        learning_rate: eta of the phases without noise.
        n_steps: learning steps of each phase.
        label_noise: standard deviation of the noise on the targets in the last phase.
        noisy_learning_rate: eta of the last phase.
    """

    learning_rate: float = 5e-3
    n_steps: tuple[int, int, int, int, int] = (3000, 1000, 1000, 1000, 4000)
    label_noise: float = 0.1
    noisy_learning_rate: float = 1e-2


STANDARD = Settings()
#: Phases of one length share their compiled programs.
QUICK = Settings(n_neurons=100, duration=15.0, dt=0.1, n_steps=(800, 800, 800, 800, 800))


class Runs(NamedTuple):
    """One start through five phases.

    Attributes:
        tasks: A and B.
        theory: the phases by the theory.
        full: the same at full N, with the same noise.
        silent: by the theory, the last phase without noise.
        flow: by gradient flow, without noise; the first three phases.
        drift: what the noise should do to the invariants in the last phase.
    """

    tasks: tuple[Task, Task]
    theory: list[Solution]
    full: list[Solution]
    silent: list[Solution]
    flow: list[Solution]
    drift: Drift


def figure_3(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """What a network that learned A, B, A, B, and A with noise has kept: loss, overlaps, and where each A phase ended.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the full network; None: if a person is watching.

    Source: Ger & Barak 2026, Fig. 3.
    """
    runs = _learn(settings, progress)
    theory, full = joined(runs.theory), joined(runs.full)
    model = theory.model
    figure, panels = page(_title("Fig. 3", settings), 2, 3)
    times = phase_edges(runs.theory)
    plot.loss(theory, full, ax=panels[0])
    plot.overlaps(theory, full, names=model.visible_names, ax=panels[1])
    plot.overlaps(theory, full, names=model.invisible_names, ax=panels[2])
    for ax in panels[:3]:
        mark_phases(ax, times, LETTERS)
    ends = [runs.full[phase] for phase in (0, 2, 4)]
    plot.output(model, runs.tasks[0], *(network(s) for s in ends), labels=["A1", "A2", "A3"], ax=panels[3])
    looks = [(1, "end of B", "_", "0.5"), (2, "A2", "o", COLOURS[0]), (4, "A3, after noise", "x", COLOURS[1])]
    draw_returns(panels[4], model, runs.full, looks)
    panels[4].set_ylabel("distance of the overlap from A1, full N")
    _draw_path(panels[5], runs)
    return collect(figure, settings, _returns(runs), _NOTES, runs={"theory": theory, "full": full})


def figure_6(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """The spectrum of K, four of the five numbers that the flow keeps, through A, B, A, B, and A with noise.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the full network; None: if a person is watching.

    Source: Ger & Barak 2026, Fig. 6; theory page, section 5.
    """
    runs = _learn(settings, progress)
    courses = {name: joined(getattr(runs, name)) for name in ("theory", "full", "silent", "flow")}
    series = {name: np.asarray(invariants_along(run)) for name, run in courses.items()}
    figure, (values, change, trace) = page(_title("Fig. 6", settings), 1, 3, height=4.3)
    times = phase_edges(runs.theory)
    marks = FULL.settings(len(courses["full"].time))
    for i in range(series["theory"].shape[1]):
        values.plot(courses["theory"].time, series["theory"][:, i], color=COLOURS[i], label="_" * i + "theory")
        values.plot(courses["full"].time, series["full"][:, i], color=COLOURS[i], label="_" * i + "full N", **marks)
    values.set_ylabel("eigenvalues of Sign G (K's invariants)")
    looks = {
        "theory": ("descent, theory", {"color": COLOURS[0], "linewidth": 1.8}),
        "full": ("descent, full N", {"color": "black"} | marks),
        "silent": ("last phase without noise", {"color": COLOURS[4], "linestyle": (0, (4, 2))}),
        "flow": ("gradient flow", {"color": COLOURS[2], "linewidth": 1.8}),
    }
    for name, (label, look) in looks.items():
        moved = np.abs(series[name] - series[name][0]).max(axis=1)
        change.plot(courses[name].time, np.where(moved > 0, moved, np.nan), label=label, **look)
    change.set(yscale="log", ylabel="largest change of an invariant")
    for ax in (values, change):
        mark_phases(ax, times, LETTERS)
        ax.set_xlabel(r"learning time $\tau$ (sum of learning rates)")
        legend_above(ax, ncols=2)
    label_invariants(values, times[-1], series["theory"][-1])
    _draw_trace(trace, runs)
    numbers = _conserved(runs, series, settings)
    return collect(figure, settings, numbers, _NOTES, runs=courses, arrays=invariants_as_arrays(series))


@functools.lru_cache(maxsize=1)
def _learn(settings: Settings, progress: bool | None) -> Runs:
    """The runs behind both figures."""
    start_key, neuron_key, noise_key = jax.random.split(jax.random.key(settings.seed), 3)
    model, (a, b), start, neurons = begin(settings, start_key, neuron_key)
    tasks = [a, b, a, b, a]
    calm = [GradientDescent(settings.learning_rate, n) for n in settings.n_steps[:-1]]
    last = settings.n_steps[-1]
    noisy = [*calm, GradientDescent(settings.noisy_learning_rate, last, label_noise=settings.label_noise)]
    silent = [*calm, GradientDescent(settings.noisy_learning_rate, last)]
    # Tolerances below what the invariants are to be conserved to.
    flow = [GradientFlow(settings.learning_rate * n, rtol=1e-11, atol=1e-13) for n in settings.n_steps[:3]]
    theory = protocol(model, tasks, start, noisy, noise_key)
    return Runs(
        tasks=(a, b),
        theory=theory,
        full=protocol(model, tasks, neurons, noisy, noise_key, progress=progress),
        silent=protocol(model, tasks, start, silent),
        flow=protocol(model, tasks[:3], start, flow),
        drift=invariant_drift(model, a, _at_end(theory[2]), noisy[-1]),
    )


def _at_end(solution: Solution):
    return jax.tree.map(lambda array: array[-1], solution.overlaps)


def _returns(runs: Runs) -> list[Number]:
    model = runs.theory[0].model
    invisible = model.invisible
    numbers = []
    # By descent at full N, and by the flow, which has no steps that could break an invariant.
    for label, phases in (("full N", runs.full), ("flow", runs.flow)):
        first, second = end_gram(phases[0]), end_gram(phases[2])
        numbers += [
            Number(f"output, A2 minus A1, largest, {label}", _output_change(runs, first, second), None, 0.0),
            Number(f"overlaps, A2 minus A1, largest, {label}", largest_difference(first, second)),
            Number(f"overlaps, end of B minus A1, largest, {label}", largest_difference(first, end_gram(phases[1]))),
        ]
    first, third = end_gram(runs.full[0]), end_gram(runs.full[4])
    silent = end_gram(runs.silent[4])
    return [
        *numbers,
        Number("output, A3 (after noise) minus A1, largest, full N", _output_change(runs, first, third)),
        Number("visible overlaps, A3 minus A1, largest, full N", float(np.abs(third - first)[~invisible].max())),
        Number("invisible overlaps, A3 minus A1, largest, full N", float(np.abs(third - first)[invisible].max())),
        Number("invisible overlaps, A3 minus A1, largest, last phase without noise",
               float(np.abs(silent - first)[invisible].max())),
        Number("theory minus full N at the end, largest", largest_difference(end_gram(runs.theory[4]), third), None,
               0.0),
    ]  # fmt: skip


def _conserved(runs: Runs, series: dict[str, np.ndarray], settings: Settings) -> list[Number]:
    def since_start(name: str, phase: int) -> float:
        phases = getattr(runs, name)
        point = sum(len(s.time) for s in phases[: phase + 1]) - 1
        return largest_difference(series[name][point], series[name][0])

    matrices = [conserved_matrix(network(runs.full[phase])) for phase in (0, 2, 4)]
    size = np.linalg.norm(matrices[0])
    measured, error = trace_drift(runs.theory[4])
    return [
        Number("invariants, change over A-B-A, flow", since_start("flow", 2), None, 0.0),
        Number("invariants, change over A-B-A, descent, full N", since_start("full", 2)),
        Number("invariants, change over the last phase included, full N", since_start("full", 4)),
        Number("invariants, the same without noise", since_start("silent", 4)),
        Number("K at full N, A2 minus A1, share of its norm", float(np.linalg.norm(matrices[1] - matrices[0]) / size)),
        Number("K at full N, A3 minus A1, share of its norm", float(np.linalg.norm(matrices[2] - matrices[0]) / size)),
        Number("drift of tr(Sign G) under noise per unit of learning time, one path", measured, error,
               float(runs.drift.total.sum())),
        Number("eta times the largest curvature, as a share of what is stable, last phase", float(runs.drift.edge)),
        Number("the same in the phases without noise",
               float(runs.drift.edge) * settings.learning_rate / settings.noisy_learning_rate),
    ]  # fmt: skip


def _output_change(runs: Runs, first: np.ndarray, second: np.ndarray) -> float:
    model, task = runs.theory[0].model, runs.tasks[0]
    return largest_difference(
        reduced_outputs(model, jnp.asarray(second), task), reduced_outputs(model, jnp.asarray(first), task)
    )


def _draw_path(ax: "Axes", runs: Runs) -> None:
    """The way through a visible and an invisible overlap."""
    colours = overlap_colours(runs.theory[0].model)
    for i, (phase, letter) in enumerate(zip(runs.full, LETTERS, strict=True)):
        entries = phase.overlaps.entries()
        ax.plot(entries["vu"], entries["uu"], linewidth=1.4 if i < 4 else 0.8, label=f"{i + 1}: {letter}",
                color=("0.6", COLOURS[2], COLOURS[0], COLOURS[5], COLOURS[1])[i])  # fmt: skip
    for phase, name in ((0, "A1"), (2, "A2"), (4, "A3")):
        entries = runs.full[phase].overlaps.entries()
        point = (float(entries["vu"][-1]), float(entries["uu"][-1]))
        ax.plot(*point, marker="o", color=colours["uu"], markersize=5)
        offset = {"A1": (-18, 8), "A2": (6, 8), "A3": (12, -4)}[name]
        ax.annotate(name, point, offset, textcoords="offset points", fontsize=9)
    # The way to A1 comes from far; what matters is what follows.
    for axis, name in (("x", "vu"), ("y", "uu")):
        values = np.concatenate([np.asarray(phase.overlaps.entries()[name]) for phase in runs.full[1:]])
        margin = 0.15 * np.ptp(values)
        ax.set(**{f"{axis}lim": (values.min() - margin, values.max() + margin)})
    ax.set(xlabel=f"{symbol('vu')} (visible)", ylabel=f"{symbol('uu')} (invisible), full N")
    legend_above(ax)


def _draw_trace(ax: "Axes", runs: Runs) -> None:
    """The drift under noise against its prediction."""
    noisy, full, silent = runs.theory[4], runs.full[4], runs.silent[4]
    time, trace = np.asarray(noisy.time), trace_along(noisy)
    ax.plot(time, trace, color=COLOURS[0], linewidth=1.8, label="theory")
    ax.plot(time, trace_along(full), color="black", label="full N", **FULL.settings(len(time)))
    ax.plot(time, trace_along(silent), color=COLOURS[4], linestyle=(0, (4, 2)), label="without noise")
    middle = len(time) // 4
    predicted = trace[middle] + float(runs.drift.total.sum()) * (time[middle:] - time[middle])
    ax.plot(time[middle:], predicted, color=COLOURS[1], linestyle=":", linewidth=1.8, label="predicted slope")
    ax.set(xlabel=r"learning time $\tau$ since the start of the noisy phase", ylabel="tr(Sign G)")
    legend_above(ax, ncols=2)


def _title(figure: str, settings: Settings) -> str:
    a, b = settings.decays
    return f"{figure}: task A (c = {a:g}), B (c = {b:g}), A, B, A with noise; linear, N = {settings.n_neurons:,}"


_NOTES = (
    "After A-B-A without noise all ten overlaps return nearly, not the visible ones alone: with the task, five "
    "conserved numbers (the four invariants, and |u|^2 - |v|^2) hold all but two directions, along "
    "which a path there and back leaves little. It is the noise that moves the invisible overlaps.",
    "The published noisy phase runs close to the edge of stability, where the predicted drift, which is first order in "
    "the fluctuations, fails; below the edge it holds.",
)
