"""Page: the explorer's widgets and pictures, in one tab of a browser."""

import html
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from bokeh.core.templates import get_env
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    CategoricalSlider,
    CustomJS,
    Div,
    PreText,
    Select,
    Slider,
    TextInput,
    UIElement,
)

from overlap_learning.explore.choices import ACTIVATIONS, RULES, TASKS, Choice, settings_of
from overlap_learning.explore.curves import Curves, run
from overlap_learning.explore.pictures import NETWORK_COLOURS, Pictures
from overlap_learning.explore.program import program
from overlap_learning.explore.state import DIGITS, NETWORKS, RANKS, State, StateError

STEP = 10**-DIGITS
BUSY = "Integrating (what is new is compiled first, in seconds) ..."
#: Settings each value of which is a program of its own, for which a slider would stop.
COMPILED = ("n_steps",)
#: Milliseconds after a picture is drawn until all else follows; none of it does while a hand drags.
REST = 60
#: Widgets take the colours of the page, light or dark.
WIDGETS = """:host, .bk-input-group, .bk-slider-title, .bk-clearfix, pre { color: var(--ink); }
.bk-input, select.bk-input { background-color: var(--paper); color: var(--ink); border-color: var(--line); }
.bk-btn {
  background-color: var(--paper) !important; color: var(--ink) !important; border-color: var(--line) !important;
}
.bk-btn:hover { border-color: var(--ink) !important; }
.noUi-target { background-color: var(--line); border-color: var(--line); }
pre { overflow-x: auto; font-size: 12px; }"""


