"""Batched: many points of a sweep in one compiled call."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import checks_later, count, scalar
from overlap_learning.sweeps import ram


@dataclasses.dataclass(frozen=True)
class Batched:
    """Run a sweep's points side by side, as `jax.vmap` would: `ol.sweep(function, grid, ol.Batched())`.

    One program is compiled for so many points and called as often as it takes. Numbers, keys and arrays (also those
    within objects) are what may differ between the points of a call; texts, truth values, and objects that differ in
    anything else choose between programs, each with its own calls.

    How many points there are in a call changes no result but by rounding: other programs add in other orders.

    Args:
        size: points per call, at most. None: up to 32 on a CPU, beyond which linear networks gain little and others
            lose, and up to 4,096 on other devices; fewer where the compiled program would take more than `memory`: then
            a power of two, at least one.
        client: a `dask.distributed.Client`, to have each call run on a cluster; None: in this process.
        memory: bytes that a call may take, with its arguments and results, for a size of None. None: a quarter of what
            is free when the program is compiled, in equal parts for the calls at a time: of the device's memory, and on
            a CPU of the machine's or of the container's; on a cluster as the worker has it that compiles first.
        threads: calls at a time in this process. None: as many as there are cores, on a CPU; one on other devices, and
            where settings of jax hold within a `with` only, which other threads do not see. Where a call fails, its
            points are run one by one in its thread, so that the function may be in several threads at once.

    Raises:
        ValueError: if size or threads is no positive integer, or memory no positive number, or both size and memory
            are given, or threads with a client (whose workers have their own).

    Examples:
        >>> ol.sweep(lambda a, b: a * b, {"a": [1.0, 2.0, 3.0], "b": [0.5, 2.0]}, ol.Batched()).value.values
        array([[0.5, 2. ],
               [1. , 4. ],
               [1.5, 6. ]])
    """

    size: int | None = None
    client: Any = None
    memory: float | None = None
    threads: int | None = None

    def __post_init__(self):
        if self.size is not None:
            count(self.size, "Batched: size")
        if self.threads is not None:
            count(self.threads, "Batched: threads")
            if self.client is not None:
                raise ValueError(
                    f"Batched: threads={self.threads} is for calls in this process; how many a worker of the client "
                    "has is said where the cluster is made, as in LocalCluster(threads_per_worker=2)."
                )
        if self.memory is not None:
            scalar(self.memory, "Batched: memory", "a positive number of bytes, such as 2e9", 0)
        if self.size is not None and self.memory is not None:
            raise ValueError(
                f"Batched: give size (points per call) or memory (bytes per call), not both, got size={self.size} and "
                f"memory={self.memory:g}."
            )


#: The most points of a call if nobody says how many. Milliseconds per point on one CPU core, at 16, 32, 64, 256 and
#: 1,000 points: 0.67, 0.35, 0.27, 0.26, 0.22 for 2,000 steps of the filter task; 2.4, 2.3, 4.9, 8.6, 7.3 for 20 steps
#: of a flip-flop of erf neurons. On other devices, of which none was measured, arrays must be large to keep them busy.
MOST_ON_CPU, MOST = 32, 4096
#: The most where nothing is known of memory.
MOST_UNKNOWN = 256
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
        with checks_later(True):
            return function(**eqx.combine(arrays, fixed), **own)

    return eqx.filter_vmap(one)(arrays, indices)


def most_points() -> int:
    """The most points of a call on this process's device."""
    return MOST_ON_CPU if ram.device().platform == "cpu" else MOST


def even(n: int, most: int) -> int:
    """The size of calls of at most `most` points, as even as can be, since the last is filled up to that of the others.

    Args:
        n: the number of points.
        most: the most of a call.
    """
    return math.ceil(n / math.ceil(n / most))


def pad(indices: np.ndarray, size: int) -> np.ndarray:
    """The indices with the last one again, until there are `size`."""
    return np.concatenate([indices, np.full(size - len(indices), indices[-1])])


def first(result: Any, n: int) -> Any:
    """The first n members."""
    return jax.tree.map(lambda leaf: leaf[:n] if eqx.is_array(leaf) else leaf, result)


def as_indices(indices: np.ndarray) -> jax.Array:
    """The places of points, of a fixed kind: they are folded into the key."""
    return jnp.asarray(indices, jnp.uint32)
