"""Laws: the conservation laws of gradient flow, each the closed form of what a symmetry of the loss conserves."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.charges import Charges
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model

#: Products of rates closer than this are equal.
_EQUAL = 1e-9


class AbstractLaw(eqx.Module):
    """A conservation law. A quantity that frozen vectors or unequal rates take away keeps its place and reads 0.

    Attributes:
        is_linear: whether its quantities are linear in the overlaps.
    """

    is_linear: ClassVar[bool]

    @abc.abstractmethod
    def charges(self, layout: Layout, root: jax.Array, rates: jax.Array) -> Charges:
        """Its conserved quantities.

        Args:
            layout: the `Layout`.
            root: G^(1/2), shape [d, d].
            rates: P, shape [d].
        """


class Spectrum(AbstractLaw):
    """The d eigenvalues of `Sign P^-1 G`, if the loss depends on `A^T B` alone: `A -> A - eps L A, B -> B + eps L B`.

    Every symmetric N x N matrix L is allowed, so `K = (A P^-1 A^T - B P^-1 B^T) / N` is constant, and its eigenvalues
    are what overlaps can tell of it. Frozen vectors F must not move, so L F = 0 and the part of K orthogonal to F is
    left.

    Source: Ger & Barak 2026, Fig. 6 (K); theory page, section 5.
    """

    is_linear: ClassVar[bool] = False

    def charges(self, layout: Layout, root: jax.Array, rates: jax.Array) -> Charges:
        d = layout.size
        weights = spectral_weights(layout, rates)
        values, modes = jnp.linalg.eigh(conserved_matrix(layout, root, rates))
        seen = away_from(root * ~(rates > 0)) @ modes
        left = jnp.einsum("in,jn->nij", seen, seen)
        right = jnp.broadcast_to(jnp.diag(weights), (d, d, d))
        # With K e = kappa e, `e = V r` for `r = W V^T e / kappa`, and `d kappa = kappa r^T dG r`.
        there = jnp.abs(values) > d * jnp.finfo(root.dtype).eps * jnp.max(jnp.abs(values))
        reach = weights[:, None] * (root @ modes)
        slopes = jnp.einsum("an,bn,n->nab", reach, reach, jnp.where(there, 1 / jnp.where(there, values, 1.0), 0.0))
        # Frozen vectors are projected out: what remains of G is its Schur complement.
        clear = jnp.eye(d) - _onto(root, ~(rates > 0))
        return Charges(left, right, values, jnp.einsum("ac,ncd,bd->nab", clear, slopes, clear))


class Gauge(AbstractLaw):
    """`u_i u_j / sqrt(p_ui p_uj) - v_i v_j / sqrt(p_vi p_vj)`, i <= j, for every phi: `u -> u T, v -> v T^-T`.

    The loss sees u and v through `u v^T` alone. Of a pair of ranks the number is conserved if `p_ui p_vi = p_uj p_vj`;
    those of one rank always are. At equal rates on u and on v they are the entries of `u^T u / p_u - v^T v / p_v`.

    Source: theory page, section 5.
    """

    is_linear: ClassVar[bool] = True

    def charges(self, layout: Layout, root: jax.Array, rates: jax.Array) -> Charges:
        i, j = np.triu_indices(layout.rank)
        u, v = (np.arange(layout.size)[layout.block(name)] for name in "uv")
        left, right = rates[u], rates[v]
        product = left * right
        kept = jnp.abs(product[i] - product[j]) <= _EQUAL * jnp.maximum(product[i], product[j])
        # u_i and v_j frozen, u_j and v_i trained: the flow keeps u_i u_j / p_uj - v_i v_j / p_vi.
        kept &= (left[i] * right[j] > 0) | (left[j] * right[i] > 0)

        def weight(rate):
            # Of a pair of which one is frozen, the other's rate stands for both.
            first, second = (jnp.where(rate[a] > 0, rate[a], rate[b]) for a, b in ((i, j), (j, i)))
            return jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, first * second, 1.0)), 0.0)

        C = _pairs(u[i], u[j], weight(left), layout.size) - _pairs(v[i], v[j], weight(right), layout.size)
        return Charges.linear(C, root)


class Balance(AbstractLaw):
    """`k A P^-1 A - B P^-1 B`, summed over vectors, where `phi(c h) = c^k phi(h)` for c > 0: `B -> c B, A -> A c^-k`.

    The symmetry holds neuron by neuron at full N. A frozen u_i or v_i can be left alone, because the gauge makes up for
    it: its partner then has the weight `k - 1`. With m or z frozen nothing is left.

    Args:
        degree: k.

    Source: theory page, section 5.
    """

    degree: float = eqx.field(static=True)
    is_linear: ClassVar[bool] = True

    def charges(self, layout: Layout, root: jax.Array, rates: jax.Array) -> Charges:
        return Charges.linear(jnp.diag(self.weights(layout, rates))[None], root)

    def weights(self, layout: Layout, rates: jax.Array) -> jax.Array:
        """What multiplies the square of each vector, shape [d]."""
        k = self.degree
        trained = rates > 0
        m, u, v, z = (trained[layout.block(name)] for name in "muvz")
        # The gauge adds a to what u_i scales by and takes it from v_i.
        shift = jnp.where(u, jnp.where(v, 0.0, k), 1.0)
        held = jnp.all(m) & jnp.all(z) & jnp.all(u | v | (k == 1))
        scale = jnp.concatenate([-jnp.ones(layout.n_in), shift - 1, k - shift, jnp.full(layout.n_out, k)])
        return jnp.where(held & trained, scale / jnp.where(trained, rates, 1.0), 0.0)


class Residual(AbstractLaw):
    """Overlaps of the parts of trained vectors that nothing can move, where all vectors that may move them are frozen.

    A moves within the span of B: with B frozen, `A^T A - A^T B (B^T B)^-1 B^T A` is constant for every phi. B moves
    within the span of A where the loss depends on `A^T B` alone: with A frozen the same is constant of B. Then L is the
    projector off the frozen side and every symmetric R is allowed. The numbers are those of the entries i <= j.

    Args:
        mutual: whether B moves within the span of A.

    Source: theory page, section 5.
    """

    mutual: bool = eqx.field(static=True)
    is_linear: ClassVar[bool] = False

    def charges(self, layout: Layout, root: jax.Array, rates: jax.Array) -> Charges:
        trained, is_b = rates > 0, jnp.asarray(layout.signature < 0)
        held_by_b = ~jnp.any(trained & is_b)
        held_by_a = ~jnp.any(trained & ~is_b) & self.mutual
        side = jnp.where(held_by_b, is_b, ~is_b)
        i, j = layout.entry_indices
        # Overlaps of two frozen vectors are the business of `Frozen`.
        kept = (held_by_b | held_by_a) & ~side[i] & ~side[j] & (trained[i] | trained[j])
        right = _pairs(i, j, 1.0 * kept, layout.size)
        off = away_from(root * side)
        clear = jnp.eye(layout.size) - _onto(root, side)
        values = jnp.einsum("nab,ia,ij,jb->n", right, root, off, root)
        slopes = jnp.einsum("ac,ncd,bd->nab", clear, right, clear)
        return Charges(jnp.broadcast_to(off, right.shape), right, values, slopes)


class Frozen(AbstractLaw):
    """The overlaps of frozen vectors with each other, as the entries i <= j of the matrix of all overlaps."""

    is_linear: ClassVar[bool] = True

    def charges(self, layout: Layout, root: jax.Array, rates: jax.Array) -> Charges:
        i, j = layout.entry_indices
        return Charges.linear(_pairs(i, j, 1.0 * ((rates[i] == 0) & (rates[j] == 0)), layout.size), root)


def laws_of(model: Model, is_gaussian: bool = True) -> dict[str, AbstractLaw]:
    """The conservation laws of a model by their names: spectrum, gauge, balance, residual, frozen, those it has.

    Args:
        model: the `Model`.
        is_gaussian: whether its neurons are one Gaussian with mean 0 (`Overlaps`). The loss then sees phi through
            its gain alone. Where that is the same at every variance, as of ReLU and softplus (phi(h) - phi(-h) is
            linear), G learns as in a linear network, at another gain, and keeps what that keeps; a network of N such
            neurons does not.
    """
    as_linear = model.is_linear or (is_gaussian and has_constant_gain(model.activation))
    degree = 1.0 if as_linear else homogeneity(model.activation)
    laws: dict[str, AbstractLaw] = {"spectrum": Spectrum()} if as_linear else {}
    laws["gauge"] = Gauge()
    if degree is not None:
        laws["balance"] = Balance(degree)
    if as_linear or is_gaussian:
        laws["residual"] = Residual(as_linear)
    return laws | {"frozen": Frozen()}


def homogeneity(activation: AbstractActivation) -> float | None:
    """The degree k of `phi(c h) = c^k phi(h)` for c > 0, to rounding on a grid; None if there is none."""
    half = np.geomspace(0.1, 8.0, 9)
    fields = np.concatenate([-half, half])
    factors = (1.0, 2.0, 0.25, 3.0)
    # The fields are known even where the rest of a program is traced.
    with jax.ensure_compile_time_eval():
        once, twice, *others = (np.asarray(activation(jnp.asarray(c * fields))) for c in factors)
    largest = np.argmax(np.abs(once))
    if once[largest] == 0 or twice[largest] / once[largest] <= 0:
        return None
    degree = np.log2(twice[largest] / once[largest])
    degree = float(np.round(degree) if abs(degree - np.round(degree)) < _EQUAL else degree)
    off = [other - c**degree * once for c, other in zip(factors[2:], others, strict=True)]
    return degree if np.max(np.abs(off)) <= _EQUAL * np.max(np.abs(twice)) else None


def has_constant_gain(activation: AbstractActivation) -> bool:
    """Whether the gain is the same at every variance, to the accuracy of its quadrature, on a grid."""
    with jax.ensure_compile_time_eval():
        gains = np.asarray(activation.gain(jnp.geomspace(1e-2, 1e2, 9)))
    return bool(np.ptp(gains) <= _EQUAL * np.max(np.abs(gains)))


def spectral_weights(layout: Layout, rates: jax.Array) -> jax.Array:
    """`Sign P^-1`, 0 at frozen vectors, shape [d]."""
    return jnp.where(rates > 0, layout.signature / jnp.where(rates > 0, rates, 1.0), 0.0)


def conserved_matrix(layout: Layout, root: jax.Array, rates: jax.Array) -> jax.Array:
    """K in the d dimensions that the vectors span, `V = Q G^(1/2)`: symmetric, with the spectrum as eigenvalues.

    Args:
        layout: the `Layout`.
        root: G^(1/2), shape [d, d].
        rates: P, shape [d].
    """
    project = away_from(root * ~(rates > 0))
    return project @ (root * spectral_weights(layout, rates)) @ root.T @ project


def away_from(vectors: jax.Array) -> jax.Array:
    """The projector orthogonal to the columns of a matrix."""
    return jnp.eye(len(vectors)) - vectors @ jnp.linalg.pinv(vectors)


def _onto(root: jax.Array, side: jax.Array) -> jax.Array:
    """T with `V T` the projection of V onto its columns of one side, shape [d, d]."""
    return jnp.linalg.pinv(root * side) @ root


def _pairs(i: np.ndarray, j: np.ndarray, weights: jax.Array, size: int) -> jax.Array:
    """C with `tr(C G) = weight G_ij` for each pair (i, j), shape [n, d, d]."""
    n = np.arange(len(i))
    half = jnp.zeros((len(i), size, size)).at[n, i, j].add(weights / 2)
    return half + jnp.swapaxes(half, 1, 2)
