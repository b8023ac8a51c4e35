"""Contents: what the variables of a saved solution must be, to be those of a solution."""

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.learning.dataset import FINAL, RESULT_NAMES, SAVED, STAT
from overlap_learning.model.layout import Layout

if TYPE_CHECKING:
    import xarray

#: Of the largest entry, in roundings: how far a Gram matrix that was integrated or summed may be from its mirror image.
_ASYMMETRY = 1e4
#: What solutions of every learner have.
_OF_ANY = {"time", "loss", "step", "result"}


def check_contents(data: "xarray.Dataset") -> None:
    """Refuse a dataset whose names, sizes and values are not those of a solution.

    Raises:
        ValueError: that says what is wrong, without the name of the file.
    """
    for name in ("time", "loss", "result"):
        if name not in data.variables:
            raise ValueError(f"it has no {name!r}")
    for name, variable in data.variables.items():
        if variable.dtype.kind not in "fiubOUT":
            raise ValueError(f"{str(name)!r} holds {variable.dtype}")
    batch, points = data["result"].shape, data["time"].shape
    if points[:-1] != batch or len(points) != len(batch) + 1 or points[-1] < 1:
        raise ValueError(f"'time' has shape {list(points)} for a 'result' of shape {list(batch)}")
    for name in ("loss", "step"):
        if name in data.variables and data[name].shape != points:
            raise ValueError(f"{name!r} has shape {list(data[name].shape)}, and 'time' {list(points)}")
    result, time, loss = (data[name].values for name in ("result", "time", "loss"))
    if result.dtype.kind not in "iu" or not np.all((result >= 0) & (result < len(RESULT_NAMES))):
        raise ValueError(f"'result' holds {np.unique(result)[:5].tolist()}, codes are 0 to {len(RESULT_NAMES) - 1}")
    if time.dtype.kind != "f" or loss.dtype.kind != "f":
        raise ValueError(f"'time' and 'loss' hold {time.dtype} and {loss.dtype}")
    # Points that a member of a batch did not reach have no time.
    reached = np.isfinite(time)
    ordered = np.where(reached, time, np.inf)
    if not np.all(reached[..., 0]) or np.any(ordered[..., 1:] < ordered[..., :-1]):
        raise ValueError("'time' does not increase from a first point")
    if "step" in data.variables:
        step = np.where(reached, data["step"].values, np.inf)
        if np.any(step < 0) or np.any(step[..., 1:] < step[..., :-1]):
            raise ValueError("'step' does not count up from 0")
    if not np.all(np.isfinite(loss[reached])):
        raise ValueError("'loss' is not finite at points that were reached")
    _check_shapes(data, batch, points, json.loads(data.attrs["model"]))
    for name in ("gram", f"{FINAL}gram"):
        if name in data.variables:
            _check_symmetric(name, data[name].values, reached if name == "gram" else None)


def _check_shapes(data: "xarray.Dataset", batch: tuple[int, ...], points: tuple[int, ...], about: Any) -> None:
    """The shape of each variable, and that what was learned is finite."""
    names = [str(name) for name in data.variables]
    expected: dict[str, tuple[int | None, ...]] = {name: batch for name in names if name.startswith(STAT)}
    if about is not None:
        d = _size(about["layout"])
        expected |= {"gram": (*points, d, d), f"{FINAL}gram": (*batch, d, d), "change_norm": points}
        expected |= {"beside_gram": (*points, d, d), "beside_loss": points}
        for vectors in ("vectors", f"{FINAL}vectors"):
            expected[vectors] = (*(points if vectors == "vectors" else batch), None, d)
        expected["vector"] = expected["vector_2"] = (d,)
        if "gram" not in names:
            raise ValueError("it has no 'gram'")
        if not any(name.startswith(FINAL) for name in names):
            raise ValueError("it has nothing that was learned")
        expected["overlaps"] = (*points, d * (d + 1) // 2)
        if f"{FINAL}vectors" in names and f"{FINAL}bulk" not in names:
            expected[f"{FINAL}weights"] = data[f"{FINAL}vectors"].shape[:-1]
    for name, shape in expected.items():
        if name in names:
            found = data[name].shape
            if len(found) != len(shape) or any(a not in (b, None) for a, b in zip(shape, found, strict=True)):
                wanted = ["any" if size is None else size for size in shape]
                raise ValueError(f"{name!r} has shape {list(found)}, where {wanted} fits the rest")
    if about is not None:
        _check_labels(data, Layout(**about["layout"]))
    elif others := [name for name in names if not name.startswith((STAT, SAVED, FINAL)) and name not in _OF_ANY]:
        raise ValueError(f"it has no model, and {others[0]!r}, which is of one")
    for name in names:
        if about is not None and name.startswith(FINAL) and not np.all(np.isfinite(data[name].values)):
            raise ValueError(f"{name!r} is not finite")
        if name.startswith((STAT, SAVED, FINAL)) and data[name].dtype.kind not in "fiub":
            raise ValueError(f"{name!r} holds {data[name].dtype}")
    if about is not None and f"{FINAL}vectors" in names:
        check_vectors(f"{FINAL}vectors", data[f"{FINAL}vectors"].values)


def check_vectors(name: str, vectors: Any) -> None:
    """Refuse vectors, shape [..., N, d], of which the overlaps are not finite.

    Raises:
        ValueError: if theirs are not.
    """
    with np.errstate(over="ignore"):
        squares = np.sum(np.square(np.asarray(vectors)), axis=-2)
    if not np.all(np.isfinite(squares)):
        raise ValueError(f"the overlaps of {name!r} are not finite")


def _size(layout: Any) -> int:
    """The number of vectors of a layout as the file describes it; no list of their names is made before it fits."""
    sizes = {name: layout[name] for name in ("n_in", "rank", "n_out")}
    if len(layout) != len(sizes) or any(type(n) is not int or not 0 <= n < 2**31 for n in sizes.values()):
        raise ValueError(f"the layout is {layout!r}")
    return sizes["n_in"] + 2 * sizes["rank"] + sizes["n_out"]


def _check_labels(data: "xarray.Dataset", layout: Layout) -> None:
    """That what other programs read of the file is what this package reads."""
    for name, labels in (
        ("vector", layout.vector_names),
        ("vector_2", layout.vector_names),
        ("overlap", layout.entry_names),
    ):
        if name in data.variables and data[name].values.tolist() != list(labels):
            raise ValueError(f"{name!r} holds other labels than {', '.join(labels[:10])}")
    if "overlaps" in data.variables:
        entries = data["gram"].values[..., *layout.entry_indices]
        if not np.array_equal(data["overlaps"].values, entries, equal_nan=True):
            raise ValueError("'overlaps' are other numbers than 'gram'")


def _check_symmetric(name: str, gram: np.ndarray, reached: np.ndarray | None) -> None:
    if gram.dtype.kind != "f":
        raise ValueError(f"{name!r} holds {gram.dtype}")
    known = gram if reached is None else gram[reached]
    if not np.all(np.isfinite(known)):
        raise ValueError(f"{name!r} is not finite at points that were reached")
    scale = np.max(np.abs(known), initial=0.0)
    difference = np.max(np.abs(known - np.swapaxes(known, -1, -2)), initial=0.0)
    if math.isfinite(scale) and difference > _ASYMMETRY * np.finfo(gram.dtype).eps * scale:
        raise ValueError(f"{name!r} is not symmetric (by {difference:.3g})")
