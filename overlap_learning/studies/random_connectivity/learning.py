"""Learning: a linear network with random connectivity learns to hold an output at its fixed point."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import count, floating, is_traced, later, require_float64, scalar
from overlap_learning.learning.outcomes import RESULTS, LearningError, is_one_of
from overlap_learning.learning.result import AbstractResult, labelled
from overlap_learning.random_connectivity.chain import Bases, Chain, krylov_chain
from overlap_learning.random_connectivity.closed_form import decay_at, elapsed, pair_of
from overlap_learning.random_connectivity.descent import descend
from overlap_learning.random_connectivity.flow import Points, flow
from overlap_learning.random_connectivity.network import (
    AbstractNetwork,
    FiniteNetwork,
    InfiniteNetwork,
    as_strength,
)
from overlap_learning.random_connectivity.series import series

if TYPE_CHECKING:
    import xarray

#: Lengths of chains that are tried, until the error is at most `ENOUGH`.
LENGTHS = (16, 24, 32, 48)
ENOUGH = 1e-10
#: The logarithm of the error's decay at which the loss is 5 % of what it began with, and at which learning has ended.
DECAY, END = float(-np.log(0.05) / 2), 40.0
#: Halvings that find an eigenvalue.
N_HALVINGS = 50


class _Estimated(Protocol):
    @property
    def error(self) -> jax.Array: ...


Outcome = TypeVar("Outcome", bound=_Estimated)


class FixedPointLearning(AbstractResult):
    """How a network with random connectivity learns an output at its fixed point; S saved points.

    Attributes:
        time: learning time in units of `1 / beta^2`, shape [S]: `t = beta^2 tau`, `beta = 1 / (1 - g^2)`.
        target: zhat.
        output: z, shape [S].
        loss: `(zhat - z)^2 / 2`, shape [S].
        singular_values: of Delta W, the largest first, shape [S, r]; r is 2 in a series and without a bulk, else
            the length of the chain.
        gradient_norm: `|dL/dW|`, shape [S].
        curvature: `|dz/dW|^2`, shape [S]: what the error falls by, and at the end the curvature of the loss.
        error: estimated error of the exact curves: the largest entry of Delta W in the last two Krylov vectors, which a
            shorter chain would lack, or, if that is more, the largest difference between output and target minus error.
        result: how learning ended.
        change: Delta W in the bases of the chain, shape [S, n, n]; None in a series.
        chain: the reduced network; None in a series and without a bulk.
        bases: where the chain is in the network; None as well.
    """

    time: jax.Array
    target: jax.Array
    output: jax.Array
    loss: jax.Array
    singular_values: jax.Array
    gradient_norm: jax.Array
    curvature: jax.Array
    error: jax.Array
    result: RESULTS
    change: jax.Array | None = None
    chain: Chain | None = None
    bases: Bases | None = None
    _eigenvalues: jax.Array | None = None

    @property
    def norm(self) -> jax.Array:
        """`|Delta W|` (Frobenius), shape [S]."""
        return jnp.linalg.norm(self.singular_values, axis=-1)

    @property
    def chain_length(self) -> int | None:
        """The number of Krylov vectors; None where there is no chain."""
        return None if self.chain is None else self.chain.w.shape[-1]

    @property
    def eigenvalues(self) -> jax.Array:
        """Of Delta W, the two largest in size, complex, shape [S, 2]."""
        if self._eigenvalues is not None:
            return self._eigenvalues.astype(complex)
        assert self.change is not None
        matrix = self.change if self.chain is None else self.change @ self.chain.overlap
        values = jnp.linalg.eigvals(matrix)
        order = jnp.argsort(-jnp.abs(values), axis=-1)[..., :2]
        return jnp.take_along_axis(values, order, axis=-1)

    @property
    def outlier(self) -> jax.Array:
        """The largest real eigenvalue of `W0 + Delta W` outside of the bulk, shape [S]; g where none has left it.

        At 1 the network is unstable.

        Raises:
            ValueError: for a series, or a finite network (`numpy.linalg.eigvals` of its `connectivity()`).
        """
        if self.chain is None and self.change is not None:
            return jnp.max(self.eigenvalues.real, axis=-1)
        if self.bases is None or self.change is None or not isinstance(self.bases.network, InfiniteNetwork):
            raise ValueError(
                "outlier: it is computed for infinitely many neurons, order=None. For a finite network: "
                "numpy.linalg.eigvals(solution.connectivity())."
            )
        return _outliers(self.bases, self.change)

    @property
    def convergence_time(self) -> jax.Array:
        """The time at which the loss is 5 % of what it began with; `convergence` has more, and other shares.

        Raises:
            ValueError: for a series; `convergence(g, target, order=1)` has the published prediction.
        """
        if self.change is None:
            raise ValueError("convergence_time: a series has none; use convergence(g, target, order=1).")
        if self.chain is None:
            return elapsed(self.target, jnp.array([DECAY]))[0]
        return ends(self.chain, self.target, jnp.array(DECAY))[0].time[0]

    def connectivity(self, at: int = -1) -> jax.Array:
        """`W0 + Delta W` of a finite network at a saved point, shape [N, N].

        Args:
            at: the number of the point.

        Raises:
            ValueError: if there is no such network.
        """
        if self.bases is None or self.change is None or not isinstance(self.bases.network, FiniteNetwork):
            raise ValueError("connectivity: this is not the learning of a FiniteNetwork.")
        return self.bases.network.bulk + self.bases.right @ self.change[at] @ self.bases.left.T

    def __repr__(self) -> str:
        if self.time.ndim != 1 or is_traced(self.time):
            return f"FixedPointLearning({list(self.time.shape)})"
        length = "" if self.chain_length is None else f", chain of {self.chain_length}, error {float(self.error):.1e}"
        return (
            f"FixedPointLearning: {self.time.size} points to time {float(self.time[-1]):g} / beta^2{length}\n"
            f"  output {float(self.output[0]):.4g} -> {float(self.output[-1]):.4g}, target {float(self.target):.4g}\n"
            f"  loss {float(self.loss[0]):.4g} -> {float(self.loss[-1]):.4g}\n"
            f"  norm of the change {float(self.norm[-1]):.4g}"
        )

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset of all curves, over `point`; batch axes become `member`, `member_2`, ..."""
        batch = tuple("member" if i == 0 else f"member_{i + 1}" for i in range(self.time.ndim - 1))
        point = (*batch, "point")
        return labelled(
            "Learning at a fixed point with random connectivity",
            time=(point, self.time, "learning time in units of 1 / beta^2"),
            target=((), self.target, "target") if np.ndim(self.target) == 0 else (batch, self.target, "target"),
            output=(point, self.output, "output"),
            loss=(point, self.loss, "loss"),
            singular_values=((*point, "singular_value"), self.singular_values, "singular values of the change of W"),
            gradient_norm=(point, self.gradient_norm, "norm of the gradient"),
            curvature=(point, self.curvature, "squared norm of dz/dW"),
            change_norm=(point, self.norm, "norm of the change of W"),
        )


