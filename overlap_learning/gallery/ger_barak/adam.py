"""Adam: task A, B, A, B, A with an element-wise rule, which conserves nothing (Ger & Barak 2026, Fig. 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from overlap_learning.gallery.kit.runs import adam, end_gram, largest_difference
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activity import reduced_outputs
from overlap_learning.model.model import Model
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.studies.memory.conserved import invariants_along
from overlap_learning.studies.memory.course import joined
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.tasks.task import Task
from overlap_learning.validation.gaussianity import excess_kurtosis, kurtosis_error

if TYPE_CHECKING:
    pass

LETTERS = ("A", "B", "A", "B", "A")


@dataclass(frozen=True)
class Settings(Published):
    """The published settings, and those of plain descent beside it.

    Args:
        learning_rate: of Adam.
        descent_rate: eta of plain descent.
        n_steps: learning steps of each phase.
    """

    learning_rate: float = 1e-3
    descent_rate: float = 5e-3
    n_steps: int = 4000


STANDARD = Settings()
QUICK = Settings(n_neurons=100, duration=15.0, dt=0.1, learning_rate=4e-3, n_steps=1000)


def figure_7(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Five phases under Adam at full N, and under plain descent: which invariants are kept, and which overlaps return.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the full networks; None: if a person is watching.

    Raises:
        ModuleNotFoundError: without optax; the message says how to install it.

    Source: Ger & Barak 2026, Fig. 7.
    """
    rule = adam(settings.learning_rate, settings.n_steps)
    model, (a, b), _, neurons = begin(settings, *jax.random.split(jax.random.key(settings.seed)))
    tasks = [a, b, a, b, a]
    descent = GradientDescent(settings.descent_rate, settings.n_steps)
    by_adam = protocol(model, tasks, neurons, rule, progress=progress)
    by_descent = protocol(model, tasks, neurons, descent, progress=progress)
    courses = {"adam": joined(by_adam), "descent": joined(by_descent)}
    series = {name: np.asarray(invariants_along(run)) for name, run in courses.items()}
    figure = _draw(settings, a, by_adam, by_descent, courses, series)
    numbers = _numbers(model, a, {"Adam": by_adam, "plain descent": by_descent}, series)
    return collect(figure, settings, numbers, _NOTES, runs=courses, arrays=invariants_as_arrays(series))


def _numbers(model: Model, task: Task, runs: dict[str, list[Solution]], series: dict[str, np.ndarray]) -> list[Number]:
    numbers = []
    for (name, phases), moved in zip(runs.items(), series.values(), strict=True):
        ends = np.cumsum([len(phase.time) for phase in phases]) - 1
        first = end_gram(phases[0])
        for phase, label in ((2, "A2"), (4, "A3")):
            later = end_gram(phases[phase])
            output = largest_difference(*(reduced_outputs(model, jnp.asarray(gram), task) for gram in (first, later)))
            distance = np.abs(later - first)
            numbers += [
                Number(f"output, {label} minus A1, largest, {name}", output, None, 0.0),
                Number(f"visible overlaps, {label} minus A1, largest, {name}", float(distance[model.visible].max())),
                Number(f"invisible overlaps, {label} minus A1, largest, {name}",
                       float(distance[model.invisible].max())),
                Number(f"invariants, {label} minus A1, largest, {name}",
                       largest_difference(moved[ends[phase]], moved[ends[0]])),
            ]  # fmt: skip
        numbers += [
            Number(f"invariants, A1 minus start, largest, {name}", largest_difference(moved[ends[0]], moved[0])),
            Number(f"loss at the end, {name}", float(phases[-1].loss[-1])),
        ]
    last = network(runs["Adam"][-1])
    error = kurtosis_error(last.n_neurons)
    return [
        *numbers,
        *(Number(f"excess kurtosis of {vector} at the end, Adam", value, error, 0.0)
          for vector, value in excess_kurtosis(last).items()),
    ]  # fmt: skip


def _draw(
    settings: Settings,
    task: Task,
    by_adam: Sequence[Solution],
    by_descent: Sequence[Solution],
    courses: dict[str, Solution],
    series: dict[str, np.ndarray],
):
    model = courses["adam"].model
    figure, panels = page(
        f"Fig. 7: task A, B, A, B, A under Adam, linear, rank 1, N = {settings.n_neurons:,}, "
        f"{settings.n_steps:,} steps each", 2, 3,
    )  # fmt: skip
    loss, visible, invisible, output, kept, returned = panels
    # Both on one axis of steps: a rate of Adam's is no learning time.
    times = [settings.n_steps * phase for phase in range(len(LETTERS) + 1)]
    for name, label, colour in (("adam", "Adam", COLOURS[0]), ("descent", "plain descent", "0.6")):
        steps = _steps(courses[name], times[-1])
        loss.plot(steps, courses[name].loss, color=colour, linewidth=1.2, label=label, zorder=2 - (name == "descent"))
        for i in range(series[name].shape[1]):
            kept.plot(steps, series[name][:, i], color=COLOURS[i], label="_" * i + label,
                      linestyle="-" if name == "adam" else ":")  # fmt: skip
    loss.set(yscale="log", ylabel="loss")
    kept.set_ylabel("eigenvalues of Sign G")
    label_invariants(kept, times[-1], series["adam"][-1])
    for ax in (loss, kept):
        legend_above(ax)
    plot.overlaps(courses["adam"], names=model.visible_names, ax=visible)
    plot.overlaps(courses["adam"], names=model.invisible_names, ax=invisible)
    for ax in (loss, visible, invisible, kept):
        mark_phases(ax, times, LETTERS)
        ax.set_xlabel("learning steps")
    visible.set_ylabel("visible overlap, Adam")
    invisible.set_ylabel("invisible overlap, Adam")
    labels = ["A1", "A2", "A3"]
    plot.output(model, task, *(network(by_adam[p]) for p in (0, 2, 4)), labels=labels, ax=output)
    output.set_ylabel("output y, Adam")
    for phases, label, colour in ((by_adam, "Adam", COLOURS[0]), (by_descent, "plain descent", "0.5")):
        looks = [(2, f"A2, {label}", "o", colour), (4, f"A3, {label}", "x", colour)]
        draw_returns(returned, model, phases, looks)
    returned.set_ylabel("distance of the overlap from A1")
    return figure


def _steps(course: Solution, last: int) -> np.ndarray:
    time = np.asarray(course.time)
    return time * (last / time[-1])


_NOTES = (
    "Adam's step of a neuron depends on more than overlaps, so its learning does not close in overlap space: "
    "ol.integrate refuses it, and this figure is full N alone.",
    "Adam's learning time counts steps; plain descent is drawn on the same axis, step by step.",
)
