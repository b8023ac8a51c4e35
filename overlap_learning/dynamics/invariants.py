"""Invariants: what gradient flow conserves, as one array."""

from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.checks import require_float64
from overlap_learning.dynamics.laws import Gauge, conserved_matrix
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.compiled import compiled
from overlap_learning.model.factor import square_root
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps


def invariants(model: Model, overlaps: Overlaps, rates: Any = None) -> jax.Array:
    """What gradient flow conserves: of a linear network d eigenvalues of `Sign P^-1 G`, of others the gauge numbers.

    **Linear.** Sign is -1 on B = (m, u) and +1 on A = (v, z). They are the non-zero eigenvalues of
    `K = (A P_A^-1 A^T - B P_B^-1 B^T) / N`, itself constant. Weight decay lambda shrinks them as `exp(-2 lambda tau)`
    (for P = 1). Frozen vectors (rate 0) are themselves conserved, and so is the part of the trained ones' K that is
    orthogonal to them: G is then the Schur complement `G_tt - G_tf G_ff^-1 G_ft` of the trained block, and each frozen
    vector takes one invariant, which reads 0. A linear network keeps the gauge numbers, too.

    **Any phi.** The loss sees u and v through `u v^T`, so `u^T u - v^T v` over N is constant (rates 1): its entries
    i <= j, with rates `u_i u_j / sqrt(p_ui p_uj) - v_i v_j / sqrt(p_vi p_vj)`, which is conserved if
    `p_ui p_vi = p_uj p_vj` and else reads 0.

    All families of a model, together and by name: `ol.conserved`.

    Args:
        model: the `Model`.
        overlaps: the `Overlaps`.
        rates: relative learning rates P.

    Returns:
        For linear phi the eigenvalues in ascending order, shape [d]; for P > 0, n_in + rank of them are at most 0,
        the others at least 0. Else: the gauge numbers, shape [R (R + 1) / 2].

    Raises:
        ValueError: if layouts differ.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Fig. 6 (K); theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, uu=2.0)
        >>> ol.invariants(model, overlaps)
        Array([-2., -1.,  1.,  1.], dtype=float64)
        >>> ol.invariants(model, overlaps, rates={"m": 0.0})
        Array([-2.,  0.,  1.,  1.], dtype=float64)
        >>> ol.invariants(ol.Model(model.layout, ol.Erf()), overlaps)
        Array([1.], dtype=float64)
    """
    require_float64("ol.invariants", model=model, overlaps=overlaps)
    layout = check_layout(model, overlaps, "invariants")
    return _invariants(model, layout, overlaps.gram, layout.rates(rates))


@compiled
def _invariants(model: Model, layout: Layout, gram: jax.Array, rates: jax.Array) -> jax.Array:
    root = square_root(gram)
    if model.is_linear:
        return jnp.linalg.eigvalsh(conserved_matrix(layout, root, rates))
    return Gauge().charges(layout, root, rates).values
