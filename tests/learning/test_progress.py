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


def test_all_that_learns_shows_a_bar_in_a_notebook_without_a_warning():
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient, which the docs extra installs")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, which the docs extra installs")
    setup = """
import warnings
warnings.simplefilter("error")
import jax
jax.config.update("jax_enable_x64", True)
import overlap_learning as ol
model, task = ol.Model(ol.Layout(), ol.Erf()), ol.tasks.exponential_filter(duration=5.0, dt=0.1)
start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
"""
    # None is to wait for the second that short runs are spared a bar.
    learn = {
        "integrate": "import sys\nol.integrate\nsys.modules['overlap_learning.dynamics.integrate'].DELAY = 0.0\n"
        "solution = ol.integrate(model, task, start, ol.GradientDescent(1e-3, 1000))",
        "train N=20": "network = ol.Network.sample(start, 20, key=jax.random.key(0))\n"
        "ol.train(model, task, network, ol.GradientDescent(1e-3, 40));",
        # A program moves this one.
        "flow": "from overlap_learning.learning import flow\nflow.DELAY = 0.0\n"
        "ol.integrate(model, task, start, ol.GradientFlow(1.0), trust=False);",
    }
    cells = [
        nbformat.v4.new_code_cell(code)
        for code in (setup, *learn.values(), "warnings.simplefilter('default')\nsolution")
    ]
    book = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(book, kernel_name="python3").execute()
    for name, cell in zip(learn, book.cells[1:], strict=False):
        assert f"{name}: 100%" in "".join(output.get("text", "") for output in cell.outputs)
    (shown,) = book.cells[-1].outputs
    assert "<table" in shown.data["text/html"]


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
