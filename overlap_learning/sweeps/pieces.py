"""Pieces: the points of a sweep that are done, and the dataset that they make up."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from overlap_learning.sweeps.grid import Grid
from overlap_learning.sweeps.tables import Results, difference

#: The variable that says why a point failed.
ERROR = "error"


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Some points of a sweep.

    Attributes:
        index: of the points, in the order they are counted, shape [n].
        errors: why each failed; "" where it did not.
        results: None if the points have none.
        partial: the results are what a `LearningError` carried; they count if the other points have such results too.
        passing: the points failed for a reason that may pass (memory, disk, a lost machine).
    """

    index: np.ndarray
    errors: tuple[str, ...]
    results: Results | None
    partial: bool = False
    passing: bool = False

    @property
    def kind(self) -> tuple[Any, ...]:
        """Pieces of a kind can be joined."""
        results = self.results
        return (self.partial, self.passing) if results is None else (self.partial, results.form, results.attributes)


def join(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one kind as one."""
    first, index = pieces[0], np.concatenate([piece.index for piece in pieces])
    errors = tuple(error for piece in pieces for error in piece.errors)
    results = first.results
    if results is not None:
        everywhere = np.arange(len(index))
        places = np.split(everywhere, np.cumsum([len(piece.index) for piece in pieces])[:-1])
        parts = [(place, piece.results) for place, piece in zip(places, pieces, strict=True) if piece.results]
        results = results._replace(arrays={name: _fill(name, len(index), parts) for name in results.arrays})
    return dataclasses.replace(first, index=index, errors=errors, results=results)


class Collection:
    """The pieces of a sweep as they come; all must have results of one form."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self.pieces: list[Piece] = []
        self.done = np.zeros(grid.size, bool)
        self._model: Piece | None = None

    def add(self, piece: Piece) -> Piece | None:
        """Take a piece; points that are there already are left out.

        Returns:
            What was taken; None if all was there.

        Raises:
            ValueError: if its results differ in form from those of another point, or have a name of the grid.
        """
        if piece.results is not None and not piece.partial:
            if self._model is None:
                self._check_names(piece.results)
                self._model = piece
            model = self._model.results
            differs = "" if model is None else difference(model.form, piece.results.form)
            if differs:
                raise ValueError(
                    "sweep: the function must return the same names and shapes at every point, but between "
                    f"{self.grid.describe(self._model.index[0])} and {self.grid.describe(piece.index[0])} {differs}. "
                    "Return what they have in common, or fill up with NaN."
                )
        new = ~self.done[piece.index]
        if not np.any(new):
            return None
        if not np.all(new):
            piece = _select(piece, new)
        self.done[piece.index] = True
        self.pieces.append(piece)
        return piece

    def _check_names(self, results: Results) -> None:
        form = json.loads(results.form)
        dims = {dim for variable in form["variables"].values() for dim in variable["dims"]}
        both = sorted({*results.arrays, *form["labels"], *dims} & {*self.grid.names, ERROR})
        if both:
            raise ValueError(
                f"sweep: the function's results have the name {both[0]!r}, which is "
                f"{'where sweep keeps why a point failed' if both[0] == ERROR else 'a dimension of the grid too'}; "
                "give it another name."
            )

    def failed(self) -> list[tuple[int, str]]:
        """The points that failed and why, in order."""
        found = [(int(i), e) for piece in self.pieces for i, e in zip(piece.index, piece.errors, strict=True) if e]
        return sorted(found)

    def dataset(self, title: str) -> Any:
        """All pieces, along the dimensions of the grid.

        Raises:
            RuntimeError: if no point has a result.
        """
        import xarray

        grid = self.grid
        models = [piece for piece in self.pieces if piece.results and not piece.partial]
        models = models or [piece for piece in self.pieces if piece.results]
        failed = self.failed()
        if not models:
            index, error = failed[0]
            raise RuntimeError(
                f"sweep: the function failed at all {grid.size} points; at {grid.describe(index)}: {error}"
            )
        first = min(models, key=lambda piece: piece.index[0])
        assert first.results is not None
        form = first.results.form
        parts = [(p.index, p.results) for p in self.pieces if p.results and not difference(form, p.results.form)]
        form = json.loads(form)
        attributes = _common([json.loads(results.attributes) for _, results in parts])
        there = np.zeros(grid.size, bool)
        there[np.concatenate([index for index, _ in parts])] = True
        errors = np.full(grid.size, "", dtype=object)
        for index, error in failed:
            errors[index] = error
        variables: dict[str, Any] = {axis.name: (axis.name, axis.labels, axis.attributes) for axis in grid.axes} | {
            name: (name, np.asarray(labels), attributes.get(name, {})) for name, labels in form["labels"].items()
        }
        coordinates = list(variables)
        for name, variable in form["variables"].items():
            values = _fill(name, grid.size, parts)
            values = values.reshape(*grid.shape, *values.shape[1:])
            dims = list(grid.names)
            if variable["coordinate"]:
                coordinates.append(name)
                values, dims = _where_it_varies(values, dims, there.reshape(grid.shape))
            variables[name] = ([*dims, *variable["dims"]], values, attributes.get(name, {}))
        variables[ERROR] = (
            grid.names,
            errors.astype(str).reshape(grid.shape),
            {"long_name": "why a point failed; empty where it did not"},
        )
        data = xarray.Dataset(variables, attrs=attributes.get("", {}) | {"title": title})
        return data.set_coords(coordinates)


def _fill(name: str, n: int, parts: Sequence[tuple[np.ndarray, Results]]) -> np.ndarray:
    """A variable at n points, from its values at some; the others, and what they did not reach, are missing."""
    values = [(index, results.arrays[name]) for index, results in parts]
    shape = np.max([array.shape[1:] for _, array in values], axis=0).astype(int)
    is_whole = sum(len(index) for index, _ in values) == n and all(a.shape[1:] == tuple(shape) for _, a in values)
    dtype = np.result_type(*(array.dtype for _, array in values))
    if not is_whole and dtype.kind in "biu":
        dtype = np.dtype(float)
    found = np.full((n, *shape), "" if dtype.kind == "U" else np.nan if dtype.kind in "fc" else 0, dtype)
    for index, array in values:
        found[(index, *(slice(size) for size in array.shape[1:]))] = array
    return found


def _where_it_varies(values: np.ndarray, dims: list[str], there: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A coordinate without the dimensions along which all points that have it agree."""
    known = there.reshape(*there.shape, *[1] * (values.ndim - there.ndim)) & np.ones(values.shape, bool)
    if values.dtype.kind in "fc":
        known &= ~np.isnan(values)
    left = list(dims)
    for dim in dims:
        axis = left.index(dim)
        at = np.argmax(known, axis=axis, keepdims=True)
        one = np.take_along_axis(values, at, axis=axis)
        if np.all((values == one) | ~known):
            values, known = one.squeeze(axis), np.any(known, axis=axis)
            left.remove(dim)
    return values, left


def _common(attributes: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The attributes that all have, and have alike."""
    first, *others = attributes
    return {
        name: {key: value for key, value in own.items() if all(o.get(name, {}).get(key) == value for o in others)}
        for name, own in first.items()
    }


def _select(piece: Piece, chosen: np.ndarray) -> Piece:
    results = piece.results
    if results is not None:
        results = results._replace(arrays={name: array[chosen] for name, array in results.arrays.items()})
    errors = tuple(error for error, is_chosen in zip(piece.errors, chosen, strict=True) if is_chosen)
    return dataclasses.replace(piece, index=piece.index[chosen], errors=errors, results=results)
