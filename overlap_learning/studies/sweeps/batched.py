"""Batched: many points of a sweep in one compiled call."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.model.precision import count


@dataclasses.dataclass(frozen=True)
class Batched:
    """Run a sweep's points side by side, as `jax.vmap` would: `ol.sweep(function, grid, ol.Batched(1000))`.

    One program is compiled for so many points and called as often as it takes. Numbers, keys and arrays (also those
    within objects) are what may differ between the points of a call; texts, truth values, and objects that differ in
    anything else choose between programs, each with its own calls.

    Args:
        size: points per call. Memory grows with it; speed does up to where the processor is busy, a few hundred for a
            small network.
        client: a `dask.distributed.Client`, to have each call run on a cluster; None: in this process.

    Raises:
        ValueError: if size is no positive integer.

    Examples:
        >>> ol.sweep(lambda a, b: a * b, {"a": [1.0, 2.0, 3.0], "b": [0.5, 2.0]}, ol.Batched(4)).value.values
        array([[0.5, 2. ],
               [1. , 4. ],
               [1.5, 6. ]])
    """

    size: int = 256
    client: Any = None

    def __post_init__(self):
        count(self.size, "Batched: size")


#: What jax raises when a function asks for the value of what is an argument of the compiled program.
NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


@eqx.filter_jit
def call(
    function: Callable[..., Any],
    arrays: dict[str, Any],
    fixed: dict[str, Any],
    key: jax.Array | None,
    indices: jax.Array,
) -> Any:
    """The function at several points, by `jax.vmap`; each draws from its own key."""

    def one(arrays, index):
        own = {} if key is None else {"key": jax.random.fold_in(key, index)}
        return function(**eqx.combine(arrays, fixed), **own)

    return eqx.filter_vmap(one)(arrays, indices)


def pad(indices: np.ndarray, size: int) -> np.ndarray:
    """The indices with the last one again, until there are `size`."""
    return np.concatenate([indices, np.full(size - len(indices), indices[-1])])


def first(result: Any, n: int) -> Any:
    """The first n members."""
    return jax.tree.map(lambda leaf: leaf[:n] if eqx.is_array(leaf) else leaf, result)


def as_indices(indices: np.ndarray) -> jax.Array:
    """The places of points, of a fixed kind: they are folded into the key."""
    return jnp.asarray(indices, jnp.uint32)
