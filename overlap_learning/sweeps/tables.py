"""Results: what the function of a sweep returned at some points, as labelled arrays."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import refuse_masked
from overlap_learning.learning.dataset import RESULT_ATTRIBUTES, result_code, to_dataset
from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.learning.solution import Solution
from overlap_learning.learning.stability import FOUND

#: The dimension of the points, in the order they are counted.
FLAT = "sweep_point"
#: The dimension of the saved points of a solution: runs that ended early have fewer.
RAGGED = "point"
#: The variable of a file that says which points it has.
INDEX = "sweep_index"

#: Integers up to this one are numbers of double precision too.
EXACT = 2**53
#: Names that the dataset or the files of a sweep have for themselves.
_OWN = {"error": "why a point failed", FLAT: "its points", INDEX: "the numbers of its points"}

#: Name, dimensions (with `FLAT` first, if it has it), values, attributes, and whether it is a coordinate.
Variable = tuple[Any, Sequence[Any], np.ndarray, Mapping[str, Any], bool]

_ALLOWED = (
    "it must return an ol.Solution, an xarray.Dataset or DataArray, a number or an array, or a mapping of names to "
    "numbers and arrays, with dimensions if you like: {'loss': ('time', loss)}"
)


class Results(NamedTuple):
    """Results of n points.

    Attributes:
        arrays: by name, each with the points as its first axis.
        form: what the results of all points of a sweep must agree in, as JSON: of each variable its dimensions, their
            sizes (null if they may differ), whether it is text, and whether it is a coordinate; and the labels of
            dimensions.
        attributes: of the dataset (under "") and of variables, as JSON.
    """

    arrays: dict[str, np.ndarray]
    form: str
    attributes: str


def read(result: Any, n: int | None = None) -> Results:
    """What the function returned, as labelled arrays.

    Args:
        result: of one point, or of n points under `jax.vmap`.
        n: how many; None: one point, without an axis of its own.

    Raises:
        ValueError: if it is nothing that can be labelled.
    """
    import xarray

    if isinstance(result, Solution):
        return _results(*_of_solution(result, n), n, ragged=RAGGED)
    if isinstance(result, xarray.DataArray):
        result = result.to_dataset(name=result.name or "value")
    if isinstance(result, xarray.Dataset):
        variables = [(k, v.dims, v.values, v.attrs, k in result.coords) for k, v in result.variables.items()]
        return _results(variables, result.attrs, n)
    if hasattr(result, "_asdict"):
        result = result._asdict()
    elif not isinstance(result, Mapping):
        result = {"value": result}
    if not result:
        raise ValueError(f"sweep: the function returned an empty mapping; {_ALLOWED}.")
    return _results([_variable(name, value, n) for name, value in result.items()], {}, n)


def check_name(name: str, what: str) -> None:
    """Refuse a name that no NetCDF file can hold, or that a sweep has for itself.

    Raises:
        ValueError: that begins with `what`.
    """
    if name in _OWN:
        raise ValueError(f"{what} is where sweep keeps {_OWN[name]}; give it another name.")
    if not name or name == "." or "/" in name or "\0" in name or name != name.encode(errors="replace").decode():
        raise ValueError(f"{what} can't be that of a variable in a file; give it one without '/' and NUL, and not '.'.")


def check(results: Results, dims: Mapping[str, Sequence[Any]]) -> None:
    """Refuse results from a file of which the arrays are not those that their form tells.

    Raises:
        ValueError: that says what is wrong, without the name of the file.
    """
    form, attributes = json.loads(results.form), json.loads(results.attributes)
    variables, labels = form["variables"], form["labels"]
    if set(variables) != set(results.arrays) or not all(isinstance(own, dict) for own in attributes.values()):
        raise ValueError(f"it has {sorted(results.arrays)}, and says that it has {sorted(variables)}")
    lengths = {dim: len(values) for dim, values in labels.items() if isinstance(values, list)}
    if len(lengths) < len(labels):
        raise ValueError("its labels are no lists")
    for name, variable in variables.items():
        array, inner = results.arrays[name], tuple(variable["dims"])
        sizes = [size if wanted is None else wanted
                 for size, wanted in zip(array.shape[1:], variable["sizes"], strict=True)]  # fmt: skip
        fits = tuple(dims[name]) == (FLAT, *inner) and tuple(sizes) == array.shape[1:]
        labelled = all(lengths.get(dim, size) == size for dim, size in zip(inner, sizes, strict=True))
        is_told = type(variable["text"]) is bool and type(variable["coordinate"]) is bool
        if not (fits and labelled and is_told) or (array.dtype.kind == "U") != variable["text"]:
            raise ValueError(f"{name!r} of shape {list(array.shape)} is not what it says: {variable}")


def difference(form: str, other: str) -> str:
    """In what two forms differ, in words; empty if they are the same."""
    if form == other:
        return ""
    a, b = json.loads(form), json.loads(other)
    names, others = set(a["variables"]), set(b["variables"])
    if names != others:
        return f"one has {sorted(names - others)}, the other {sorted(others - names)}"
    for name, variable in sorted(a["variables"].items()):
        if variable != b["variables"][name]:
            return f"{name!r} holds {_describe(variable)} and {_describe(b['variables'][name])}"
    labels = sorted(name for name in {*a["labels"], *b["labels"]} if a["labels"].get(name) != b["labels"].get(name))
    return f"the coordinate {labels[0]!r} has other values" if labels else ""


def _describe(variable: dict[str, Any]) -> str:
    sizes = (
        f"{dim}: {'any' if size is None else size}"
        for dim, size in zip(variable["dims"], variable["sizes"], strict=True)
    )
    return f"{'texts' if variable['text'] else 'numbers'} of shape [{', '.join(sizes)}]"


def _of_solution(solution: Solution, n: int | None) -> tuple[list[Variable], dict[str, Any]]:
    def plain(leaf):
        return leaf if not eqx.is_array(leaf) else np.asarray(leaf) if n else np.asarray(leaf)[None]

    # Every point has the same numbers about its run.
    stats = {name: value for name, value in solution.stats.items() if name not in FOUND}
    solution = eqx.tree_at(lambda s: s.stats, solution, stats)
    # As numpy's arrays, whose parts cost nothing to take; with an axis of the points, if there is none yet.
    data = to_dataset(jax.tree.map(plain, eqx.tree_at(_interpolation, solution, None, is_leaf=_is_none)))
    # The first batch axis is that of the points; a batch within each point moves up.
    batch = data["result"].dims
    names = dict(zip(batch, [FLAT, *batch[:-1]], strict=True))
    reached = np.isfinite(data["time"].values)
    n_reached = int(np.max(np.sum(reached, axis=-1), initial=0))
    variables: list[Variable] = []
    for name, variable in data.variables.items():
        values = variable.values
        if RAGGED in variable.dims:
            # A program for many members repeats the last state up to the end, one for a single member stops there.
            there = reached.reshape(*reached.shape, *[1] * (values.ndim - reached.ndim))
            values = np.where(there, values, np.nan)[(slice(None),) * len(batch) + (slice(n_reached),)]
        dims = [str(names.get(dim, dim)) for dim in variable.dims]
        variables.append((str(name), dims, values, variable.attrs, name in data.coords))
    return variables, {name: data.attrs[name] for name in ("title", "model", "versions")}


def _interpolation(solution: Solution) -> Any:
    return solution.interpolation


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _variable(name: Any, value: Any, n: int | None) -> Variable:
    """A variable over the points, with the dimensions that the function named or names of their own."""
    if not isinstance(name, str):
        raise ValueError(f"sweep: the function returned a mapping with the name {name!r}; names must be strings.")
    dims, attributes = None, {}
    if isinstance(value, tuple) and 2 <= len(value) <= 3:
        dims, value = value[0], value[1]
        dims = (dims,) if isinstance(dims, str) else tuple(dims)
    if isinstance(value, RESULTS):
        value, attributes = result_code(value), RESULT_ATTRIBUTES
    array = _array(name, value)
    if n is None:
        array = array[None]
    elif array.ndim == 0:
        # A number that does not depend on the point is no array in the compiled program.
        array = np.broadcast_to(array, (n,))
    if dims is None:
        dims = tuple(f"{name}_dim_{i}" for i in range(array.ndim - 1))
    if len(dims) != array.ndim - 1:
        raise ValueError(
            f"sweep: the function returned {name!r} with {len(dims)} dimensions {list(dims)} for an array of shape "
            f"{list(array.shape[1:])}."
        )
    return name, (FLAT, *dims), array, attributes, False


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value) and value.dtype.kind in "biufc":
        # What is masked is missing.
        value = np.ma.filled(value.astype(np.result_type(value.dtype, float)), np.nan)
    refuse_masked(value, f"sweep: what the function returned as {name}")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.empty((), object)
    if array.dtype.kind == "O" and array.size and all(isinstance(element, str) for element in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "U" and any(str(text).endswith("\0") for text in np.ravel(np.asarray(value, object))):
        raise ValueError(f"sweep: the function returned {name!r} with NUL at the end of a text, which arrays cut off.")
    if array.dtype.kind in "iu" and array.size and max(abs(int(array.min())), int(array.max())) > EXACT:
        raise ValueError(
            f"sweep: the function returned {name!r} with integers beyond 2^53, which would be rounded beside points "
            "that have none; return them as texts."
        )
    if hasattr(value, "iloc") or (hasattr(value, "coords") and hasattr(value, "dims")):
        raise ValueError(
            f"sweep: the function returned {name!r} as a {type(value).__name__}, whose labels would be lost; return "
            "value.to_xarray(), an xarray.Dataset of all results, or value.to_numpy() to leave labels out."
        )
    if array.dtype.kind not in "biufcU":
        raise ValueError(
            f"sweep: the function returned {'a value' if name == 'value' else repr(name)} of type "
            f"{type(value).__name__}{_of_what(array)}, which can't be labelled; {_ALLOWED}."
        )
    return array


def _of_what(array: np.ndarray) -> str:
    return "" if array.dtype.kind == "O" and array.ndim == 0 else f" with dtype {array.dtype}"


def _results(
    variables: Sequence[Variable], attributes: Mapping[str, Any], n: int | None, ragged: str | None = None
) -> Results:
    """Variables as arrays and their form. One that has no dimension `FLAT` is the same at all points."""
    arrays, form, labels = {}, {}, {}
    all_attributes = {"": dict(attributes)}
    for name, dims, values, own, is_coordinate in variables:
        name, values = str(name), _array(str(name), values)
        for each in (name, *(str(dim) for dim in dims if dim != FLAT)):
            check_name(each, f"sweep: the function's results have the name {each!r}, which")
        if list(dims).count(FLAT) > 1:
            check_name(FLAT, f"sweep: the function's results have the name {FLAT!r}, which")
        all_attributes[name] = dict(own)
        if dims == (name,) or dims == [name]:
            labels[name] = values.tolist()
            continue
        if FLAT not in dims:
            values = np.broadcast_to(values, (n or 1, *values.shape))
        inner = [str(dim) for dim in dims if dim != FLAT]
        sizes = [None if dim == ragged else size for dim, size in zip(inner, values.shape[1:], strict=True)]
        arrays[name] = values
        form[name] = {"dims": inner, "sizes": sizes, "text": values.dtype.kind == "U", "coordinate": is_coordinate}
    # JSON, so that they are the same whether they were read from a file or not.
    return Results(
        arrays,
        json.dumps({"variables": form, "labels": labels}, default=_plain),
        json.dumps(all_attributes, sort_keys=True, default=_plain),
    )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)
