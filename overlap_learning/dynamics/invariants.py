"""Conserved quantities of gradient flow in linear networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.precision import is_traced, require_float64


def invariants(model: Model, overlaps: Overlaps, rates: Any = None) -> jax.Array:
    """The d eigenvalues of `Sign P^-1 G`, which gradient flow of a linear network conserves.

    Sign is -1 on B = (m, u) and +1 on A = (v, z). They are the non-zero eigenvalues of
    `K = (A P_A^-1 A^T - B P_B^-1 B^T) / N`, itself constant. Weight decay lambda shrinks them as `exp(-2 lambda tau)`
    (for P = 1).

    Args:
        model: the `Model`, linear.
        overlaps: the `Overlaps`.
        rates: relative learning rates P, all positive.

    Returns:
        The eigenvalues in ascending order, shape [d]: n_in + rank of them at most 0, the others at least 0.

    Raises:
        ValueError: if the model is nonlinear (it has no such invariants), a vector is frozen, or layouts differ.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Fig. 6 (K); theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> ol.invariants(model, ol.Overlaps.from_entries(model.layout, uu=2.0))
        Array([-2., -1.,  1.,  1.], dtype=float64)
    """
    require_float64("ol.invariants")
    layout = check_layout(model, overlaps, "invariants")
    if not model.is_linear:
        raise ValueError(
            f"invariants: a network with activation {model.activation!r} conserves none of these; they are "
            "invariants of linear networks, ol.Model(layout, ol.Linear())."
        )
    rates = layout.rates(rates)
    if not is_traced(rates) and np.any(np.asarray(rates) == 0):
        raise ValueError(
            f"invariants: all rates must be positive, got {np.asarray(rates).tolist()}; "
            "a frozen vector (rate 0) is itself what is conserved."
        )
    # G^(1/2) Sign P^-1 G^(1/2) is symmetric and has the same eigenvalues.
    values, axes = jnp.linalg.eigh(overlaps.gram)
    root = jnp.sqrt(jnp.clip(values, 0))[:, None] * axes.T
    return jnp.linalg.eigvalsh(root * (layout.signature / rates) @ root.T)
