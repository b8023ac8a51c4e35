"""Mean field: what a nonlinear network with a random bulk does under constant input, for N to infinity."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.polynomial import Chebyshev

from overlap_learning.checks import floating, require_float64
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.bulk import RandomBulk, SparseBulk
from overlap_learning.model.model import Model, refuse_time_constants
from overlap_learning.model.overlaps import Overlaps, what_has_overlaps

#: Nodes of averages over Gaussian fields, in each dimension, and the degree of the force as a polynomial.
N_NODES, DEGREE = 64, 32
#: Below this variance there is no activity; above that one it grows without bound.
NOTHING, TOO_MUCH = 1e-10, 1e8
#: Points of the autocorrelation, and how close to its end they come.
N_POINTS, END = 4000, 1e-9


class StationaryActivity(NamedTuple):
    """Activity that does not change in its statistics.

    Attributes:
        variance: `Delta(0)`, of the field over neurons and time.
        static: `Delta(inf)`, of its mean over time; equal to the variance at a fixed point.
        recurrent: k_u of the field `m k_m + u k_u + ...`, shape [rank].
        outputs: y, shape [n_out].
        radius: `g <phi'^2>^(1/2)`, that of the bulk of the Jacobian's eigenvalues at the fixed point, stable or not.
        model: the `Model`.
        drive: what the field has of the vectors, `k^T G_BB k`.
    """

    variance: float
    static: float
    recurrent: np.ndarray
    outputs: np.ndarray
    radius: float
    model: Model
    drive: float

    @property
    def is_chaotic(self) -> bool:
        """Whether fixed points are unstable to the bulk, radius above 1, and activity goes on for ever."""
        return self.radius > 1

    def autocorrelation(self, lags: ArrayLike) -> np.ndarray:
        """`Delta(s) = < h(t) h(t + s) >`, over neurons, at lags s in neuronal time constants, shape [...].

        It falls as a particle does that leaves a potential's slope from rest, `Delta'^2 / 2 = -int_Delta^Delta(0) F`
        with the force `F = Delta - drive - g^2 C(Delta; Delta(0))`.
        """
        from scipy.interpolate import CubicHermiteSpline

        at = np.abs(np.asarray(lags, float))
        extent = self.variance - self.static
        if extent <= NOTHING:
            return np.full(at.shape, self.variance)
        work = _force(self.model, self.drive, self.variance).integ()
        # In r, Delta(0) - Delta = extent r^2, the start is no singularity; the end is reached exponentially.
        r = 1 - np.geomspace(1.0, END, N_POINTS)
        speed = np.sqrt(np.maximum(2 * (work(self.variance - extent * r**2) - work(self.variance)), 0))
        slowness = 2 * r[1:] * extent / np.maximum(speed[1:], NOTHING**2)
        slowness = np.concatenate([slowness[:1], slowness])
        times = np.concatenate([[0.0], np.cumsum(np.diff(r) * (slowness[1:] + slowness[:-1]) / 2)])
        course = CubicHermiteSpline(times, self.variance - extent * r**2, -speed)
        return np.where(at < times[-1], course(np.minimum(at, times[-1])), self.static)


def stationary_activity(model: Model, overlaps: Overlaps, inputs: ArrayLike) -> StationaryActivity:
    """What a network with independent random connectivity settles to under constant inputs x, for N to infinity.

    The field of a neuron is `h = m x + u k_u + eta`, where eta, what the bulk sends, is a Gaussian process of mean 0
    whose source has the autocorrelation `g^2 C`, C that of phi. With zero-mean, jointly Gaussian vectors independent of
    W0::

        drive = k^T G_BB k,              k_u = <phi'> (s_vm x + s_vu k_u),   y = <phi'> (s_zm x + s_zu k_u),
        Delta'' = Delta - drive - g^2 C(Delta; Delta(0)),   Delta(s) = < h(t) h(t + s) >

    At a fixed point Delta is constant, `Delta = drive + g^2 <phi^2>`. It is stable to the bulk for a radius
    `g <phi'^2>^(1/2)` below 1; beyond it activity is chaotic, and Delta(0) and Delta(inf) are where the particle Delta
    is at rest. Both are found for odd phi. (Eigenvalues of the low rank outside of the bulk are not looked at.)

    Args:
        model: a `Model` with an `ol.RandomBulk` (symmetry 0) or a `SparseBulk`.
        overlaps: of the vectors.
        inputs: x, constant, shape [n_in].

    Returns:
        A `StationaryActivity`.

    Raises:
        ValueError: if the bulk is another, phi is linear or not odd, or a shape is wrong.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Sompolinsky, Crisanti & Sommers 1988 (chaos); Mastrogiuseppe & Ostojic 2018 (with low rank and inputs).

    Examples:
        >>> model = ol.Model(ol.Layout(rank=0), ol.Tanh(), bulk=ol.RandomBulk(1.5))
        >>> start = ol.Overlaps.from_entries(model.layout, zm=0.5)
        >>> [ol.random_connectivity.stationary_activity(model, start, [x]).is_chaotic for x in (0.0, 1.5)]
        [True, False]
    """
    require_float64("stationary_activity", model=model, overlaps=overlaps)
    x = np.asarray(floating(inputs, "stationary_activity: inputs"), float)
    _check(model, overlaps, x)
    from scipy.optimize import brentq

    layout = model.layout
    gram = np.asarray(overlaps.gram, float)
    n_fields, rank = layout.n_fields, layout.rank
    readers = gram[n_fields:, :n_fields]
    g = _strength(model)

    def driven(variance):
        """The gain, k and the drive of fields of this variance."""
        gain = float(model.activation.gain(jnp.asarray(variance)))
        recurrent = np.linalg.solve(
            np.eye(rank) - gain * readers[:rank, layout.n_in :], gain * readers[:rank, : layout.n_in] @ x
        )
        k = np.concatenate([x, recurrent])
        return gain, k, float(k @ gram[:n_fields, :n_fields] @ k)

    def found(variance, static):
        gain, k, drive = driven(variance)
        slopes = float(_averages(model.activation, jnp.asarray(fixed))[1])
        outputs = gain * (readers[rank:] @ k)
        return StationaryActivity(
            float(variance), float(static), k[layout.n_in :], outputs, g * slopes**0.5, model, drive
        )

    def excess(variance):
        """By how much the bulk and the drive make more than this variance."""
        square, _ = _averages(model.activation, jnp.asarray(variance))
        return driven(variance)[2] + g**2 * float(square) - variance

    fixed = _largest_root(excess)
    if not (quiet := found(fixed, fixed)).is_chaotic:
        return quiet

    def rest(variance):
        """Where Delta comes to rest, and the work of the force on the way there, which is to be 0."""
        drive = driven(variance)[2]
        force = _force(model, drive, variance)
        roots = force.roots()
        inside = np.sort(roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0) & (roots.real < variance)])
        rising = inside[force.deriv()(inside) > 0]
        # Without a drive Delta comes to rest at 0, where phi is uncorrelated; a force that never lifts it, nowhere.
        static = 0.0 if drive <= NOTHING else rising[0] if len(rising) else variance
        work = force.integ()
        return static, work(variance) - work(static) if static < variance else -variance

    # At the unstable fixed point the work is positive; with less variance the force pulls more.
    low = fixed
    while rest(low)[1] > 0:
        low *= 0.95
    variance = brentq(lambda variance: rest(variance)[1], low, min(fixed, low / 0.95), xtol=1e-14)
    return found(variance, rest(variance)[0])


def _largest_root(excess: Callable[[float], float]) -> float:
    """The largest variance at which there is no excess; 0 if there is none.

    Raises:
        ValueError: if there is an excess at every variance.
    """
    from scipy.optimize import brentq

    high = 1.0
    while excess(high) > 0:
        high *= 2
        if high > TOO_MUCH:
            raise ValueError("stationary_activity: this activity grows without bound; phi has to saturate.")
    low = high
    while excess(low) <= 0:
        low *= 0.9
        if low < NOTHING:
            return 0.0
    return float(np.asarray(brentq(excess, low, low / 0.9, xtol=1e-14)))


def _force(model: Model, drive: float, variance: float) -> Chebyshev:
    """`F(Delta) = Delta - drive - g^2 C(Delta; Delta(0))` for Delta from 0 to Delta(0), as a polynomial."""
    square = _strength(model) ** 2

    def force(correlation):
        return (
            correlation
            - drive
            - square * np.asarray(_correlation(model.activation, jnp.asarray(correlation), jnp.asarray(variance)))
        )

    return Chebyshev.interpolate(force, DEGREE, domain=[0.0, variance])


@eqx.filter_jit
def _correlation(activation: AbstractActivation, correlation: jax.Array, variance: jax.Array) -> jax.Array:
    """`C = < phi(h) phi(h') >` of normal fields with this variance and this covariance, shape [n]."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
    weights = weights / weights.sum()
    common = jnp.sqrt(jnp.clip(correlation, 0))[:, None, None] * nodes[:, None]
    own = jnp.sqrt(jnp.clip(variance - correlation, 0))[:, None, None] * nodes
    return jnp.square(activation(common + own) @ weights) @ weights


