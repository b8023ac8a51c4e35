"""Learner: a tensor network as what the engine moves."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.fitting.decoder import AbstractDecoder
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.fitting.likelihood import AbstractLikelihood
from overlap_learning.fitting.masks import Masks
from overlap_learning.fitting.prior import GaussianProcess
from overlap_learning.fitting.recordings import Recordings
from overlap_learning.fitting.solver import AbstractSolver
from overlap_learning.fitting.tensor_network import TensorNetwork
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.tasks.task import Task


class TensorLearner(AbstractLearner):
    """The negative log posterior density per entry of a tensor network, as a function of a dict of arrays.

    The trials of a `Task` are its data: targets are activity, and weights are 1 where it trains. Columns and rows learn
    at any length, as the network has them at unit norm; trial factors as deviations xi and means.

    Attributes:
        rates: 0 for the size of the decoder, which sets how far units are driven into saturation; else 1.
        likelihood: of activity.
        prior: of trial factors.
        inputs: from outside.
        decoder: how neurons read units.
        solver: how states are followed.
        activation: of units.
        time_constant: tau.
        times: shape [T].
        conditions: of each trial, shape [K].
        factor: L of the prior, shape [K, K].
        stop: 1 where entries stop a fit, shape [K, T, N].
        n_acting: times at which inputs act, the first ones.
        n_directions: of input, beyond the columns.
    """

    skips: ClassVar[bool] = True

    rates: Any
    likelihood: AbstractLikelihood
    prior: GaussianProcess
    inputs: Inputs
    decoder: AbstractDecoder
    solver: AbstractSolver
    activation: AbstractActivation
    time_constant: jax.Array
    times: jax.Array
    conditions: jax.Array
    factor: jax.Array
    stop: jax.Array
    task: Task

    def network(self, position: Any) -> TensorNetwork:
        """The network of a position."""
        rank = position["rows"].shape[1]
        directions = _unit(position["columns"])
        silent = len(self.times) - position["inputs"].shape[1]
        return TensorNetwork(
            columns=directions[:, :rank],
            rows=_unit(position["rows"]),
            trials=position["means"] + self.factor @ position["deviations"],
            extra=directions[:, rank:],
            inputs=jnp.pad(position["inputs"], ((0, 0), (0, silent), (0, 0))),
            start=position["start"],
            readout=position["decoder"],
            times=self.times,
            conditions=self.conditions,
            time_constant=self.time_constant,
            activation=self.activation,
            decoder=self.decoder,
            solver=self.solver,
        )

    def deviance(self, position: Any, task: Task, weights: jax.Array) -> jax.Array:
        """The weighted mean deviance, shape []."""
        each = self.likelihood.deviance(task.targets, self.network(position).signal())
        return jnp.sum(weights * each) / jnp.sum(weights)

    def penalty(self, position: Any) -> jax.Array:
        """What the priors add to the negative log likelihood of all entries, shape []."""
        drive = jnp.sum(jnp.square(position["inputs"] / self.inputs.scale)) / 2
        return self.prior.penalty(position["deviations"]) + drive

    def loss(self, position: Any, task: Task) -> jax.Array:
        fitted = self.likelihood.negative(self.deviance(position, task, task.weights))
        return fitted + self.penalty(position) / jnp.sum(task.weights)

    def gradient(self, position: Any, task: Task) -> tuple[jax.Array, Any]:
        return jax.value_and_grad(self.loss)(position, task)

    def held_out(self, position: Any, task: Task) -> jax.Array:
        return self.deviance(position, task, self.stop)

    def observe(self, position: Any) -> dict[str, jax.Array]:
        # Both from one run of the network, which review shares.
        each = self.likelihood.deviance(self.task.targets, self.network(position).signal())
        parts = {"train": self.task.weights, "stop": self.stop}
        return {name: jnp.sum(part * each) / jnp.sum(part) for name, part in parts.items()}


def _unit(vectors: jax.Array) -> jax.Array:
    return vectors / jnp.linalg.norm(vectors, axis=0)


def starts(learner: TensorLearner, recordings: Recordings, masks: Masks, shape: tuple[int, int], level: float,
           key: jax.Array, n_seeds: int) -> Any:  # fmt: skip
    """Positions to start from, one for each seed: the decoder reads the principal components of the data that train.

    Columns are random unit vectors, whose span the decoder maps to that of the first R principal components of the
    activity, turned at random; rows are columns, trial factors 1 and inputs 0; the first states are those of the data.

    Args:
        learner: what is fitted; its rates are not needed.
        recordings: the data.
        masks: of which `train` is used.
        shape: units and rank.
        level: the root mean square of what units do.
        key: of the random numbers.
        n_seeds: positions.
    """
    n_units, rank = shape
    train, activity = np.asarray(masks.train), recordings.activity
    counts = np.maximum(train.sum(axis=(0, 1)), 1)
    mean = np.where(train, activity, 0).sum(axis=(0, 1)) / counts
    n_neurons = len(mean)
    # Of counts, half a spike in all for neurons that have none where they train; means stay what they are for rates.
    offset = learner.likelihood.signal(np.maximum(mean, 0.5 / counts) if recordings.are_counts else mean)
    # By the slope of the expected activity at rest, residuals become those of the signal.
    slope = np.asarray(jax.vmap(jax.grad(learner.likelihood.expected))(jnp.asarray(offset, float)))
    rest = np.where(train, activity - mean, 0) / slope
    flat = rest.reshape(-1, n_neurons)
    size = np.sqrt(np.square(flat).sum() / train.sum())
    gain = size * np.sqrt(n_neurons / n_units) / level
    components = np.linalg.eigh(flat.T @ flat)[1][:, ::-1][:, :rank]
    of_condition = [recordings.conditions == number for number in range(len(recordings.condition_names))]
    first = np.stack([rest[:, 0][chosen].sum(axis=0) / np.maximum(train[:, 0][chosen].sum(axis=0), 1)
                      for chosen in of_condition])  # fmt: skip
    n_acting = int(learner.inputs.acting(recordings.times).sum())
    n_directions = rank + learner.inputs.n_columns
    seeds = np.asarray(jax.random.bits(key, (n_seeds, 4), "uint32"))
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        columns = rng.normal(size=(n_units, n_directions)) / np.sqrt(n_units)
        frame, corner = np.linalg.qr(columns[:, :rank])
        turned = components @ np.linalg.qr(rng.normal(size=(rank, rank)))[0]
        if learner.decoder.learns:
            aligned = _mapping(frame, turned, rng)
        else:
            # Units are neurons, and their columns are those of the data.
            columns[:, :rank], aligned = turned @ corner, np.eye(n_neurons)
        norms = np.linalg.norm(columns[:, :rank], axis=0)
        state = np.linalg.solve(corner / norms, turned.T @ first.T) / (gain * np.sqrt(n_units))
        found.append({
            "columns": columns,
            "rows": columns[:, :rank].copy(),
            "deviations": np.zeros((recordings.n_trials, rank)),
            "means": np.ones(rank),
            "inputs": np.zeros((len(first), n_acting, n_directions)),
            "start": np.concatenate([state.T, np.zeros((len(first), n_directions - rank))], axis=1),
            "decoder": learner.decoder.start(aligned, gain, offset),
        })  # fmt: skip
    dtype = learner.stop.dtype
    return jax.tree.map(lambda *each: jnp.asarray(np.stack(each), dtype), *found)


def _mapping(source: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A matrix [N, n] with orthonormal columns (rows, if N < n) that maps the columns of one frame to another's."""
    n_units, rank = source.shape
    n_neurons = len(target)
    inside, outside = (np.linalg.qr(np.hstack([each, rng.normal(size=(len(each), len(each) - rank))]))[0][:, rank:]
                       for each in (source, target))  # fmt: skip
    n_shared = min(n_units, n_neurons) - rank
    return target @ source.T + outside[:, :n_shared] @ inside[:, :n_shared].T
