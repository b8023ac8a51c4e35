"""Conserved quantities of gradient flow in linear networks."""

from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.checks import require_float64
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.factor import square_root
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps


def invariants(model: Model, overlaps: Overlaps, rates: Any = None) -> jax.Array:
    """What gradient flow of a linear network conserves: the d eigenvalues of `Sign P^-1 G`.

    Sign is -1 on B = (m, u) and +1 on A = (v, z). They are the non-zero eigenvalues of
    `K = (A P_A^-1 A^T - B P_B^-1 B^T) / N`, itself constant. Weight decay lambda shrinks them as `exp(-2 lambda tau)`
    (for P = 1).

    Frozen vectors (rate 0) are themselves conserved, and so is the part of the trained ones' K that is orthogonal to
    them: G is then the Schur complement `G_tt - G_tf G_ff^-1 G_ft` of the trained block, and each frozen vector takes
    one invariant, which reads 0.

    Args:
        model: the `Model`, linear.
        overlaps: the `Overlaps`.
        rates: relative learning rates P.

    Returns:
        The eigenvalues in ascending order, shape [d]; for P > 0, n_in + rank of them are at most 0, the others at
        least 0.

    Raises:
        ValueError: if the model is nonlinear (it has no such invariants), or layouts differ.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Fig. 6 (K); theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, uu=2.0)
        >>> ol.invariants(model, overlaps)
        Array([-2., -1.,  1.,  1.], dtype=float64)
        >>> ol.invariants(model, overlaps, rates={"m": 0.0})
        Array([-2.,  0.,  1.,  1.], dtype=float64)
    """
    require_float64("ol.invariants")
    layout = check_layout(model, overlaps, "invariants")
    if not model.is_linear:
        raise ValueError(
            f"invariants: a network with activation {model.activation!r} conserves none of these; they are "
            "invariants of linear networks, ol.Model(layout, ol.Linear())."
        )
    return jnp.linalg.eigvalsh(conserved(layout, square_root(overlaps.gram), layout.rates(rates)))


def conserved(layout: Layout, root: jax.Array, rates: jax.Array) -> jax.Array:
    """K in the d dimensions that the vectors span, `V = Q G^(1/2)`: symmetric, with the invariants as eigenvalues.

    Args:
        layout: the `Layout`.
        root: G^(1/2), shape [d, d].
        rates: P, shape [d].
    """
    trained = rates > 0
    weights = jnp.where(trained, layout.signature / jnp.where(trained, rates, 1.0), 0.0)
    project = away_from(root * ~trained)
    return project @ (root * weights) @ root.T @ project


def away_from(vectors: jax.Array) -> jax.Array:
    """The projector orthogonal to the columns of a matrix."""
    return jnp.eye(len(vectors)) - vectors @ jnp.linalg.pinv(vectors)
