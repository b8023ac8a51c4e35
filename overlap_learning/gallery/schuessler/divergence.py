"""Divergence: a linear task learned near the edge of stability (Schuessler et al. 2020, supplement)."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import learn_bulk, random_network
from overlap_learning.learning.outcomes import RESULTS, is_one_of
from overlap_learning.learning.solution import Solution
from overlap_learning.model.bulk import RandomBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.plot.style import COLOURS
from overlap_learning.studies.random_connectivity import convergence, gradient_descent
from overlap_learning.tasks.after_update import read_after_update
from overlap_learning.tasks.task import Task

#: Read off the published figure: the largest eigenvalue at the end, by g and target; 1 where learning blew up.
PUBLISHED = {(0.6, 2.0): 0.88, (0.8, 2.0): 0.97, (0.6, 4.0): 0.945, (0.8, 4.0): 1.0}
DT, ONSET, WINDOW = 0.5, 1.0, 1.0


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        n_neurons: N.
        n_instances: networks for each g and target.
        n_steps: learning steps.
        strengths: g.
        targets: zhat.
        learning_rates: eta0 for each target; `eta = eta0 (1 - g^2)^2`.
        duration: of a trial, in neuronal time constants.
        save_every: steps between points whose eigenvalues are computed.
        seed: of the networks.
    """

    n_neurons: int = 256
    n_instances: int = 5
    n_steps: int = 200
    strengths: tuple[float, ...] = (0.6, 0.8)
    targets: tuple[float, ...] = (2.0, 4.0)
    learning_rates: tuple[float, ...] = (0.002, 0.001)
    duration: float = 201.0
    save_every: int = 2
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=128, n_instances=2, duration=101.0, save_every=5)


def figure_divergence(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Loss and largest eigenvalue through learning in trials, and as theory has them for infinitely many neurons.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.

    Source: Schuessler et al. 2020, supplement.
    """
    figure, panels = page("Supplement: a linear task near the edge of stability", 2, len(settings.targets))
    numbers: list[Number] = []
    arrays: dict[str, Any] = {}
    for column, (target, eta0) in enumerate(zip(settings.targets, settings.learning_rates, strict=True)):
        loss, eigenvalue = panels[column], panels[len(settings.targets) + column]
        task = constant_output(target, settings.duration)
        for g, colour in zip(settings.strengths, COLOURS, strict=False):
            rate = eta0 * (1 - g**2) ** 2
            theory = gradient_descent(g, target, rate, settings.n_steps, throw=False)
            # Of a descent that blew up, the steps before.
            n_good = 1 + int(np.argmax(np.asarray(theory.time)))
            expected = np.asarray(theory.outlier)[:n_good]
            runs = [_run(settings, task, g, rate, i, progress) for i in range(settings.n_instances)]
            found = _padded(settings, [largest_eigenvalues(run) for run in runs])
            losses = _padded(settings, [np.asarray(run.loss) for run in runs]) / (target**2 / 2)
            steps = settings.save_every * np.arange(found.shape[1])
            for k in range(len(runs)):
                label = f"networks, g = {g:g}" if k == 0 else None
                loss.semilogy(steps, losses[k], color=colour, linewidth=0.8, label=label)
                eigenvalue.plot(steps, found[k], color=colour, linewidth=0.8, label=label)
            label = f"N to infinity, g = {g:g}"
            loss.semilogy(2 * np.asarray(theory.loss)[:n_good] / target**2, "--", color=colour, label=label)
            eigenvalue.plot(expected, "--", color=colour, label=label)
            numbers += _numbers(settings, g, target, rate, found, expected, runs)
            name = f"g{g:g}_target{target:g}"
            arrays |= {
                f"{name}_loss": (("instance", "save"), losses, "loss / half the squared target"),
                f"{name}_eigenvalue": (("instance", "save"), found, "largest real part of an eigenvalue of W"),
                f"{name}_eigenvalue_exact": (
                    (f"{name}_step",),
                    expected,
                    "the outlier, N to infinity, in the same steps",
                ),
            }
        eigenvalue.axhline(1.0, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        loss.set(xlabel="step", ylabel="loss / half the squared target", title=f"target {target:g}", ylim=(1e-12, 30))
        eigenvalue.set(xlabel="step", ylabel="largest real part of an eigenvalue of W")
        loss.legend(frameon=False, fontsize=8, loc="lower left")
    return collect(figure, settings, numbers, _NOTES, arrays=arrays)


def constant_output(target: float, duration: float) -> Task:
    """The published linear task: a constant input from 1 on; the output is the target in the last unit of time."""
    n, silent, window = (round(time / DT) for time in (duration, ONSET, WINDOW))
    now = jnp.arange(n)[None, :, None]
    inputs, mask = ((now >= first).astype(float) for first in (silent, n - window))
    return read_after_update(inputs, target * mask, mask, DT)


def largest_eigenvalues(run: Solution) -> np.ndarray:
    """The largest real part of an eigenvalue of W at each saved point."""
    assert run.networks is not None
    return np.linalg.eigvals(np.asarray(run.networks.connectivity)).real.max(axis=-1)


def _run(settings: Settings, task: Task, g: float, rate: float, instance: int, progress: bool | None) -> Solution:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), instance), round(1000 * g))
    of_vectors, of_bulk = jax.random.split(key)
    layout, n = Layout(rank=0), settings.n_neurons
    vectors = random_network(layout, n, of_vectors).vectors
    start = BulkNetwork(vectors, layout, RandomBulk(g).sample(n, of_bulk))
    return learn_bulk(task, start, rate, settings.n_steps, settings.save_every, progress)


def _padded(settings: Settings, series: list[np.ndarray]) -> np.ndarray:
    """Series as rows [instances, S], NaN where a run had ended."""
    rows = np.full((len(series), settings.n_steps // settings.save_every + 1), np.nan)
    for row, values in zip(rows, series, strict=True):
        row[: len(values)] = values[: len(row)]
    return rows


def _numbers(
    settings: Settings,
    g: float,
    target: float,
    rate: float,
    found: np.ndarray,
    expected: np.ndarray,
    runs: list[Solution],
) -> list[Number]:
    case = f"g = {g:g}, target {target:g}"
    last = found[[bool(is_one_of(run.result, RESULTS.successful)) for run in runs], -1]
    numbers = [
        Number(f"learning rate over its limit of stability, {case}",
               rate / float(convergence(g, target).learning_rate_limit)),
        Number(f"networks whose learning did not blow up, {case}", len(last), None, len(runs)),
    ]  # fmt: skip
    if len(expected) <= settings.n_steps:
        numbers.append(Number(f"last step before N to infinity blows up, {case}", len(expected) - 1))
    if len(last):
        name, mean, error = f"largest eigenvalue at the end, {case}", last.mean(), last.std() / math.sqrt(len(last))
        is_published = (settings.n_neurons, settings.n_steps) == (STANDARD.n_neurons, STANDARD.n_steps)
        if len(expected) > settings.n_steps:
            numbers.append(Number(f"{name}, beside N to infinity", mean, error, float(expected[-1])))
        if is_published:
            numbers.append(Number(f"{name}, beside the published one", mean, error, PUBLISHED.get((g, target))))
    return numbers


_NOTES = (
    "N to infinity: gradient descent of infinitely many neurons at their fixed point, in the same steps. It ends where "
    "a step would put the outlier beyond 1.",
    "Published: read off the figure, one network for each g and target, and 1 where its learning blew up.",
    "Networks learn by backpropagation through trials, and read out in the last unit of time, as published.",
)
