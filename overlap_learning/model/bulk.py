"""Bulk: random connectivity of full rank, as an ensemble that matrices are drawn from."""

import abc
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, described, in_numpy, is_traced, later, namespace, scalar

#: The name of the bulk among the rates of a rule.
BULK = "W"
_STRENGTH = "a finite number of at least 0: the entries have variance g^2 / N"


class AbstractBulk(eqx.Module):
    """An ensemble of random matrices W0, scaled so that most eigenvalues lie within a radius of order g for every N.

    Attributes:
        g: strength; an array, so that a sweep over it compiles one program.
    """

    g: eqx.AbstractVar[jax.Array]

    def __repr__(self) -> str:
        return described(self)

    def sample(self, n_neurons: int, key: jax.Array) -> jax.Array:
        """W0, shape [N, N], row i the input weights of neuron i.

        Args:
            n_neurons: N.
            key: a jax random key.

        Raises:
            ValueError: if N is no number of neurons, or the key none.
        """
        check_key(key, f"{type(self).__name__}.sample")
        return self.draw(count(n_neurons, f"{type(self).__name__}.sample: n_neurons"), key)

    @abc.abstractmethod
    def draw(self, n: int, key: jax.Array) -> jax.Array:
        """`sample`, of arguments that are checked."""


class RandomBulk(AbstractBulk):
    """Normal entries: `W_ij ~ N(0, g^2 / N)`, and a correlation tau of W_ij with W_ji.

    `W = a X + b X^T` with X normal and independent, `a^2 + b^2 = 1`, `2 a b = tau`: independent entries at tau = 0, a
    symmetric matrix at 1, an antisymmetric one at -1. Eigenvalues fill an ellipse of half axes `g (1 + tau)` and
    `g (1 - tau)`: a circle of radius g, the interval from -2 g to 2 g. The diagonal has variance `(1 + tau) g^2 / N`.

    Args:
        g: strength, at least 0. A linear network is stable for `g (1 + tau) < 1`.
        symmetry: tau, from -1 to 1.

    Raises:
        ValueError: if g or tau is out of range.

    Source: Schuessler et al. 2020, section 2 (tau = 0); Sommers et al. 1988 (tau).

    Examples:
        >>> bulk = ol.RandomBulk(0.9).sample(400, jax.random.key(0))
        >>> bulk.shape, bool(abs(jnp.linalg.norm(bulk) / jnp.sqrt(400) - 0.9) < 0.01)
        ((400, 400), True)
        >>> symmetric = ol.RandomBulk(0.9, symmetry=1.0).sample(400, jax.random.key(0))
        >>> bool(jnp.all(symmetric == symmetric.T))
        True
    """

    g: jax.Array
    symmetry: jax.Array

    def __init__(self, g: ArrayLike, *, symmetry: ArrayLike = 0.0):
        self.g = _strength(g, "RandomBulk")
        allowed = "a correlation of W_ij with W_ji, from -1 (antisymmetric) to 1 (symmetric)"
        self.symmetry = scalar(symmetry, "RandomBulk: symmetry", allowed, -1, 1, open_low=False).astype(float)

    def draw(self, n: int, key: jax.Array) -> jax.Array:
        entries = _normal(n, key)
        g, symmetry = in_numpy((self.g, self.symmetry))
        xp = namespace(g, symmetry)
        even, odd = xp.sqrt((1 + symmetry) / 4), xp.sqrt((1 - symmetry) / 4)
        # Not in one program, in which products are added without rounding, and W is not quite symmetric.
        return g / xp.sqrt(n) * ((even + odd) * entries + (even - odd) * entries.T)


