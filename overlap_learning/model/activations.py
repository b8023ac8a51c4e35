"""Activations: the single-neuron nonlinearity phi, and the gain that the Gaussian theory needs of it."""

import abc
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import floating, in_jax
from overlap_learning.guides import guide
from overlap_learning.model.quadrature import Quadrature, Trapezoid


class AbstractActivation(eqx.Module):
    """A nonlinearity phi with its Gaussian gain. Subclasses: `Linear`, `Erf`, `Tanh`, `ReLU`, `Activation`."""

    @abc.abstractmethod
    def __call__(self, field: jax.Array) -> jax.Array:
        """phi(h), element by element."""

    def slope(self, field: jax.Array, value: jax.Array) -> jax.Array:
        """phi'(h), given h and what phi(h) is, element by element."""
        return jax.jvp(self, (field,), (jnp.ones_like(field),))[1]

    @abc.abstractmethod
    def gain(self, variance: jax.Array) -> jax.Array:
        """g(D) = < phi'(sqrt(D) zeta) >, zeta ~ N(0, 1), element by element."""

    @abc.abstractmethod
    def gain_error(self, variance: jax.Array) -> jax.Array:
        """An estimate of the absolute error of `gain`: 0 where it is in closed form."""

    def averages(self, centre: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`< phi(c + sqrt(D) zeta) >` and `< phi'(c + sqrt(D) zeta) >`, of fields that have a mean c.

        Args:
            centre: c, shape [...].
            variance: D, the same shape.
        """
        return _quadrature_averages(self, centre, variance, getattr(self, "quadrature", Trapezoid()))

    def mean_square(self, centre: jax.Array, variance: jax.Array) -> jax.Array:
        """`< phi(c + sqrt(D) zeta)^2 >`, the activity that a penalty is on, for arguments as those of `averages`."""

        def squared(field):
            return jnp.square(self(field))

        return _quadrature_averages(squared, centre, variance, getattr(self, "quadrature", Trapezoid()))[0]

    @property
    def is_linear(self) -> bool:
        """Whether phi(h) = h, so that the overlaps close exactly."""
        return isinstance(self, Linear)

    @property
    def is_odd(self) -> bool:
        """Whether phi(-h) = -phi(h), to rounding, on a grid from -8 to 8: then a neuron V and its mirror image -V do
        the same, and `folded` nodes may stand for both (see `ol.Network.quadrature`).
        """
        return _once(_is_odd, self)

    @property
    def has_kink(self) -> bool:
        """Whether the slope of phi jumps, as that of ReLU does at 0, somewhere from -8 to 8: then grids of nodes
        converge slowly.
        """
        return _once(_has_kink, self)

    @property
    def keeps_single(self) -> bool:
        """Whether phi of fields in single precision is in single precision."""
        return _once(_keeps_single, self)


class Linear(AbstractActivation):
    """phi(h) = h, with gain g = 1. The theory is exact for it, at every number of neurons, if their states start at 0
    (or in the span of m and u) and no noise is added to them while the network learns (with noise: to first order in
    the learning rate).

    Source: Ger & Barak 2026, section 2; theory page, eq. (3).

    Examples:
        >>> ol.Linear()(jnp.array([-2.0, 3.0]))
        Array([-2.,  3.], dtype=float64)
    """

    def __call__(self, field: jax.Array) -> jax.Array:
        return field

    def averages(self, centre: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
        return centre, jnp.ones_like(centre)

    def mean_square(self, centre: jax.Array, variance: jax.Array) -> jax.Array:
        return jnp.square(centre) + variance

    def gain(self, variance: jax.Array) -> jax.Array:
        return jnp.ones_like(variance)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return jnp.zeros_like(variance)


class Erf(AbstractActivation):
    """phi(h) = erf(sqrt(pi)/2 h), slope 1 at 0, with the closed gain `g(D) = (1 + pi D / 2)^(-1/2)`.

    Source: Ger & Barak 2026, section 2; theory page, eq. (4).

    Examples:
        >>> ol.Erf().gain(jnp.array([0.0, 2.0 / np.pi * 3.0]))
        Array([1. , 0.5], dtype=float64)
    """

    def __call__(self, field: jax.Array) -> jax.Array:
        return jax.lax.erf(float(np.sqrt(np.pi) / 2) * field)

    def averages(self, centre: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
        # A Gaussian blur of erf is a wider erf.
        scale = self.gain(variance)
        return self(scale * centre), scale * jnp.exp(float(-np.pi / 4) * jnp.square(scale * centre))

    def gain(self, variance: jax.Array) -> jax.Array:
        return jax.lax.rsqrt(1 + float(np.pi / 2) * variance)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return jnp.zeros_like(variance)


class Activation(AbstractActivation):
    """Any function phi, its gain by one-dimensional quadrature.

    `g(D) = sum_q w_q phi'(sqrt(D) x_q)`, phi' by automatic differentiation. Quadrature converges fast for smooth phi
    and slowly for one with kinks off zero: `gain_error` says how well it did (against twice the nodes), and
    `ol.integrate` reports that for the field variances it met (`Solution.stats["gain_error"]`).

    Args:
        phi: a function of jax arrays, element by element. A named function: a fresh lambda in every call compiles anew.
        quadrature: `ol.model.Trapezoid(order)`, or `ol.model.GaussHermite(order)`.

    Raises:
        ValueError: if phi is not a function, or does not act element by element on real numbers.

    Examples:
        >>> softplus = ol.Activation(jax.nn.softplus)
        >>> softplus.gain(jnp.array(0.0))
        Array(0.5, dtype=float64)
        >>> bool(softplus.gain_error(jnp.array(4.0)) < 1e-8)
        True
    """

    phi: Callable[[jax.Array], jax.Array] = eqx.field(static=True)
    quadrature: Quadrature = eqx.field(static=True)

    def __init__(self, phi: Callable[[jax.Array], jax.Array], quadrature: Quadrature = Trapezoid()):
        if not callable(phi):
            raise ValueError(f"Activation: phi must be a function of jax arrays, such as jnp.tanh, got {phi!r}.")
        try:
            # Not every function can be looked up, as jax would this one.
            probe = jax.eval_shape(lambda field: phi(field), jnp.linspace(-1.0, 1.0, 3))
        except TypeError as error:
            raise ValueError(
                f"Activation: phi must be made of jax operations, so that it can be compiled and differentiated: "
                f"jnp.tanh, not np.tanh or math.tanh, and jnp.where in place of if; got {phi!r} "
                f"({str(error).splitlines()[0]}).{guide('activation')}"
            ) from None
        if getattr(probe, "shape", None) != (3,) or not jnp.issubdtype(probe.dtype, jnp.floating):
            raise ValueError(
                f"Activation: phi must map an array to a real array of the same shape; for shape [3] it gave {probe!r}."
            )
        self.phi = phi
        self.quadrature = quadrature

    def __call__(self, field: jax.Array) -> jax.Array:
        return self.phi(field)

    def gain(self, variance: jax.Array) -> jax.Array:
        return _quadrature_gain(self.phi, variance, self.quadrature)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return _quadrature_error(self.phi, variance, self.quadrature)


class Tanh(AbstractActivation):
    """phi(h) = tanh(h), its gain by quadrature as in `Activation`.

    Args:
        quadrature: as in `Activation`.

    Examples:
        >>> bool(ol.Tanh().gain_error(jnp.array(10.0)) < 1e-8)
        True
    """

    quadrature: Quadrature = eqx.field(static=True)

    def __init__(self, quadrature: Quadrature = Trapezoid()):
        self.quadrature = quadrature

    def __call__(self, field: jax.Array) -> jax.Array:
        return jnp.tanh(field)

    def slope(self, field: jax.Array, value: jax.Array) -> jax.Array:
        return (1 - value) * (1 + value)

    def gain(self, variance: jax.Array) -> jax.Array:
        return _quadrature_gain(jnp.tanh, variance, self.quadrature)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return _quadrature_error(jnp.tanh, variance, self.quadrature)


class ReLU(AbstractActivation):
    """phi(h) = max(h, 0), with the gain 1/2 at every variance.

    Source: theory page, eq. (4).

    Examples:
        >>> ol.ReLU().gain(jnp.array([0.1, 10.0]))
        Array([0.5, 0.5], dtype=float64)
    """

    def __call__(self, field: jax.Array) -> jax.Array:
        return jax.nn.relu(field)

    def averages(self, centre: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
        # At zero variance, where sqrt has no derivative, the average is phi itself.
        spread = variance > jnp.finfo(variance.dtype).eps ** 2
        root = jnp.sqrt(jnp.where(spread, variance, 1.0))
        ratio = centre / root
        slope = jax.scipy.stats.norm.cdf(ratio)
        mean = centre * slope + root * jax.scipy.stats.norm.pdf(ratio)
        return jnp.where(spread, mean, self(centre)), jnp.where(spread, slope, jnp.heaviside(centre, 0.5))

    def gain(self, variance: jax.Array) -> jax.Array:
        return jnp.full_like(variance, 0.5)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return jnp.zeros_like(variance)


def _once(question: Callable[[AbstractActivation], bool], phi: AbstractActivation) -> bool:
    """The answer to a question about phi, which is asked anew only of one whose numbers are arrays."""
    try:
        return _answer(question, phi)
    except TypeError:
        return question(phi)


@functools.lru_cache(maxsize=64)
def _answer(question: Callable[[AbstractActivation], bool], phi: AbstractActivation) -> bool:
    return question(phi)


def _is_odd(phi: AbstractActivation) -> bool:
    fields = np.linspace(0.01, 8.0, 101)
    forward, backward = (_on(phi, side) for side in (fields, -fields))
    scale = np.finfo(forward.dtype).eps * np.max(np.abs(forward))
    return bool(np.all(np.abs(forward + backward) <= 8 * scale))


def _has_kink(phi: AbstractActivation) -> bool:
    bends = []
    for step in (1e-2, 1e-3):
        # A multiple of both steps lies at 0.
        slope = np.diff(_on(phi, np.arange(-round(8 / step), round(8 / step) + 1) * step)) / step
        bends.append(np.max(np.abs(np.diff(slope))))
    slope = np.abs(slope)
    # Of slopes where most fields are; beyond them phi may be steep. Rounding makes bends too.
    least = max(1e-2 * np.max(slope[6000:10_000]), 1e-9 * np.max(slope))
    # The largest change of slope from one step to the next: a tenth in steps of a tenth where phi is smooth;
    # at a kink it is the jump, half of it where the kink halves a step.
    return bool((bends[1] > 0.25 * bends[0]) & (bends[1] > least))


def _keeps_single(phi: AbstractActivation) -> bool:
    return jax.eval_shape(phi, jax.ShapeDtypeStruct((1,), jnp.float32)).dtype == jnp.float32


def _on(phi: AbstractActivation, fields: np.ndarray) -> np.ndarray:
    """The same of known fields, known even where the rest of a program is traced."""
    with jax.ensure_compile_time_eval():
        return np.asarray(phi(in_jax(fields)))


#: Below this variance the gain is the mean slope, above it Stein's form of it.
_SMALL_VARIANCE = 1e-4
#: Below this variance averages are Taylor's series: what it leaves out is of the order of the variance squared.
_TINY_VARIANCE = 1e-8


def _quadrature_gain(phi: Callable[[jax.Array], jax.Array], variance: jax.Array, quadrature: Quadrature) -> jax.Array:
    """<phi'(sqrt(D) zeta)>, which by Stein's lemma is also <zeta phi(sqrt(D) zeta)> / sqrt(D).

    The second form needs no derivative: it is smoother by one order, so that quadrature converges faster, and right for
    functions with kinks. It divides rounding by sqrt(D), so at small variance, where phi is nearly a polynomial on the
    range that counts, the first one is used.
    """
    variance = floating(variance, "gain: variance")
    nodes, weights = (jnp.asarray(a, variance.dtype) for a in quadrature.nodes())
    shape = (quadrature.order, *[1] * variance.ndim)
    nodes, weights = nodes.reshape(shape), weights.reshape(shape)
    small = variance < _SMALL_VARIANCE
    # Each form sees only variances at which it and its derivative are finite: jnp.where differentiates both sides.
    # sqrt has no derivative at 0, where every trial starts; there dD vanishes with D (a quadratic form), so a floor
    # below rounding, whose derivative is 0, leaves value and gradient of the loss right.
    floor = jnp.finfo(variance.dtype).eps ** 2
    low = jnp.where(small & (variance > floor), variance, 1.0)
    low = jnp.sqrt(low) * (variance > floor)
    _, slope = jax.jvp(phi, (low * nodes,), (jnp.ones(shape[:1] + variance.shape, variance.dtype),))
    high = jnp.sqrt(jnp.where(small, 1.0, variance))
    stein = jnp.sum(weights * nodes * phi(high * nodes), axis=0) / high
    return jnp.where(small, jnp.sum(weights * slope, axis=0), stein)


def _quadrature_averages(
    phi: Callable[[jax.Array], jax.Array], centre: jax.Array, variance: jax.Array, quadrature: Quadrature
) -> tuple[jax.Array, jax.Array]:
    """< phi(c + sqrt(D) zeta) > and the same of phi', in the two forms of `_quadrature_gain`."""
    nodes, weights = (jnp.asarray(a, variance.dtype) for a in quadrature.nodes())
    shape = (quadrature.order, *[1] * variance.ndim)
    nodes, weights = nodes.reshape(shape), weights.reshape(shape)
    tiny, small = variance < _TINY_VARIANCE, variance < _SMALL_VARIANCE
    # Each form sees only variances at which it and its derivative are finite.
    low = jnp.sqrt(jnp.where(small & ~tiny, variance, 1.0))
    near, slope = jax.jvp(phi, (centre + low * nodes,), (jnp.ones(shape[:1] + variance.shape, variance.dtype),))
    high = jnp.sqrt(jnp.where(small, 1.0, variance))
    far = phi(centre + high * nodes)
    stein = jnp.sum(weights * nodes * far, axis=0) / high
    # Where there is next to no variance, also below 0 by rounding: Taylor's series, whose derivative by D is smooth.
    value, first, second, third = _derivatives(phi, centre)
    mean = jnp.where(small, jnp.sum(weights * near, axis=0), jnp.sum(weights * far, axis=0))
    slope = jnp.where(small, jnp.sum(weights * slope, axis=0), stein)
    return (
        jnp.where(tiny, value + variance / 2 * second, mean),
        jnp.where(tiny, first + variance / 2 * third, slope),
    )


def _derivatives(phi: Callable[[jax.Array], jax.Array], point: jax.Array) -> tuple[jax.Array, ...]:
    """The function and its first three derivatives, element by element."""

    def derivative(function):
        return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]

    functions = [phi]
    for _ in range(3):
        functions.append(derivative(functions[-1]))
    return tuple(function(point) for function in functions)


def _quadrature_error(phi: Callable[[jax.Array], jax.Array], variance: jax.Array, quadrature: Quadrature) -> jax.Array:
    return jnp.abs(_quadrature_gain(phi, variance, quadrature) - _quadrature_gain(phi, variance, quadrature.refined()))
