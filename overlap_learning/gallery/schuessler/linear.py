"""Linear: the linear task, learned with and without a random bulk (Schuessler et al. 2020, Figs. 3 and 4)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.plot.style import COLOURS
from overlap_learning.random_connectivity.network import FiniteNetwork
from overlap_learning.studies.random_connectivity import (
    convergence,
    fixed_point_learning,
    gradient_descent,
    shuffled_loss,
    trial_learning,
)
from overlap_learning.studies.random_connectivity.learning import FixedPointLearning
from overlap_learning.studies.random_connectivity.trials import TrialLearning

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        n_neurons: N.
        n_instances: networks for each g and target.
        n_steps: learning steps.
        targets: zhat.
        learning_rates: eta0 for each target; `eta = eta0 (1 - g^2)^2`.
        curves: the g of Fig. 3.
        strengths: the g of Fig. 4.
        n_trial_neurons: N of the networks that are trained by backpropagation through trials of finite length.
        duration: of those trials, in neuronal time constants.
        seed: of the networks.
    """

    n_neurons: int = 1024
    n_instances: int = 5
    n_steps: int = 200
    targets: tuple[float, ...] = (0.5, 1.0, 2.0)
    learning_rates: tuple[float, ...] = (0.015, 0.009, 0.003)
    curves: tuple[float, ...] = (0.0, 0.6)
    strengths: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    n_trial_neurons: int = 1024
    duration: float = 101.0
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(
    n_neurons=256, n_instances=3, strengths=(0.0, 0.3, 0.6, 0.8), n_trial_neurons=128, duration=21.0
)  # fmt: skip


