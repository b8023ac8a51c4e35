"""Scaling: how the deviations of full networks from a reference fall with their number of neurons."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import count
from overlap_learning.learning.checkpoint import Checkpoint, part_of
from overlap_learning.learning.outcomes import RESULTS, LearningError, is_one_of
from overlap_learning.learning.progress import bar
from overlap_learning.learning.result import AbstractResult, labelled
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution
from overlap_learning.model.bulk_network import BulkNetwork, bulk_network_of
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork, Network, network_of
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    import xarray

#: The most neurons of networks that are trained side by side: enough that small ones do not wait for overhead.
NEURONS_AT_ONCE = 10_000

#: The readings of neurons, over all learning, that filling up smaller networks may add to a batch: at some 5 ns each
#: they take as long as it takes to compile another program.
MOST_ADDED = 4e8


class FiniteSize(AbstractResult):
    """Deviations of networks of several sizes from a reference, each at the same saved points.

    Attributes:
        n_neurons: the N.
        deviation: network minus reference of each overlap, shape [len(n_neurons), n_seeds, S, p], in the order of
            `layout.entry_names`.
        loss: the loss of each network, shape [len(n_neurons), n_seeds, S].
    """

    table: ClassVar[str] = "deviation"

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

    def bias(self, index: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """What of each deviation does not fall with N at a saved point, with its standard error, shape [p] each.

        The mean over all networks, weighted by N: that of least variance for deviations of order N^(-1/2) about it. NaN
        with one network.
        """
        weight = np.repeat(np.asarray(self.n_neurons, dtype=float), self.n_seeds)
        values = self.deviation[:, :, index].reshape(len(weight), -1)
        bias = np.average(values, axis=0, weights=weight)
        if len(weight) == 1:
            return bias, np.full_like(bias, np.nan)
        # N times the variance of each network, which all of them share.
        shared = np.sum(weight[:, None] * np.square(values - bias), axis=0) / (len(weight) - 1)
        return bias, np.sqrt(shared / weight.sum())

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: `deviation` and `loss` over `n_neurons` and `seed`."""
        axes = ("n_neurons", "seed", "point")
        data = labelled(
            "Deviations of networks of several sizes",
            deviation=((*axes, "number"), self.deviation, "network minus reference"),
            loss=(axes, self.loss, "loss of the networks"),
        )
        return data.assign_coords(n_neurons=list(self.n_neurons))


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
    deviation, loss = [], []
    all_sizes = np.repeat(sizes, n_seeds)
    size_keys = jax.random.split(network_key, len(sizes))
    keys = [key for size_key in size_keys for key in jax.random.split(size_key, n_seeds)]
    with bar(progress, len(keys), "network", title) as shown:
        for first, last in _side_by_side(all_sizes, MOST_ADDED / max(1, _readings(model, task, rule, sizes[-1]))):
            members = all_sizes[first:last]
            shown.set_postfix_str(f"N={', '.join(map(str, np.unique(members)))}")
            networks = _networks(model, overlaps, members, keys[first:last], exact)
            part = part_of(checkpoint, f"{first}-{last}")
            full = train(model, task, networks, rule, trial_key, throw=False, progress=False, checkpoint=part)
            _check_good(full, members)
            deviation.append(entries(full) - reference)
            loss.append(np.asarray(full.loss))
            shown.update(len(members))
    shape = (len(sizes), n_seeds)
    return FiniteSize(
        n_neurons=sizes,
        deviation=np.concatenate(deviation).reshape(*shape, *reference.shape),
        loss=np.concatenate(loss).reshape(*shape, -1),
    )


def _readings(model: Model, task: Task | TaskStream, rule: AbstractRule, largest: int) -> float:
    """How often a neuron is read in all learning, with a bulk by each other one; of a flow, whose steps are not known,
    endlessly.
    """
    batch, readers = task.outline, 1 if model.bulk is None else largest
    trials = rule.batch_size or batch.n_trials
    return np.inf if rule.n_steps is None else rule.n_steps * batch.n_steps * trials * readers


def _side_by_side(sizes: np.ndarray, most_added: float) -> Iterator[tuple[int, int]]:
    """The first networks of each batch and of the next: networks are filled up to the largest of their batch."""
    first = 0
    for last in range(1, len(sizes) + 1):
        if last < len(sizes):
            filled = (last + 1 - first) * sizes[last]
            if filled <= NEURONS_AT_ONCE and filled - sizes[first : last + 1].sum() <= most_added:
                continue
        yield first, last
        first = last


def _networks(
    model: Model, overlaps: Overlaps, sizes: np.ndarray, keys: Sequence[jax.Array], exact: bool
) -> AbstractNetwork:
    """Networks of increasing sizes from the same overlaps, one for each key.

    The smaller ones are filled up with neurons of weight 0. All of them are then one program, which takes longer to
    compile than small networks take to learn.
    """

    def sample(n: int, key: jax.Array) -> AbstractNetwork:
        if model.bulk is None:
            return Network.sample(overlaps, n, key=key, exact=exact)
        return BulkNetwork.sample(model, overlaps, n, key=key, exact=exact)

    drawn = [sample(int(n), key) for n, key in zip(sizes, keys, strict=True)]

    def filled(name: str, n_axes: int) -> jax.Array:
        arrays = [np.asarray(getattr(network, name)) for network in drawn]
        rest = [(0, 0)] * (arrays[0].ndim - n_axes)
        return jax.device_put(np.stack([np.pad(a, [(0, sizes[-1] - len(a))] * n_axes + rest) for a in arrays]))

    vectors, weights = filled("vectors", 1), filled("weights", 1)
    if model.bulk is None:
        return network_of(vectors, overlaps.layout, weights)
    return bulk_network_of(vectors, overlaps.layout, weights, filled("bulk", 2))


def _check_good(full: Solution, sizes: np.ndarray) -> None:
    """Refuse networks of which one learned badly.

    Raises:
        LearningError: with all of them.
    """
    good = is_one_of(full.result, RESULTS.successful)
    if not good.all():
        raise LearningError(
            f"{np.sum(~good)} of {len(good)} networks, of N = {', '.join(map(str, np.unique(sizes[~good])))}, ended "
            "badly, the theory did not; try a smaller rate.",
            full,
        )
