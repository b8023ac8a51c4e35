"""The table of a run, as text for a terminal and as Markdown for a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.bars import Bar
from benchmarks.machine import least_seconds
from benchmarks.memory import Peak
from benchmarks.results import Results
from benchmarks.texts import duration, factor, size
from benchmarks.timing import Row

HEADINGS = ("", "time", "quartiles", "runs", "times as fast", "deviation", "of its limit")
WIDTHS = (52, 10, 20, 5, 13, 10, 12)


def cells(row: Row, machine: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    limit = least_seconds(machine, row.extra) if "bytes" in row.extra else 0.0
    return (
        row.name,
        duration(row.seconds),
        f"{duration(row.low)} - {duration(row.high)}",
        str(row.repeats),
        "baseline" if row.baseline is None else factor(row.speedup or float("nan")),
        "" if row.deviation is None else f"{row.deviation:.1e}",
        f"{100 * limit / row.seconds:.0f} %" if limit else "",
    )


def memory_cells(peak: Peak) -> tuple[str, ...]:
    """A row of the table of memory: the whole process, what the run added, and on the device."""
    device = "" if peak.device_bytes is None else size(peak.device_bytes)
    return peak.name, size(peak.peak_bytes), size(peak.peak_bytes - peak.before_bytes), device


def bar_cells(bar: Bar) -> tuple[str, ...]:
    """A row of the bars."""
    verdict = {True: "met", False: "not met", None: "not judged"}[bar.met]
    return bar.name, bar.bar, bar.why if bar.measured is None else bar.measured, verdict


def about(results: Results) -> list[str]:
    """The machine, line by line."""
    machine = results.machine
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items() if found is not None)
    rates = ", ".join(f"{rate / 1e9:.0f} Gflop/s in {name}" for name, rate in machine["matmul_flops"].items())
    load = "" if machine["load"] is None else f", load {machine['load'][0]:.2f} at the start"
    return [
        versions,
        f"{machine['n_devices']} x {machine['device']} ({machine['platform']}); processor {machine['processor']}, "
        f"{machine['cores']} cores{load}",
        f"copies {machine['copy_bytes_per_second'] / 1e9:.1f} GB/s (read and written), multiplies matrices at {rates}",
        f"XLA_FLAGS: {machine['xla_flags'] or 'none'}",
        *(f"left out: {reason}" for reason in machine["left_out"]),
    ]


def heading() -> str:
    """The first line of the table."""
    return _line(HEADINGS, WIDTHS)


def block(rows: Sequence[Row], machine: Mapping[str, Any]) -> Iterator[str]:
    """A comparison, line by line."""
    yield f"\n{rows[0].case} (per {rows[0].unit})"
    for row in rows:
        yield _line(("  " + row.name, *cells(row, machine)[1:]), WIDTHS)


MEMORY_WIDTHS = (80, 12, 14, 12)


def memory_heading() -> str:
    """The first line of the memory."""
    return "\n" + _line(("peak memory, each in a process of its own", "process", "by the run", "device"), MEMORY_WIDTHS)


def memory_line(peak: Peak) -> str:
    """A line of the memory."""
    name, *rest = memory_cells(peak)
    return _line(("  " + name, *rest), MEMORY_WIDTHS)


def bars_block(bars: Sequence[Bar]) -> Iterator[str]:
    """The bars, line by line."""
    widths = (58, 49, 18, 12)
    yield "\n" + _line(("bars", "to be reached", "measured", ""), widths)
    for bar in bars:
        name, *rest = bar_cells(bar)
        yield _line(("  " + name, *rest), widths)


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        text.ljust(width) if k == 0 else text.rjust(width)
        for k, (text, width) in enumerate(zip(texts, widths, strict=True))
    )
    return " ".join([first, *others]).rstrip()


def markdown(results: Results) -> str:
    """The whole table, in Markdown."""
    lines = []
    cases = list(dict.fromkeys(row.case for row in results.rows))
    for case in cases:
        rows = [row for row in results.rows if row.case == case]
        lines += ["", f"**{case}**, per {rows[0].unit}", ""]
        found = [cells(row, results.machine) for row in rows]
        used = [k for k in range(len(HEADINGS)) if k == 0 or any(line[k] for line in found)]
        lines += _markdown_table([HEADINGS[k] for k in used], [[line[k] for k in used] for line in found])
    if results.peaks:
        headings = ("peak memory, each in a process of its own", "process", "by the run", "on the device")
        lines += ["", *_markdown_table(headings, [memory_cells(peak) for peak in results.peaks])]
    headings = ("bar", "to be reached", "measured", "")
    lines += ["", *_markdown_table(headings, [bar_cells(bar) for bar in results.bars])]
    return "\n".join(lines)


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(texts):
        return "| " + " | ".join(texts) + " |"

    return [line(headings), line(["---"] + ["---:"] * (len(headings) - 1)), *(line(row) for row in rows)]