def figure_3(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Output of trained networks, loss, and singular values of the change: networks, published series, exact theory.

    Args:
        settings: the sizes of the experiment.
        progress: not used: no run is long.

    Source: Schuessler et al. 2020, Fig. 3.
    """
    del progress
    targets = (settings.targets[0], settings.targets[-1])
    rates = (settings.learning_rates[0], settings.learning_rates[-1])
    figure, panels = page("Fig. 3: a linear network learns an output, with and without a random bulk", 2, 3)
    panels[-1].remove()
    numbers: list[Number] = []
    arrays: dict[str, Any] = {}
    for i, (target, rate) in enumerate(zip(targets, rates, strict=True)):
        loss, values = panels[1 + i], panels[3 + i]
        for g, colour in zip(settings.curves, COLOURS, strict=False):
            case = f"g = {g:g}, target {target:g}"
            runs = [learned for _, learned in _learned(settings, g, target, rate)]
            time = np.asarray(runs[0].time)
            exact = fixed_point_learning(g, target, time)
            series = fixed_point_learning(g, target, time, order=3)
            trials = _trials(settings, g, target, rate)
            label = f"g = {g:g}"
            _band(loss, time, [_relative(run) for run in runs], colour, label)
            loss.plot(time, _relative(exact), color="black", linewidth=0.9, label="exact" if g == 0 else None)
            loss.plot(time, _cut(series, _relative(series)), "--", color=colour, label="series" if g == 0 else None)
            for k in range(2):
                _band(values, time, [run.singular_values[:, k] for run in runs], colour, label if k == 0 else None)
                values.plot(time, exact.singular_values[:, k], color="black", linewidth=0.9)
                values.plot(time, _cut(series, series.singular_values[:, k], freeze=True), "--", color=colour)
            t = 0.5 * (1 + np.arange(len(trials.trial)))
            panels[0].plot(t, trials.trial, color=colour, label=label if i == 0 else None)
            panels[0].axhline(target, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
            numbers += _numbers_3(case, runs, exact, series, trials)
            name = f"g{g:g}_target{target:g}"
            arrays |= {
                f"{name}_time": (("step",), time, "learning time in units of 1 / beta^2"),
                f"{name}_loss": (("instance", "step"), np.stack([run.loss for run in runs]), "loss"),
                f"{name}_singular_values": (
                    ("instance", "step", "value"), np.stack([run.singular_values[:, :5] for run in runs]), "of Delta W",
                ),
                f"{name}_loss_exact": (("step",), exact.loss, "loss, N to infinity"),
                f"{name}_singular_values_exact": (
                    ("step", "value"), exact.singular_values[:, :5], "of Delta W, N to infinity",
                ),
                f"{name}_loss_trials": (("step",), trials.loss, "loss, trials of finite length"),
                f"{name}_trial": (("trial_step",), trials.trial, "output of the trained network through a trial"),
            }  # fmt: skip
        loss.set(xlabel="learning time, units of $1/\\beta^2$", ylabel="loss / half the squared target")
        loss.set_title(f"target {target:g}", fontsize=10)
        values.set(xlabel="learning time, units of $1/\\beta^2$", ylabel="singular values of $\\Delta W$")
        values.set_title(f"target {target:g}", fontsize=10)
        loss.legend(frameon=False)
    panels[0].set(xlabel="time in the trial", ylabel="output z of the trained network")
    panels[0].legend(frameon=False)
    return collect(figure, settings, numbers, _NOTES_3, arrays=arrays)


def figure_4(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Convergence time, norm, gradient and loss after shuffling, against g: networks, first order, exact theory.

    Args:
        settings: the sizes of the experiment.
        progress: not used: no run is long.

    Source: Schuessler et al. 2020, Fig. 4.
    """
    del progress
    strengths = np.asarray(settings.strengths)
    fine = np.linspace(0, max(0.9, strengths[-1]), 46)
    figure, panels = page("Fig. 4: what a random bulk does to learning the linear task", 2, 2)
    names = ("time", "norm", "gradient", "shuffled")
    labels = (
        "convergence time / at g = 0",
        r"$|\Delta W|$ / at g = 0",
        "mean gradient / at g = 0",
        "shuffled loss / first loss",
    )
    tops = [0.0] * len(panels)
    numbers: list[Number] = []
    arrays: dict[str, Any] = {
        "g": (("g",), strengths, "strength of W0"),
        "g_fine": (("g_fine",), fine, "strength of W0"),
    }
    for target, rate, colour in zip(settings.targets, settings.learning_rates, COLOURS, strict=False):
        # One compiled program for the lines and for the networks' g.
        exact, expected = np.split(_exact_4(np.append(fine, strengths), target), [fine.size])
        found = np.stack([_measured_4(settings, float(g), target, rate) for g in strengths])
        for k, (ax, name) in enumerate(zip(panels, names, strict=True)):
            scale = 1.0 if name == "shuffled" else np.nanmean(found[0, :, k])
            unit = 1.0 if name == "shuffled" else exact[0, k]
            _band(ax, strengths, list((found[..., k] / scale).T), colour, f"target {target:g}", marker="o")
            ax.plot(fine, exact[:, k] / unit, color=colour, linewidth=0.9, linestyle="-.")
            tops[k] = max(tops[k], 1.25 * np.max(exact[:, k] / unit))
            arrays[f"{name}_target{target:g}"] = (("g", "instance"), found[..., k], f"{name} of networks")
            arrays[f"{name}_target{target:g}_exact"] = (("g_fine",), exact[:, k], f"{name}, N to infinity")
        numbers += _numbers_4(settings, target, rate, found, expected)
    squares = fine**2
    first = ((1 - squares) ** 2, 1 - squares, 1 / (1 - squares), squares**2 * (2 - squares) ** 2)
    for ax, prediction, label, top in zip(panels, first, labels, tops, strict=True):
        ax.plot(fine, prediction, "--", color="black", label="first order")
        ax.set(xlabel="g", ylabel=label, ylim=(0, top))
    panels[0].plot([], [], "-.", color="0.4", label="exact")
    panels[0].legend(frameon=False)
    return collect(figure, settings, numbers, _NOTES_4, arrays=arrays)


def _learned(
    settings: Settings, g: float, target: float, rate: float
) -> Iterator[tuple[jax.Array, FixedPointLearning]]:
    """Networks that learn by gradient descent, each with a key for what is drawn later."""
    for instance in range(settings.n_instances):
        key, later = jax.random.split(_key(settings, g, target, instance))
        network = FiniteNetwork.sample(g, settings.n_neurons, key=key)
        yield later, gradient_descent(network, target, rate * (1 - g**2) ** 2, settings.n_steps, throw=False)


def _trials(settings: Settings, g: float, target: float, rate: float) -> TrialLearning:
    network = FiniteNetwork.sample(g, settings.n_trial_neurons, key=_key(settings, g, target, settings.n_instances))
    rate, steps = rate * (1 - g**2) ** 2, settings.n_steps
    return trial_learning(network, target, rate, steps, duration=settings.duration, throw=False)


def _key(settings: Settings, *case: float) -> jax.Array:
    key = jax.random.key(settings.seed)
    for number in case:
        key = jax.random.fold_in(key, round(1000 * number))
    return key


def _relative(run: FixedPointLearning) -> np.ndarray:
    """Loss in units of `zhat^2 / 2`, as published."""
    return np.asarray(run.loss / (run.target**2 / 2))


def _cut(series: FixedPointLearning, values: jax.Array | np.ndarray, *, freeze: bool = False) -> np.ndarray:
    """The series up to where it passes the target; then nothing, or the last value, as in the authors' program."""
    values = np.array(values)
    beyond = np.asarray(jnp.abs(series.output) > jnp.abs(series.target))
    if beyond.any():
        first = int(beyond.argmax())
        values[first:] = values[first - 1] if freeze else 0.0
    return values


def _exact_4(fine: np.ndarray, target: float) -> np.ndarray:
    """Time, norm, gradient, shuffled loss over the first, shape [G, 4]."""
    end = jax.vmap(lambda g: convergence(g, target))(jnp.asarray(fine))
    beta = 1 / (1 - fine**2)
    columns = (end.time / beta**2, end.norm, end.gradient, end.shuffled_loss / (target**2 / 2))
    return np.stack([np.asarray(column) for column in columns], axis=1)


def _measured_4(settings: Settings, g: float, target: float, rate: float) -> np.ndarray:
    """The same of networks, by the definitions of the authors' program; NaN without convergence; [instances, 4]."""
    rows = []
    is_careful = rate * (1 - g**2) ** 2 < float(convergence(g, target).learning_rate_limit)
    for key, run in _learned(settings, g, target, rate):
        # The first loss below 5 % of zhat^2 / 2; the gradient is averaged over the steps before.
        below = _relative(run) < 0.05
        # Beyond the limit descent may jump to solutions whose activity is unstable.
        if not (below[-1] and (is_careful or np.linalg.eigvals(np.asarray(run.connectivity())).real.max() < 1)):
            rows.append([np.nan] * 4)
            continue
        n = int(below.argmax())
        gradient = float(np.mean(run.gradient_norm[: max(n, 1)]))
        shuffled = float(shuffled_loss(run, key) / (target**2 / 2))
        rows.append([n * rate * (1 - g**2) ** 2, float(run.norm[-1]), gradient, shuffled])
    return np.asarray(rows)


def _band(
    ax: "Axes", x: np.ndarray, runs: list[Any], colour: str, label: str | None, marker: str | None = None
) -> None:
    values = np.stack([np.asarray(run) for run in runs])
    # A column of NaN alone is a point that is not drawn.
    shown = np.isfinite(values).any(axis=0)
    x, values = x[shown], values[:, shown]
    low, median, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    ax.plot(x, median, color=colour, linewidth=1.8, label=label, marker=marker, markersize=3.5)
    ax.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)


