"""Reproduction: what a figure of the gallery consists of."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from overlap_learning.learning.solution import Solution

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

PACKAGES = ("overlap_learning", "jax", "equinox", "diffrax", "numpy")


class Number(NamedTuple):
    """One number behind a figure.

    Attributes:
        name: what was measured, in words.
        value: as measured.
        error: its standard error; None if it has none.
        expected: what theory says it should be; None if it says nothing.
    """

    name: str
    value: float
    error: float | None = None
    expected: float | None = None

    def row(self) -> list[str]:
        """Name, value with error, and expectation, for a table."""
        value = f"{self.value:.5g}" + ("" if self.error is None else f" +- {self.error:.2g}")
        return [self.name, value, "" if self.expected is None else f"{self.expected:.5g}"]


class Reproduction(NamedTuple):
    """A figure, the data that it shows, and the numbers behind it.

    Attributes:
        figure: the picture, made without pyplot: save it with `figure.savefig(path)`, or let a notebook show it.
        data: everything that is drawn and the settings it was made with; write it with `data.to_netcdf(path)`.
        numbers: the numbers behind the figure.
        notes: sentences that a reader of the numbers should know, such as where measurement and published claim differ.
    """

    figure: "Figure"
    data: "xarray.Dataset"
    numbers: tuple[Number, ...]
    notes: tuple[str, ...] = ()


def collect(
    figure: "Figure",
    settings: Any,
    numbers: Sequence[Number],
    notes: Sequence[str] = (),
    *,
    runs: Mapping[str, Solution] | None = None,
    arrays: Mapping[str, tuple[Sequence[str], Any, str]] | None = None,
) -> Reproduction:
    """A `Reproduction` whose dataset holds every run, every further array, the numbers and the settings.

    Args:
        figure: the picture; its title becomes that of the dataset.
        settings: a dataclass of numbers; written as JSON in the attribute `settings`.
        numbers: the numbers behind the figure.
        notes: the notes.
        runs: solutions by name. The variables of a run, and its dimensions of time and neurons, begin with its name, as
            in `theory_loss`.
        arrays: further variables by name, each with its dimensions, values and meaning.
    """
    import xarray

    parts = [_prefixed(solution, name) for name, solution in (runs or {}).items()]
    own: dict[str, Any] = {
        name: (tuple(dims), np.asarray(values), {"long_name": meaning, "units": "1"})
        for name, (dims, values, meaning) in (arrays or {}).items()
    }
    nan = float("nan")
    own["number"] = (("number_name",), [n.value for n in numbers], {"long_name": "numbers behind the figure"})
    for field in ("error", "expected"):
        values = [getattr(n, field) for n in numbers]
        own[f"number_{field}"] = (("number_name",), [nan if v is None else v for v in values], {"long_name": field})
    parts.append(xarray.Dataset(own, coords={"number_name": [n.name for n in numbers]}))
    data = xarray.merge(parts, combine_attrs="drop", join="exact", compat="equals")
    title = figure.get_suptitle()
    data.attrs = {
        "title": title,
        "settings": json.dumps(dataclasses.asdict(settings), sort_keys=True),
        "versions": json.dumps({name: version(name) for name in PACKAGES}),
        "notes": "\n".join(notes),
    }
    return Reproduction(figure, data, tuple(numbers), tuple(notes))


def _prefixed(solution: Solution, name: str) -> "xarray.Dataset":
    """The dataset of a run, its own variables and dimensions marked with its name."""
    data = solution.to_xarray()
    shared = {"overlap", "is_visible", "vector", "vector_2"}
    names = {str(old) for old in (*data.variables, *data.dims)} - shared
    return data.rename({old: f"{name}_{old}" for old in names})
