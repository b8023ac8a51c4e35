"""Progress bars: who is shown one, and which runs have one."""

import contextlib
import io
import sys

import pytest

import overlap_learning as ol
from overlap_learning.learning import pace, progress

MODEL, TASK = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=3.0)
START = ol.Overlaps.from_entries(MODEL.layout, zu=0.1, vm=0.1)


def shown(is_terminal, **options):
    """What a bar of three steps writes to standard error."""
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    with contextlib.redirect_stderr(stream), progress.bar(total=3, unit="step", title="run", **options) as bar:
        bar.update(3)
    return stream.getvalue()


def test_a_bar_is_shown_to_who_watches_a_terminal_or_asks_for_one():
    assert "run: 100%" in shown(True, progress=None)
    assert "run: 100%" in shown(False, progress=True)
    assert shown(False, progress=None) == shown(True, progress=False) == ""
    # What ends before its delay was never there.
    assert shown(True, progress=None, delay=60.0) == ""


def test_a_program_without_standard_error_has_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress.is_watched()


def test_a_bar_is_shown_in_a_notebook_without_a_warning():
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient, which the docs extra installs")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, which the docs extra installs")
    # The module alone: a kernel that imports jax takes seconds.
    code = f"""
import runpy, warnings
warnings.simplefilter("error")
with runpy.run_path({progress.__file__!r})["bar"](None, 3, "step", "run") as bar:
    bar.update(3)
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, kernel_name="python3").execute()
    assert "run: 100%" in "".join(output.get("text", "") for output in book.cells[0].outputs)


def test_integrate_has_a_bar_only_where_it_is_several_calls(monkeypatch):
    monkeypatch.setattr(sys.modules[ol.integrate.__module__], "_steps_per_call", lambda model: 20)
    bars = []

    def bar(*options, **others):
        bars.append(progress.bar(*options, **others))
        return bars[-1]

    monkeypatch.setattr(pace, "bar", bar)
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    ol.integrate(MODEL, TASK, START, ol.GradientDescent(1e-2, 20))
    assert not bars
    # Two calls, of one program.
    ol.integrate(MODEL, TASK, START, ol.GradientDescent(1e-2, 40))
    ol.integrate(MODEL, TASK, START, ol.GradientDescent(1e-2, 40), progress=False)
    # A bar that is not shown does not count.
    assert [bar.n for bar in bars] == [40, 0]
