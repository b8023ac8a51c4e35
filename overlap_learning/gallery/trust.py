"""Trust: when the Gaussian theory of nonlinear learning is good, when it is not, and what is better."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.rules import GradientDescent
from overlap_learning.dynamics.solution import Solution
from overlap_learning.gallery.page import page
from overlap_learning.gallery.reproduction import Number, Reproduction, collect
from overlap_learning.model.activations import Erf
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.nodes import Cubature, HermiteGrid
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.tasks.decision_making import decision_making
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.teacher import teacher
from overlap_learning.validation.closure import ClosureReport, closure_error
from overlap_learning.validation.scaling import entries
from overlap_learning.validation.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = ("o", "s", "^", "v", "D", "x")


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment.

    Args:
        duration: of the trials of flip-flop and teacher, in neuronal time constants.
        dt: the Euler step.
        n_trials: of the three tasks.
        learning_rate: eta on the flip-flops.
        decision_rate: eta on decision making.
        teacher_rate: eta on the teacher, whose loss is larger.
        n_steps: learning steps on the three tasks.
        small_duration: of the trials of the flip-flop on which all else is tried.
        small_dt: its Euler step.
        small_trials: its number of trials.
        small_steps: learning steps on it.
        learning_rates: that are compared at equal learning time.
        sizes: of the initial overlaps, as factors of all of them.
        ranks: that are compared.
        n_neurons: the N of full networks.
        n_seeds: networks per N.
        seed: of trials and networks.
    """

    duration: float = 20.0
    dt: float = 0.05
    n_trials: int = 16
    learning_rate: float = 0.1
    decision_rate: float = 0.05
    teacher_rate: float = 0.01
    n_steps: int = 600
    small_duration: float = 12.0
    small_dt: float = 0.1
    small_trials: int = 6
    small_steps: int = 400
    learning_rates: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05)
    sizes: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    ranks: tuple[int, ...] = (1, 2)
    n_neurons: tuple[int, ...] = (100, 316, 1000, 3162)
    n_seeds: int = 3
    seed: int = 0


QUICK = Settings(
    duration=8.0, dt=0.2, n_trials=4, n_steps=60, small_duration=6.0, small_dt=0.2, small_trials=3, small_steps=60,
    learning_rates=(0.2, 0.1), sizes=(1.0, 2.0), ranks=(1,), n_neurons=(64, 256), n_seeds=2,
)  # fmt: skip


class _Closure(NamedTuple):
    """One way to follow nonlinear learning, and what it costs.

    Attributes:
        name: in words.
        error: largest error of an overlap over learning, relative to the largest change.
        cost: time of its learning, in units of the Gaussian theory's.
    """

    name: str
    error: float
    cost: float