def fixed_point_learning(
    g: ArrayLike | AbstractNetwork,
    target: ArrayLike,
    times: ArrayLike,
    order: int | None = None,
    *,
    chain_length: int | None = None,
    throw: bool = True,
) -> FixedPointLearning:
    """Gradient flow of all recurrent weights of a linear network that learns to answer a constant input.

    The output is read at the fixed point of activity::

        z = w^T (I - W)^-1 m,   L = (zhat - z)^2 / 2,   dW/dtau = -dL/dW,   W(0) = W0 random, of variance g^2 / N

    For N to infinity all curves are deterministic. They follow from the singular values of `(I - W0)^-1`, whose law is
    known in closed form, and a Krylov chain of a few vectors, to some 1e-11. One given network is reduced to its own
    chain in the same way.

    Args:
        g: strength of W0, `0 <= g < 1`, for N to infinity; or one network, `FiniteNetwork`.
        target: zhat.
        times: increasing learning times in units of `1 / beta^2 = (1 - g^2)^2`, shape [S]: curves of different g then
            nearly coincide.
        order: 1, 2 or 3: the published series in learning time up to this order, for N to infinity; None: exact.
        chain_length: number of Krylov vectors; None: 16, and more if their error is above 1e-10 (under jit and vmap
            16; see `error`).
        throw: raise an error if the solver fails; False: return what there is, with its result code.

    Returns:
        A `FixedPointLearning`.

    Raises:
        ValueError: if an argument is out of range.
        LearningError: if the solver failed, and throw.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Schuessler et al. 2020, section 3; theory page, section 9.

    Examples:
        >>> study = ol.studies.random_connectivity
        >>> exact = study.fixed_point_learning(0.6, 0.5, jnp.linspace(0, 3, 4))
        >>> exact.output.round(4)
        Array([0.    , 0.3749, 0.4921, 0.4997], dtype=float64)
        >>> series = study.fixed_point_learning(0.6, 0.5, jnp.linspace(0, 0.3, 4), order=3)
        >>> bool(abs(series.output[1] / study.fixed_point_learning(0.6, 0.5, series.time).output[1] - 1) < 1e-3)
        True
    """
    require_float64("fixed_point_learning")
    target, times = check_target(target), check_times(times)
    if order is None:
        solution, bases = reduced(as_network(g), chain_length, lambda chain: _curve(chain, target, times))
        return _finished(solution, bases, throw)
    if order not in (1, 2, 3) or isinstance(order, bool):
        raise ValueError(f"order must be 1, 2 or 3 (the published series) or None (exact), got {order!r}.")
    if isinstance(g, AbstractNetwork):
        raise ValueError("order: the published series is for infinitely many neurons; pass g, or order=None.")
    return _expanded(as_strength(g), target, times, order)


