"""Memory: how much a compiled call takes, and how much there is."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

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


def available(root: Path = Path("/")) -> int | None:
    """Bytes that are left of this machine's memory, or of a container's or a batch system's limit if that is less.

    Args:
        root: where the files of Linux are that tell it; systems without them tell how much there is in all.
    """
    found = [*_of_machine(root), *_of_groups(root)]
    return min(found) if found else None


def _of_machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc" / "meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield 1024 * int(value.split()[0])
            return
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        # Windows has no such call.
        return


def _of_groups(root: Path) -> Iterator[int]:
    """What is left of the limit of each control group that this process is in, of either version of them."""
    for line in _lines(root / "proc" / "self" / "cgroup"):
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            top, limit, usage, cached = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            top, limit = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            usage, cached = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        own = top / path.lstrip("/")
        # A group is within the limits of all groups above it, and may be seen under another path than its own.
        for folder in (own, *own.parents[: len(own.parts) - len(top.parts)]):
            allowed, used = _number(folder / limit), _number(folder / usage)
            if allowed is not None and used is not None:
                yield allowed - used + _reclaimable(folder / "memory.stat", cached)


def _reclaimable(file: Path, name: str) -> int:
    """Of what is in use, what the system gives back when asked: copies of files."""
    return next((int(line.split()[1]) for line in _lines(file) if line.split()[:1] == [name]), 0)


def _number(file: Path) -> int | None:
    text = next(iter(_lines(file)), "max").strip()
    return int(text) if text.isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
