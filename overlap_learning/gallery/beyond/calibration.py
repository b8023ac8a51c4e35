"""Calibration: what `Solution.trust` estimates, against what full networks say; and the closure that is chosen."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.closures import Cheapest, pair_of
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.driver import learn
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import AbstractActivation, Activation, Erf, ReLU, Tanh
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.tasks.decision_making import decision_making
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.flip_flop_channels import flip_flop_channels
from overlap_learning.tasks.mante import mante
from overlap_learning.tasks.romo import romo
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.teacher import teacher
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Case(NamedTuple):
    """Something to learn.

    Attributes:
        task: the task, and how many inputs and outputs it has.
        n_in: inputs.
        n_out: outputs.
        rank: of the network.
        activation: phi.
        learning_rate: eta.
        size: of the initial overlaps, a factor of all of them: 1 rich, 3 lazy.
        n_steps: of learning; None: those of the settings.
    """

    task: Callable[..., Task]
    n_in: int
    n_out: int
    rank: int
    activation: AbstractActivation
    learning_rate: float
    size: float = 1.0
    n_steps: int | None = None


_DECISION = partial(decision_making, dt=0.25)
_FLIP_FLOP = partial(flip_flop, dt=0.2)
#: The cases, by name.
CASES: Mapping[str, Case] = {
    "decision, rank 1": Case(_DECISION, 1, 1, 1, Erf(), 0.03),
    "decision, rank 2": Case(_DECISION, 1, 1, 2, Erf(), 0.03),
    "flip-flop, rank 1": Case(_FLIP_FLOP, 1, 1, 1, Erf(), 0.1),
    "flip-flop, rank 2": Case(_FLIP_FLOP, 1, 1, 2, Erf(), 0.03),
    "context, rank 1": Case(mante, 4, 1, 1, Tanh(), 0.1),
    "context, rank 2": Case(mante, 4, 1, 2, Tanh(), 0.1),
    "Romo, rank 1": Case(romo, 1, 2, 1, Tanh(), 0.1),
    "Romo, rank 2": Case(romo, 1, 2, 2, Tanh(), 0.1),
    "channels, rank 3": Case(partial(flip_flop_channels, n_channels=3), 3, 3, 3, Tanh(), 0.1),
    "teacher, ReLU": Case(partial(teacher, dt=0.2), 1, 1, 1, ReLU(), 0.01),
    "flip-flop, softplus": Case(_FLIP_FLOP, 1, 1, 1, Activation(jax.nn.softplus), 0.03),
    "flip-flop, lazy": Case(_FLIP_FLOP, 1, 1, 1, Erf(), 0.01, size=3.0),
}
#: Those with 11 to 20 vectors, on which networks are as far from each other as from the theory.
MANY: Mapping[str, Case] = {
    "context, rank 3": Case(mante, 4, 1, 3, Tanh(), 0.05, n_steps=40),
    "context, rank 5": Case(mante, 4, 1, 5, Tanh(), 0.05, n_steps=40),
    "Romo, rank 4": Case(romo, 1, 2, 4, Tanh(), 0.1, n_steps=40),
    "channels, rank 4": Case(partial(flip_flop_channels, n_channels=3), 3, 3, 4, Erf(), 0.1, n_steps=40),
    "channels, rank 5": Case(partial(flip_flop_channels, n_channels=5), 5, 5, 5, Erf(), 0.1, n_steps=30),
}


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment.

    Args:
        cases: of `CASES`.
        many: of `MANY`.
        n_limit: weighted neurons that stand for infinitely many in those.
        n_trials: of every task.
        n_neurons: N of the networks.
        n_networks: how many of them are averaged.
        scale: of what is random in the initial overlaps.
        tolerance: of the closure that is chosen.
        n_steps: of learning.
        seed: of trials, overlaps and networks.
    """

    cases: tuple[str, ...] = tuple(CASES)
    many: tuple[str, ...] = tuple(MANY)
    n_limit: int = 2048
    n_trials: int = 8
    n_neurons: int = 3000
    n_networks: int = 4
    scale: float = 0.2
    tolerance: float = 0.05
    n_steps: int = 150
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(
    cases=("flip-flop, rank 1", "context, rank 2"),
    many=("channels, rank 4",),
    n_limit=128,
    n_trials=4,
    n_neurons=300,
    n_networks=2,
    n_steps=40,
)