def _numbers_3(
    case: str,
    runs: list[FixedPointLearning],
    exact: FixedPointLearning,
    series: FixedPointLearning,
    trials: TrialLearning,
) -> list[Number]:
    ends = [np.asarray(run.singular_values[-1]) for run in runs]
    s1, s2 = (np.array([end[k] for end in ends]) for k in range(2))
    error = 1 / math.sqrt(len(runs))
    passed = np.asarray(series.output > series.target)
    return [
        Number(f"s1 at the end, {case}", s1.mean(), s1.std() * error, float(exact.singular_values[-1, 0])),
        Number(f"s2 at the end, {case}", s2.mean(), s2.std() * error, float(exact.singular_values[-1, 1])),
        Number(f"s1 of the series where it passes the target, {case}",
               float(series.singular_values[passed.argmax() if passed.any() else -1, 0]), None,
               float(exact.singular_values[-1, 0])),
        Number(f"time of 5 % of the loss, theory, {case}", float(exact.convergence_time)),
        Number(f"output at the end of training in trials, {case}", float(trials.output[-1]), None, float(exact.target)),
    ]  # fmt: skip


def _numbers_4(settings: Settings, target: float, rate: float, found: np.ndarray, expected: np.ndarray) -> list[Number]:
    numbers = []
    for g, rows, exact in zip(settings.strengths, found, expected, strict=True):
        if g not in (0.0, 0.6, 0.8, settings.strengths[-1]):
            continue
        case = f"g = {g:g}, target {target:g}"
        good = rows[np.isfinite(rows[:, 0])]
        limit = float(convergence(g, target).learning_rate_limit)
        numbers.append(Number(f"learning rate over its limit of stability, {case}", rate * (1 - g**2) ** 2 / limit))
        numbers.append(Number(f"networks that converged, {case}", len(good), None, len(rows)))
        for k, name in enumerate(("5 % time", "norm of the change", "mean gradient", "shuffled loss / first loss")):
            if len(good):
                error = good[:, k].std() / math.sqrt(len(good))
                numbers.append(Number(f"{name}, {case}", good[:, k].mean(), error, exact[k]))
    return numbers


_NOTES_3 = (
    "Networks of finite N are trained on their fixed point, exactly, in the Krylov vectors of their own W0; those of "
    "panel a by backpropagation through trials.",
    "The series is cut off where it passes the target, as in the authors' program.",
    "Expected: the exact curves for N to infinity. Networks are off by order N^(-1/2), mainly in their first output.",
)
_NOTES_4 = (
    "Expected: exact, for N to infinity, with continuous learning. Times of networks are whole steps.",
    "The published first-order shuffled loss is too low, the more so the larger the target: outputs are not linear in "
    "Delta W. The exact one follows the networks.",
    "For targets 1, 2 at g = 0.9, and 2 at 0.8, published learning rates are above what the solution of gradient flow "
    "can bear: descent overshoots, and finds another solution (some off the scale) or none, which is left out.",
    "Networks are trained on their fixed point; the published ones were in trials of length 100. Drawn are median and "
    "quartiles (published: mean and standard deviation); the numbers are means.",
)
