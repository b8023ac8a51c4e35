"""The error of the Gaussian theory through learning, beside that of finite networks."""

from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.plot.curves import curves, label_learning_time
from overlap_learning.plot.style import FULL, SPARE, THEORY, axes_of, legend_above
from overlap_learning.validation.closure import ClosureReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def closure(report: ClosureReport, *, ax: "Axes | None" = None) -> "Axes":
    """How far the Gaussian theory is from the limit of infinitely many neurons, through learning.

    At each saved point after the start: the largest deviation of an overlap of the theory from the limit (line), of
    networks of each N from the limit (marks; the mean over networks), and the error of the limit itself (grey). The
    dashed line is the tolerance, the dotted one the last saved point until which the theory is good to it.

    Args:
        report: the `ClosureReport` of `ol.closure_error`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind.

    Source: theory page, section 7.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task, rule = ol.tasks.exponential_filter(duration=5.0), ol.GradientDescent(5e-3, 50)
        >>> ax = ol.plot.closure(ol.closure_error(model, task, start, rule))
        >>> ax.get_ylabel()
        'largest deviation of an overlap from the limit'
    """
    if not isinstance(report, ClosureReport):
        raise ValueError(f"closure: report must be what ol.closure_error returns, got {type(report).__name__}.")
    ax = axes_of(ax, "closure")
    compared = curves([report.theory], None, "closure")
    time = compared[0].time

    def draw(values: np.ndarray, label: str, **settings: Any) -> None:
        # A logarithmic axis has no place for no deviation at all.
        ax.plot(time[1:], np.where(values > 0, values, np.nan)[1:], label=label, **settings)

    draw(report.limit.error.max(axis=1), "error of the limit", color="0.6", linewidth=1.2)
    draw(report.largest, "theory", color=THEORY.colour, **THEORY.settings(len(time) - 1))
    if report.networks is not None:
        deviation = np.abs(report.networks.deviation).max(axis=-1).mean(axis=1)
        marks = [look for look in (FULL, *SPARE) if look.spaced]
        for i, (n, values) in enumerate(zip(report.networks.n_neurons, deviation, strict=True)):
            look = marks[i % len(marks)]
            draw(values, f"N = {n:,}", color=look.colour, **look.settings(len(time) - 1))
    if not report.limit.exact:
        allowed = float(report.tolerance) * report.change
        ax.axhline(allowed, color="0.3", linewidth=0.8, linestyle="--", label="tolerance")
        if report.until() < len(time) - 1:
            ax.axvline(time[report.until()], color="0.3", linewidth=0.8, linestyle=":", label="good until")
    ax.set(yscale="log", ylabel="largest deviation of an overlap from the limit")
    label_learning_time(ax, compared)
    legend_above(ax)
    return ax
