"""Tensor network: a recurrent network whose weights are one tensor of low rank over trials."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import in_numpy
from overlap_learning.fitting.decoder import AbstractDecoder, Weights
from overlap_learning.fitting.solver import AbstractSolver
from overlap_learning.model.activations import AbstractActivation


class TensorNetwork(eqx.Module):
    """n units whose recurrent weights change from trial to trial in R components, and the neurons that read them.

    In trial k of condition s(k)::

        tau dx/dt = -x + W^(k) phi(x) + sqrt(n) A u_s(t),    W^(k) = sum_r c_r(k) a_r b_r^T,    y = D phi(x) + o

    with columns a_r and rows b_r of unit norm; A has the columns and further input directions. The state stays in the
    span of A: `x = sqrt(n) A z`, and z, a number per direction, is what is followed in time. No matrix W is made.

    Several fits side by side have them as the first axis of every array.

    Attributes:
        columns: a, postsynaptic, shape [n, R].
        rows: b, presynaptic, shape [n, R].
        trials: c, shape [K, R].
        extra: input directions beyond the span of a, of unit norm, shape [n, m].
        inputs: u at each time, shape [conditions, T, R + m].
        start: z at the first time, shape [conditions, R + m].
        readout: what the decoder has learned.
        times: shape [T].
        conditions: of each trial, shape [K].
        time_constant: tau, in the unit of the times.
        activation: phi.
        decoder: how neurons read units.
        solver: how states are followed.
    """

    columns: jax.Array
    rows: jax.Array
    trials: jax.Array
    extra: jax.Array
    inputs: jax.Array
    start: jax.Array
    readout: Weights
    times: jax.Array
    conditions: jax.Array
    time_constant: jax.Array
    activation: AbstractActivation
    decoder: AbstractDecoder
    solver: AbstractSolver

    @property
    def rank(self) -> int:
        """R."""
        return self.columns.shape[-1]

    @property
    def n_units(self) -> int:
        """The number of units, n."""
        return self.columns.shape[-2]

    def _rates(self, states: jax.Array) -> jax.Array:
        directions = jnp.concatenate([self.columns, self.extra], axis=1)
        return self.activation(float(self.n_units) ** 0.5 * (states @ directions.T))

    def states(self) -> jax.Array:
        """z, shape [K, T, R + m]."""
        rest = self.extra.shape[1]

        def slope(state, drive):
            recurrent = self.trials * (self._rates(state) @ self.rows) / float(self.n_units) ** 0.5
            return (jnp.pad(recurrent, ((0, 0), (0, rest))) + drive - state) / self.time_constant

        drive = jnp.swapaxes(self.inputs, 0, 1)[:, self.conditions]
        found = self.solver.follow(slope, self.start[self.conditions], drive, self.times)
        return jnp.swapaxes(found, 0, 1)

    def signal(self) -> jax.Array:
        """y, shape [K, T, N]."""
        return self.decoder.read(self.readout, self._rates(self.states()))

    def projections(self) -> jax.Array:
        """The state along each column, `a_r^T x / sqrt(n)`, shape [K, T, R]."""
        directions = jnp.concatenate([self.columns, self.extra], axis=1)
        return self.states() @ (directions.T @ self.columns)

    @property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues of each W^(k) that need not be 0, shape [K, R], the largest first."""
        columns, rows, trials = in_numpy((self.columns, self.rows, self.trials))
        values = np.linalg.eigvals(trials[:, :, None] * (rows.T @ columns))
        return np.take_along_axis(values, np.argsort(-np.abs(values), axis=1), axis=1)

    @property
    def neurons(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows as recorded neurons see them, `D a_r` and `D b_r` at unit norm, shape [N, R] each."""
        D = np.asarray(self.decoder.matrix(self.readout))
        seen = [D @ np.asarray(side) for side in (self.columns, self.rows)]
        columns, rows = (each / np.linalg.norm(each, axis=0) for each in seen)
        return columns, rows


def in_order(network: TensorNetwork) -> TensorNetwork:
    """The same network with its components by the norms of their trial factors, and signs that are the same each time.

    Of each component the largest entry of the column is positive, and the sum of the trial factor.
    """
    columns, rows, trials = in_numpy((network.columns, network.rows, network.trials))
    order = np.argsort(-np.linalg.norm(trials, axis=0))
    flip = np.sign(np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], axis=0)[0])
    along = np.where((trials * flip).sum(axis=0) < 0, -1.0, 1.0)
    places = np.concatenate([order, np.arange(network.rank, network.start.shape[-1])])
    signs = np.concatenate([flip[order], np.ones(len(places) - len(order))]).astype(columns.dtype)
    changed = (
        (columns * flip)[:, order],
        (rows * along)[:, order],
        (trials * flip * along)[:, order],
        np.asarray(network.inputs)[..., places] * signs,
        np.asarray(network.start)[..., places] * signs,
    )
    arrays = [jnp.asarray(array.astype(columns.dtype)) for array in changed]
    return eqx.tree_at(lambda n: (n.columns, n.rows, n.trials, n.inputs, n.start), network, tuple(arrays))
