"""Memory: how much a compiled call takes, and how much there is."""

from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.memory import available

#: The part of free memory that one call may take. The rest is for what its results are copied to when they are
#: labelled, and for those of the calls before.
FRACTION = 0.25


def device() -> Any:
    """The device on which jax computes if nobody says otherwise."""
    return next(iter(jnp.zeros(0).devices()))


def of_program(compiled: Any) -> int | None:
    """Bytes that a call of a compiled program takes: arguments, results and all between; None if that is not known."""
    try:
        analysis = compiled.memory_analysis()
        held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
        return int(held - analysis.alias_size_in_bytes)
    # Not every backend of jax can tell; what it then has in place of the numbers differs.
    except (AttributeError, TypeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return None


def budget(limit: int | None = None, share: int = 1) -> float | None:
    """Bytes that one call may take, a quarter of what is free; None if that is not known.

    Args:
        limit: what this process may still take of the machine's memory, besides what the machine has left.
        share: how many calls this process makes at a time.
    """
    where = device()
    if where.platform == "cpu":
        known = [found for found in (available(), limit) if found is not None]
        free = min(known) if known else None
    else:
        stats = where.memory_stats() or {}
        free = stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= set(stats) else None
    return None if free is None else FRACTION * max(free, 0) / share