class SparseBulk(AbstractBulk):
    """Each entry is there with probability `density`, and then normal: `W_ij ~ N(0, g^2 / (density N))`, else 0.

    Entries have variance `g^2 / N` whatever the density, so that for many connections per neuron this is
    `RandomBulk(g)`.

    Args:
        g: strength, at least 0.
        density: the share of connections, above 0 and at most 1.

    Raises:
        ValueError: if g or the density is out of range.

    Examples:
        >>> bulk = ol.model.SparseBulk(0.9, density=0.1).sample(400, jax.random.key(0))
        >>> bool(abs(jnp.mean(bulk != 0) - 0.1) < 0.01), bool(abs(jnp.linalg.norm(bulk) / jnp.sqrt(400) - 0.9) < 0.03)
        (True, True)
    """

    g: jax.Array
    density: jax.Array

    def __init__(self, g: ArrayLike, *, density: ArrayLike):
        self.g = _strength(g, "SparseBulk")
        self.density = scalar(density, "SparseBulk: density", "a share of connections, in (0, 1]", 0, 1).astype(float)

    def draw(self, n: int, key: jax.Array) -> jax.Array:
        of_entries, of_places = jax.random.split(key)
        is_there = jax.random.bernoulli(of_places, self.density, (n, n))
        return jnp.where(is_there, self.g / jnp.sqrt(self.density * n) * _normal(n, of_entries), 0)


class DaleBulk(AbstractBulk):
    """Dale's law: the outgoing weights of a neuron (a column) are all >= 0 or all <= 0.

    The first `n_E = ceil(excitatory N)` columns are `a_E |x| / sqrt(N)`, the others `-a_I |x| / sqrt(N)`, x normal. Two
    conditions fix a_E and a_I: the mean input from both kinds is balanced, `n_E a_E = n_I a_I`, and what varies about
    the mean has the variance `g^2 / N` on average over columns, so that most eigenvalues lie within g. A few lie
    beyond: sums of rows are 0 on average only.

    Args:
        g: strength, at least 0.
        excitatory: the share of excitatory neurons, in (0, 1). Both kinds need a neuron.

    Raises:
        ValueError: if g or the share is out of range.

    Source: Rajan & Abbott 2006.

    Examples:
        >>> bulk = ol.model.DaleBulk(0.9, excitatory=0.8).sample(100, jax.random.key(0))
        >>> bool(jnp.all(bulk[:, :80] >= 0)), bool(jnp.all(bulk[:, 80:] <= 0))
        (True, True)
    """

    g: jax.Array
    excitatory: jax.Array

    def __init__(self, g: ArrayLike, *, excitatory: ArrayLike = 0.8):
        self.g = _strength(g, "DaleBulk")
        allowed = "a share of excitatory neurons, in (0, 1)"
        self.excitatory = scalar(excitatory, "DaleBulk: excitatory", allowed, 0, 1 - 1e-9).astype(float)

    def draw(self, n: int, key: jax.Array) -> jax.Array:
        # As a share of 0.8 is meant: 0.8 * 5 is above 4 by rounding.
        is_excitatory = np.arange(n) < self.excitatory * n - 1e-9 * n
        share = jnp.mean(is_excitatory)
        if is_traced(share):
            share = later(share, lambda x: (x > 0) & (x < 1))
        elif not 0 < float(share) < 1:
            raise ValueError(
                f"DaleBulk.sample: excitatory={float(self.excitatory):g} of {n} neurons leaves no neuron of one kind; "
                "use more neurons."
            )
        # |x| has mean square 1 and squared mean 2 / pi.
        unit = self.g / jnp.sqrt((1 - 2 / np.pi) * n)
        # share (1 - share)^2 + (1 - share) share^2 = share (1 - share)
        columns = jnp.where(is_excitatory, 1 - share, -share) / jnp.sqrt(share * (1 - share))
        return unit * columns * jnp.abs(_normal(n, key))


def bulk_rate(rates: Any) -> tuple[Any, jax.Array | None]:
    """The rates of the vectors, and that of the bulk; None: it does not learn, which is also what an unnamed one does.

    Args:
        rates: those of a rule: None, a mapping, or an array [d].

    Raises:
        ValueError: if the rate of the bulk is not one number of at least 0.
    """
    if not isinstance(rates, Mapping) or BULK not in rates:
        return rates, None
    own = rates[BULK]
    others = {name: rate for name, rate in rates.items() if name != BULK}
    rate = scalar(own, f'rates["{BULK}"]', "at least 0", 0, open_low=False)
    return others, None if not is_traced(rate) and float(np.asarray(rate)) == 0 else rate


def _strength(g: ArrayLike, caller: str) -> jax.Array:
    return scalar(g, f"{caller}: g", _STRENGTH, 0, open_low=False).astype(float)


def _normal(n: int, key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (n, n), float)
