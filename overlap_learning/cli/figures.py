"""Figures: several pictures on one page."""

import string
from typing import TYPE_CHECKING

import overlap_learning as ol
from overlap_learning import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.4, 3.9


def filter_figure(
    title: str, task: ol.Task, start: ol.Overlaps, theory: ol.Solution, full: ol.Solution, direct: ol.Solution
) -> "Figure":
    """The linear experiment, in the manner of Figs. 1 and 5 of Ger & Barak 2026."""
    figure, panels = _comparison(title, task, start, theory, full, direct)
    plot.final_overlaps(full, theory, direct, ax=panels[5])
    return figure


def flip_flop_figure(
    title: str, task: ol.Task, start: ol.Overlaps, theory: ol.Solution, full: ol.Solution, direct: ol.Solution
) -> "Figure":
    """The nonlinear experiment, in the manner of Fig. 4 of Ger & Barak 2026."""
    figure, panels = _comparison(title, task, start, theory, full, direct)
    plot.quantiles(_network(full), ax=panels[5])
    return figure


def learning_figure(name: str, solution: ol.Solution, task: ol.Task, start: ol.Overlaps) -> "Figure":
    """The course of learning, and what was learned."""
    model = solution.model
    figure, panels = _page(f"{name}: {_describe(model)}", 2, 2)
    plot.loss(solution, ax=panels[0])
    plot.overlaps(solution, names=model.visible_names, ax=panels[1])
    plot.overlaps(solution, names=model.invisible_names, ax=panels[2])
    plot.output(model, task, solution.final, start, labels=["learned", "before learning"], ax=panels[3])
    return figure


def validation_figure(name: str, result: ol.Validation) -> "Figure":
    """The deviations of full N from the theory."""
    figure, panels = _page(f"{name}: {_describe(result.model)}", 1, 1)
    plot.validation(result, ax=panels[0])
    return figure


def _comparison(
    title: str, task: ol.Task, start: ol.Overlaps, theory: ol.Solution, full: ol.Solution, direct: ol.Solution
) -> tuple["Figure", list["Axes"]]:
    """Six panels: loss, visible and invisible overlaps, output, deviation, and one to be drawn."""
    model = theory.model
    figure, panels = _page(title, 2, 3)
    plot.loss(theory, full, direct, ax=panels[0])
    plot.overlaps(theory, full, direct, names=model.visible_names, ax=panels[1])
    plot.overlaps(theory, full, direct, names=model.invisible_names, ax=panels[2])
    labels = ["theory", f"full N = {_network(full).n_neurons:,}", "before learning"]
    plot.output(model, task, theory.final, full.final, start, labels=labels, ax=panels[3])
    plot.deviation(full, theory, direct, ax=panels[4])
    return figure, panels


def _describe(model: ol.Model) -> str:
    return f"{type(model.activation).__name__.lower()} network of rank {model.layout.rank}"


def _network(full: ol.Solution) -> ol.Network:
    """The network that a run at full N led to."""
    assert isinstance(full.final, ol.Network)
    return full.final


def _page(title: str, n_rows: int, n_columns: int) -> tuple["Figure", list["Axes"]]:
    """An empty figure with lettered panels, made without pyplot so that it needs no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * n_columns, HEIGHT * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    figure.suptitle(title, fontsize=12)
    if len(panels) > 1:
        for letter, ax in zip(string.ascii_lowercase, panels, strict=False):
            ax.annotate(
                letter, (0, 1), (-44, 8), xycoords="axes fraction", textcoords="offset points",
                fontsize=12, weight="bold",
            )  # fmt: skip
    return figure, panels
