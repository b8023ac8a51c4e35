"""Trust: when the Gaussian theory of nonlinear learning is good, when it is not, and what is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.beyond.closures import MARKS, draw_costs, draw_populations
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.model.activations import Erf
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.nodes import HermiteGrid
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.tasks.decision_making import decision_making
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.teacher import teacher
from overlap_learning.validation.closure import ClosureReport, closure_error
from overlap_learning.validation.costs import Closure, Sizes, compare_closures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Two grids, the coarser first: nodes per dimension of the fields, and of the others.
Grids = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Learning:
    """How long and how fast something is learned."""

    learning_rate: float
    n_steps: int

    def rule(self) -> GradientDescent:
        """The rule, with some 30 saved points."""
        return GradientDescent(self.learning_rate, self.n_steps, save_every=max(1, self.n_steps // 30))


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment.

    Args:
        duration: of the trials of the published flip-flop, in neuronal time constants.
        dt: its Euler step.
        n_trials: its number of trials.
        published: its learning.
        small_duration: of the trials of the small flip-flop and of the teacher.
        small_dt: the Euler step of all tasks but the published flip-flop.
        small_trials: their number of trials.
        small: learning of the small flip-flop.
        decision: learning of decision making, until the edge of stability.
        teacher: learning of the teacher, whose loss is larger.
        long: long learning of the small flip-flop.
        learning_rates: that are compared on the small flip-flop, at the learning time of `small`.
        by_size: learning from initial overlaps of several sizes.
        sizes: of the initial overlaps, as factors of all of them.
        ranks: that are compared.
        grids: the two grids of the limit, for each rank.
        networks: learning of full networks.
        n_neurons: their N.
        n_seeds: networks per N.
        closures: the sizes of the closures that are compared.
        seed: of trials and networks.
    """

    duration: float = 20.0
    dt: float = 0.05
    n_trials: int = 16
    published: Learning = Learning(0.1, 600)
    small_duration: float = 12.0
    small_dt: float = 0.1
    small_trials: int = 6
    small: Learning = Learning(0.2, 100)
    decision: Learning = Learning(0.1, 120)
    teacher: Learning = Learning(0.02, 100)
    long: Learning = Learning(0.4, 500)
    learning_rates: tuple[float, ...] = (0.4, 0.2, 0.1, 0.05)
    by_size: Learning = Learning(0.2, 200)
    sizes: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    ranks: tuple[int, ...] = (1, 2)
    grids: tuple[Grids, ...] = (((8, 2), (10, 3)), ((6, 2), (8, 2)))
    networks: Learning = Learning(0.4, 30)
    n_neurons: tuple[int, ...] = (100, 316, 1000, 3162, 10_000)
    n_seeds: int = 16
    closures: Sizes = field(default_factory=Sizes)
    seed: int = 0


STANDARD = Settings()
_BRIEF = Learning(0.2, 30)
QUICK = Settings(
    duration=6.0, dt=0.2, n_trials=3, published=_BRIEF, small_duration=6.0, small_dt=0.2, small_trials=3, small=_BRIEF,
    decision=Learning(0.1, 30), teacher=Learning(0.02, 30), long=_BRIEF, learning_rates=(0.2,), by_size=_BRIEF,
    sizes=(2.0,), ranks=(1,), grids=(((4, 2), (6, 2)),), networks=_BRIEF, n_neurons=(64, 256), n_seeds=2,
    closures=Sizes(
        populations=((2, 0.4),), degrees=(), grids=(), whitened=(), corrected=(), n_seeds=1, expansions=(),
        reference=((4, 2), (6, 2)),
    ),
)  # fmt: skip


