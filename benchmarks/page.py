"""What the documentation shows of the results that are kept in the repository."""

import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl

from benchmarks import table
from benchmarks.figure import draw
from benchmarks.results import read
from benchmarks.survival.counts import markdown

TITLES = {"cpu": "On a CPU", "gpu": "On a GPU"}


def content(folder: Path) -> Iterator[tuple[str, str]]:
    """For each kept run: its machine and table in Markdown, and its figure as SVG."""
    for platform, title in TITLES.items():
        path = folder / f"{platform}.json"
        if not path.exists():
            continue
        results = read(path)
        lines = "\n".join(f"* {line}" for line in table.about(results))
        size = ", quick sizes" if results.quick else ""
        picture = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": platform}):
            draw(results).savefig(picture, format="svg", metadata={"Date": None})
        yield (
            f"**{title}**\n\n{lines}\n* {results.seconds:.0f} s in all{size}\n\n{table.markdown(results)}",
            picture.getvalue(),
        )


def survival(folder: Path) -> str:
    """What was counted of runs and files that must survive, as a table in Markdown."""
    return markdown(folder / "survival.json")
