"""Products of small matrices, as sums: a compiler fuses them with what is around them, as it can't a call of BLAS."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

#: Up to so many terms, a product is a sum: a call of BLAS costs as much as some ten of such sums of four terms.
MOST_TERMS = 16


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a @ b` of two matrices, shape [n, m].

    Args:
        a: shape [n, k].
        b: shape [k, m].
    """
    if a.shape[-1] > MOST_TERMS:
        return a @ b
    return jnp.sum(a[:, :, None] * b[None, :, :], axis=1)


# Cells: a matrix as a numpy array of objects, which are numbers of jax, or the int 0 for what is 0 by structure. All
# that is calculated with cells is calculated by one kernel.


def cells(array: Any, there: np.ndarray | None = None) -> np.ndarray:
    """The entries of a matrix, those of which `there` is False being 0 by structure."""
    found = np.zeros(array.shape, object)
    for place in np.ndindex(found.shape):
        if there is None or there[place]:
            found[place] = array[place]
    return found


def add(*terms: Any) -> Any:
    """The sum of matrices, all of cells or none."""
    if terms[0].dtype == object:
        return functools.reduce(np.frompyfunc(_plus, 2, 1), terms)
    return functools.reduce(operator.add, terms)


def times(a: Any, b: Any) -> Any:
    """`a b` of two matrices, both of cells or none."""
    return _times(a, b) if a.dtype == object else product(a, b)


def times_transposed(a: Any, b: Any) -> Any:
    """`a b^T`, likewise."""
    return _times(a, b.T) if a.dtype == object else jnp.sum(a[:, None, :] * b[None, :, :], axis=2)


def transposed_times(a: Any, b: Any) -> Any:
    """`a^T b`, likewise."""
    return _times(a.T, b) if a.dtype == object else jnp.sum(a[:, :, None] * b[:, None, :], axis=0)


@jax.custom_jvp
def together(numbers: list[jax.Array]) -> list[jax.Array]:
    """The same numbers, all of which one loop over the members of a batch calculates, with what they share.

    XLA makes a loop of its own for each of several results, each of which calculates anew what they share; but one for
    the results of a reduction. So each number is the larger one of itself and itself.
    """
    twice = [jnp.broadcast_to(number, (2, *number.shape)) for number in numbers]
    least = [jnp.full((), -jnp.inf, number.dtype) for number in numbers]
    return list(lax.reduce(twice, least, lambda a, b: [jnp.maximum(x, y) for x, y in zip(a, b, strict=True)], (0,)))


@together.defjvp
def _(numbers, changes):
    return together(*numbers), *changes


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found = np.zeros((len(a), b.shape[1]), object)
    for i, j in np.ndindex(found.shape):
        for x, y in zip(a[i], b[:, j], strict=True):
            if not (_is_nothing(x) or _is_nothing(y)):
                found[i, j] = _plus(found[i, j], _of_numbers(lax.mul, operator.mul, x, y))
    return found


def _plus(x: Any, y: Any) -> Any:
    return y if _is_nothing(x) else x if _is_nothing(y) else _of_numbers(lax.add, operator.add, x, y)


def _of_numbers(plain: Callable[[Any, Any], Any], general: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """A sum or product of two numbers; of one type, without the search for their common one, which takes longer."""
    is_one = isinstance(x, jax.Array) and isinstance(y, jax.Array) and x.aval == y.aval
    return plain(x, y) if is_one else general(x, y)


def _is_nothing(x: Any) -> bool:
    return isinstance(x, (int, np.integer)) and x == 0