def figure_trust(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """The error of the Gaussian theory: over learning, by learning rate, size, rank and N; and better closures.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of full networks; None: if a person is watching.

    Source: theory page, sections 7, 8; the tasks of Ger & Barak 2026, Figs. 4, 8.
    """
    model, start = Model(Layout(), Erf()), _start()
    tasks, small = _tasks(settings), settings.small

    def learn(
        task: Task, learning: Learning, at: Overlaps = start, grids: Grids = settings.grids[0], **networks: Any
    ) -> ClosureReport:
        coarse, fine = (HermiteGrid(*grid, folded=True) for grid in grids)
        of = Model(at.layout, model.activation)
        return closure_error(
            of, task, at, learning.rule(), nodes=(coarse, fine), progress=progress, **networks
        )  # fmt: skip

    own = {"small flip-flop": small, "decision making": settings.decision, "teacher": settings.teacher}
    flip_flop_task = tasks["small flip-flop"]
    studies = {
        "task": {
            "published flip-flop": learn(tasks["published flip-flop"], settings.published),
            "long flip-flop": learn(flip_flop_task, settings.long),
            **{name: learn(tasks[name], own[name]) for name in ("decision making", "teacher")},
        },
        "learning rate": {
            f"{rate:g}": learn(flip_flop_task, Learning(rate, round(small.learning_rate * small.n_steps / rate)))
            for rate in settings.learning_rates
        },
        "overlaps x": {
            f"{size:g}": learn(flip_flop_task, settings.by_size, Overlaps(size * start.gram, start.layout))
            for size in settings.sizes
        },
        "rank": {
            f"{rank}": learn(flip_flop_task, small, _start(rank), grids)
            for rank, grids in zip(settings.ranks, settings.grids, strict=True)
        },
    }
    neurons = learn(
        flip_flop_task, settings.networks, key=jax.random.key(settings.seed), n_neurons=settings.n_neurons,
        n_seeds=settings.n_seeds,
    )  # fmt: skip
    closures, known = {}, {}
    for name, learning in own.items():
        rule = GradientDescent(learning.learning_rate, learning.n_steps, save_every=max(1, learning.n_steps // 20))
        closures[name], known[name] = compare_closures(model, tasks[name], start, rule, settings.closures, progress)

    figure, panels = page("When to trust the Gaussian theory of nonlinear learning (erf networks)", 3, 3)
    for ax, (kind, reports) in zip(panels, studies.items(), strict=False):
        prefix = "" if kind == "task" else r"$\eta$ = " if kind == "learning rate" else f"{kind} "
        _draw_courses(ax, {f"{prefix}{name}": report for name, report in reports.items()})
    panels[0].set_xscale("log")
    _draw_sizes(panels[4], neurons)
    draw_populations(panels[5], closures)
    for ax, name in zip(panels[6:], closures, strict=True):
        draw_costs(ax, closures[name], known[name], name)
    notes = (
        "Errors are those of the worst overlap at the worst time, relative to the largest change of an overlap in the "
        "limit of infinitely many neurons. What stands after +- is how well the limit itself is known.",
        "The times of closures are CPU times per step of learning, without compilation, the shortest of three runs on "
        "the machine at hand.",
    )
    return collect(
        figure, settings, [*_study_numbers(studies, neurons), *_closure_numbers(closures, known)], notes,
        arrays=_arrays(studies, neurons, closures),
    )  # fmt: skip


def _start(rank: int = 1) -> Overlaps:
    """Near-orthonormal overlaps, off the plateau where nothing is learned."""
    layout = Layout(rank=rank)
    gram = jnp.eye(layout.size).at[layout.block("v"), layout.block("u")].set(0.4 * jnp.eye(rank))
    gram = gram.at[layout.block("v"), layout.block("m")].set(0.4 / rank)
    gram = gram.at[layout.block("z"), layout.block("u")].set(0.4 / rank)
    gram = gram.at[layout.block("z"), layout.block("m")].set(0.3)
    lower = jnp.tril(gram, -1)
    return Overlaps(jnp.eye(layout.size) + lower + lower.T, layout)


def _tasks(settings: Settings) -> dict[str, Task]:
    key, n, dt = jax.random.key(settings.seed), settings.small_trials, settings.small_dt
    return {
        "published flip-flop": flip_flop(
            key=key, n_trials=settings.n_trials, duration=settings.duration, dt=settings.dt
        ),
        "small flip-flop": flip_flop(key=key, n_trials=n, duration=settings.small_duration, dt=dt),
        "decision making": decision_making(key=key, n_trials=n, dt=dt),
        "teacher": teacher(key=key, n_trials=n, duration=settings.small_duration, dt=dt),
    }


def _study_numbers(studies: Mapping[str, Mapping[str, ClosureReport]], neurons: ClosureReport) -> list[Number]:
    assert neurons.networks is not None
    return [
        *(
            Number(f"{kind} {name}: largest error of the theory / largest change", _relative(report),
                   _relative(report, report.limit.error))
            for kind, reports in studies.items()
            for name, report in reports.items()
        ),
        *(
            Number(f"task {name}: learning time with an error below 5 %", float(report.theory.time[report.until(0.05)]))
            for name, report in studies["task"].items()
        ),
        *(
            Number(f"task {name}: largest change of the limit between two grids", float(report.limit.error.max()))
            for name, report in studies["task"].items()
        ),
        *(
            Number(f"networks against the limit, {when}: exponent of N", *neurons.networks.exponent(index),
                   expected=-0.5)
            for when, index in _moments(neurons).items()
        ),
    ]  # fmt: skip


def _closure_numbers(closures: Mapping[str, Sequence[Closure]], known: Mapping[str, float]) -> list[Number]:
    return [
        Number(f"{name}, {c.kind} ({c.size}): largest error / largest change, at {c.cost:.1f} x the time", c.error,
               known[name])
        for name, ways in closures.items()
        for c in ways
    ]  # fmt: skip


def _arrays(
    studies: Mapping[str, Mapping[str, ClosureReport]],
    neurons: ClosureReport,
    closures: Mapping[str, Sequence[Closure]],
) -> dict[str, tuple[Sequence[str], Any, str]]:
    """All that is drawn."""
    arrays: dict[str, tuple[Sequence[str], Any, str]] = {}
    for kind, reports in studies.items():
        for name, report in reports.items():
            label = f"{kind}_{name}".replace(" ", "_")
            arrays[f"{label}_time"] = ((f"{label}_time",), report.theory.time, "learning time")
            arrays[f"{label}_error"] = ((f"{label}_time",), report.largest, "largest error of an overlap")
            arrays[f"{label}_limit_error"] = (
                (f"{label}_time",), report.limit.error.max(axis=1), "largest change of the limit between two grids",
            )  # fmt: skip
            arrays[f"{label}_change"] = ((), report.change, "largest change of an overlap")
    assert neurons.networks is not None
    arrays["n_neurons"] = (("n",), neurons.networks.n_neurons, "N of full networks")
    arrays["finite_size"] = (("n", "moment"), _rms(neurons)[:, 0], "rms deviation of networks from the limit")
    for name, ways in closures.items():
        label = f"closures_{name}".replace(" ", "_")
        arrays[f"{label}_kind"] = ((label,), [c.kind for c in ways], "kind of closure")
        for attribute, meaning in (
            ("size", "populations, neurons or polynomials"),
            ("error", "largest error / largest change"),
            ("cost", "time / time of the Gaussian theory"),
        ):
            arrays[f"{label}_{attribute}"] = ((label,), [getattr(c, attribute) for c in ways], meaning)
    return arrays


def _moments(report: ClosureReport) -> dict[str, int]:
    """Indices of an early and a late moment of learning."""
    return {"at a quarter": len(report.theory.time) // 4, "at the end": -1}


def _relative(report: ClosureReport, values: np.ndarray | None = None) -> float:
    return float(np.abs(report.closure if values is None else values).max() / report.change)


def _rms(neurons: ClosureReport) -> np.ndarray:
    """Rms deviation of networks from the limit and its error, early and late, shape [N, 2, moment]."""
    assert neurons.networks is not None
    return np.stack([np.stack(neurons.networks.rms(index), axis=-1) for index in _moments(neurons).values()], axis=-1)


def _draw_courses(ax: "Axes", reports: dict[str, ClosureReport]) -> None:
    for i, (name, report) in enumerate(reports.items()):
        time_, error = np.asarray(report.theory.time)[1:], report.largest[1:] / report.change
        ax.plot(time_, error, color=COLOURS[i], linewidth=1.5, label=name)
        known = report.limit.error.max(axis=1)[1:] / report.change
        ax.plot(time_, known, color=COLOURS[i], linewidth=0.8, linestyle=":")
    ax.plot([], [], color="0.4", linewidth=0.8, linestyle=":", label="limit known to")
    ax.set(yscale="log", xlabel=r"learning time $\tau$", ylabel="largest error of the theory / change")
    legend_above(ax, ncols=2 if max(map(len, reports)) > 12 else 3)


def _draw_sizes(ax: "Axes", neurons: ClosureReport) -> None:
    assert neurons.networks is not None
    n = np.array(neurons.networks.n_neurons, float)
    rms = _rms(neurons)
    closure = np.sqrt(np.mean(np.square(neurons.closure), axis=1))
    for i, (when, index) in enumerate(_moments(neurons).items()):
        ax.errorbar(n, rms[:, 0, i], rms[:, 1, i], color=COLOURS[i], marker=MARKS[i], markersize=5,
                    markerfacecolor="none", linewidth=1.0, label=f"network - limit, {when}")  # fmt: skip
        ax.axhline(
            closure[index], color=COLOURS[i], linestyle=(0, (4, 2)), linewidth=1.2, label=f"limit - theory, {when}"
        )
    ax.plot(n, rms[0, 0, 1] * np.sqrt(n[0] / n) * 1.5, color="0.5", linewidth=0.8, linestyle=":", label="slope -1/2")
    ax.set(xscale="log", yscale="log", xlabel="neurons N", ylabel="rms deviation of the overlaps")
    legend_above(ax, ncols=2)
