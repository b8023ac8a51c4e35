"""Members: random networks of one equivalence class, and the weaker equivalence of equal input-output maps."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import count, floating, is_traced, require_float64, scalar
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps, with_gram


def members(overlaps: Overlaps, model: Model, n_members: int, *, key: jax.Array, spread: ArrayLike = 1.0) -> Overlaps:
    """Random overlaps of functionally equivalent networks: equal visible overlaps, independent invisible ones.

    With C the visible A-B block, every completion is `G_AA = C G_BB^+ C^T + E` with E positive semi-definite. E, and
    for linear networks (where it is invisible) G_BB, are drawn as Wishart matrices with `d + 1` degrees of freedom.

    Args:
        overlaps: the `Overlaps` of one network of the class.
        model: the `Model`, which says what is visible.
        n_members: number of members.
        key: a jax random key.
        spread: mean of each vector's drawn norm, positive.

    Returns:
        `Overlaps` with gram [n_members, d, d].

    Raises:
        ValueError: if an argument is out of range.

    Source: theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> first = ol.Overlaps.from_entries(model.layout, zm=0.2, zu=0.5)
        >>> ol.studies.members(first, model, 5, key=jax.random.key(0))["z", "u"].ravel()
        Array([0.5, 0.5, 0.5, 0.5, 0.5], dtype=float64)
    """
    require_float64("ol.studies.members", model=model, overlaps=overlaps)
    layout = check_layout(model, overlaps, "members", with_bulk=True)
    n_members = count(n_members, "members: n_members")
    spread = scalar(spread, "members: spread", "positive", 0)
    n = layout.n_fields
    crossing = overlaps.gram[n:, :n]
    field_key, read_key = jax.random.split(key)
    if model.visible[0, 0]:
        fields = jnp.broadcast_to(overlaps.gram[:n, :n], (n_members, n, n))
    else:
        fields = _wishart(field_key, n_members, n, layout.size + 1) * spread
    bound = crossing @ jnp.linalg.pinv(fields, hermitian=True) @ crossing.T
    readers = bound + _wishart(read_key, n_members, layout.size - n, layout.size + 1) * spread
    across = jnp.broadcast_to(crossing, (n_members, *crossing.shape))
    top = jnp.concatenate([fields, jnp.swapaxes(across, 1, 2)], axis=2)
    bottom = jnp.concatenate([across, (readers + jnp.swapaxes(readers, 1, 2)) / 2], axis=2)
    return with_gram(overlaps, jnp.concatenate([top, bottom], axis=1))


def _wishart(key: jax.Array, n: int, size: int, freedom: int) -> jax.Array:
    vectors = jax.random.normal(key, (n, freedom, size))
    return jnp.swapaxes(vectors, 1, 2) @ vectors / freedom


def gauge(overlaps: Overlaps, model: Model, matrix: ArrayLike) -> Overlaps:
    """Overlaps of a network with the same connectivity matrix, written with other vectors: `u -> u T`, `v -> v T^(-T)`.

    W = u v^T / N does not change, so neither do activity and output, whatever phi is; visible overlaps such
    as zu and vm do, and so does learning. For rank 1, T = c turns s_zu into c s_zu and s_vm into s_vm / c.

    Args:
        overlaps: the `Overlaps`.
        model: the `Model`.
        matrix: T, invertible, shape [rank, rank]; a number for rank 1.

    Returns:
        The `Overlaps` after the transformation.

    Raises:
        ValueError: if T has the wrong shape or is singular.

    Source: theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> first = ol.Overlaps.from_entries(model.layout, zu=0.2, vm=0.4)
        >>> second = ol.studies.gauge(first, model, 2.0)
        >>> second.entries()["zu"], second.entries()["vm"]
        (Array(0.4, dtype=float64), Array(0.2, dtype=float64))
    """
    layout = check_layout(model, overlaps, "gauge", with_bulk=True)
    rank = layout.rank
    matrix = floating(matrix, "gauge: matrix")
    if matrix.ndim == 0 and rank == 1:
        matrix = matrix[None, None]
    if matrix.shape != (rank, rank):
        raise ValueError(f"gauge: matrix must have shape [{rank}, {rank}], got {list(matrix.shape)}.")
    if not is_traced(matrix) and np.linalg.matrix_rank(np.asarray(matrix)) < rank:
        raise ValueError(f"gauge: matrix must be invertible, got {np.asarray(matrix).tolist()}.")
    transfer = jnp.eye(layout.size)
    transfer = transfer.at[layout.block("u"), layout.block("u")].set(matrix)
    transfer = transfer.at[layout.block("v"), layout.block("v")].set(jnp.linalg.inv(matrix).T)
    return with_gram(overlaps, transfer.T @ overlaps.gram @ transfer)
