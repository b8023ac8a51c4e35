"""Tables in plain text."""

from overlap_learning.cli.table import print_table


def test_columns_are_aligned_and_titles_begin_over_their_column(capsys):
    print_table(["", "loss", "largest"], [["full N", "1.0", ""], ["theory", "10.25", "3e-14"]], over={2: "deviation"})
    assert capsys.readouterr().out.splitlines() == [
        "                   deviation",
        "            loss   largest",
        "  full N     1.0",
        "  theory   10.25     3e-14",
    ]
