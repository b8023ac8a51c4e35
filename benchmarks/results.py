"""The results of a run: everything that the table and the figure are made of, as one JSON file."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, judge
from benchmarks.memory import Peak
from benchmarks.timing import Row

SCHEMA = 1


@dataclasses.dataclass
class Results:
    """A run.

    Args:
        machine: what it ran on.
        quick: whether the sizes are those of a quick run.
        seconds: how long the whole run took.
        rows: what was timed.
        peaks: the memory that was needed.
    """

    machine: dict[str, Any]
    quick: bool
    seconds: float = 0.0
    rows: list[Row] = dataclasses.field(default_factory=list)
    peaks: list[Peak] = dataclasses.field(default_factory=list)

    @property
    def bars(self) -> list[Bar]:
        """The bars, judged by what there is."""
        return judge(self.rows, self.peaks, self.machine)

    def write(self, path: Path) -> None:
        """Write it, in place of what was there only once it is complete."""
        content = {"schema": SCHEMA} | dataclasses.asdict(self) | {"bars": [dataclasses.asdict(b) for b in self.bars]}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(part, path)


def read(path: Path) -> Results:
    """The results in a file.

    Raises:
        ValueError: if they are of another version of this module.
    """
    content = json.loads(path.read_text())
    if content.get("schema") != SCHEMA:
        raise ValueError(
            f"results: {path} has schema {content.get('schema')}, this is {SCHEMA}; run the benchmarks again."
        )
    rows = [Row(**row) for row in content["rows"]]
    peaks = [Peak(**peak) for peak in content["peaks"]]
    return Results(content["machine"], content["quick"], content["seconds"], rows, peaks)
