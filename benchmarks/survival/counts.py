"""Counts: what was counted, and how much of it was bad; kept in the repository as a file."""

import dataclasses
import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.machine import versions

SCHEMA = 1


@dataclasses.dataclass
class Count:
    """How many of something, and how many of those were bad.

    Args:
        title: of what.
        n: how many.
        bad: of these.
        remark: what else is to be said.
        adds: whether it is added to what was counted before.
        seconds: how long it took.
        date: of the day.
    """

    title: str
    n: int
    bad: int
    remark: str = ""
    adds: bool = False
    seconds: float = 0.0
    date: str = dataclasses.field(default_factory=lambda: datetime.datetime.now(datetime.UTC).date().isoformat())


def line(count: Count) -> str:
    """A count, printed."""
    return f"{count.title:36} {count.n:8,}   bad {count.bad:4}   {count.seconds:8.1f} s   {count.remark}"


def add(path: Path, count: Count) -> None:
    """Write a count to a file: it is added to that of the same versions, if it says so, or takes its place."""
    made_with = {"versions": versions(), "system": platform.platform()}
    counts = {found.title: found for found in _read(path)[1]} if path.exists() and _read(path)[0] == made_with else {}
    before = counts.get(count.title)
    if before is not None and count.adds:
        count = dataclasses.replace(
            count, n=before.n + count.n, bad=before.bad + count.bad, seconds=before.seconds + count.seconds
        )
    counts[count.title] = count
    content = {"schema": SCHEMA} | made_with | {"counts": [dataclasses.asdict(each) for each in counts.values()]}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def _read(path: Path) -> tuple[dict[str, Any], list[Count]]:
    content = json.loads(path.read_text())
    if content.pop("schema") != SCHEMA:
        return {}, []
    counts = [Count(**count) for count in content.pop("counts")]
    return content, counts


def markdown(path: Path) -> str:
    """The counts in a file, as a table."""
    made_with, counts = _read(path)
    named = ", ".join(f"{name} {version}" for name, version in made_with["versions"].items() if version)
    rows = [f"| {each.title} | {each.n:,} | {each.bad} | {each.remark} | {each.date} |" for each in counts]
    # The rest of a system's name is the build of its kernel.
    system = made_with["system"].partition("-")[0]
    head = [f"{named}; {system}\n", "| what | how many | bad | | on |", "|---|--:|--:|---|---|"]
    return "\n".join(head + rows)