@eqx.filter_jit
def _expanded(g: jax.Array, target: jax.Array, times: jax.Array, order: int) -> FixedPointLearning:
    terms = series(g, target, times, order)
    loss = jnp.square(target - terms.output) / 2
    values = terms.singular_values, terms.gradient, terms.curvature
    return FixedPointLearning(
        times, target, terms.output, loss, *values, jnp.zeros(()), RESULTS.successful, _eigenvalues=terms.eigenvalues
    )


def without_bulk(target: ArrayLike, times: ArrayLike) -> FixedPointLearning:
    """Learning without W0, g = 0, for N to infinity, in closed form up to one quadrature.

    With eta below 1.19968, where D is 0 and an eigenvalue of W is 1::

        Delta W = [w m] A [w m]^T,   A12 = tanh(eta),   A11 = A22 = 1 - 1/cosh(eta),   A21 = eta - tanh(eta),
        z = tanh(eta) / D,   D = 1 - eta tanh(eta),   tau = int D^4 d ln(1 / (zhat - z))

    Args:
        target: zhat.
        times: increasing learning times, shape [S].

    Returns:
        A `FixedPointLearning`, whose `change` is A, shape [S, 2, 2].

    Raises:
        ValueError: if an argument is out of range.
        RuntimeError: if jax is not in 64-bit mode.

    Source: own derivation (theory page, section 9); the expansion is eq. 10 of Schuessler et al. 2020.

    Examples:
        >>> study = ol.studies.random_connectivity
        >>> study.without_bulk(1.0, jnp.array([0.5, 1.0])).singular_values[:, 0].round(4)
        Array([0.4222, 0.643 ], dtype=float64)
    """
    require_float64("without_bulk")
    return _closed(check_target(target), check_times(times))


