"""The figure of a run."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from benchmarks.cases import flow, full_n
from benchmarks.machine import least_seconds
from benchmarks.results import Results
from benchmarks.timing import Row
from overlap_learning.plot.style import COLOURS, MANY_COLOURS

MARKS = "os^vDX*"
LEGEND = {"fontsize": 7, "frameon": False}


def draw(results: Results) -> Figure:
    """Six panels; one whose rows are not in the run says so."""
    figure = Figure(figsize=(11, 6.8), layout="constrained")
    axes = figure.subplots(2, 3)
    _networks(axes[0, 0], results.rows)
    _over(axes[0, 1], results.rows, "n_times", "time steps T")
    _ranks(axes[0, 2], results.rows)
    _solvers(axes[1, 0], results.rows, flow.NOT_STIFF)
    _solvers(axes[1, 1], results.rows, flow.STIFF)
    _full(axes[1, 2], results.rows, results.machine)
    for ax, letter in zip(axes.flat, "abcdef", strict=True):
        ax.set_title(f"{letter}  {ax.get_title()}", loc="left", fontsize=9)
        ax.set_title("")
        ax.spines[["top", "right"]].set_visible(False)
        if not ax.has_data():
            ax.set(xticks=[], yticks=[])
            ax.text(0.5, 0.5, "not in this run", transform=ax.transAxes, ha="center", color="0.5")
            continue
        ax.yaxis.set_major_formatter(EngFormatter("s"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _curve(ax: Axes, rows: Sequence[Row], x: Sequence[float], label: str, colour: str, mark: str, style: str = "-"):
    """Medians, with the quartiles as a band."""
    ax.plot(x, [row.seconds for row in rows], color=colour, marker=mark, markersize=4, linestyle=style, label=label)
    ax.fill_between(x, [row.low for row in rows], [row.high for row in rows], color=colour, alpha=0.2, linewidth=0)


def _legend_above_data(ax: Axes) -> None:
    """A legend in the Axes, whose logarithmic scale is made higher for it."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.4)
    ax.legend(loc="upper left", ncols=2, **LEGEND)


def _pairs(rows: Sequence[Row], name: str) -> tuple[list[Row], list[Row]]:
    """The rows that say `name` in extra, and their baselines."""
    own = [row for row in rows if name in row.extra and row.name.startswith("ol.integrate")]
    bases = {row.case: row for row in rows if row.baseline is None}
    return own, [bases[row.case] for row in own if row.baseline is not None]


def _networks(ax: Axes, rows: Sequence[Row]) -> None:
    _over(ax, rows, "n_networks", "networks at once")
    ax.set_title("filter task, time per network")
    ax.set_ylabel("time per network")


def _over(ax: Axes, rows: Sequence[Row], name: str, label: str) -> None:
    own, bases = _pairs(rows, name)
    x = [row.extra[name] for row in own]
    if own:
        if len(bases) == len(own):
            _curve(ax, bases, x, bases[0].name, COLOURS[1], "s", "--")
        _curve(ax, own, x, own[0].name, COLOURS[0], "o")
        ax.set(xscale="log", yscale="log")
        # Whole decades, so that the axis has numbers.
        low, high = np.log10(ax.get_ylim())
        ax.set_ylim(10.0 ** np.floor(low), 10.0 ** np.ceil(high))
        ax.legend(**LEGEND)
    ax.set(xlabel=label, ylabel="time per training step", title="filter task, time per training step")


def _ranks(ax: Axes, rows: Sequence[Row]) -> None:
    own = [row for row in rows if "rank" in row.extra]
    if own:
        _curve(ax, own, [row.extra["rank"] for row in own], own[0].name, COLOURS[0], "o")
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="rank", ylabel="time per training step", title="filter task, ol.integrate by rank")


def _solvers(ax: Axes, rows: Sequence[Row], duration: float) -> None:
    own = [row for row in rows if row.case == flow.case(duration) and row.deviation is not None]
    names = list(dict.fromkeys(row.extra["solver"] for row in own))
    for name, colour, mark in zip(names, itertools.cycle(MANY_COLOURS), itertools.cycle(MARKS), strict=False):
        mine = [row for row in own if row.extra["solver"] == name]
        style = "--" if name.startswith("scipy") else "-"
        ax.plot(
            [row.deviation for row in mine], [row.seconds for row in mine], style, color=colour, marker=mark,
            markersize=4, label=name,
        )  # fmt: skip
    if own:
        ax.set(xscale="log", yscale="log")
        ax.invert_xaxis()
        _legend_above_data(ax)
    kind = "stiff" if duration >= flow.STIFF else "not stiff"
    ax.set(xlabel="largest error of an overlap", ylabel="time", title=f"gradient flow to time {duration:g}, {kind}")


def _full(ax: Axes, rows: Sequence[Row], machine: Mapping[str, Any]) -> None:
    found = False
    for kind, colour, lighter in zip(full_n.MODELS, COLOURS[:2], COLOURS[5:3:-1], strict=True):
        own = full_n.scaling(rows, kind)
        if not own:
            continue
        found = True
        n = [row.extra["n_neurons"] for row in own]
        bases = [row for row in rows if row.baseline is None and row.case in {r.case for r in own} and row not in own]
        _curve(ax, own, n, f"ol.train, {kind}", colour, "o")
        if bases:
            _curve(ax, bases, [row.extra["n_neurons"] for row in bases], f"PyTorch loop, {kind}", colour, "s", "--")
        least = [least_seconds(machine, row.extra) for row in own]
        ax.plot(n, least, color=lighter, linewidth=1, linestyle=":", label=f"least time, {kind}")
    if found:
        ax.set(xscale="log", yscale="log")
        _legend_above_data(ax)
    ax.set(
        xlabel="neurons N", ylabel="time per training step",
        title=f"full N, T = {full_n.SCALING_TIMES}, one and ten trials",
    )  # fmt: skip
