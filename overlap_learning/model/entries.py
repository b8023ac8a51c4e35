"""Entries: small matrices written out, entry by entry.

A product of two 2 x 2 matrices costs less than calling the routine that multiplies matrices. Written out, its numbers
meet in one fused loop, and under `jax.vmap` each entry becomes a vector over the batch, which a processor handles many
lanes at a time. The same formula serves both: numpy's arrays of objects know `@`, `+`, `*` and `.T` as jax's do.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


class _Zero:
    """An entry that is 0 by structure: it costs nothing, and no rounding."""

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__

    def __mul__(self, other: Any) -> "_Zero":
        return self

    __rmul__ = __mul__


ZERO = _Zero()


def entries(matrix: ArrayLike, written_out: bool, where: np.ndarray | None = None) -> Any:
    """A matrix [n, m], to calculate with: as an array of its entries, or as it is.

    Args:
        matrix: the matrix, or what broadcasts to the shape of `where`.
        written_out: as entries.
        where: the entries that are not 0 by structure, booleans [n, m]; None: all.
    """
    matrix = jnp.asarray(matrix)
    if where is not None:
        matrix = jnp.where(where, matrix, 0.0)
    if not written_out:
        return matrix
    found = np.full(matrix.shape, ZERO, dtype=object)
    for index in np.ndindex(matrix.shape):
        if where is None or where[index]:
            found[index] = matrix[index]
    return found


def widened(matrix: Any, width: int) -> Any:
    """What `entries` gave, [n, m], with zeros to the right of it, [n, width]."""
    n, m = matrix.shape
    if isinstance(matrix, np.ndarray):
        return np.concatenate([matrix, np.full((n, width - m), ZERO, dtype=object)], axis=1)
    return jnp.pad(matrix, ((0, 0), (0, width - m)))


def total(matrix: Any) -> Any:
    """The sum of the diagonal of what `entries` gave, or of what was calculated with it."""
    if isinstance(matrix, np.ndarray):
        return sum(matrix.diagonal(), ZERO)
    return jnp.trace(matrix)
