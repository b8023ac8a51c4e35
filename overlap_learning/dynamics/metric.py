"""The metric Gbar: how the gradient of the loss in overlap space becomes motion of the overlaps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import require_float64
from overlap_learning.learning.compiled import compiled
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model, check_model, refuse_ties, refuse_time_constants
from overlap_learning.model.overlaps import Overlaps, what_has_overlaps


def metric(model: Model, overlaps: Overlaps, rates: Any = None) -> jax.Array:
    """Gbar(sigma): gradient flow of the vectors is `dsigma/dtau = -Gbar(sigma) dL/dsigma` for the p overlaps sigma.

    Entry by entry it is `Gbar = N (dsigma/dV) P (dsigma/dV)^T`: linear in the overlaps, symmetric, positive
    semi-definite.

    Args:
        model: the `Model` (the metric itself does not depend on its activation, dL/dsigma does).
        overlaps: the `Overlaps`, in the order of `layout.entry_names` = sigma.
        rates: relative learning rates, as in the learning rules; 0 freezes.

    Returns:
        Gbar, shape [p, p], p = d (d + 1) / 2.

    Raises:
        ValueError: if the layouts do not match or a rate is not allowed.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, eq. 9 and Fig. 11; theory page, eq. (6).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> ol.metric(model, ol.Overlaps.from_entries(model.layout)).shape
        (10, 10)
    """
    require_float64("ol.metric", model=model, overlaps=overlaps)
    layout = check_layout(model, overlaps, "metric")
    return _metric(layout, overlaps.gram, layout.rates(rates))


@compiled
def _metric(layout: Layout, gram: jax.Array, rates: jax.Array) -> jax.Array:
    rows, columns = layout.entry_indices
    p = len(rows)
    # S for a unit derivative with respect to overlap e: 1 on an off-diagonal pair, 2 on a diagonal entry.
    units = np.zeros((p, layout.size, layout.size))
    units[np.arange(p), rows, columns] += 1
    units[np.arange(p), columns, rows] += 1
    half = jnp.asarray(units) @ gram * rates[:, None]
    change = half + jnp.swapaxes(half, -1, -2)
    return change[:, rows, columns].T


def check_layout(
    model: Model, overlaps: Overlaps, caller: str, *, with_bulk: bool = False, with_ties: bool = False
) -> Layout:
    """The layout of both; `with_bulk` for models with a bulk, `with_ties` alike for tied vectors.

    Raises:
        ValueError: if they differ, or the overlaps are a batch.
    """
    check_model(model, caller, with_bulk=with_bulk)
    if with_bulk:
        # Of models without, `check_model` does.
        refuse_time_constants(model, caller)
    if not with_ties:
        refuse_ties(model, caller)
    if not isinstance(overlaps, Overlaps) or overlaps.layout != model.layout:
        raise ValueError(
            f"{caller}: overlaps must be ol.Overlaps with {model.layout}, got {what_has_overlaps(overlaps)}."
        )
    if overlaps.gram.ndim != 2:
        raise ValueError(
            f"{caller}: overlaps are a batch of shape {list(overlaps.gram.shape[:-2])}; "
            f"use jax.vmap(lambda o: ol.{caller}(model, o))(overlaps)."
        )
    return model.layout