@eqx.filter_jit
def _closed(target: jax.Array, times: jax.Array) -> FixedPointLearning:
    decay = decay_at(target, times)
    error = target * jnp.exp(-decay)
    pair = pair_of(target - error)
    entries = pair.entries
    # Symmetric once its columns are swapped.
    values = jnp.linalg.eigvalsh(entries[..., ::-1])
    values = -jnp.sort(-jnp.abs(values), axis=-1)
    return FixedPointLearning(
        times, target, target - error, error**2 / 2, values, jnp.abs(error) / pair.margin**2, 1 / pair.margin**4,
        jnp.zeros(()), RESULTS.successful, entries,
    )  # fmt: skip


def gradient_descent(
    g: ArrayLike | AbstractNetwork,
    target: ArrayLike,
    learning_rate: ArrayLike,
    n_steps: int,
    *,
    chain_length: int | None = None,
    throw: bool = True,
) -> FixedPointLearning:
    """The same learning in steps, `W <- W - eta dL/dW`, with every step saved.

    Each step changes the inverse by a matrix of rank one, so that a network of any size learns in the 16 vectors of its
    chain as it does in all its weights. The published learning rates are `eta0 (1 - g^2)^2`: every g then takes the
    same steps in `beta^2 tau`.

    Args:
        g: strength of W0, for N to infinity; or one network, `FiniteNetwork`.
        target: zhat.
        learning_rate: eta. Near the solution descent is stable below `2 / curvature`.
        n_steps: number of steps.
        chain_length: as for `fixed_point_learning`.
        throw: raise an error if learning diverges; False: return the last good state, repeated to the end, with the
            result code.

    Returns:
        A `FixedPointLearning` with `n_steps + 1` points.

    Raises:
        ValueError: if an argument is out of range.
        LearningError: if a step would put a real eigenvalue of W beyond 1 or is not finite, and throw. (A complex pair
            whose real part passes 1 is not noticed.)
        RuntimeError: if jax is not in 64-bit mode.

    Source: Schuessler et al. 2020, section 3.

    Examples:
        >>> study = ol.studies.random_connectivity
        >>> network = study.FiniteNetwork.sample(0.6, 40, key=jax.random.key(0))
        >>> learned = study.gradient_descent(network, 0.5, 0.02 * (1 - 0.6**2) ** 2, 200)
        >>> bool(learned.loss[-1] < 1e-3 * learned.loss[0])
        True
    """
    require_float64("gradient_descent")
    target, n_steps = check_target(target), count(n_steps, "n_steps")
    rate = scalar(learning_rate, "learning_rate", "a positive number", 0.0)
    solution, bases = reduced(as_network(g), chain_length, lambda chain: _steps(chain, target, rate, n_steps))
    return _finished(solution, bases, throw)


def as_network(g: ArrayLike | AbstractNetwork) -> AbstractNetwork:
    """The network that is meant by a strength or a network."""
    return g if isinstance(g, AbstractNetwork) else InfiniteNetwork(g)


def check_target(target: ArrayLike) -> jax.Array:
    """`target` as an array, one finite number."""
    return scalar(target, "target", "a finite number", -np.inf).astype(float)


def check_times(times: ArrayLike) -> jax.Array:
    """`times` as an array of shape [S], increasing from 0 on."""
    array = floating(times, "times").astype(float)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"times must have shape [S], S >= 1, such as jnp.linspace(0, 3, 61), got {list(array.shape)}.")
    # Inside jit even a known number is a traced array.
    if is_traced(array):
        array = later(array, lambda x: jnp.isfinite(x) & (x >= 0) & (jnp.diff(x, prepend=0) >= 0))
    else:
        known = np.asarray(array)
        if not (np.all(np.isfinite(known)) and known[0] >= 0 and np.all(np.diff(known) >= 0)):
            raise ValueError(f"times must be finite, increasing and not negative, got {known}.")
    return array


