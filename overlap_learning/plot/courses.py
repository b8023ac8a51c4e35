"""Courses: a number through learning at each point of a dataset, with the labels of the grid."""

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.checks import listed
from overlap_learning.plot.style import FONT_SIZE, MANY_COLOURS, axes_of, legend_above

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

#: The dimensions of saved points: of many runs, and of one.
_SAVED = ("point", "time")
#: Two labels so long fit beside each other above the Axes.
MOST_LETTERS = 40


@dataclasses.dataclass(frozen=True)
class Course:
    """One point of a dataset.

    Args:
        label: where in the grid it is.
        time: learning time of the saved points that it reached, shape [at most S].
        values: the number there, of the same shape.
    """

    label: str
    time: np.ndarray
    values: np.ndarray


def is_dataset(value: Any) -> bool:
    """Whether this is an `xarray.Dataset`."""
    import xarray

    return isinstance(value, xarray.Dataset)


def courses(data: "xarray.Dataset", name: str, caller: str) -> tuple[list[Course], int]:
    """A variable of a dataset at each point that has any of it, and the number of all points.

    Raises:
        ValueError: if there is no such variable, or it is none through learning, or no point has any of it.
    """
    import xarray

    if name not in data:
        has = listed(tuple(map(str, data.data_vars))) if data.data_vars else "none"
        raise ValueError(
            f"{caller}: this dataset has no variable {name!r}, its variables are {has}. A sweep has one if its "
            "function returns solutions."
        )
    saved = next((dim for dim in _SAVED if dim in data[name].dims), None)
    if saved is None:
        raise ValueError(
            f"{caller}: {name!r} has the dimensions {tuple(data[name].dims)}, not 'point' or 'time', those of "
            "saved points: let the function of the sweep return the solution."
        )
    times = data["time"] if "time" in data.variables else xarray.DataArray(np.arange(data.sizes[saved]), dims=saved)
    grid = [dim for dim in data[name].dims if dim != saved]
    values, times = (array.transpose(*grid, saved).values for array in xarray.broadcast(data[name], times))
    found = []
    for index in itertools.product(*(range(data.sizes[dim]) for dim in grid)):
        reached = np.isfinite(values[index]) & np.isfinite(times[index])
        if reached.any():
            label = ", ".join(f"{dim} = {_text(data, dim, i)}" for dim, i in zip(grid, index, strict=True))
            found.append(Course(label or name, times[index][reached], values[index][reached]))
    if not found:
        raise ValueError(f"{caller}: {name!r} is missing at every point; data.error, if there is one, says why.")
    return found, values[..., 0].size


def _text(data: "xarray.Dataset", dim: Any, index: int) -> str:
    """The label of a place along a dimension, which without labels is its number."""
    label = data[dim].values[index] if dim in data.coords else index
    return f"{label:.4g}" if isinstance(label, (float, np.floating)) else str(label)


def draw_courses(ax: "Axes | None", data: "xarray.Dataset", name: str, labels: Any, caller: str) -> "Axes":
    """One curve per point; colours follow the order of the grid, and a legend names as many as can be read.

    Raises:
        ValueError: if the dataset has no such courses, or labels do not fit.
    """
    import matplotlib as mpl

    drawn, n_points = courses(data, name, caller)
    if labels is not None and (isinstance(labels, str) or len(labels) != len(drawn)):
        raise ValueError(f"{caller}: labels must be {len(drawn)} names, one for each point, got {labels!r}.")
    ax = axes_of(ax, caller)
    n, most = len(drawn), len(MANY_COLOURS)
    # Yellow, the end of this map, is faint on white paper.
    colours = MANY_COLOURS[:n] if n <= most else mpl.colormaps["viridis"](np.linspace(0, 0.9, n))
    lines = []
    for i, (course, colour) in enumerate(zip(drawn, colours, strict=True)):
        label = course.label if labels is None else labels[i]
        lines += ax.plot(course.time, course.values, color=colour, label=label, linewidth=1.8 if n <= most else 1.0)
    named = [lines[i] for i in sorted({*np.linspace(0, n - 1, min(n, most)).round().astype(int)})]
    columns = 2 if n > 1 and max(len(str(line.get_label())) for line in named) <= MOST_LETTERS else 1
    n_missing = n_points - n
    rest = [f"{n - len(named)} more curves between these"] * (n > len(named))
    rest += [f"{n_missing} point{'s' * (n_missing > 1)} without {name}"] * (n_missing > 0)
    legend_above(ax, named, ncols=columns, **({"title": "; ".join(rest), "title_fontsize": FONT_SIZE} if rest else {}))
    return ax
