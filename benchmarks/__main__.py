"""Time the theory and full networks beside other ways to compute the same, in one run; print one table."""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

# Torch and the processes that memory is measured in need room beside jax. Before any jax call, as is 64-bit mode.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

jax.config.update("jax_enable_x64", True)

from benchmarks import machine, memory, table  # noqa: E402
from benchmarks.cases import CASES, setting  # noqa: E402
from benchmarks.results import Results  # noqa: E402
from benchmarks.timing import Row, compare  # noqa: E402

NAMES = (*CASES, "memory")
#: The most runs of a side, and the seconds after which it is not run again.
REPEATS, LIMIT = 15, 2.0


def timed(name: str, quick: bool) -> Iterator[list[Row]]:
    """The rows of a case, comparison by comparison."""
    comparisons = CASES[name].comparisons(quick)
    rows = None
    while True:
        try:
            rows = compare(comparisons.send(rows), repeats=3 if quick else REPEATS, limit=1.0 if quick else LIMIT)
        except StopIteration:
            return
        yield rows


def main() -> None:
    """Run the chosen cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="folder for the results: cpu.json and cpu.png, or gpu.json and gpu.png"
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: does it run? (some minutes)")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    results = Results(machine.describe() | {"left_out": setting.left_out()}, arguments.quick)
    path = None if arguments.out is None else arguments.out / f"{results.machine['platform']}.json"

    def show(lines):
        print(*lines, sep="\n", flush=True)
        results.seconds = time.perf_counter() - begin
        if path is not None:
            results.write(path)

    show([*table.about(results), "", table.heading()])
    for name in arguments.only:
        if name == "memory":
            show([table.memory_heading()])
            for peak in memory.peaks(arguments.quick):
                results.peaks.append(peak)
                show([table.memory_line(peak)])
            continue
        for rows in timed(name, arguments.quick):
            results.rows += rows
            show(table.block(rows, results.machine))
    show(table.bars_block(results.bars))
    print(f"\n{results.seconds:.0f} s in all")
    if path is not None:
        from benchmarks.figure import draw

        draw(results).savefig(path.with_suffix(".png"), dpi=150)
        print(f"written: {path}, {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
