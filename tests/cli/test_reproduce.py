"""The command that makes the figures of the gallery."""

import dataclasses
import importlib

import numpy as np
import pytest

from overlap_learning.cli import main
from overlap_learning.gallery import FIGURES, Number, Reproduction, Sheet
from overlap_learning.gallery.kit.page import page


@dataclasses.dataclass(frozen=True)
class Plain:
    """Settings of a figure that computes nothing."""

    size: int = 3


STANDARD, QUICK = Plain(), Plain(2)


def draw(settings, *, progress=None):
    import xarray

    figure, (ax,) = page(f"A figure of {settings.size}", 1, 1)
    ax.plot(np.arange(settings.size))
    data = xarray.Dataset({"values": ("point", np.arange(settings.size))})
    return Reproduction(figure, data, (Number("points", settings.size, None, 3),), ("A note.",))


def interrupted(settings, *, progress=None):
    raise KeyboardInterrupt


def without_package(settings, *, progress=None):
    raise ModuleNotFoundError('It needs optax: pip install "overlap_learning[gallery]".')


@pytest.fixture
def figures(monkeypatch):
    """Puts figures of one's own in the place of the gallery's."""

    def replace(**sheets):
        chosen = {name: {name: Sheet("a title", __name__, draw.__name__)} for name, draw in sheets.items()}
        # The name of a module is also that of its function, which the package may have as an attribute.
        for module in ("main", "reproduce"):
            monkeypatch.setattr(importlib.import_module(f"overlap_learning.cli.{module}"), "FIGURES", chosen)

    return replace


def run(*arguments):
    return main(["reproduce", *(str(argument) for argument in arguments)])


def test_a_figure_is_written_with_its_data_and_its_numbers_are_printed(figures, tmp_path, capsys):
    import xarray

    figures(one=draw, two=draw)
    assert run("one", "--out", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.nc", "one.png"]
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    with xarray.open_dataset(tmp_path / "one.nc", engine="h5netcdf") as data:
        assert data["values"].sizes["point"] == 3
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["measured", "expected"] in rows
    assert ["points", "3", "3"] in rows
    for text in ("one: a title", "A figure of 3", "* A note.", str(tmp_path / "one.nc")):
        assert text in printed


def test_quick_takes_the_quick_settings(figures, tmp_path, capsys):
    figures(one=draw)
    assert run("one", "--quick", "--out", tmp_path) == 0
    assert "A figure of 2" in capsys.readouterr().out


def test_only_the_figures_asked_for_are_made_each_once(figures, tmp_path, capsys):
    figures(one=draw, two=draw, three=draw)
    assert run("three", "two", "three", "--out", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["three.nc", "three.png", "two.nc", "two.png"]
    assert capsys.readouterr().out.count("three: a title") == 1


def test_all_makes_every_figure_once(figures, tmp_path, capsys):
    figures(one=draw, two=draw)
    assert run("two", "all", "--out", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.nc", "one.png", "two.nc", "two.png"]
    assert capsys.readouterr().out.count("one: a title") == 1


def test_an_unknown_figure_ends_with_code_2_and_the_names_there_are(capsys):
    with pytest.raises(SystemExit) as end:
        run("fig13")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "invalid choice: 'fig13'" in error
    for name in (*FIGURES, "all"):
        assert name in error.split("choose from")[1]


def test_interrupt_keeps_the_figures_that_were_done(figures, tmp_path, capsys):
    figures(one=draw, two=interrupted, three=draw)
    assert run("all", "--out", tmp_path) == 130
    error = capsys.readouterr().err
    assert [line.strip() for line in error.splitlines()[-2:]] == [str(tmp_path / "one.nc"), str(tmp_path / "one.png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.nc", "one.png"]


def test_a_missing_package_is_named_once_the_other_figures_are_made(figures, tmp_path, capsys):
    figures(one=without_package, two=draw)
    assert run("all", "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert 'one: It needs optax: pip install "overlap_learning[gallery]".' in error
    assert "Traceback" not in error
    assert (tmp_path / "two.png").exists()
