"""Activations: the single-neuron nonlinearity phi, and the gain that the Gaussian theory needs of it."""

import abc
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.model.precision import count, floating

#: Gauss-Hermite nodes of a gain without closed form. Even, so that no node sits on a kink at zero.
DEFAULT_ORDER = 64


class AbstractActivation(eqx.Module):
    """A nonlinearity phi with its Gaussian gain. Subclasses: `Linear`, `Erf`, `Tanh`, `ReLU`, `Activation`."""

    @abc.abstractmethod
    def __call__(self, field: jax.Array) -> jax.Array:
        """phi(h), element by element."""

    @abc.abstractmethod
    def gain(self, variance: jax.Array) -> jax.Array:
        """g(D) = < phi'(sqrt(D) zeta) >, zeta ~ N(0, 1), element by element."""

    @abc.abstractmethod
    def gain_error(self, variance: jax.Array) -> jax.Array:
        """An estimate of the absolute error of `gain`: 0 where it is in closed form."""

    @property
    def is_linear(self) -> bool:
        """Whether phi(h) = h, so that the overlaps close exactly."""
        return isinstance(self, Linear)


class Linear(AbstractActivation):
    """phi(h) = h, with gain g = 1. The theory is exact for it, at every number of neurons.

    Source: Ger & Barak 2026, section 2; theory page, eq. (3).

    Examples:
        >>> ol.Linear()(jnp.array([-2.0, 3.0]))
        Array([-2.,  3.], dtype=float64)
    """

    def __call__(self, field: jax.Array) -> jax.Array:
        return field

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

    def gain(self, variance: jax.Array) -> jax.Array:
        return jax.lax.rsqrt(1 + float(np.pi / 2) * variance)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return jnp.zeros_like(variance)


class Activation(AbstractActivation):
    """Any function phi, its gain by one-dimensional Gauss-Hermite quadrature.

    `g(D) = sum_q w_q phi'(sqrt(D) x_q)`, phi' by automatic differentiation. Quadrature converges fast for smooth phi and
    slowly for one with kinks off zero: `gain_error` says how well it did, and `ol.integrate` reports that for the field
    variances it met (`Solution.stats["gain_error"]`).

    Args:
        phi: a function of jax arrays, element by element. A named function: a fresh lambda in every call compiles anew.
        order: number of Gauss-Hermite nodes, even and at least 2.

    Raises:
        ValueError: if phi is not a function, does not act element by element on real numbers, or order is odd.

    Examples:
        >>> softplus = ol.Activation(jax.nn.softplus)
        >>> softplus.gain(jnp.array(0.0))
        Array(0.5, dtype=float64)
        >>> bool(softplus.gain_error(jnp.array(4.0)) < 1e-8)
        True
    """

    phi: Callable[[jax.Array], jax.Array] = eqx.field(static=True)
    order: int = eqx.field(static=True)

    def __init__(self, phi: Callable[[jax.Array], jax.Array], order: int = DEFAULT_ORDER):
        if not callable(phi):
            raise ValueError(f"Activation: phi must be a function of jax arrays, such as jnp.tanh, got {phi!r}.")
        probe = phi(jnp.linspace(-1.0, 1.0, 3))
        if getattr(probe, "shape", None) != (3,) or not jnp.issubdtype(probe.dtype, jnp.floating):
            raise ValueError(f"Activation: phi must map an array to a real array of the same shape; for shape [3] it gave {probe!r}.")
        self.phi = phi
        self.order = _checked_order(order)

    def __call__(self, field: jax.Array) -> jax.Array:
        return self.phi(field)

    def gain(self, variance: jax.Array) -> jax.Array:
        return _quadrature_gain(self.phi, variance, self.order)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return _quadrature_error(self.phi, variance, self.order)


class Tanh(AbstractActivation):
    """phi(h) = tanh(h), its gain by Gauss-Hermite quadrature as in `Activation`.

    Args:
        order: number of Gauss-Hermite nodes, even.

    Examples:
        >>> bool(ol.Tanh().gain_error(jnp.array(1.0)) < 1e-9)
        True
    """

    order: int = eqx.field(static=True)

    def __init__(self, order: int = DEFAULT_ORDER):
        self.order = _checked_order(order)

    def __call__(self, field: jax.Array) -> jax.Array:
        return jnp.tanh(field)

    def gain(self, variance: jax.Array) -> jax.Array:
        return _quadrature_gain(jnp.tanh, variance, self.order)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return _quadrature_error(jnp.tanh, variance, self.order)


class ReLU(AbstractActivation):
    """phi(h) = max(h, 0). Its gain is 1/2 at every variance, which quadrature of even order gives exactly.

    Args:
        order: number of Gauss-Hermite nodes, even.

    Examples:
        >>> ol.ReLU().gain(jnp.array([0.1, 10.0]))
        Array([0.5, 0.5], dtype=float64)
    """

    order: int = eqx.field(static=True)

    def __init__(self, order: int = 2):
        self.order = _checked_order(order)

    def __call__(self, field: jax.Array) -> jax.Array:
        return jax.nn.relu(field)

    def gain(self, variance: jax.Array) -> jax.Array:
        return _quadrature_gain(jax.nn.relu, variance, self.order)

    def gain_error(self, variance: jax.Array) -> jax.Array:
        return _quadrature_error(jax.nn.relu, variance, self.order)


def _checked_order(order: int) -> int:
    order = count(order, "Activation: order", least=2)
    if order % 2:
        raise ValueError(f"Activation: order must be even (no node at a kink at zero), got {order}; use order={order + 1}.")
    return order


@functools.cache
def gauss_hermite(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights, shape [order] each, such that `sum_q w_q f(x_q)` is about <f(zeta)>, zeta ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    return nodes, weights / weights.sum()


def _quadrature_gain(phi: Callable[[jax.Array], jax.Array], variance: jax.Array, order: int) -> jax.Array:
    variance = floating(variance, "gain: variance")
    nodes, weights = (jnp.asarray(a, variance.dtype) for a in gauss_hermite(order))
    shape = (order,) + (1,) * variance.ndim
    # sqrt has no derivative at 0, where every trial starts. There dD vanishes with D (D is a quadratic form), so a floor
    # far below rounding, whose derivative is 0, leaves value and gradient right.
    floor = jnp.finfo(variance.dtype).tiny
    deviation = jnp.sqrt(jnp.where(variance > floor, variance, 1.0)) * (variance > floor)
    _, slope = jax.jvp(phi, (deviation * nodes.reshape(shape),), (jnp.ones(shape[:1] + variance.shape, variance.dtype),))
    return jnp.sum(weights.reshape(shape) * slope, axis=0)


def _quadrature_error(phi: Callable[[jax.Array], jax.Array], variance: jax.Array, order: int) -> jax.Array:
    return jnp.abs(_quadrature_gain(phi, variance, order) - _quadrature_gain(phi, variance, 2 * order))
