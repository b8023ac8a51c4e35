"""The command that counts what must not happen to a person's results; kills have tests of their own."""

import re

from benchmarks.survival import programs
from benchmarks.survival.__main__ import main


def test_small_counts_find_nothing_bad_and_say_how_many(capsys):
    assert main(["--changes", "20", "--files", "10", "--kills", "0", "--leaks", "20"]) == 0
    rows = re.findall(r"^(.+?) +(\d+) +bad +(\d+)", capsys.readouterr().out, re.MULTILINE)
    expected = [20, 20, len(programs.HIDDEN), 10, 20, 20]
    assert [(int(n), int(bad)) for _, n, bad in rows] == [(n, 0) for n in expected]
