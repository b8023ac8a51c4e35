"""Result: a fitted network, how well it fits, and how sure its trial factors are."""

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from overlap_learning.checks import in_jax, in_numpy
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.fitting.learner import TensorLearner
from overlap_learning.fitting.likelihood import AbstractLikelihood
from overlap_learning.fitting.masks import Masks
from overlap_learning.fitting.prior import GaussianProcess
from overlap_learning.fitting.recordings import Recordings
from overlap_learning.fitting.stopping import PATIENCE
from overlap_learning.fitting.tensor_network import TensorNetwork, in_order
from overlap_learning.learning.dataset import RESULT_NAMES, result_code
from overlap_learning.learning.result import AbstractResult
from overlap_learning.learning.rules import AbstractDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.studies.tensor.components import similarity
from overlap_learning.studies.tensor.weights import Lifted

if TYPE_CHECKING:
    import xarray

    from overlap_learning.fitting.bootstrap import Bootstrap


class Fit(AbstractResult):
    """A low-tensor-rank network fitted to recordings, from several starts.

    Components are in the form of the ltrRNN: columns and rows of unit norm, trial factors with all of size and sign, in
    the order of their norms; of each the largest entry of the column and the sum of the trial factor are positive.

    Attributes:
        networks: the `TensorNetwork` of each start, every array with the starts as its first axis.
        best: the start whose network fits `masks.stop` best.
        step: steps done at each saved point, shape [P].
        course: mean deviance per entry (Gaussian: squared error) at each saved point, by part of the masks: `train` and
            `stop`, shape [starts, P]; NaN where a start had ended.
        deviance: the same of the networks, by part: `train`, `stop`, `report`, shape [starts].
        block_deviance: the mean deviance of each reported block, of the best network, shape [blocks].
        block_null: the same of a prediction by the mean of each neuron where it trains.
        block_sizes: entries of each block.
        results: how each start ended, names of members of `ol.RESULTS`.
        curvature: the expected second derivative of the negative log likelihood by the trial factors of each trial, of
            the best network, shape [K, R, R].
        prior: of trial factors.
        likelihood: of activity.
        inputs: from outside.
        masks: which entries trained, stopped and are reported.
        level: the root mean square of the states of units at the start.
        trial_ids: shape [K].
        condition_names: of the numbers in `network.conditions`.
        epochs: of each trial; None: no epochs.
    """

    table: ClassVar[str] = "trials"

    networks: TensorNetwork
    best: int = eqx.field(static=True)
    step: np.ndarray
    course: dict[str, np.ndarray]
    deviance: dict[str, np.ndarray]
    block_deviance: np.ndarray
    block_null: np.ndarray
    block_sizes: np.ndarray
    results: tuple[str, ...] = eqx.field(static=True)
    curvature: np.ndarray
    prior: GaussianProcess
    likelihood: AbstractLikelihood
    inputs: Inputs
    masks: Masks
    level: float = eqx.field(static=True)
    trial_ids: np.ndarray
    condition_names: tuple[str, ...] = eqx.field(static=True)
    epochs: tuple[str, ...] | None = eqx.field(static=True)

    @property
    def network(self) -> TensorNetwork:
        """The best network."""
        return self.member(self.best)

    @property
    def n_seeds(self) -> int:
        """The number of starts."""
        return len(self.networks.rows)

    @property
    def rank(self) -> int:
        """R."""
        return self.networks.rank

    def member(self, start: int) -> TensorNetwork:
        """The network of one start."""
        return jax.tree.map(lambda array: array[start], self.networks)

    @property
    def score(self) -> float:
        """The mean deviance per entry of the reported blocks: for a Gaussian likelihood the mean squared error."""
        return _mean(self.block_deviance, self.block_sizes)

    @property
    def explained(self) -> float:
        """The share of deviance (variance) of the reported blocks that is explained: 1 less that over the mean's."""
        return 1 - self.score / _mean(self.block_null, self.block_sizes)

    @property
    def score_error(self) -> float:
        """The standard error of `score`, from its differences between blocks."""
        return mean_error(self.block_deviance, self.block_sizes)

    @property
    def predictions(self) -> np.ndarray:
        """The expected activity of every trial, shape [K, T, N]."""
        return np.asarray(self.likelihood.expected(self.network.signal()))

    @property
    def weights(self) -> Lifted:
        """The weights W^(k), each [n, n] made when it is asked for."""
        columns, rows, trials = (np.asarray(getattr(self.network, name)) for name in ("columns", "rows", "trials"))
        return Lifted(columns * trials[:, None, :], np.broadcast_to(rows, (len(trials), *rows.shape)))

    @property
    def similarity(self) -> np.ndarray:
        """Of the components of each start with those of the best, as recorded neurons see them, shape [starts].

        The mean over components, matched as well as can be, of the product of the cosines of column, row and trial
        factor less its mean. 1: the same components, so that they mean something one by one.
        """
        factors = [seen_components(self.member(start)) for start in range(self.n_seeds)]
        return np.array([similarity(each, factors[self.best]) for each in factors])

    @property
    def trial_widths(self) -> np.ndarray:
        """The standard deviation of each trial factor in the posterior, all else held fixed, shape [K, R].

        By Laplace's approximation: the inverse of the curvature of the log likelihood and of the prior together, with a
        flat prior for the means. A lower bound, to compare trials with: columns and rows that differ a little mix
        components, and that moves trial factors by more than noise does. Of 540 true trial factors of three known
        networks 37 % lay within two widths. How far a trial factor may be from the truth is what `bootstrap` says.

        Raises:
            ValueError: without a prior, if the data of a trial do not determine its factors.
        """
        n_trials, rank = self.curvature.shape[:2]
        n = n_trials * rank
        precision = np.zeros((n_trials, rank, n_trials, rank))
        at = np.arange(n_trials)
        precision[at, :, at, :] += self.curvature
        if float(self.prior.penalty(jnp.ones((1, 1)))) > 0:
            inverse = np.linalg.inv(self.prior.covariance(self.trial_ids))
            total = inverse.sum(axis=1)
            # Of deviations from a mean of which nothing is known.
            inverse -= np.outer(total, total) / total.sum()
            for r in range(rank):
                precision[:, r, :, r] += inverse
        try:
            covariance = cho_solve(cho_factor(precision.reshape(n, n)), np.eye(n))
        except LinAlgError:
            raise ValueError(
                "Fit.trial_widths: the data of a trial do not determine its factors; fit with "
                "prior=ol.fitting.GaussianProcess()."
            ) from None
        return np.sqrt(np.diag(covariance)).reshape(n_trials, rank)

    def bootstrap(
        self,
        key: jax.Array,
        n_refits: int = 20,
        *,
        rule: AbstractDescent | None = None,
        n_seeds: int = 1,
        patience: int = PATIENCE,
        progress: bool | None = None,
    ) -> "Bootstrap":
        """Fits of recordings that the best network would have made, with fresh noise, from fresh starts.

        The distance of their trial factors to those of this fit is how far these are from the truth, if the network is
        right: it has all that makes fits differ, noise, the prior, where a fit starts and where it stops. Of 540 true
        trial factors of three known networks 99.6 % lay within two such widths, 20 refits each
        (`python -m benchmarks.recovery --coverage`). Refits that start from this fit do not do: they return to it, and
        4 to 39 % of the true factors were within two of their widths.

        Args:
            key: a jax random key.
            n_refits: how many.
            rule: that of the fit; None: the default of `fit_low_tensor_rank`.
            n_seeds: starts of each; the best one counts.
            patience: as of `fit_low_tensor_rank`.
            progress: show progress bars; None: if a person is watching (a terminal or a notebook).

        Returns:
            A `Bootstrap`.

        Raises:
            ValueError: if an argument is out of range.
            LearningError: if a refit diverged.
        """
        from overlap_learning.fitting.bootstrap import bootstrap

        settings = {"rule": rule, "n_seeds": n_seeds, "patience": patience, "progress": progress}
        return bootstrap(self, key, n_refits, settings)

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: all that `ol.fitting.load` needs, and the widths, eigenvalues and seen components."""
        from overlap_learning.fitting.files import to_dataset

        return to_dataset(self)

    def to_file(self) -> "xarray.Dataset":
        return self.to_xarray()

    @classmethod
    def from_file(cls, data: "xarray.Dataset", activation: Any = None, bulk: Any = None) -> "Fit":
        from overlap_learning.fitting.files import from_file

        return from_file(data)

    def __repr__(self) -> str:
        network = self.network
        ended = ", ".join(f"{self.results.count(name)} {name}" for name in dict.fromkeys(self.results))
        similar = ", ".join(f"{value:.3f}" for value in self.similarity)
        neurons = np.shape(network.readout["offset"])[0]
        return "\n".join([
            f"Fit: rank {self.rank}, {len(self.trial_ids)} trials, {network.n_units} units, {neurons} neurons",
            f"  held-out blocks: {100 * self.explained:.2f} % explained, mean deviance {self.score:.4g} +- "
            f"{self.score_error:.2g}",
            f"  mean deviance where it trains {self.deviance['train'][self.best]:.4g}, where it stops "
            f"{self.deviance['stop'][self.best]:.4g}",
            f"  {self.n_seeds} starts ({ended}), similarity to the best: {similar}",
        ])  # fmt: skip


def fit_of(solution: Solution, learner: TensorLearner, recordings: Recordings, masks: Masks, level: float) -> Fit:
    """The `Fit` of what the engine returned."""
    positions = in_numpy(solution.final)
    n_seeds = len(positions["rows"])
    each = [in_order(_network(learner, jax.tree.map(lambda a, i=i: a[i], positions))) for i in range(n_seeds)]
    activity = jnp.asarray(recordings.activity)
    deviance = [np.asarray(learner.likelihood.deviance(activity, network.signal()), float) for network in each]
    recorded = recordings.mask
    parts = {name: np.asarray(part) & recorded for name, part in masks._asdict().items() if name != "blocks"}
    means = {name: np.array([d[part].mean() for d in deviance]) for name, part in parts.items()}
    best = int(np.argmin(np.where(np.isfinite(means["stop"]), means["stop"], np.inf)))
    train = parts["train"]
    counts = train.sum(axis=(0, 1))
    mean = np.where(train, recordings.activity, 0).sum(axis=(0, 1)) / counts
    at_rest = jnp.asarray(learner.likelihood.signal(np.maximum(mean, 0.5 / counts) if recordings.are_counts else mean))
    null = np.asarray(learner.likelihood.deviance(activity, jnp.broadcast_to(at_rest, activity.shape)), float)
    chosen = masks.blocks[masks.report]
    numbers = np.unique(chosen)
    sizes = np.array([np.sum(chosen == number) for number in numbers])
    by_block = [np.array([part[masks.report][chosen == number].mean() for number in numbers])
                for part in (deviance[best], null)]  # fmt: skip
    missing = ~np.isfinite(np.asarray(solution.time))
    course = {name: np.where(missing, np.nan, np.asarray(values)) for name, values in solution.saved.items()}
    codes = np.atleast_1d(np.asarray(result_code(solution.result)))
    return Fit(
        networks=jax.tree.map(lambda *arrays: in_jax(np.stack(arrays)), *each),
        best=best,
        step=np.asarray(solution.step).max(axis=0),
        course=course,
        deviance=means,
        block_deviance=by_block[0],
        block_null=by_block[1],
        block_sizes=sizes,
        results=tuple(RESULT_NAMES[int(code)] for code in codes),
        curvature=_curvature(each[best], learner, jnp.asarray(train), means["train"][best]),
        prior=learner.prior,
        likelihood=learner.likelihood,
        inputs=learner.inputs,
        # Of the dtype that files have.
        masks=Masks(**parts, blocks=np.where(parts["report"], masks.blocks, -1).astype(np.int32)),
        level=level,
        trial_ids=recordings.trial_ids,
        condition_names=recordings.condition_names,
        epochs=recordings.epochs,
    )


def mean_error(values: np.ndarray, sizes: np.ndarray) -> float:
    """The standard error of the mean of blocks of these sizes; NaN for a single one."""
    n = len(values)
    if n < 2:
        return float("nan")
    return float(np.sqrt(np.sum((sizes / sizes.sum() * (values - _mean(values, sizes))) ** 2) * n / (n - 1)))


def _mean(values: np.ndarray, sizes: np.ndarray) -> float:
    return float(np.sum(values * sizes) / sizes.sum())


def seen_components(network: TensorNetwork) -> list[np.ndarray]:
    """Trial factors less their means, and columns and rows as recorded neurons see them."""
    trials = np.asarray(network.trials)
    return [trials - trials.mean(axis=0), *network.neurons]


@eqx.filter_jit
def _network(learner: TensorLearner, position: Any) -> TensorNetwork:
    return learner.network(position)


def _curvature(network: TensorNetwork, learner: TensorLearner, train: jax.Array, deviance: float) -> np.ndarray:
    """`sum J^T J` of the signal by the trial factors, weighted by the curvature of the likelihood, of what trains."""
    solver = network.solver
    network = eqx.tree_at(lambda n: n.solver, network, solver.forwards(), is_leaf=lambda leaf: leaf is solver)

    return np.asarray(_products(network, learner, train, jnp.asarray(deviance)), float)


@eqx.filter_jit
def _products(network: TensorNetwork, learner: TensorLearner, train: jax.Array, deviance: jax.Array) -> jax.Array:
    """The same, shape [K, R, R]."""

    def signal(trials):
        return eqx.tree_at(lambda n: n.trials, network, trials).signal()

    weights = train * learner.likelihood.curvature(network.signal(), deviance)
    # A trial's signal depends on its own factors only, so that one tangent serves all trials.
    units = jnp.eye(network.rank, dtype=network.trials.dtype)
    slopes = [jax.jvp(signal, (network.trials,), (jnp.broadcast_to(unit, network.trials.shape),))[1] for unit in units]
    sums = jnp.stack([jnp.stack([jnp.sum(weights * a * b, axis=(1, 2)) for b in slopes]) for a in slopes])
    return jnp.moveaxis(sums, -1, 0)
