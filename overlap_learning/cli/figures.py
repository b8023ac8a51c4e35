"""Figures: several pictures on one page."""

from typing import TYPE_CHECKING

import overlap_learning as ol
from overlap_learning import plot
from overlap_learning.gallery.kit.page import comparison, learned, network, page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What the symbols and words of the demo's figures mean.
WORDS = (
    r"$\sigma_{ab}$: the overlap $a^\top b / N$ of two vectors of N neurons. $m$: the input; $u$, $v$: the recurrence "
    r"$u v^\top / N$; $z$: the readout. Visible overlaps: those that the output depends on.",
    "Full N: gradient descent on every neuron. Theory: the same, from the overlaps alone. "
    "Direct descent: gradient descent on the overlaps themselves.",
)


def filter_figure(
    title: str, task: ol.Task, start: ol.Overlaps, theory: ol.Solution, full: ol.Solution, direct: ol.Solution
) -> "Figure":
    """The linear experiment, in the manner of Figs. 1 and 5 of Ger & Barak 2026."""
    figure, panels = comparison(title, task, start, theory, full, direct)
    plot.final_overlaps(full, theory, direct, ax=panels[5])
    _explain(figure, *WORDS)
    return figure


def flip_flop_figure(
    title: str, task: ol.Task, start: ol.Overlaps, theory: ol.Solution, full: ol.Solution, direct: ol.Solution
) -> "Figure":
    """The nonlinear experiment, in the manner of Fig. 4 of Ger & Barak 2026."""
    figure, panels = comparison(title, task, start, theory, full, direct)
    plot.quantiles(network(full), ax=panels[5])
    _explain(
        figure,
        *WORDS,
        "Excess kurtosis: 0 of normal neurons, which lie on the diagonal of f; rms: the root of their mean square.",
    )
    return figure


def learning_figure(name: str, solution: ol.Solution, task: ol.Task, start: ol.Overlaps) -> "Figure":
    """The course of learning, and what was learned."""
    model = solution.model
    # In continuous time there are no readings to draw.
    figure, panels = page(f"{name}: {_describe(model)}", *((2, 2) if task.n_steps else (1, 3)))
    plot.loss(solution, ax=panels[0])
    plot.overlaps(solution, names=model.visible_names, ax=panels[1])
    plot.overlaps(solution, names=model.invisible_names, ax=panels[2])
    if task.n_steps:
        plot.output(model, task, learned(solution), start, labels=["learned", "before learning"], ax=panels[3])
    return figure


def validation_figure(name: str, result: ol.Validation) -> "Figure":
    """The deviations of full N from the theory."""
    figure, panels = page(f"{name}: {_describe(result.model)}", 1, 1)
    plot.validation(result, ax=panels[0])
    return figure


def _explain(figure: "Figure", *sentences: str) -> None:
    """Say below a figure what its symbols and words mean."""
    figure.supxlabel("\n".join(sentences), fontsize=10)


def _describe(model: ol.Model) -> str:
    return f"{type(model.activation).__name__.lower()} network of rank {model.layout.rank}"
