"""Savings: what an experimenter would see of a network's history when it learns again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientDescent, GradientFlow
from overlap_learning.model.activations import Erf, Linear
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above, symbol
from overlap_learning.studies.memory.savings import History, Savings, learning_speed, savings
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The histories of every network; the first is the control, which never learned A.
HISTORIES = ("B", "A, B", "naive")


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment, which no paper has published.

    Args:
        decays: of the filters A and B.
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        scale: of the starts' random overlaps.
        n_starts: how many starts.
        learning_time: of each task of the history, by gradient flow.
        relearning_time: of A, at the end.
        criterion: the loss that counts as learned.
        label_noise: in the noisy condition, of descent on A and on B before the flow.
        learning_rate: of that descent.
        n_noisy_steps: of that descent.
        n_neurons: N of the networks whose speed is measured.
    """

    decays: tuple[float, float] = (0.2, 0.4)
    duration: float = 20.0
    dt: float = 0.05
    scale: float = 0.3
    n_starts: int = 12
    learning_time: float = 100.0
    relearning_time: float = 20.0
    criterion: float = 1e-2
    label_noise: float = 0.3
    learning_rate: float = 2e-3
    n_noisy_steps: int = 10_000
    n_neurons: int = 300


STANDARD = Settings()
QUICK = Settings(duration=8.0, dt=0.1, n_starts=3, n_noisy_steps=1500, n_neurons=100)


class _Condition(NamedTuple):
    """How networks learned before.

    Attributes:
        name: in words.
        model: the `Model`.
        noisy: whether label noise came before the flow.
    """

    name: str
    model: Model
    noisy: bool


def _conditions() -> tuple[_Condition, ...]:
    linear, erf = Model(Layout(), Linear()), Model(Layout(), Erf())
    return (
        _Condition("linear, flow", linear, False),
        _Condition("linear, label noise", linear, True),
        _Condition("erf, flow", erf, False),
        _Condition("erf, label noise", erf, True),
    )


