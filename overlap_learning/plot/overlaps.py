"""The overlaps through learning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from overlap_learning.checks import listed
from overlap_learning.learning.solution import Solution
from overlap_learning.model.model import Model
from overlap_learning.plot.curves import Curve, curves, label_learning_time
from overlap_learning.plot.style import MANY_COLOURS, THEORY, axes_of, label_ends, legend_above, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: As many names as have room beside each other on a page of matplotlib's size: all of a network of rank 2.
MOST_NAMED = 21
#: Of more, so many of each kind: as many as there are colours that are readable as text.
N_NAMED = 7
GREY = "0.75"


def overlaps(
    *solutions: Solution,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Overlaps of one or more solutions against learning time, each named at its end.

    Colour says which overlap, the kind of line or mark which solution: the theory as lines (visible overlaps solid,
    invisible ones dashed), full N as circles (visible) and squares (invisible), direct descent dotted.

    Of more than 21 overlaps, for whose names there is no room, the seven visible and seven invisible ones that move
    most in the first solution have names and colours of their own; the others are grey and counted in the legend.

    Args:
        *solutions: one or more `Solution` of one layout.
        names: the overlaps to draw, such as `solution.model.visible_names`; None: all.
        labels: the solutions' names; None: "theory", "full N = ...", "direct descent".
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind, a name is unknown, or a solution is a batch.

    Source: Ger & Barak 2026, Figs. 1, 5, 12.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 20))
        >>> ax = ol.plot.overlaps(solution, names=model.visible_names)
        >>> [line.get_label() for line in ax.get_lines()]
        ['vm', 'zm', 'vu', 'zu']
    """
    compared = curves(solutions, labels, "overlaps")
    model = compared[0].solution.model
    shown = known_names(model, names, "overlaps")
    ax = axes_of(ax, "overlaps")
    named, colours = shown, overlap_colours(model)
    if len(shown) > MOST_NAMED:
        colours = _colours_of_most_moved(compared[0], shown)
        named = tuple(name for name in shown if name in colours)
    ends = []
    for i, curve in enumerate(compared):
        entries = curve.solution.overlaps.entries()
        for name in shown:
            values = np.asarray(entries[name])
            settings = curve.settings(invisible=name in model.invisible_names)
            if name not in named:
                settings |= {"linewidth": 0.8, "markersize": 2, "zorder": 1}
            # One legend entry per overlap, from the first solution.
            label = name if i == 0 and name in named else f"_{name}"
            ax.plot(curve.time, values, color=colours.get(name, GREY), label=label, **settings)
            if i == 0 and name in named:
                ends.append((float(curve.time[curve.end]), float(values[curve.end])))
    label_learning_time(ax, compared)
    kinds = [
        kind
        for kind, some in (("visible", model.visible_names), ("invisible", model.invisible_names))
        if set(shown) & set(some)
    ]
    ax.set_ylabel("overlap" if len(kinds) > 1 else f"{kinds[0]} overlap")
    _explain_looks(ax, compared, kinds, len(shown) - len(named))
    label_ends(ax, ends, [symbol(name) for name in named], [colours[name] for name in named])
    return ax


def known_names(model: Model, names: Sequence[str] | None, caller: str) -> tuple[str, ...]:
    """The names of overlaps to draw.

    Raises:
        ValueError: if one is unknown, or there is none.
    """
    if names is None:
        return model.layout.entry_names
    if isinstance(names, str) or not names or any(name not in model.layout.entry_names for name in names):
        raise ValueError(f"{caller}: names must be some of {listed(model.layout.entry_names)}, got {names!r}.")
    return tuple(names)


def overlap_colours(model: Model) -> dict[str, str]:
    """The colour of each overlap: the same in every picture of a model; visible and invisible ones each start anew."""
    return {
        name: MANY_COLOURS[i % len(MANY_COLOURS)]
        for kind in (model.visible_names, model.invisible_names)
        for i, name in enumerate(kind)
    }


def _colours_of_most_moved(curve: Curve, shown: Sequence[str]) -> dict[str, str]:
    """The overlaps of each kind that move furthest from their start, at any time, each with a colour of its own."""
    model, entries = curve.solution.model, curve.solution.overlaps.entries()
    moved = {name: np.nanmax(np.abs(np.asarray(entries[name] - entries[name][0]))) for name in shown}
    ranked = sorted(shown, key=lambda name: -moved[name])
    return {
        name: colour
        for kind in (model.visible_names, model.invisible_names)
        for name, colour in zip((name for name in ranked if name in kind), MANY_COLOURS[:N_NAMED], strict=False)
    }


def _explain_looks(ax: "Axes", compared: Sequence[Curve], kinds: Sequence[str], n_unnamed: int) -> None:
    from matplotlib.lines import Line2D

    handles = []
    if len(kinds) > 1:
        handles += [
            Line2D([], [], color="0.3", label=kind, **THEORY.settings(1, invisible=kind == "invisible"))
            for kind in kinds
        ]
    if len(compared) > 1:
        invisible = list(kinds) == ["invisible"]
        handles += [
            Line2D([], [], color="0.3", label=curve.label, **curve.settings(invisible=invisible)) for curve in compared
        ]
    if n_unnamed:
        handles.append(Line2D([], [], color=GREY, linewidth=0.8, label=f"{n_unnamed} that move less"))
    if handles:
        legend_above(ax, handles, ncols=len(handles))
