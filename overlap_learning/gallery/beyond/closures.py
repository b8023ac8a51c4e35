"""Closures: the pictures of what ways to follow nonlinear learning cost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.validation.costs import KINDS, Closure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = ("o", "s", "^", "D", "v", "x", "+")


def draw_costs(ax: "Axes", closures: Sequence[Closure], known: float, name: str) -> None:
    """Error against time, and how well the limit is known."""
    for i, kind in enumerate(KINDS):
        own = [c for c in closures if c.kind == kind]
        if own:
            ax.plot([c.cost for c in own], [c.error for c in own], linestyle=":", linewidth=0.8, marker=MARKS[i],
                    markersize=6, color=COLOURS[i], markerfacecolor="none", label=kind)  # fmt: skip
    ax.axhline(known, color="0.4", linewidth=0.8, linestyle=(0, (4, 2)), label="limit known to")
    _scale(ax)
    ax.set(xlabel=f"{name}: time / time of the Gaussian theory", ylabel="largest error / change")
    legend_above(ax, ncols=2)


def draw_populations(ax: "Axes", closures: dict[str, Sequence[Closure]]) -> None:
    """Error against the number of populations, on several tasks."""
    for i, (name, ways) in enumerate(closures.items()):
        own = [(1 if c.kind == "Gaussian theory" else c.size, c.error) for c in ways if c.kind in KINDS[:2]]
        ax.plot(*zip(*own, strict=True), color=COLOURS[i], marker=MARKS[i], markersize=6, markerfacecolor="none",
                linewidth=1.0, label=name)  # fmt: skip
    _scale(ax)
    ax.set(xlabel="populations K (1: the Gaussian theory)", ylabel="largest error / change")
    legend_above(ax, ncols=3)


def _scale(ax: "Axes") -> None:
    """Logarithmic axes, named at powers of ten alone."""
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_minor_formatter("")
    ax.yaxis.set_minor_formatter("")
