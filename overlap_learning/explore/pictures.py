"""Pictures: what the explorer draws of its curves."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, Div, HoverTool
from bokeh.plotting import figure

from overlap_learning.explore.curves import Curves, Trial
from overlap_learning.explore.state import NETWORKS, State
from overlap_learning.plot.style import COLOURS

#: Greys, and colours of the networks, that are read on white and on black.
GREY, TARGET, FAINT = "#808080", "#9a9a9a", "rgba(128, 128, 128, 0.25)"
NETWORK_COLOURS = dict(zip(NETWORKS, ("#2F88C5", COLOURS[1]), strict=True))
#: Of overlaps, all but black; every third one is dashed otherwise, so that curves that coincide are told apart.
OVERLAP_COLOURS, DASHES = COLOURS[:-1], ("solid", "6", "2 4", "2 4 6 4", "6 4 2 4")


@dataclasses.dataclass(frozen=True)
class _Line:
    name: str
    xs: np.ndarray
    ys: np.ndarray
    colour: str
    dash: str = "solid"
    width: float = 2


COLUMNS = tuple(field.name for field in dataclasses.fields(_Line))


class _Picture:
    """A figure of any number of lines, which are all that changes of it, under a legend.

    Bokeh's legends are placed anew at each paint, which takes as long as all else of it.
    """

    def __init__(self, name: str, x_label: str, title: str, **settings: Any):
        self._lines = ColumnDataSource({name: [] for name in COLUMNS}, name=f"{name}_lines")
        self.figure = figure(
            name=name, title=title, x_axis_label=x_label, height=300, min_width=280, sizing_mode="stretch_width",
            tools="pan,box_zoom,wheel_zoom,reset,save", active_scroll=None, **settings,
        )  # fmt: skip
        self.figure.multi_line(
            "xs",
            "ys",
            line_color="colour",
            line_dash="dash",
            line_width="width",
            source=self._lines,
        )
        self.figure.add_tools(HoverTool(tooltips=[("", "@name"), ("", "$x, $y")]))
        for part in (self.figure.axis, self.figure.title, self.figure.grid):
            _make_grey(part)
        self.figure.update(background_fill_alpha=0, border_fill_alpha=0, outline_line_color=FAINT)
        self.figure.toolbar.update(autohide=True, logo=None)
        self._legend = Div(name=f"{name}_legend", sizing_mode="stretch_width", margin=(0, 8, 0, 8))
        self.panel = column(self.figure, self._legend, name=f"{name}_panel", sizing_mode="stretch_width")
        # The browser warns of axes without data.
        self.draw([_Line("", np.array([0.0, 1.0]), np.array([1.0, 1.0]), "transparent")])

    def draw(self, lines: Sequence[_Line]) -> None:
        self._legend.text = " ".join(dict.fromkeys(map(_entry, lines)))
        self._lines.data = {column: [getattr(line, column) for line in lines] for column in COLUMNS}


def _entry(line: _Line) -> str:
    """A line's part of a legend."""
    dash = "" if line.dash == "solid" else f" stroke-dasharray='{line.dash}'"
    return (
        "<span style='white-space: nowrap; margin-right: 10px'><svg width='24' height='8'><line x2='24' y1='4' y2='4' "
        f"stroke='{line.colour}' stroke-width='{line.width}'{dash}/></svg> {line.name}</span>"
    )


class Pictures:
    """The pictures of the page.

    Attributes:
        panels: of each picture and its legend, each by its name a root of the page.
    """

    def __init__(self):
        self._loss = _Picture("loss", "learning time", "loss", y_axis_type="log")
        self._output = _Picture("output", "time (neuronal time constants)", "output")
        self._eigenvalues = _Picture("eigenvalues", "learning time", "eigenvalues of the recurrence")
        self._invisible = [_Picture(f"invisible_{n}", "learning time", f"invisible overlaps of {n}") for n in NETWORKS]
        first, second = (picture.figure for picture in self._invisible)
        # Side by side, by the same measure.
        second.y_range = first.y_range
        self.panels = [picture.panel for picture in (self._loss, self._output, *self._invisible, self._eigenvalues)]

    def draw(self, state: State, trial: Trial, curves: Sequence[Curves]) -> None:
        """Draw the networks of a state."""
        named = list(zip(NETWORKS, curves, strict=False))
        self._loss.draw([_Line(name, c.time, c.loss, NETWORK_COLOURS[name]) for name, c in named])
        self._output.draw(
            [
                _Line("target", trial.time, trial.target, TARGET, width=5),
                *(_Line(f"{name} before", trial.time, c.before, NETWORK_COLOURS[name], DASHES[2]) for name, c in named),
                *(_Line(f"{name} after", trial.time, c.after, NETWORK_COLOURS[name]) for name, c in named),
            ]
        )
        self._eigenvalues.draw(
            [
                _Line(f"{name} {part}", c.time, values, NETWORK_COLOURS[name], dash)
                for name, c in named
                for part, dash in (("real", "solid"), ("imag", DASHES[2]))
                for values in getattr(c.eigenvalues.T, part)
            ]
        )
        # Pictures that share an axis are all drawn: without a second network the second one is hidden.
        for picture, (_, c) in zip(self._invisible, (named[0], named[-1]), strict=True):
            picture.draw(
                [
                    _Line(
                        name, c.time, c.overlaps[name], OVERLAP_COLOURS[i % len(OVERLAP_COLOURS)],
                        DASHES[i // 3 % len(DASHES)],
                    )
                    for i, name in enumerate(state.model.invisible_names)
                ]
            )  # fmt: skip
        self._invisible[1].panel.visible = len(curves) > 1


def _make_grey(part: Any) -> None:
    """Colours of text and lines that are read on a light and on a dark page; the page itself shows through."""
    for item in part if isinstance(part, list) else [part]:
        for name in item.properties():
            if name.endswith("text_color"):
                setattr(item, name, GREY)
            elif name in ("axis_line_color", "major_tick_line_color", "minor_tick_line_color", "grid_line_color"):
                setattr(item, name, FAINT if name.startswith("grid") else GREY)
            elif name in ("background_fill_alpha", "border_line_alpha"):
                setattr(item, name, 0)