class Page:
    """The page of one tab.

    Args:
        document: what the browser shows.
        query: what the address says, after its "?".
    """

    def __init__(self, document: Document, query: str):
        self._document = document
        try:
            self._state, notice = State.from_query(query), ""
        except StateError as error:
            self._state = State.default()
            notice = f"The address says no state that can be opened ({error}), so this is the default."
        self._seed, self._is_waiting, self._is_ours = 0, False, False
        self._rest: Any = None
        self._notice = Div(text=html.escape(notice), name="notice", visible=bool(notice), sizing_mode="stretch_width",
                           styles={"border-left": "4px solid #D55E00", "padding-left": "8px"})  # fmt: skip
        self._status = Div(text=BUSY, name="status", sizing_mode="stretch_width")
        self._program = PreText(name="program", visible=False, sizing_mode="stretch_width", stylesheets=[WIDGETS],
                                styles={"overflow-x": "auto"})  # fmt: skip
        self._address = TextInput(name="address", visible=False)
        self._address.js_on_change(
            "value",
            CustomJS(code="history.replaceState(null, '', cb_obj.value ? '?' + cb_obj.value : location.pathname)"),
        )
        self._controls = column(name="controls", sizing_mode="stretch_width")
        self._sliders: list[dict[str, Slider]] = []
        self._pictures = Pictures()
        self._build()
        # Once the widgets are there to be seen: what is new is compiled first, in seconds.
        document.on_event(DocumentReady, lambda _: self.draw())
        # Roots of their own are laid out alone: a text that changes leaves the sliders where they are.
        for root in (self._controls, *self._pictures.panels, self._notice, self._status, self._program, self._address):
            document.add_root(root)
        document.title = "overlap_learning: explore"
        template = files("overlap_learning.explore").joinpath("page.html").read_text(encoding="utf-8")
        document.template = get_env().from_string(template)

    # -- widgets -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        """The widgets of the state: which there are depends on it."""
        state = self._state
        self._sliders = [self._sliders_of(i) for i in range(len(state.networks))]
        has_two = len(state.networks) > 1
        self._controls.children = [
            _row(self._select("task", _titles(TASKS)), self._select("activation", _titles(ACTIVATIONS))),
            _row(self._select("rule", _titles(RULES)), self._select("rank", {rank: str(rank) for rank in RANKS})),
            *self._settings(),
            _row(
                _button(f"{'Another' if has_two else 'Add an'} equivalent network b", "equivalent", self._draw_second),
                *([_button("Remove b", "remove", self._remove_second)] if has_two else []),
            ),
            _row(*[column(*self._network(i), sizing_mode="stretch_width") for i in range(len(state.networks))]),
            _row(_button("Show the Python", "show", self._show_program), _copy(self._program)),
        ]

    def _select(self, name: str, titles: Mapping[Any, str]) -> Select:
        """A choice: an argument of the state, each of whose values has a title."""
        by_title = {title: value for value, title in titles.items()}
        widget = Select(title=name, value=titles[getattr(self._state, name)], options=list(by_title), name=name,
                        min_width=100, sizing_mode="stretch_width", stylesheets=[WIDGETS])  # fmt: skip

        def change(attribute: str, old: str, new: str) -> None:
            if new in by_title:
                self._set(self._state.chosen(**{name: by_title[new]}), rebuild=True)

        widget.on_change("value", change)
        return widget

    def _settings(self) -> list[UIElement]:
        return [
            self._setting(name, sorted(values), self._state.settings[name])
            for name, values in settings_of(self._state.task, self._state.rule).items()
        ]

    def _setting(self, name: str, values: Sequence[float], value: float) -> UIElement:
        by_text = {f"{value:g}": value for value in values}
        text = f"{value:g}"
        shared: dict[str, Any] = {"title": name, "name": name, "sizing_mode": "stretch_width", "stylesheets": [WIDGETS]}
        if name in COMPILED:
            widget = Select(value=text, options=list(by_text), **shared)
        else:
            widget = CategoricalSlider(value=text, categories=list(by_text), **shared)

        def change(attribute: str, old: str, new: str) -> None:
            if new in by_text:
                self._set(self._state.chosen(settings={**self._state.settings, name: by_text[new]}))

        widget.on_change("value", change)
        return widget

    def _network(self, index: int) -> list[UIElement]:
        model, sliders = self._state.model, self._sliders[index]
        title = f"<b style='color:{NETWORK_COLOURS[NETWORKS[index]]}'>network {NETWORKS[index]}</b>"
        return [
            Div(text=f"{title}, visible overlaps"),
            *(sliders[name] for name in model.visible_names),
            Div(text="invisible ones, which the output does not depend on"),
            *(sliders[name] for name in model.invisible_names),
        ]

    def _sliders_of(self, index: int) -> dict[str, Slider]:
        return {name: self._slider(index, name, value) for name, value in self._values(index).items()}

    def _slider(self, index: int, name: str, value: float) -> Slider:
        widget = Slider(title=name, value=value, start=value - STEP, end=value + STEP, step=STEP, format="0[.]00",
                        name=f"{NETWORKS[index]}_{name}", min_width=110, margin=(2, 12, 2, 8),
                        sizing_mode="stretch_width", stylesheets=[WIDGETS])  # fmt: skip

        def change(attribute: str, old: float, new: float) -> None:
            if not self._is_ours:
                self._set(self._state.moved(index, name, new), compiles=False)

        widget.on_change("value", change)
        return widget

    def _values(self, index: int) -> dict[str, float]:
        return dict(zip(self._state.layout.entry_names, self._state.networks[index], strict=True))

    # -- what a person does ------------------------------------------------------------------------------------------

    def _set(self, state: State, *, rebuild: bool = False, compiles: bool = True) -> None:
        """Go to a state: drawn, with all that was sent by then, once the browser is told so if it may take seconds."""
        self._state = state
        if rebuild:
            self._build()
        self._notice.visible = False
        if not self._is_waiting:
            self._is_waiting = True
            if compiles:
                self._status.text = BUSY
            self._document.add_next_tick_callback(self.draw)

    def _draw_second(self) -> None:
        self._seed += 1
        self._set(self._state.with_equivalent(self._seed), rebuild=True)

    def _remove_second(self) -> None:
        self._set(self._state.alone(), rebuild=True)

    def _show_program(self) -> None:
        self._program.visible = not self._program.visible

    # -- pictures ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Integrate the state, and show its pictures; the rest of the page follows, in frames of its own."""
        self._is_waiting = False
        start = time.perf_counter()
        trial, curves = run(self._state)
        milliseconds = (time.perf_counter() - start) * 1000
        self._pictures.draw(self._state, trial, curves)
        said = html.escape(_said(self._state, curves, milliseconds))
        if self._rest is not None:
            self._document.remove_timeout_callback(self._rest)
        self._rest = self._document.add_timeout_callback(lambda: self._follow(said), REST)

    def _follow(self, said: str) -> None:
        """Set all that is not a picture to the state."""
        self._rest = None
        if self._is_waiting:
            # What is drawn next will be followed.
            return
        self._move_ends()
        self._program.text = program(self._state)
        self._address.value = self._state.to_query()
        self._status.text = said

    def _move_ends(self) -> None:
        """Set the ends of every slider to what is feasible, and those that are beyond to the state."""
        self._is_ours = True
        try:
            for index, sliders in enumerate(self._sliders):
                ends, values = self._state.ends(index), self._values(index)
                for name, slider in sliders.items():
                    low, high = ends[name]
                    # A slider needs room to move, also one that can't be moved.
                    slider.update(start=low, end=max(high, low + STEP), disabled=high - low < STEP)
                    # Only what was refused goes back: a hand that drags is further by the time that an answer comes.
                    if abs(slider.value - values[name]) > STEP / 2:
                        slider.value = values[name]
        finally:
            self._is_ours = False


def _said(state: State, curves: Sequence[Curves], milliseconds: float) -> str:
    """How the runs ended, and what the networks are to each other."""
    parts = [f"Integrated in {milliseconds:.0f} ms."]
    parts += [f"Network {name}: {c.failure}" for name, c in zip(NETWORKS, curves, strict=False) if c.failure]
    if not state.model.is_linear:
        parts.append(
            "This is the Gaussian theory, which is not exact for this activation; the Python below prints how far to "
            "trust it."
        )
    if len(curves) > 1:
        others = state.difference
        parts.append(
            f"b is not equivalent to a: they differ in {', '.join(others)}."
            if others
            else "b is equivalent to a: all visible overlaps are equal, and so is what they do before learning."
        )
    return " ".join(parts)


def _titles(choices: Mapping[str, Choice]) -> dict[str, str]:
    return {name: choice.title for name, choice in choices.items()}


def _row(*widgets: UIElement) -> UIElement:
    return row(*widgets, sizing_mode="stretch_width")


def _button(label: str, name: str, press: Callable[[], None]) -> Button:
    button = Button(label=label, name=name, sizing_mode="stretch_width", stylesheets=[WIDGETS])
    button.on_click(lambda _: press())
    return button


def _copy(text: PreText) -> Button:
    button = Button(label="Copy the Python", sizing_mode="stretch_width", stylesheets=[WIDGETS])
    button.js_on_click(CustomJS(args={"text": text}, code="navigator.clipboard.writeText(text.text)"))
    return button