@dataclass(frozen=True)
class Found:
    """What was found of a case.

    Args:
        gaussian: the Gaussian theory, with its trust.
        chosen: the closure that was chosen.
        gram: the mean over networks of their overlaps [S, d, d].
        known: the largest standard error of that, as a part of the largest change.
        losses: of the networks [n, S].
    """

    gaussian: Solution
    chosen: Solution
    gram: np.ndarray
    known: float
    losses: np.ndarray

    def error(self, solution: Solution) -> float:
        """The largest error of an overlap over learning, as a part of the largest change."""
        change = np.abs(self.gram - self.gram[0]).max()
        return float(np.abs(np.asarray(solution.overlaps.gram) - self.gram).max() / change)

    @property
    def closure(self) -> str:
        """The chosen closure, in words."""
        final = self.chosen.final
        if isinstance(final, Network):
            return f"{final.n_neurons} neurons"
        return "Gaussian" if isinstance(final, Overlaps) else "Gaussian with means"


def figure_calibration(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Estimated errors of the Gaussian theory against those that full networks show, and the chosen closures'.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of full networks; None: if a person is watching.

    Source: theory page, section 7.
    """
    found = {name: _study(CASES[name], settings, progress) for name in settings.cases}
    many = {name: _study_many(MANY[name], settings) for name in settings.many}
    figure, panels = page("What a solution says it is off by, and what it is off by", 1, 3)
    _draw_estimates(panels[0], found, many)
    _draw_choices(panels[1], found)
    _draw_losses(panels[2], *max(found.items(), key=lambda item: item[1].error(item[1].gaussian)))
    numbers, rows = (
        [],
        ["case | Gaussian: error, estimate, verdict, loss | chosen: closure, error, loss | networks: loss"],
    )
    for name, case in found.items():
        true, estimate = case.error(case.gaussian), float(case.gaussian.trust.largest)
        numbers += [
            Number(f"{name}: error of the Gaussian theory / largest change", true, case.known),
            Number(f"{name}: the same, estimated beside it", estimate),
            Number(f"{name}: error of the chosen closure ({case.closure})", case.error(case.chosen), case.known),
        ]
        ends, verdict = case.losses[:, -1], case.gaussian.trust.verdict
        rows.append(
            f"{name} | {true:.1%}, {estimate:.1%}, {verdict}, {float(case.gaussian.loss[-1]):.3g} | "
            f"{case.closure}, {case.error(case.chosen):.1%}, {float(case.chosen.loss[-1]):.3g} | "
            f"{ends.mean():.3g} ({ends.min():.3g} to {ends.max():.3g}), mean overlaps known to {case.known:.1%}"
        )
    known = [(a, b) for a, b in zip(numbers[0::3], numbers[1::3], strict=True) if a.value > 2 * (a.error or 0)]
    smallest = min((b.value / a.value for a, b in known), default=float("nan"))
    numbers.append(Number("smallest estimate / error, of errors that networks tell from 0", smallest))
    rows += (
        ["", f"case | error beside {settings.n_limit:,} weighted neurons, estimate, estimate / error"] if many else []
    )
    for name, (true, estimate) in many.items():
        numbers.append(Number(f"{name}: estimate / error", estimate / true))
        rows.append(f"{name} | {true:.2%}, {estimate:.2%}, {estimate / true:.2f}")
    return collect(figure, settings, numbers, rows, arrays=_arrays(found))


def _asked(case: Case, settings: Settings) -> tuple[Model, Task, Overlaps, GradientDescent, jax.Array]:
    """What learns what, from where and how; and a key for networks."""
    task_key, start_key, key = jax.random.split(jax.random.key(settings.seed), 3)
    model = Model(Layout(case.n_in, case.rank, case.n_out), case.activation)
    task = case.task(key=task_key, n_trials=settings.n_trials)
    start = _start(model.layout, case.size, settings.scale, start_key)
    n_steps = case.n_steps or settings.n_steps
    return model, task, start, GradientDescent(case.learning_rate, n_steps, save_every=max(1, n_steps // 20)), key


def _study_many(case: Case, settings: Settings) -> tuple[float, float]:
    """The error of the Gaussian theory and its estimate, as parts of the largest change.

    The error is what separates many weighted neurons as they learn from the same kept Gaussian.
    """
    model, task, start, rule, _ = _asked(case, settings)
    theory = integrate(model, task, start, rule, throw=False)
    pair = pair_of(model, start, settings.n_limit)
    both = Neurons(jnp.stack([model.free(pair.network.vectors)] * 2))
    gram = learn(
        pair.learner(model, None, jnp.array([1.0, 0.0])),
        task,
        both,
        rule,
        fields=("kept",),
        throw=False,
        progress=False,
    ).saved["gram"]
    apart, own = gram[0] - gram[1], theory.overlaps.gram
    error = jnp.max(jnp.abs(apart)) / jnp.max(jnp.abs(own + apart - own[0]))
    return float(error), float(theory.trust.largest)


def _study(case: Case, settings: Settings, progress: bool | None) -> Found:
    model, task, start, rule, key = _asked(case, settings)
    gaussian = integrate(model, task, start, rule, throw=False)
    with warnings.catch_warnings():
        # Where no closure meets the tolerance, the finest is what is shown.
        warnings.simplefilter("ignore", UserWarning)
        chosen = integrate(model, task, start, rule, closure=Cheapest(settings.tolerance), throw=False)
    starts = Overlaps(jnp.stack([start.gram] * settings.n_networks), model.layout)
    networks = train(model, task, Network.sample(starts, settings.n_neurons, key=key), rule, progress=progress)
    gram = np.asarray(networks.overlaps.gram)
    mean = gram.mean(axis=0)
    spread = gram.std(axis=0, ddof=1).max() / np.sqrt(settings.n_networks)
    return Found(gaussian, chosen, mean, float(spread / np.abs(mean - mean[0]).max()), np.asarray(networks.loss))


def _start(layout: Layout, size: float, scale: float, key: jax.Array) -> Overlaps:
    """Near-orthonormal overlaps, off the plateau where nothing is learned, and without their symmetry."""
    n_in, rank, d = layout.n_in, layout.rank, layout.size
    lift = jnp.eye(d).at[layout.block("u"), layout.block("v")].set(0.5 * jnp.eye(rank))
    lift = lift.at[layout.block("m"), layout.block("v")].set(0.5 / np.sqrt(n_in))
    lift = lift.at[layout.block("u"), layout.block("z")].set(0.5 / rank)
    lift = lift.at[layout.block("m"), layout.block("z")].set(0.2 / n_in)
    factor = (jnp.eye(d) + scale * jax.random.normal(key, (d, d)) / np.sqrt(d)) @ lift
    return Overlaps(size * factor.T @ factor, layout)


def _draw_estimates(ax: "Axes", found: Mapping[str, Found], many: Mapping[str, tuple[float, float]]) -> None:
    true = np.array([case.error(case.gaussian) for case in found.values()])
    for i, (name, case) in enumerate(found.items()):
        ax.errorbar(true[i], float(case.gaussian.trust.largest), xerr=case.known, label=name, linestyle="",
                    color=COLOURS[i % len(COLOURS)], marker="osD"[i // len(COLOURS) % 3], markersize=5)  # fmt: skip
    if many:
        ax.plot(*np.array(list(many.values())).T, label="11 to 20 vectors", linestyle="", color="0.3", marker="x")
    true = np.append(true, [error for error, _ in many.values()])
    ends = np.array([true.min() / 1.5, true.max() * 1.5])
    ax.plot(ends, ends, color="0.5", linewidth=0.8)
    ax.plot(ends, ends / 2, color="0.5", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log", xlabel="error of the Gaussian theory / change", ylabel="as estimated beside it")
    legend_above(ax, ncols=2)


def _draw_choices(ax: "Axes", found: Mapping[str, Found]) -> None:
    rows = np.arange(len(found))
    for solution, label, colour in (("gaussian", "Gaussian theory", COLOURS[0]), ("chosen", "chosen", COLOURS[1])):
        errors = [case.error(getattr(case, solution)) for case in found.values()]
        ax.plot(errors, rows, color=colour, marker="o", linestyle="", label=label)
    ax.plot(
        [case.known for case in found.values()], rows, color="0.5", marker="|", linestyle="", label="networks known to"
    )
    ax.set(xscale="log", xlabel="error of an overlap / change", yticks=rows)
    ax.set_yticklabels([f"{name} ({case.closure})" for name, case in found.items()], fontsize=6)
    legend_above(ax, ncols=2)


def _draw_losses(ax: "Axes", name: str, case: Found) -> None:
    time = np.asarray(case.gaussian.time)
    for i, loss in enumerate(case.losses):
        ax.plot(time, loss, color="0.6", linewidth=0.8, label="networks" if i == 0 else None)
    for solution, label, colour in (
        (case.gaussian, "Gaussian theory", COLOURS[0]),
        (case.chosen, "chosen", COLOURS[1]),
    ):
        ax.plot(np.asarray(solution.time), np.asarray(solution.loss), color=colour, linewidth=1.5, label=label)
    ax.set(xlabel=r"learning time $\tau$", ylabel=f"loss, {name}")
    legend_above(ax, ncols=2)


def _arrays(found: Mapping[str, Found]) -> dict[str, Any]:
    """All that is drawn."""
    arrays: dict[str, Any] = {}
    for name, case in found.items():
        label = name.replace(", ", "_").replace(" ", "_")
        point = (f"{label}_point",)
        arrays[f"{label}_time"] = (point, case.gaussian.time, "learning time")
        arrays[f"{label}_gaussian_loss"] = (point, case.gaussian.loss, "loss of the Gaussian theory")
        arrays[f"{label}_chosen_loss"] = (point, case.chosen.loss, "loss of the chosen closure")
        arrays[f"{label}_loss"] = ((f"{label}_network", *point), case.losses, "loss of the networks")
    return arrays
