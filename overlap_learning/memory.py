"""Memory: how much of it this process may still take, and refusals of what would take more."""

import os
from collections.abc import Iterator
from pathlib import Path

#: Less than this is not looked at: to ask how much is free takes longer than many a call.
SMALL = 2**28


def refuse_too_large(n_bytes: float, what: str, advice: str) -> None:
    """Refuse what would take more memory than there is.

    Args:
        n_bytes: what it would take.
        what: it, in words: "GradientDescent: save_every must be larger: 10 saved points".
        advice: what to do.

    Raises:
        ValueError: if it would take more than is free; with both sizes.
    """
    if n_bytes < SMALL:
        return
    free = available()
    if free is not None and n_bytes > free:
        raise ValueError(f"{what} would take {_shown(n_bytes)} of memory, of which {_shown(free)} are free; {advice}.")


def _shown(n_bytes: float) -> str:
    unit = max(u for u in (1, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18) if u <= max(n_bytes, 1))
    names = {1: "bytes", 1e3: "kB", 1e6: "MB", 1e9: "GB", 1e12: "TB", 1e15: "PB", 1e18: "EB"}
    return f"{n_bytes / unit:.3g} {names[unit]}"


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