def figure_trust(settings: Settings = Settings(), *, progress: bool | None = None) -> Reproduction:
    """The error of the Gaussian theory: over learning, by learning rate, size, rank and N; and better closures.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of full networks; None: if a person is watching.

    Source: theory page, sections 7, 8; the tasks of Ger & Barak 2026, Figs. 4, 8.
    """
    model, start = Model(Layout(), Erf()), _start()
    small = _small(settings)

    def learn(task: Task, rate: float, n_steps: int, of: Model = model, at: Overlaps = start) -> ClosureReport:
        rule = GradientDescent(rate, n_steps, save_every=max(1, n_steps // 30))
        return closure_error(of, task, at, rule, progress=progress)

    total = settings.learning_rate * settings.small_steps
    tasks = {name: learn(task, rate, settings.n_steps) for name, (task, rate) in _tasks(settings).items()}
    rates = {rate: learn(small, rate, round(total / rate)) for rate in settings.learning_rates}
    sizes = {
        size: learn(small, settings.learning_rate, settings.small_steps, at=Overlaps(size * start.gram, start.layout))
        for size in settings.sizes
    }
    ranks = {
        rank: learn(small, settings.learning_rate, settings.small_steps, Model(Layout(rank=rank), Erf()), _start(rank))
        for rank in settings.ranks
    }
    rule = GradientDescent(settings.learning_rate, settings.small_steps, save_every=max(1, settings.small_steps // 30))
    neurons = closure_error(
        model, small, start, rule, jax.random.key(settings.seed), settings.n_neurons, settings.n_seeds,
        progress=progress,
    )  # fmt: skip
    closures = _closures(model, small, start, rule, neurons, progress)

    figure, panels = page("When to trust the Gaussian theory of nonlinear learning (erf networks)", 2, 3)
    _draw_courses(panels[0], {name.replace("_", " "): report for name, report in tasks.items()})
    _draw_courses(panels[1], {rf"$\eta = {rate:g}$": report for rate, report in rates.items()})
    _draw_courses(panels[2], {f"overlaps x {size:g}": report for size, report in sizes.items()})
    _draw_courses(panels[3], {f"rank {rank}": report for rank, report in ranks.items()})
    _draw_sizes(panels[4], neurons)
    _draw_closures(panels[5], closures)

    assert neurons.networks is not None
    exponents = [neurons.networks.exponent(index) for index in (len(neurons.theory.time) // 4, -1)]
    numbers = [
        *(
            Number(f"{kind} {name}: largest error of the theory / largest change", _relative(report),
                   _relative(report, report.limit.error))
            for kind, reports in (("task", tasks), ("learning rate", rates), ("overlaps x", sizes), ("rank", ranks))
            for name, report in reports.items()
        ),
        *(
            Number(f"task {name}: share of learning with an error below 5 %",
                   float(report.theory.time[report.until(0.05)] / report.theory.time[-1]))
            for name, report in tasks.items()
        ),
        *(
            Number(f"networks against the limit, {when}: exponent of N", *exponent, expected=-0.5)
            for when, exponent in zip(("at a quarter", "at the end"), exponents, strict=True)
        ),
        *(Number(f"{c.name}: largest error / largest change, at {c.cost:.1f} x the time", c.error) for c in closures),
    ]  # fmt: skip
    notes = (
        "Errors are those of the worst overlap at the worst time, relative to the largest change of an overlap in the "
        "limit of infinitely many neurons. What stands after +- is how well the limit itself is known.",
        "The times of closures were measured once each, in one run on the machine at hand.",
    )
    arrays = {}
    for kind, reports in (("task", tasks), ("rate", rates), ("size", sizes), ("rank", ranks)):
        for name, report in reports.items():
            label = f"{kind}_{name:g}" if isinstance(name, float) else f"{kind}_{name}"
            arrays[f"{label}_time"] = ((f"{label}_time",), report.theory.time, "learning time")
            arrays[f"{label}_error"] = ((f"{label}_time",), report.largest, "largest error of an overlap")
            arrays[f"{label}_change"] = ((), report.change, "largest change of an overlap")
    arrays["n_neurons"] = (("n",), settings.n_neurons, "N of full networks")
    arrays["finite_size"] = (("n", "moment"), _rms(neurons)[:, 0], "rms deviation of networks from the limit")
    arrays["closure_error"] = (("closure",), [c.error for c in closures], "largest error / largest change")
    arrays["closure_cost"] = (("closure",), [c.cost for c in closures], "time / time of the Gaussian theory")
    return collect(figure, settings, numbers, notes, arrays=arrays)


def _start(rank: int = 1) -> Overlaps:
    """Near-orthonormal overlaps, off the plateau where nothing is learned."""
    layout = Layout(rank=rank)
    gram = jnp.eye(layout.size).at[layout.block("v"), layout.block("u")].set(0.4 * jnp.eye(rank))
    gram = gram.at[layout.block("v"), layout.block("m")].set(0.4 / rank)
    gram = gram.at[layout.block("z"), layout.block("u")].set(0.4 / rank)
    gram = gram.at[layout.block("z"), layout.block("m")].set(0.3)
    lower = jnp.tril(gram, -1)
    return Overlaps(jnp.eye(layout.size) + lower + lower.T, layout)


def _tasks(settings: Settings) -> dict[str, tuple[Task, float]]:
    """The three tasks and the learning rate of each."""
    key, n, dt = jax.random.key(settings.seed), settings.n_trials, settings.dt
    return {
        "flip_flop": (flip_flop(key=key, n_trials=n, duration=settings.duration, dt=dt), settings.learning_rate),
        "decision_making": (decision_making(key=key, n_trials=n, dt=dt), settings.decision_rate),
        "teacher": (teacher(key=key, n_trials=n, duration=settings.duration, dt=dt), settings.teacher_rate),
    }


def _small(settings: Settings) -> Task:
    return flip_flop(
        key=jax.random.key(settings.seed), n_trials=settings.small_trials, duration=settings.small_duration,
        dt=settings.small_dt,
    )  # fmt: skip


def _closures(
    model: Model, task: Task, start: Overlaps, rule: GradientDescent, reference: ClosureReport, progress: bool | None
) -> list[_Closure]:
    """Ways to follow nonlinear learning, from the Gaussian theory to a few neurons, with their errors and times."""

    def split(order: int, share: float) -> Callable[[], Solution]:
        parts = Populations.split(start, HermiteGrid(order, folded=True), share=share)
        return lambda: integrate(model, task, parts, rule)

    def neurons(degree: int) -> Callable[[], Solution]:
        network = Network.quadrature(start, Cubature(degree, folded=True))
        return lambda: train(model, task, network, rule, progress=progress)

    def whitened(n: int) -> Callable[[], Solution]:
        network = Network.sample(start, n, key=jax.random.key(1))
        return lambda: train(model, task, network, rule, progress=progress)

    ways: list[tuple[str, Callable[[], Solution]]] = [
        ("Gaussian theory", lambda: integrate(model, task, start, rule)),
        *(
            (f"populations, {order} per dimension", split(order, share))
            for order, share in ((3, 0.6), (4, 0.8), (6, 0.9))
        ),
        *((f"cubature of degree {degree}", neurons(degree)) for degree in (7, 9, 11)),
        *((f"{n} whitened neurons", whitened(n)) for n in (64, 256)),
    ]
    exact, results, unit = entries(reference.limit.solution), [], 0.0
    for name, way in ways:
        way()
        began = time.perf_counter()
        run = way()
        jax.block_until_ready(run.loss)
        took = time.perf_counter() - began
        unit = unit or took
        results.append(_Closure(name, float(np.abs(entries(run) - exact).max() / reference.change), took / unit))
    return results


def _relative(report: ClosureReport, values: np.ndarray | None = None) -> float:
    return float(np.abs(report.closure if values is None else values).max() / report.change)


def _rms(neurons: ClosureReport) -> np.ndarray:
    """Rms deviation of networks from the limit and its error, at a quarter and at the end, shape [N, 2, moment]."""
    assert neurons.networks is not None
    moments = (len(neurons.theory.time) // 4, -1)
    return np.stack([np.stack(neurons.networks.rms(index), axis=-1) for index in moments], axis=-1)


def _draw_courses(ax: "Axes", reports: dict[str, ClosureReport]) -> None:
    for i, (name, report) in enumerate(reports.items()):
        time_, error = np.asarray(report.theory.time)[1:], report.largest[1:] / report.change
        ax.plot(time_, error, color=COLOURS[i], linewidth=1.5, label=name)
        known = report.limit.error.max(axis=1)[1:] / report.change
        ax.plot(time_, known, color=COLOURS[i], linewidth=0.8, linestyle=":")
    ax.plot([], [], color="0.4", linewidth=0.8, linestyle=":", label="limit known to")
    ax.set_yscale("log")
    ax.set_xlabel(r"learning time $\tau$")
    ax.set_ylabel("largest error of the theory / change")
    legend_above(ax, ncols=3)


def _draw_sizes(ax: "Axes", neurons: ClosureReport) -> None:
    assert neurons.networks is not None
    n = np.array(neurons.networks.n_neurons, float)
    rms = _rms(neurons)
    closure = np.sqrt(np.mean(np.square(neurons.closure), axis=1))
    for i, (when, index) in enumerate((("at a quarter", len(neurons.theory.time) // 4), ("at the end", -1))):
        ax.errorbar(n, rms[:, 0, i], rms[:, 1, i], color=COLOURS[i], marker=MARKS[i], markersize=5,
                    markerfacecolor="none", linewidth=1.0, label=f"network - limit, {when}")  # fmt: skip
        ax.axhline(
            closure[index], color=COLOURS[i], linestyle=(0, (4, 2)), linewidth=1.2, label=f"limit - theory, {when}"
        )
    ax.plot(n, rms[0, 0, 1] * np.sqrt(n[0] / n) * 1.5, color="0.5", linewidth=0.8, linestyle=":", label="slope -1/2")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("neurons N")
    ax.set_ylabel("rms deviation of the overlaps")
    legend_above(ax, ncols=2)


def _draw_closures(ax: "Axes", closures: list[_Closure]) -> None:
    groups = {
        "Gaussian": "Gaussian theory",
        "populations": "populations",
        "cubature": "cubature",
        "whitened": "whitened neurons",
    }
    for i, (word, label) in enumerate(groups.items()):
        own = [c for c in closures if word in c.name]
        ax.plot([c.cost for c in own], [c.error for c in own], linestyle="none", marker=MARKS[i], markersize=6,
                color=COLOURS[i], markerfacecolor="none", label=label)  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_minor_formatter("")
    ax.yaxis.set_minor_formatter("")
    ax.set_xlabel("time / time of the Gaussian theory")
    ax.set_ylabel("largest error / change")
    legend_above(ax, ncols=2)