def figure_savings(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Relearning A after "A, B" against learning it after "B" alone: what is saved, and which overlaps carry it.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full networks; None: if a person is watching.

    Source: theory page, section 5.
    """
    task_a, task_b = (
        exponential_filter(decay=decay, duration=settings.duration, dt=settings.dt) for decay in settings.decays
    )
    conditions = _conditions()
    starts = [
        Overlaps.random(Layout(), key=jax.random.key(seed), scale=settings.scale) for seed in range(settings.n_starts)
    ]
    found = [[_relearn(settings, condition, start, task_a, task_b) for start in starts] for condition in conditions]
    gain = np.array([[float(s.speed[1].total / s.speed[0].total - 1) for s in row] for row in found])
    saved = np.array([[s.share[1] for s in row] for row in found])
    naive = np.array([[1 - s.time[0] / s.time[2] for s in row] for row in found])
    names = Layout().entry_names
    parts = np.array(
        [
            [[float((s.speed[1].parts[n] - s.speed[0].parts[n]) / s.speed[0].total) for n in names] for s in row]
            for row in found
        ]
    )
    # Both members of a pair of solutions with opposite s_zu and s_vm do the task: history can choose between them.
    readout = np.array([[np.asarray(s.before["z", "u"])[:2, 0, 0] for s in row] for row in found])
    switched = np.prod(np.sign(readout), axis=2) < 0
    predicted, measured = _speeds(settings, conditions[0].model, found[0] + found[1], task_a, progress)

    figure, panels = page("Savings: learning A after B, with and without A before", 2, 3)
    _draw_learning(panels[0], found[0][0], conditions[0].name)
    _draw_learning(panels[1], found[2][0], conditions[2].name)
    _draw_points(panels[2], conditions, gain, "initial speed of learning A:\n(A, B) / (B) - 1")
    _draw_points(panels[3], conditions, saved, "time to learn A that memory saves")
    _draw_parts(panels[4], conditions, names, parts)
    _draw_speeds(panels[5], predicted, measured, settings)

    def error(values: np.ndarray) -> float:
        return float(values.std(ddof=1) / np.sqrt(len(values)))

    numbers = [
        *(
            Number(f"{condition.name}: {what}", float(values[i].mean()), error(values[i]), expected)
            for what, values, expected_of_flow in (
                ("gain of initial speed over the control", gain, 0.0),
                ("savings over the control", saved, 0.0),
                ("savings of the control over the naive network", naive, None),
            )
            for i, condition in enumerate(conditions)
            for expected in [expected_of_flow if condition.name == "linear, flow" else None]
        ),
        *(
            Number(f"{condition.name}: starts from which A leads to another branch of solutions than B, of {len(row)}",
                   float(row.sum()))
            for condition, row in zip(conditions, switched, strict=True)
        ),
        *(
            Number(f"{condition.name}: gain of initial speed, starts on one branch alone",
                   float(gain[i][~switched[i]].mean()), error(gain[i][~switched[i]]), None if i else 0.0)
            for i, condition in enumerate(conditions)
        ),
        Number(f"speed at full N = {settings.n_neurons} / sum over invisible overlaps, largest deviation from 1",
               float(np.abs(measured / predicted - 1).max()), expected=0.0),
    ]  # fmt: skip
    notes = (
        "The control learned B alone. What A, B saves over it is memory of A; what it saves over a naive network, B "
        "alone saves too.",
        "Under gradient flow conserved numbers hold all but two directions of a linear network's overlaps, and it "
        "saves next to nothing, unless A led it to another branch of solutions (s_zu and s_vm of opposite sign) than B "
        "does: there it stays.",
        "Label noise breaks the conserved numbers a little, an erf network keeps only |u|^2 - |v|^2, and the speed of "
        "learning tells the history.",
    )
    dims = ("condition", "start")
    arrays = {
        "switched": (dims, switched.astype(np.int8), "whether A leads to another branch of solutions than B"),
        "gain": (dims, gain, "initial speed of learning A, (A, B) over (B), minus 1"),
        "savings": (dims, saved, "share of the control's time that is saved"),
        "savings_of_control": (dims, naive, "share of the naive network's time that the control saves"),
        "parts": ((*dims, "overlap"), parts, "what each overlap adds to the gain"),
        "predicted_speed": (("network",), predicted, "speed from the invisible overlaps"),
        "measured_speed": (("network",), measured, "speed at full N"),
    }
    for name, row in (("linear", found[0]), ("erf", found[2])):
        learning = row[0].learning
        arrays[f"{name}_loss"] = (("history", "time"), [run.loss for run in learning], "loss on A of the first start")
        arrays["time"] = (("time",), learning[0].time, "learning time of A")
    return collect(figure, settings, numbers, notes, arrays=arrays)


def _relearn(settings: Settings, condition: _Condition, start: Overlaps, task_a: Task, task_b: Task) -> Savings:
    flow = GradientFlow(settings.learning_time, save_at=[settings.learning_time])
    n_steps = settings.n_noisy_steps
    noise = GradientDescent(settings.learning_rate, n_steps, label_noise=settings.label_noise, save_every=n_steps)

    def history(name: str, tasks: list[Task]) -> History:
        # Noise while a task is learned, then the flow, so that all behave alike before A is learned again.
        if condition.noisy:
            return History(name, [t for task in tasks for t in (task, task)], [noise, flow] * len(tasks))
        return History(name, tasks, flow)

    rule = GradientFlow(settings.relearning_time, save_every=settings.relearning_time / 400)
    tasks = ([task_b], [task_a, task_b], [])
    histories = [history(name, list(past)) for name, past in zip(HISTORIES, tasks, strict=True)]
    key = jax.random.key(0)
    return savings(condition.model, histories, task_a, start, rule, key, criterion=settings.criterion)


def _speeds(
    settings: Settings, model: Model, found: list[Savings], task: Task, progress: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """The speed that invisible overlaps predict, and that of full networks which all behave alike, one step long."""
    eta = 1e-6
    rule = GradientDescent(eta, 1)
    predicted, measured = [], []
    for seed, one in enumerate(found):
        for gram in one.before.gram[:2]:
            overlaps = Overlaps(gram, model.layout)
            parts = learning_speed(model, task, overlaps).parts
            predicted.append(sum(float(parts[name]) for name in model.invisible_names))
            network = Network.sample(overlaps, settings.n_neurons, key=jax.random.key(seed))
            run = train(model, task, network, rule, progress=progress)
            measured.append(float(run.loss[0] - run.loss[-1]) / eta)
    return np.array(predicted), np.array(measured)


def _draw_learning(ax: "Axes", found: Savings, title: str) -> None:
    for i, (name, run) in enumerate(zip(found.names, found.learning, strict=True)):
        style = ("-", (0, (4, 2)), (0, (1, 1.5)))[i]
        ax.plot(run.time, run.loss, color=COLOURS[i], linestyle=style, linewidth=1.6, label=f"after {name}"
                if name != "naive" else name)  # fmt: skip
    ax.axhline(float(found.criterion), color="0.6", linewidth=0.8)
    ax.set(yscale="log", xlabel=r"learning time $\tau$ of A", ylabel=f"loss on A ({title})")
    legend_above(ax)


def _draw_points(ax: "Axes", conditions: tuple[_Condition, ...], values: np.ndarray, label: str) -> None:
    """One point per start, and their mean with its standard error."""
    for i, row in enumerate(values):
        spread = np.linspace(-0.18, 0.18, len(row))
        ax.plot(i + spread, row, linestyle="none", marker="o", markersize=4, color=COLOURS[i], alpha=0.6)
        error = row.std(ddof=1) / np.sqrt(len(row))
        ax.errorbar(i + 0.32, row.mean(), error, marker="_", color="black", capsize=2)
    ax.axhline(0.0, color="0.5", linewidth=0.9, zorder=0)
    ax.set_xticks(range(len(conditions)), [c.name.replace(", ", "\n") for c in conditions], fontsize=9)
    ax.set_ylabel(label)


def _draw_parts(ax: "Axes", conditions: tuple[_Condition, ...], names: tuple[str, ...], parts: np.ndarray) -> None:
    width = 0.8 / len(conditions)
    for i, condition in enumerate(conditions):
        x = np.arange(len(names)) + (i - (len(conditions) - 1) / 2) * width
        ax.bar(x, parts[i].mean(axis=0), width, color=COLOURS[i], label=condition.name)
    ax.axhline(0.0, color="0.5", linewidth=0.9)
    ax.set_xticks(range(len(names)), [symbol(name) for name in names])
    ax.set(xlabel="overlap", ylabel="its part of the gain of speed")
    legend_above(ax, ncols=2)


def _draw_speeds(ax: "Axes", predicted: np.ndarray, measured: np.ndarray, settings: Settings) -> None:
    ax.plot(predicted, measured, linestyle="none", marker="o", markersize=4, color=COLOURS[0], markerfacecolor="none")
    ends = [predicted.min(), predicted.max()]
    ax.plot(ends, ends, color="0.5", linewidth=0.9, zorder=0)
    ax.set(
        xlabel="from the invisible overlaps, linear networks", ylabel=rf"$-dL/d\tau$ at full N = {settings.n_neurons:,}"
    )
