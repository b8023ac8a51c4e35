"""Nodes: a Gaussian distribution of neurons as a few weighted ones."""

import abc
import functools
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import roots_hermitenorm

from overlap_learning.checks import count, is_traced
from overlap_learning.model.cubature import cubature, n_moments, n_points, sobol_points

#: The most nodes of a tensor grid, and the most moments that a cubature is solved for (its time grows as their cube).
MOST_GRID_NODES, MOST_MOMENTS = 10_000, 1_000

#: How much more a degree of a cubature costs in the dimensions of v and z than in those of m and u.
STRETCH = 2.0

#: What `default_nodes` may spend, in folded nodes, and the orders of grids and degrees of cubatures that it tries.
BUDGET = 300
GRIDS = ((10, 8), (8, 6), (6, 4))
DEGREES = (13, 11, 9, 7)


class AbstractNodes(eqx.Module):
    """Weighted nodes for the standard normal distribution in r dimensions, with mean 0 and covariance 1 to rounding.

    Subclasses: `Cubature`, `HermiteGrid`, `SobolNodes`, `WhitenedNodes`, `MinimalNodes`. `ol.Network.quadrature` turns
    them into neurons with given overlaps, whose dimensions are ordered: the first span the vectors m and u.

    Attributes:
        folded: whether one node stands for itself and its mirror image -V. A neuron and its mirror image do the same
            where phi is odd (`model.activation.is_odd`); for any other phi folding is wrong.
    """

    folded: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def standard(self, dimension: int, n_fields: int) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]:
        """Nodes X, shape [K, r], and weights, shape [K], positive with sum 1.

        Args:
            dimension: r.
            n_fields: how many of the dimensions, the first ones, span the fields (the vectors m and u).
        """