@eqx.filter_jit
def _averages(activation: AbstractActivation, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`< phi^2 >` and `< phi'^2 >` of a normal field."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
    fields = jnp.sqrt(variance) * nodes
    rates, slopes = jax.jvp(activation, (fields,), (jnp.ones_like(fields),))
    return jnp.square(rates) @ weights / weights.sum(), jnp.square(slopes) @ weights / weights.sum()


def _strength(model: Model) -> float:
    assert model.bulk is not None
    return float(model.bulk.g)


def _check(model: Model, overlaps: Overlaps, inputs: np.ndarray) -> None:
    """Refuse what this theory does not hold for.

    Raises:
        ValueError: naming what was passed and what is allowed.
    """
    caller = "stationary_activity"
    refuse_time_constants(model, caller)
    is_independent = isinstance(model.bulk, SparseBulk) or (
        isinstance(model.bulk, RandomBulk) and float(model.bulk.symmetry) == 0
    )
    if not is_independent:
        raise ValueError(
            f"{caller}: the model must have a bulk of independent entries, ol.RandomBulk(g) or ol.model.SparseBulk, "
            f"got {model.bulk!r}."
        )
    if model.is_linear or not model.activation.is_odd:
        raise ValueError(
            f"{caller}: phi must be odd and saturate, such as ol.Tanh() or ol.Erf(), got {model.activation!r}. For "
            "others simulate a network: ol.simulate."
        )
    if not isinstance(overlaps, Overlaps) or overlaps.layout != model.layout or overlaps.gram.ndim != 2:
        raise ValueError(
            f"{caller}: overlaps must be ol.Overlaps of one network of {model.layout}, got "
            f"{what_has_overlaps(overlaps)}."
        )
    if inputs.shape != (model.layout.n_in,) or not np.all(np.isfinite(inputs)):
        raise ValueError(
            f"{caller}: inputs must be {model.layout.n_in} finite numbers, one for each input, got {inputs.tolist()}."
        )
