"""The command that counts what must not happen to a person's results; kills have tests of their own."""

import json

from benchmarks.survival import programs
from benchmarks.survival.__main__ import main
from benchmarks.survival.counts import Count, add, markdown


def test_small_counts_find_nothing_bad_and_say_how_many(tmp_path):
    sizes = {"changes": 20, "files": 4, "damages": 4, "kills": 0, "signals": 0, "trainings": 20, "points": 20}
    arguments = [text for name, n in sizes.items() for text in (f"--{name}", str(n))]
    assert main([*arguments, "--out", str(tmp_path / "counts.json")]) == 0
    counts = json.loads((tmp_path / "counts.json").read_text())["counts"]
    assert [each["n"] for each in counts] == [20, 20, len(programs.HIDDEN), 20, 4, 4, 20, 20]


def test_kills_are_added_to_those_before_and_all_else_takes_its_place(tmp_path):
    path = tmp_path / "counts.json"
    for count in (("kills", 20, 1), ("files", 10, 2, "bad"), ("kills", 30, 0), ("files", 9, 0, "-")):
        add(path, Count(*count))
    table = markdown(path)
    assert "| kills | 50 | 1 |" in table
    assert "| files | 9 | 0 | - |" in table
