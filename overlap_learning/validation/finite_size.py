"""Scaling: how the deviations of full networks from a reference fall with their number of neurons."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import count
from overlap_learning.learning.checkpoint import Checkpoint, part_of
from overlap_learning.learning.outcomes import RESULTS, LearningError
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

#: Neurons of the networks that are trained side by side: enough that small networks do not wait for overhead.
NEURONS_AT_ONCE = 10_000


class FiniteSize(eqx.Module):
    """Deviations of networks of several sizes from a reference, each at the same saved points.

    Attributes:
        n_neurons: the N.
        deviation: network minus reference of each overlap, shape [len(n_neurons), n_seeds, S, p], in the order of
            `layout.entry_names`.
        loss: the loss of each network, shape [len(n_neurons), n_seeds, S].
    """

    n_neurons: tuple[int, ...] = eqx.field(static=True)
    deviation: np.ndarray
    loss: np.ndarray

    @property
    def n_seeds(self) -> int:
        """Networks per N."""
        return self.deviation.shape[1]

    @property
    def largest(self) -> np.ndarray:
        """The largest deviation of any overlap at any saved point, shape [len(n_neurons), n_seeds]."""
        return np.abs(self.deviation).max(axis=(2, 3))

    def rms(self, index: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Root mean square deviation over overlaps and networks at a saved point, with its standard error, per N."""
        squares = np.mean(np.square(self.deviation[:, :, index]), axis=-1)
        mean = squares.mean(axis=1)
        rms = np.sqrt(mean)
        if self.n_seeds == 1:
            return rms, np.full_like(rms, np.nan)
        error = squares.std(axis=1, ddof=1) / np.sqrt(self.n_seeds)
        # d sqrt(x) = dx / (2 sqrt(x)); no deviation at all has no error.
        return rms, np.divide(error, 2 * rms, out=np.zeros_like(rms), where=rms > 0)

    def exponent(self, index: int = -1) -> tuple[float, float]:
        """The fitted exponent a of `rms ~ N^a` at a saved point, with its standard error.

        Weighted least squares of log rms on log N; the error is the larger of what the error bars say and of what the
        scatter about the line says.

        Returns:
            (exponent, standard error); NaN with fewer than two N, two seeds, or where there is no deviation.
        """
        rms, error = self.rms(index)
        if len(rms) < 2 or self.n_seeds < 2 or not np.all((rms > 0) & (error > 0)):
            return float("nan"), float("nan")
        x, y, weight = np.log(self.n_neurons), np.log(rms), np.square(rms / error)
        centre = np.average(x, weights=weight)
        information = np.sum(weight * np.square(x - centre))
        slope = np.sum(weight * (x - centre) * y) / information
        residual = y - np.average(y, weights=weight) - slope * (x - centre)
        freedom = len(x) - 2
        scatter = np.sum(weight * np.square(residual)) / freedom if freedom > 0 else 1.0
        return float(slope), float(np.sqrt(max(scatter, 1.0) / information))


def entries(solution: Solution) -> np.ndarray:
    """The distinct overlaps at each saved point, shape [..., S, p]."""
    rows, columns = solution.model.layout.entry_indices
    return np.asarray(solution.overlaps.gram)[..., rows, columns]


def check_sizes(n_neurons: Any, caller: str) -> tuple[int, ...]:
    """The N, as increasing integers.

    Raises:
        ValueError: if they are something else.
    """
    given = n_neurons if isinstance(n_neurons, Sequence | np.ndarray) else (n_neurons,)
    sizes = tuple(count(n, f"{caller}: n_neurons") for n in given)
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise ValueError(
            f"{caller}: n_neurons must be one or more increasing numbers, such as (250, 500, 1000), got {n_neurons}."
        )
    return sizes


def check_comparable(rule: AbstractRule, caller: str) -> None:
    """Refuse rules under which theory and networks can't be held against each other.

    Raises:
        ValueError: naming the rule.
    """
    if rule.motion is Motion.BARE:
        raise ValueError(
            f"{caller}: DirectDescent is no theory of a network; compare it by plotting its solution beside ol.train's."
        )
    if rule.stop_loss is not None:
        raise ValueError(
            f"{caller}: the rule must not have a stop_loss, so that theory and networks have the same saved points."
        )


def finite_size(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps,
    rule: AbstractRule,
    reference: np.ndarray,
    sizes: tuple[int, ...],
    n_seeds: int,
    *,
    network_key: jax.Array,
    trial_key: jax.Array | None,
    exact: bool,
    progress: bool | None,
    title: str,
    checkpoint: Checkpoint | None,
) -> FiniteSize:
    """Train networks of several sizes from the same overlaps on the same trials, and compare them with a reference.

    Args:
        model: the `Model`.
        task: the `Task` or `TaskStream`.
        overlaps: the start.
        rule: the rule.
        reference: the overlaps to compare with, shape [S, p].
        sizes: the N.
        n_seeds: networks per N.
        network_key: a jax random key of the networks.
        trial_key: a jax random key of the trials.
        exact: whether each network starts from exactly these overlaps.
        progress: show a progress bar; None: if a person is watching.
        title: the bar's title.
        checkpoint: where to write down where the networks are, those that learn side by side in a folder of their own.

    Raises:
        LearningError: if a network ended badly.
        LearningInterrupted: on Ctrl-C; with the networks at hand.
    """
    from tqdm.auto import tqdm

    deviation, loss = [], []
    disable = None if progress is None else not progress
    with tqdm(total=len(sizes) * n_seeds, disable=disable, unit="network", desc=title) as bar:
        for n, size_key in zip(sizes, jax.random.split(network_key, len(sizes)), strict=True):
            keys = jax.random.split(size_key, n_seeds)
            group = max(1, NEURONS_AT_ONCE // n)
            for first in range(0, n_seeds, group):
                bar.set_postfix_str(f"N={n}")
                networks = _networks(overlaps, n, keys[first : first + group], exact)
                part = part_of(checkpoint, f"{n}-{first}")
                full = train(model, task, networks, rule, trial_key, throw=False, progress=False, checkpoint=part)
                _check_good(full, n)
                deviation.append(entries(full) - reference)
                loss.append(np.asarray(full.loss))
                bar.update(len(full.loss))
    shape = (len(sizes), n_seeds)
    return FiniteSize(
        n_neurons=sizes,
        deviation=np.concatenate(deviation).reshape(*shape, *reference.shape),
        loss=np.concatenate(loss).reshape(*shape, -1),
    )


def _networks(overlaps: Overlaps, n: int, keys: jax.Array, exact: bool) -> Network:
    """Networks of N neurons from the same overlaps, one for each key."""
    return jax.vmap(lambda key: Network.sample(overlaps, n, key=key, exact=exact))(keys)


def _check_good(full: Solution, n: int) -> None:
    """Refuse networks of which one learned badly.

    Raises:
        LearningError: with all of them.
    """
    good = np.asarray(full.result == RESULTS.successful)
    if not good.all():
        raise LearningError(
            f"{np.sum(~good)} of {len(good)} networks of N = {n} ended badly, the theory did not; try a smaller rate.",
            full,
        )
