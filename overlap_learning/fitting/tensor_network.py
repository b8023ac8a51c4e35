"""Tensor network: a recurrent network whose weights are one tensor of low rank over trials."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import in_jax, in_numpy
from overlap_learning.fitting.decoder import AbstractDecoder, Weights
from overlap_learning.fitting.solver import AbstractSolver
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.fixed_points import distinct, newton


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

    @property
    def directions(self) -> jax.Array:
        """A, the columns and the further input directions, shape [n, R + m]."""
        return jnp.concatenate([self.columns, self.extra], axis=1)

    def _rates(self, states: jax.Array) -> jax.Array:
        return self.activation(float(self.n_units) ** 0.5 * (states @ self.directions.T))

    def flow(self, states: jax.Array, drive: jax.Array | float, trials: jax.Array) -> jax.Array:
        """dz/dt of states [..., R + m] under an input and with trial factors [..., R]."""
        recurrent = trials * (self._rates(states) @ self.rows) / float(self.n_units) ** 0.5
        silent = jnp.zeros((*recurrent.shape[:-1], self.extra.shape[1]), recurrent.dtype)
        return (jnp.concatenate([recurrent, silent], axis=-1) + drive - states) / self.time_constant

    @eqx.filter_jit
    def states(self) -> jax.Array:
        """z, shape [K, T, R + m]."""
        drive = jnp.swapaxes(self.inputs, 0, 1)[:, self.conditions]
        found = self.solver.follow(
            lambda state, drive: self.flow(state, drive, self.trials),
            self.start[self.conditions],
            drive,
            self.times,
        )
        return jnp.swapaxes(found, 0, 1)

    @eqx.filter_jit
    def signal(self) -> jax.Array:
        """y, shape [K, T, N]."""
        return self.decoder.read(self.readout, self._rates(self.states()))

    def projections(self) -> jax.Array:
        """The state along each column, `a_r^T x / sqrt(n)`, shape [K, T, R]."""
        return self.states() @ (self.directions.T @ self.columns)

    def fixed_points(self, trial: int) -> tuple[np.ndarray, np.ndarray]:
        """States that stay where they are without inputs, and whether they are stable.

        Newton's method from 0 and from states that the trials of the network visit, of either sign; points that it does
        not reach from there are missed.

        Args:
            trial: the place of the trial, from 0: its trial factors are used.

        Returns:
            z, shape [points, R + m], the nearest to 0 first; True where each eigenvalue of the linearised flow has a
            negative real part, shape [points].
        """
        found = distinct(*_newton(self, trial))
        return found.states, found.stable

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


@eqx.filter_jit
def _newton(network: TensorNetwork, trial: jax.Array | int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Newton's method for fixed points from visited states: where it led to, what is left of the flow, its slopes."""
    visited = network.states().reshape(-1, network.start.shape[-1])
    spread = visited[:: max(1, len(visited) // 100)]

    def flow(state):
        return network.flow(state, 0.0, network.trials[trial]) * network.time_constant

    return newton(flow, jnp.concatenate([jnp.zeros_like(spread[:1]), spread, -spread]))


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
    arrays = [in_jax(array.astype(columns.dtype)) for array in changed]
    return eqx.tree_at(lambda n: (n.columns, n.rows, n.trials, n.inputs, n.start), network, tuple(arrays))
