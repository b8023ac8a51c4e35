"""Tables in plain text."""

from collections.abc import Mapping, Sequence


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, over: Mapping[int, str] | None = None) -> None:
    """Print aligned columns: the first to the left, the others to the right.

    Args:
        header: the names of the columns.
        rows: their texts.
        over: titles above the header, each from a column on.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    starts = [2 + sum(widths[:i]) + 3 * i for i in range(len(widths))]
    for column, title in (over or {}).items():
        print(" " * starts[column] + title)
    for row in (header, *rows):
        first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        print("   ".join(["  " + row[0].ljust(len(first)), *others]).rstrip())