def reduced(network: AbstractNetwork, length: int | None, solve: Callable[[Chain], Outcome]) -> tuple[Outcome, Bases]:
    """What `solve` finds of a chain that is long enough, by the error that it says, and where the chain is.

    Args:
        network: the network.
        length: of the chain; None: the first of `LENGTHS` whose error is small enough, or is not known yet (under jit).
        solve: from a chain to what has an `error`.
    """
    lengths = LENGTHS if length is None else (count(length, "chain_length", 2),)
    for n in lengths[:-1]:
        chain, bases = chain_of(network, n)
        outcome = solve(chain)
        if is_traced(outcome.error) or float(outcome.error) <= ENOUGH:
            return outcome, bases
    chain, bases = chain_of(network, lengths[-1])
    return solve(chain), bases


@eqx.filter_jit
def chain_of(network: AbstractNetwork, length: int) -> tuple[Chain, Bases]:
    """`krylov_chain`, compiled."""
    return krylov_chain(network, length)


@eqx.filter_jit
def _curve(chain: Chain, target: jax.Array, times: jax.Array) -> FixedPointLearning:
    points, result = flow(chain, target, times)
    return _solution(chain, target, points, result)


@eqx.filter_jit
def _steps(chain: Chain, target: jax.Array, rate: jax.Array, n_steps: int) -> FixedPointLearning:
    points, result = descend(chain, target, rate, n_steps)
    return _solution(chain, target, points, result)


@eqx.filter_jit
def ends(chain: Chain, target: jax.Array, decay: jax.Array) -> tuple[Points, RESULTS]:
    """Where the error is `exp(-decay)` of the first one, and where learning ends."""
    return flow(chain, target, jnp.stack([decay, jnp.array(END)]), by_error=True)


def _solution(chain: Chain, target: jax.Array, points: Points, result: RESULTS) -> FixedPointLearning:
    output = target - points.error
    drift = jnp.max(jnp.abs(chain.w @ points.resolvent @ chain.m - output))
    curvature = points.curvature(chain)
    return FixedPointLearning(
        points.time, target, output, points.error**2 / 2, jnp.linalg.svd(points.change, compute_uv=False),
        jnp.abs(points.error) * jnp.sqrt(curvature), curvature, jnp.maximum(drift, points.truncation), result,
        points.change, chain,
    )  # fmt: skip


def _finished(solution: FixedPointLearning, bases: Bases, throw: bool) -> FixedPointLearning:
    solution = eqx.tree_at(lambda s: s.bases, solution, bases, is_leaf=lambda x: x is None)
    if throw and not is_traced(solution.result) and not np.all(is_one_of(solution.result, RESULTS.successful)):
        at = f"at time {float(solution.time[-1]):.3g} / beta^2"
        why = (
            f"the step {at} would put an eigenvalue of W beyond 1, or is not finite. Try a smaller learning rate: near "
            "the solution the limit is convergence(...).learning_rate_limit"
            if is_one_of(solution.result, RESULTS.diverged)
            else f"the solver stopped {at}, where an eigenvalue of W is too close to 1. Try a smaller target"
        )
        raise LearningError(f"Learning a fixed point: {why}. `.solution` holds what was learned.", solution)
    return solution


@eqx.filter_jit
def _outliers(bases: Bases, change: jax.Array) -> jax.Array:
    """Where `det(1 - left^T (mu - W0)^-1 right change)` changes its sign, for mu from g to 1."""
    eye = jnp.eye(change.shape[-1])
    g = bases.network.g

    def is_beyond(mu, change):
        return jnp.linalg.det(eye - bases.between(mu) @ change) > 0

    def one(change):
        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            beyond = is_beyond(middle, change)
            return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

        low, high = jax.lax.fori_loop(0, N_HALVINGS, halve, (g, jnp.ones_like(g)))
        return (low + high) / 2

    return jax.vmap(one)(change)