class Cubature(AbstractNodes):
    """The fewest nodes for their accuracy: places and weights solve for the moments of the normal distribution.

    Exact for all polynomials whose terms have degree a in the dimensions of the fields (m, u) and b in the others
    (v, z) with `a + stretch b < degree`: the gradient of a neuron is nonlinear in its m and u, and linear in its v and
    z, so that these need less. Found by least squares from scattered points the first time it is asked for, which takes
    seconds, then kept.

    Args:
        degree: odd, at least 3.
        stretch: how much more a degree costs in the dimensions of v and z, at least 1.
        folded: whether a node stands for its mirror image too; only for odd phi.

    Raises:
        ValueError: if an argument is out of range, or there are too many moments to solve for.

    Source: theory page, section 7.

    Examples:
        >>> nodes, weights = ol.model.Cubature(degree=7).standard(dimension=4, n_fields=2)
        >>> len(nodes), float(np.sum(weights * nodes[:, 0] ** 4).round(10))
        (24, 3.0)
    """

    degree: int = eqx.field(static=True)
    stretch: float = eqx.field(static=True)
    folded: bool = eqx.field(static=True)

    def __init__(self, degree: int = 15, *, stretch: float = STRETCH, folded: bool = False):
        self.degree = count(degree, "Cubature: degree", least=3)
        if degree % 2 == 0:
            raise ValueError(f"Cubature: degree must be odd (odd moments vanish anyway), got {degree}.")
        if not 1 <= stretch < np.inf:
            raise ValueError(f"Cubature: stretch must be at least 1, got {stretch}.")
        self.stretch, self.folded = float(stretch), bool(folded)

    def standard(self, dimension: int, n_fields: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = n_moments(dimension, n_fields, self.degree, self.stretch)
        if wanted > MOST_MOMENTS:
            raise ValueError(
                f"Cubature: degree {self.degree} in {dimension} dimensions has {wanted:,} moments to solve for, "
                f"more than {MOST_MOMENTS:,}; use a smaller degree, or ol.model.SobolNodes(1024)."
            )
        points, weights = cubature(dimension, n_fields, self.degree, self.stretch)
        return (points, weights) if self.folded else _unfold(points, weights)


class HermiteGrid(AbstractNodes):
    """A tensor grid of Gauss-Hermite nodes: exact for polynomials of degree below `2 order` in each dimension.

    Its outer nodes make it the best where training has made fields large, so that phi saturates; in more than four
    dimensions there are too many of them.

    Args:
        order: nodes in each dimension of the fields (m, u), at least 2.
        reader_order: nodes in each of the others (v, z), at least 2; None: as many. Fewer do, since the gradient of a
            neuron is linear in its v and z.
        folded: whether a node stands for its mirror image too; only for odd phi. It halves their number.

    Raises:
        ValueError: if an argument is out of range, or the grid is too large.

    Source: theory page, section 7.

    Examples:
        >>> nodes, weights = ol.model.HermiteGrid(order=5, folded=True).standard(dimension=4, n_fields=2)
        >>> len(nodes)
        313
    """

    order: int = eqx.field(static=True)
    reader_order: int = eqx.field(static=True)
    folded: bool = eqx.field(static=True)

    def __init__(self, order: int = 6, reader_order: int | None = None, *, folded: bool = False):
        self.order = count(order, "HermiteGrid: order", least=2)
        self.reader_order = order if reader_order is None else count(reader_order, "HermiteGrid: reader_order", least=2)
        self.folded = bool(folded)

    def n_nodes(self, dimension: int, n_fields: int) -> int:
        """How many nodes the whole grid has."""
        return self.order**n_fields * self.reader_order ** (dimension - n_fields)

    def standard(self, dimension: int, n_fields: int) -> tuple[np.ndarray, np.ndarray]:
        n_nodes = self.n_nodes(dimension, n_fields)
        if n_nodes > MOST_GRID_NODES:
            raise ValueError(
                f"HermiteGrid: {self.order} nodes in each of {n_fields} dimensions and {self.reader_order} in each of "
                f"{dimension - n_fields} make {n_nodes:,}, more than {MOST_GRID_NODES:,}; use ol.model.Cubature(7) or "
                "ol.model.SobolNodes(1024), whose number of nodes does not grow like that."
            )
        return _grid((self.order,) * n_fields + (self.reader_order,) * (dimension - n_fields), self.folded)


class SobolNodes(AbstractNodes):
    """Scrambled Sobol points through the normal quantile, whitened: for many dimensions, and for phi with kinks.

    Args:
        n_nodes: their number, best a power of 2, at least r + 1.
        key: a jax random key of the scrambling; None: a fixed one.
        folded: whether a node stands for its mirror image too; only for odd phi.

    Raises:
        ValueError: if an argument is out of range, or the key is not known yet (inside jit or vmap).

    Source: theory page, section 7.

    Examples:
        >>> nodes, weights = ol.model.SobolNodes(256).standard(dimension=6, n_fields=3)
        >>> bool(np.allclose(nodes.T @ nodes / 256, np.eye(6), rtol=0, atol=1e-14))
        True
    """

    n_nodes: int = eqx.field(static=True)
    key: jax.Array | None
    folded: bool = eqx.field(static=True)

    def __init__(self, n_nodes: int = 512, *, key: jax.Array | None = None, folded: bool = False):
        self.n_nodes = count(n_nodes, "SobolNodes: n_nodes", least=2)
        self.key, self.folded = key, bool(folded)

    def standard(self, dimension: int, n_fields: int) -> tuple[np.ndarray, np.ndarray]:
        _check_enough(self.n_nodes, dimension, "SobolNodes")
        # A key that is made here is known inside jit, too.
        with jax.ensure_compile_time_eval():
            key = jax.random.key(0) if self.key is None else self.key
            if is_traced(key):
                raise ValueError(
                    "SobolNodes: key must be known, so that points can be drawn; inside jit or vmap use WhitenedNodes."
                )
            numbers = np.asarray(jax.random.key_data(key)).tolist()
        points = _whitened_sobol(self.n_nodes, dimension, tuple(numbers), not self.folded)
        return points, np.full(self.n_nodes, 1 / self.n_nodes)


class WhitenedNodes(AbstractNodes):
    """Random neurons with mean 0 and covariance 1 to rounding: what a finite network is, at its best.

    Args:
        n_nodes: their number, at least r + 1.
        key: a jax random key.
        folded: whether a node stands for its mirror image too; only for odd phi.

    Raises:
        ValueError: if an argument is out of range.

    Source: theory page, section 7.

    Examples:
        >>> nodes, weights = ol.model.WhitenedNodes(100, key=jax.random.key(0)).standard(dimension=4, n_fields=2)
        >>> bool(jnp.max(jnp.abs(jnp.mean(nodes, axis=0))) < 1e-14)
        True
    """

    n_nodes: int = eqx.field(static=True)
    key: jax.Array
    folded: bool = eqx.field(static=True)

    def __init__(self, n_nodes: int, *, key: jax.Array, folded: bool = False):
        self.n_nodes = count(n_nodes, "WhitenedNodes: n_nodes", least=2)
        self.key, self.folded = key, bool(folded)

    def standard(self, dimension: int, n_fields: int) -> tuple[jax.Array, jax.Array]:
        _check_enough(self.n_nodes, dimension, "WhitenedNodes")
        points = jax.random.normal(self.key, (self.n_nodes, dimension))
        return _whiten(points, centred=not self.folded), jnp.full(self.n_nodes, 1 / self.n_nodes)


class MinimalNodes(AbstractNodes):
    """As many nodes as dimensions, of equal weight: enough for linear phi, whose learning depends on overlaps alone.

    They are the corners of the cross-polytope, of which mirror images are left out.

    Source: theory page, section 4.

    Examples:
        >>> ol.model.MinimalNodes().standard(dimension=4, n_fields=2)[0]
        array([[2., 0., 0., 0.],
               [0., 2., 0., 0.],
               [0., 0., 2., 0.],
               [0., 0., 0., 2.]])
    """

    folded: bool = eqx.field(static=True)

    def __init__(self):
        # Linear phi is odd.
        self.folded = True

    def standard(self, dimension: int, n_fields: int) -> tuple[np.ndarray, np.ndarray]:
        return np.sqrt(dimension) * np.eye(dimension), np.full(dimension, 1 / dimension)


def default_nodes(
    dimension: int, n_fields: int, *, folded: bool = False, budget: int = BUDGET, coarser: bool = False
) -> AbstractNodes:
    """The nodes that were found the most accurate for a budget.

    A `HermiteGrid` where a good one fits, in up to four dimensions; else a `Cubature` of the largest degree; in so many
    dimensions that none is left, `SobolNodes`.

    Args:
        dimension: r.
        n_fields: how many of the dimensions span the fields.
        folded: whether nodes stand for their mirror images too.
        budget: the most nodes, counted as if folded.
        coarser: the next coarser nodes instead, for an estimate of the error: one node less per dimension (two in
            those of the fields, if not folded), a degree less by 2, half as many Sobol nodes.

    Examples:
        >>> from overlap_learning.model.nodes import default_nodes
        >>> default_nodes(4, 2, folded=True)
        HermiteGrid(order=6, reader_order=4, folded=True)
    """
    for order, reader_order in GRIDS:
        if HermiteGrid(order, reader_order).n_nodes(dimension, n_fields) <= 2 * budget:
            # Of an odd number of nodes one sits at zero, where functions that are not odd may have a kink.
            step = 1 if folded else 2
            return HermiteGrid(order - step * coarser, reader_order - coarser, folded=folded)
    for degree in DEGREES:
        kind = (dimension, n_fields, degree, STRETCH)
        if n_moments(*kind) <= MOST_MOMENTS and n_points(*kind) <= budget:
            return Cubature(degree - 2 * coarser, folded=folded)
    return SobolNodes(2 ** (budget.bit_length() + 1 - coarser), folded=folded)


@functools.lru_cache(maxsize=16)
def sized_nodes(size: int, dimension: int, n_fields: int, *, folded: bool, smooth: bool) -> AbstractNodes:
    """Nodes in any number of dimensions, of about a given number, that take no time to find.

    In up to four dimensions, where phi is smooth, a `HermiteGrid`; else `SobolNodes`, at least two per dimension.

    Args:
        size: how many, counted as if folded.
        dimension: r.
        n_fields: how many of the dimensions span the fields.
        folded: whether nodes stand for their mirror images too.
        smooth: whether phi is.
    """
    reader_order = 2 if size <= 100 else 3
    for order in range(24, 4, -1):
        grid = HermiteGrid(order, reader_order, folded=folded)
        if smooth and dimension <= 4 and grid.n_nodes(dimension, n_fields) <= 2.5 * size:
            return grid
    return SobolNodes(max(size, 2 * dimension), folded=folded)


@functools.lru_cache(maxsize=16)
def _grid(orders: tuple[int, ...], folded: bool) -> tuple[np.ndarray, np.ndarray]:
    """A grid of so many nodes in each dimension, and their weights. Not to be written to."""
    axes = [_hermite_nodes(order) for order in orders]
    points = np.array(list(itertools.product(*(nodes for nodes, _ in axes))))
    shares = np.prod(list(itertools.product(*(weights for _, weights in axes))), axis=1)
    points, shares = _fold(points, shares) if folded else (points, shares)
    shares = shares / shares.sum()
    return _fixed(points / np.sqrt(shares @ points**2)), _fixed(shares)


@functools.lru_cache(maxsize=16)
def _whitened_sobol(n: int, dimension: int, seed: tuple[int, ...], centred: bool) -> np.ndarray:
    """Whitened Sobol points. Not to be written to."""
    return _fixed(_whiten(sobol_points(n, dimension, seed), centred=centred))


def _fixed(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _hermite_nodes(order: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = roots_hermitenorm(order)
    # They are odd and even to rounding; the node at zero is to be zero.
    return (nodes - nodes[::-1]) / 2, (weights + weights[::-1]) / (2 * weights.sum())


def _check_enough(n_nodes: int, dimension: int, caller: str) -> None:
    if n_nodes <= dimension:
        raise ValueError(
            f"{caller}: {dimension} dimensions need at least {dimension + 1} nodes to have a mean and a covariance, "
            f"got n_nodes={n_nodes}."
        )


def _whiten(points: Any, *, centred: bool) -> Any:
    """Points of equal weight with second moments 1 (and mean 0), the nearest to these."""
    numpy = np if isinstance(points, np.ndarray) else jnp
    points = points - numpy.mean(points, axis=0) if centred else points
    # Single precision on GPUs rounds matrix products to fewer bits by default.
    with jax.default_matmul_precision("highest"):
        left, _, right = numpy.linalg.svd(points, full_matrices=False)
        return len(points) ** 0.5 * (left @ right)


def _fold(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of each point and its mirror image, with the weight of both; the origin is its own."""
    # The sign of the first coordinate that is not zero.
    leading = np.sign(points[np.arange(len(points)), np.argmax(points != 0, axis=1)])
    kept = leading >= 0
    return points[kept], np.where(leading > 0, 2 * weights, weights)[kept]


def _unfold(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([points, -points]), np.concatenate([weights, weights]) / 2
