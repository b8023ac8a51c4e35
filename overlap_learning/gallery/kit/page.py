"""Page: several pictures on one sheet, and what the gallery draws beyond `ol.plot`."""

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import overlap_learning.plot as plot
from overlap_learning.learning.solution import Solution
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, FONT_SIZE, symbol
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d import Axes3D

WIDTH, HEIGHT = 4.4, 3.9


def page(
    title: str, n_rows: int, n_columns: int, *, width: float = WIDTH, height: float = HEIGHT
) -> tuple["Figure", list["Axes"]]:
    """An empty figure with lettered panels, made without pyplot so that it needs no display.

    Args:
        title: its title.
        n_rows: rows of panels.
        n_columns: columns of panels.
        width: of a panel, in inches.
        height: of a panel, in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    figure.suptitle(title, fontsize=12)
    if len(panels) > 1:
        for letter, ax in zip(string.ascii_lowercase, panels, strict=False):
            ax.annotate(
                letter, (0, 1), (-44, 8), xycoords="axes fraction", textcoords="offset points",
                fontsize=12, weight="bold",
            )  # fmt: skip
    return figure, panels


def comparison(
    title: str,
    task: Task,
    start: Overlaps,
    theory: Solution,
    full: Solution,
    direct: Solution,
    *,
    n_rows: int = 2,
    n_columns: int = 3,
) -> tuple["Figure", list["Axes"]]:
    """Five panels, loss, visible and invisible overlaps, output, deviation, and further ones to be drawn."""
    model = theory.model
    figure, panels = page(title, n_rows, n_columns)
    plot.loss(theory, full, direct, ax=panels[0])
    plot.overlaps(theory, full, direct, names=model.visible_names, ax=panels[1])
    plot.overlaps(theory, full, direct, names=model.invisible_names, ax=panels[2])
    labels = ["theory", f"full N = {network(full).n_neurons:,}", "before learning"]
    plot.output(
        model, task, learned(theory), network(full), start, labels=labels, trial=telling_trial(task), ax=panels[3]
    )
    plot.deviation(full, theory, direct, ax=panels[4])
    return figure, panels


def in_space(panel: "Axes") -> "Axes3D":
    """Three-dimensional Axes in the place of a panel, whose letter stays."""
    panel.set_axis_off()
    return panel.figure.add_subplot(panel.get_subplotspec(), projection="3d")  # pyright: ignore


def telling_trial(task: Task) -> int:
    """The trial whose target changes most."""
    return int(np.abs(np.diff(np.asarray(task.targets), axis=1)).sum(axis=(1, 2)).argmax())


def learned(theory: Solution) -> Overlaps:
    """The overlaps that the theory led to."""
    assert isinstance(theory.final, Overlaps)
    return theory.final


def network(full: Solution) -> Network:
    """The network that a run at full N led to."""
    assert isinstance(full.final, Network)
    return full.final


def headroom(ax: "Axes", share: float) -> None:
    """Free space at the top of the Axes, as a share of its height, for what is to be written there.

    Names beside the Axes (`label_ends`) stay beside what they name.
    """
    from matplotlib.text import Annotation

    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        ax.set_ylim(low, high * (high / low) ** (share / (1 - share)))
    else:
        ax.set_ylim(low, high + (high - low) * share / (1 - share))
    for text in ax.texts:
        if isinstance(text, Annotation) and text.anncoords == "axes fraction":
            x, y = text.get_position()
            text.set_position((x, y * (1 - share)))


def mark_phases(ax: "Axes", edges: Sequence[float], letters: Sequence[str]) -> None:
    """Name the phases of learning above the data, every second one on grey.

    Args:
        ax: the Axes, with all its data drawn.
        edges: learning times of the phases' starts and of the last one's end.
        letters: the phases' names.
    """
    headroom(ax, 0.09)
    for i, letter in enumerate(letters):
        if i % 2:
            ax.axvspan(edges[i], edges[i + 1], color="0.93", linewidth=0, zorder=0)
        ax.annotate(
            letter, ((edges[i] + edges[i + 1]) / 2, 0.985), xycoords=ax.get_xaxis_transform(), ha="center", va="top",
            fontsize=FONT_SIZE, color="0.3",
        )  # fmt: skip
    ax.set_xlim(edges[0], edges[-1])


def histograms(neurons: Network, *, ax: "Axes") -> None:
    """The distribution over neurons of each vector, in units of its root mean square, and the normal one."""
    vectors = np.asarray(neurons.vectors, dtype=float)
    values = vectors / np.sqrt((vectors**2).mean(axis=0))
    bound = max(3.5, np.abs(values).max())
    bins = np.linspace(-bound, bound, max(12, min(41, round(np.sqrt(len(values)) * 1.5))))
    grid = np.linspace(-bound, bound, 200)
    for i, name in enumerate(neurons.layout.vector_names):
        ax.hist(
            values[:, i], bins=bins.tolist(), density=True, histtype="step", linewidth=1.3,
            color=COLOURS[i % len(COLOURS)], label=symbol(name),
        )  # fmt: skip
    ax.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color="0.5", linewidth=1.2, label="normal")
    ax.set(xlabel="entry of the vector / its rms", ylabel="density over neurons")
