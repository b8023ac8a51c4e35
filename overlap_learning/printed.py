"""Printed: tables of text, as HTML for notebooks."""

import html
import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np

#: The most lines of a table in a notebook, and the most rows and columns of a printed matrix.
MOST_LINES, MOST_VECTORS = 120, 12
#: No colours of its own: it is readable on light and on dark pages.
_STYLE = "border-collapse: collapse; font-variant-numeric: tabular-nums; color: inherit; background: none;"
_CELL = "padding: 0 0.6em; border: none;"


def as_html(text: str) -> str:
    """A printed result as HTML: lines of several columns become a table, other lines paragraphs, the first one bold.

    Columns are parted by two blanks or more that all lines of a table have at the same place.

    Args:
        text: what `repr` says.
    """
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES:,} more lines"]
    parts = [f"<div><b>{html.escape(lines[0])}</b></div>"]
    for in_columns, group in groupby(lines[1:], key=lambda line: re.search(r"\S {2,}\S", line) is not None):
        rows = list(group)
        parts += [_table(rows)] if in_columns else [f"<div>{html.escape(row.strip())}</div>" for row in rows]
    return f'<div style="overflow-x: auto;">{"".join(parts)}</div>'


def matrix_rows(matrix: np.ndarray, names: Sequence[str]) -> list[str]:
    """A square matrix with the names of its rows and columns, the first `MOST_VECTORS` of them.

    Args:
        matrix: shape [d, d].
        names: of its d rows and columns.
    """
    shown = min(len(names), MOST_VECTORS)
    rows = [f"  {'':<6}" + "".join(f"{name:>12}" for name in names[:shown])]
    for name, values in zip(names[:shown], matrix[:shown], strict=True):
        rows.append(f"  {name:<6}" + "".join(f"{value:>12.4g}" for value in values[:shown]))
    if shown < len(names):
        rows.append(f"  ... and {len(names) - shown:,} more vectors")
    return rows


def _table(lines: Sequence[str]) -> str:
    cells = _cells(lines)
    is_headed = not any(re.match(r"[-+]?\d", cell) for cell in cells[0][1:])
    rows = []
    for i, row in enumerate(cells):
        tag = "th" if i == 0 and is_headed else "td"
        rows.append("<tr>" + "".join(
            f'<{tag} style="{_CELL} text-align: {"right" if k else "left"};">{html.escape(cell)}</{tag}>'
            for k, cell in enumerate(row)
        ) + "</tr>")  # fmt: skip
    return f'<table style="{_STYLE}">{"".join(rows)}</table>'


def _cells(lines: Sequence[str]) -> list[list[str]]:
    """The cells of a table of text."""
    width = max(map(len, lines))
    padded = [line.ljust(width) for line in lines]
    blank = "".join(" " if all(line[i] == " " for line in padded) else "x" for i in range(width))
    spans = [match.span() for match in re.finditer(r"x+(?: x+)*", blank)]
    return [[line[start:end].strip() for start, end in spans] for line in padded]
