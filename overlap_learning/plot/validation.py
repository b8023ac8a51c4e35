"""The deviation of full N from the theory, against N."""

from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.plot.style import COLOURS, axes_of, legend_above
from overlap_learning.validation.validate import Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def validation(result: Validation, *, ax: "Axes | None" = None) -> "Axes":
    """The deviation of full N from the theory against N, early in training and at its end, on logarithmic axes.

    Root mean square over overlaps and networks; bars are standard errors. For nonlinear networks a grey line falls as
    N^(-1/2) from the first early point. For linear ones it is the deviation that rounding explains, to be held against
    the largest deviation of all, which is drawn too.

    Args:
        result: the `Validation` of `ol.validate`.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind.

    Source: Ger & Barak 2026, Figs. 1, 4; theory page, section 7.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task, rule = ol.tasks.exponential_filter(duration=5.0), ol.GradientDescent(5e-3, 50)
        >>> found = ol.validate(model, task, start, rule, n_neurons=(10, 20), n_seeds=2, key=jax.random.key(0))
        >>> ol.plot.validation(found).get_xlabel()
        'number of neurons N'
    """
    if not isinstance(result, Validation):
        raise ValueError(f"validation: result must be what ol.validate returns, got {type(result).__name__}.")
    ax = axes_of(ax, "validation")
    sizes = np.asarray(result.n_neurons, dtype=float)
    time = np.asarray(result.theory.time)
    early, _ = result.rms(result.early)
    # First, so that it is drawn behind.
    if result.is_exact:
        ax.plot(
            sizes,
            result.tolerance,
            color="0.6",
            marker="_",
            markersize=16,
            linewidth=1.2,
            label="explained by rounding",
        )
        largest = result.largest.max(axis=1)
        ax.plot(sizes[largest > 0], largest[largest > 0], "^", color="0.3", markersize=5, label="largest of all")
    elif len(sizes) > 1:
        ax.plot(sizes, early[0] * np.sqrt(sizes[0] / sizes), color="0.6", linewidth=1.2, label=r"$N^{-1/2}$")
    # Open marks for the end, through which equal ones of the beginning are seen.
    for when, index, marker, colour, face in (
        ("early", result.early, "o", COLOURS[0], COLOURS[0]),
        ("end", -1, "s", COLOURS[1], "none"),
    ):
        rms, error = result.rms(index)
        positive = rms > 0
        ax.errorbar(
            sizes[positive], rms[positive], yerr=None if np.isnan(error).any() else error[positive], color=colour,
            marker=marker, markersize=6, markerfacecolor=face, linestyle="none", capsize=3,
            label=rf"rms {when}, $\tau$ = {time[index]:.3g}",
        )  # fmt: skip
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(sizes, [f"{n:,}" for n in result.n_neurons])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="number of neurons N", ylabel="deviation of overlaps, full N from theory")
    ax.margins(x=0.1)
    legend_above(ax)
    return ax
