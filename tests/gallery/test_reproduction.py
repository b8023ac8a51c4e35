"""What a figure of the gallery consists of, and the list of figures, which are imported when they are asked for."""

import dataclasses
import subprocess
import sys

import overlap_learning.gallery.ger_barak.twins as twins
from overlap_learning.gallery import FIGURES, Number, Sheet

#: Prints what is imported of the modules named, by the package and then by the gallery.
PROGRAM = """
import sys
import overlap_learning
print(*sorted(name for name in sys.modules if name.startswith({package!r})))
import overlap_learning.gallery as gallery
assert all(sheet.title for sheets in gallery.FIGURES.values() for sheet in sheets.values())
print(*sorted(name for name in sys.modules if name.startswith({figures!r})))
"""
HEAVY = ("matplotlib", "diffrax", "orbax", "xarray", "tqdm", "sklearn", "optax", "overlap_learning.plot")


def test_a_number_is_a_row_with_its_error_and_what_was_expected():
    assert Number("loss", 0.25).row() == ["loss", "0.25", ""]
    assert Number("ratio", 1.0203, 0.015, 1.0).row() == ["ratio", "1.0203 +- 0.015", "1"]


def test_every_figure_of_the_paper_is_there():
    assert {f"fig{number}" for number in range(1, 13)} <= set(FIGURES)


def test_importing_the_package_imports_nothing_that_few_programs_need_and_the_gallery_no_figure():
    figures = tuple(f"overlap_learning.gallery.{paper}" for paper in ("ger_barak", "schuessler", "beyond"))
    program = PROGRAM.format(package=(*HEAVY, "overlap_learning.gallery"), figures=(*HEAVY, *figures))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", ""]


def test_every_sheet_names_a_module_with_its_function_and_settings_and_files_of_the_figure():
    files = [file for sheets in FIGURES.values() for file in sheets]
    assert len(set(files)) == len(files)
    for name, sheets in FIGURES.items():
        assert all(file.startswith(name) for file in sheets)
        for sheet in sheets.values():
            assert callable(sheet.draw)
            assert type(sheet.quick) is type(sheet.standard)
            assert dataclasses.asdict(sheet.quick) != dataclasses.asdict(sheet.standard)
            # The twins are published at a size that takes a GPU.
            assert sheet.standard == (type(sheet.standard)() if sheet.resumable != "twins" else twins.REDUCED)


STANDARD, QUICK = "standard", "quick"


def draw(settings, **options):
    return settings, options


def test_a_sheet_hands_its_settings_on():
    sheet = Sheet("a title", __name__, "draw")
    assert sheet.make() == ("standard", {"progress": None})
    assert sheet.make(quick=True, progress=False, checkpoint="unused") == ("quick", {"progress": False})
    resumable = dataclasses.replace(sheet, resumable="long")
    assert resumable.make(checkpoint="here") == ("standard", {"progress": None, "checkpoint": "here"})
