"""What a figure of the gallery consists of, and the list of figures."""

import dataclasses

from overlap_learning.gallery import FIGURES, Number, twins


def test_a_number_is_a_row_with_its_error_and_what_was_expected():
    assert Number("loss", 0.25).row() == ["loss", "0.25", ""]
    assert Number("ratio", 1.0203, 0.015, 1.0).row() == ["ratio", "1.0203 +- 0.015", "1"]


def test_every_figure_of_the_paper_is_there():
    assert {f"fig{number}" for number in range(1, 13)} <= set(FIGURES)


def test_every_figure_has_standard_and_smaller_settings_and_files_of_its_name():
    files = [file for sheets in FIGURES.values() for file in sheets]
    assert len(set(files)) == len(files)
    for name, sheets in FIGURES.items():
        assert all(file.startswith(name) for file in sheets)
        for sheet in sheets.values():
            assert type(sheet.quick) is type(sheet.standard)
            assert dataclasses.asdict(sheet.quick) != dataclasses.asdict(sheet.standard)
            # The twins are published at a size that takes a GPU.
            assert sheet.standard == (type(sheet.standard)() if "twins" not in sheet.draw.__module__ else twins.REDUCED)


def test_a_sheet_hands_its_settings_on():
    sheet = next(iter(FIGURES["fig11"].values()))
    seen = []
    probe = dataclasses.replace(sheet, draw=lambda settings, *, progress: seen.append((settings, progress)))
    probe.make()
    probe.make(quick=True, progress=False)
    assert seen == [(sheet.standard, None), (sheet.quick, False)]
