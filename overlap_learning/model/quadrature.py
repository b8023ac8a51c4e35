"""Quadrature: averages over a standard normal variable as weighted sums over nodes."""

import dataclasses
import functools
from typing import Protocol

import numpy as np
from scipy.special import roots_hermitenorm

from overlap_learning.checks import count


class Quadrature(Protocol):
    """Nodes x_q and weights w_q such that `sum_q w_q f(x_q)` is about <f(zeta)>, zeta ~ N(0, 1)."""

    @property
    def order(self) -> int:
        """The number of nodes."""
        ...

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights, shape [order] each."""
        ...

    def refined(self) -> "Quadrature":
        """The same rule with twice as many nodes, for an estimate of its error."""
        ...


@dataclasses.dataclass(frozen=True)
class GaussHermite:
    """Gauss-Hermite quadrature: exact for polynomials of degree below `2 order`.

    Args:
        order: number of nodes, even, so that none sits on a kink at zero.

    Raises:
        ValueError: if order is not an even integer of at least 2.

    Examples:
        >>> nodes, weights = ol.model.GaussHermite(order=2).nodes()
        >>> float(np.sum(weights * nodes**2).round(12))
        1.0
    """

    order: int = 64

    def __post_init__(self):
        _check_order(self.order, "GaussHermite")

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights, shape [order] each."""
        return _gauss_hermite(self.order)

    def refined(self) -> "GaussHermite":
        """The rule with twice as many nodes."""
        return GaussHermite(2 * self.order)


@dataclasses.dataclass(frozen=True)
class Trapezoid:
    """The trapezoidal rule on an even grid over -9 to 9, the range that holds all but 2e-19 of the normal distribution.

    It converges exponentially for functions that are analytic near the real axis, and for those with poles (tanh at
    large variance) far faster than Gauss-Hermite, whose nodes reach out to where nothing is.

    Args:
        order: number of nodes, even, so that none sits on a kink at zero.

    Raises:
        ValueError: if order is not an even integer of at least 2.

    Examples:
        >>> nodes, weights = ol.model.Trapezoid(order=128).nodes()
        >>> float(np.sum(weights * nodes**4).round(12))
        3.0
    """

    order: int = 128

    def __post_init__(self):
        _check_order(self.order, "Trapezoid")

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights, shape [order] each."""
        return _trapezoid(self.order)

    def refined(self) -> "Trapezoid":
        """The rule with twice as many nodes."""
        return Trapezoid(2 * self.order)


def _check_order(order: int, caller: str) -> None:
    if count(order, f"{caller}: order", least=2) % 2:
        raise ValueError(
            f"{caller}: order must be even (no node at a kink at zero), got {order}; use order={order + 1}."
        )


@functools.cache
def _gauss_hermite(order: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = roots_hermitenorm(order)
    return nodes, weights / weights.sum()


@functools.cache
def _trapezoid(order: int) -> tuple[np.ndarray, np.ndarray]:
    nodes = 9.0 * (2 * np.arange(order) + 1 - order) / order
    weights = np.exp(-(nodes**2) / 2)
    return nodes, weights / weights.sum()
