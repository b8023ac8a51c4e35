"""Datasets: solutions with labelled axes."""

import functools
import json
import operator
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from overlap_learning.checks import is_traced
from overlap_learning.learning.outcomes import RESULTS, is_one_of
from overlap_learning.learning.solution import Solution
from overlap_learning.learning.trust import BESIDE
from overlap_learning.model.bulk import AbstractBulk
from overlap_learning.model.bulk_network import BulkNetwork, is_sparse
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.model.reduced_network import ReducedNetwork, as_arrays

if TYPE_CHECKING:
    import xarray

RESULT_NAMES = (
    "successful", "loss_reached", "diverged", "max_steps_reached", "solver_failed", "interrupted",
    "gradient_not_finite", "stalled",
)  # fmt: skip
RESULT_ATTRIBUTES = {"flag_values": list(range(len(RESULT_NAMES))), "flag_meanings": " ".join(RESULT_NAMES)}
#: The first letters of the variables that hold numbers about the run, and what else a learner saved and learned.
STAT, SAVED, FINAL = "stat_", "saved_", "final_"
#: Between the names of a mapping within a mapping.
WITHIN = "."

_MATRIX = ("vector", "vector_2")
_PAIR = ("neuron", "neuron_2")
_AFFINE = ("population", "affine", "affine_2")

Variables = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


def to_dataset(solution: Solution) -> "xarray.Dataset":
    """`Solution.to_xarray`. Batch axes of a vmapped solution become dimensions `member`, `member_2`, ..."""
    import xarray

    batch = tuple("member" if i == 0 else f"member_{i + 1}" for i in range(solution.loss.ndim - 1))
    # A dataset's coordinate has one dimension, and a batch of runs need not share its times.
    point = (*batch, "time" if not batch else "point")
    variables: Variables = {
        "time": (point, solution.time, {"long_name": "learning time", "units": "sum of learning rates"}),
        "loss": (point, solution.loss, {"long_name": "loss", "units": "1"}),
        "result": (batch, result_code(solution.result), RESULT_ATTRIBUTES),
    }
    if solution.step is not None:
        variables["step"] = (point, solution.step, {"long_name": "learning steps done", "units": "1"})
    variables |= {
        STAT + name: (batch, value, {"long_name": name.replace("_", " "), "units": "1"})
        for name, value in solution.stats.items()
    }
    model = solution.model
    variables |= _arrays(SAVED, solution.saved, point) if model is None else _of_overlaps(solution, model, point)
    variables |= _of_final(solution.final, batch)
    dataset = xarray.Dataset(
        {name: (dims, np.asarray(values), attributes) for name, (dims, values, attributes) in variables.items()},
        coords={} if model is None else _coordinates(model),
        attrs={
            "title": "Course of learning" + ("" if model is None else " of a low-rank recurrent network"),
            "model": json.dumps(None if model is None else describe(model), sort_keys=True),
            "versions": versions(),
        },
    )
    return dataset.set_coords(["time"])


def _coordinates(model: Model) -> dict[str, Any]:
    layout = model.layout
    return {
        "vector": ("vector", list(layout.vector_names)),
        "vector_2": ("vector_2", list(layout.vector_names)),
        "overlap": ("overlap", list(layout.entry_names)),
        "is_visible": ("overlap", np.isin(layout.entry_names, model.visible_names).astype(np.int8)),
    }


def _of_overlaps(solution: Solution, model: Model, point: tuple[str, ...]) -> Variables:
    gram, transfer = solution.overlaps.gram, solution.transfer
    entries = np.asarray(gram)[..., *model.layout.entry_indices]
    found: Variables = {
        "overlaps": ((*point, "overlap"), entries, {"long_name": "overlaps by name", "units": "1"}),
        "gram": ((*point, *_MATRIX), gram, {"long_name": "Gram matrix V^T V / N", "units": "1"}),
    }
    if transfer is not None:
        of_each = isinstance(solution.final, Populations)
        what = "(1, V)" if of_each else "V"
        attributes = {"long_name": f"M of {what}(tau) = {what}(0) M(tau)", "units": "1"}
        found["transfer"] = ((*point, *(_AFFINE if of_each else _MATRIX)), transfer, attributes)
    if solution.singular_values is not None and solution.change_norm is not None:
        dims = (*point, "singular_value")
        found["singular_values"] = (dims, solution.singular_values, {"long_name": "singular values of the change of W"})
        found["change_norm"] = (point, solution.change_norm, {"long_name": "Frobenius norm of the change of W"})
    if "beside_gram" in solution.saved:
        gram, loss = (solution.saved[name] for name in BESIDE)
        found["beside_gram"] = ((*point, *_MATRIX), gram, {"long_name": "Gram matrix of neurons beside", "units": "1"})
        found["beside_loss"] = (point, loss, {"long_name": "loss of neurons beside", "units": "1"})
    if "vectors" in solution.saved:
        attributes = {"long_name": "vectors V at each saved point", "units": "1"}
        found["vectors"] = ((*point, "neuron", "vector"), solution.saved["vectors"], attributes)
    if "bulk" in solution.saved:
        found["bulk"] = ((*point, *_PAIR), solution.saved["bulk"], {"long_name": "bulk W at each saved point"})
    return found


def _of_final(final: Any, batch: tuple[str, ...]) -> Variables:
    """What was learned."""
    if isinstance(final, AbstractNetwork):
        # Arrays of numpy, as sweeps have them, are in this process.
        if not getattr(final.vectors, "is_fully_addressable", True):
            raise ValueError(
                "Solution.to_xarray: the neurons are spread over several processes, and each knows its own only. Call "
                "whole = solution.gathered() in every process, and save whole in one of them."
            )
        named = {
            "vectors": (("neuron", "vector"), "learned vectors V"),
            "weights": (("neuron",), "weights of the neurons"),
        }
        if isinstance(final, BulkNetwork):
            return _of_bulk(final, batch) | _named(final, named, batch)
    elif isinstance(final, Populations):
        named = {
            "fractions": (("population",), "shares of the populations"),
            "means": (("population", "vector"), "learned means of the vectors"),
            "covariances": (("population", *_MATRIX), "learned covariances of the vectors"),
        }
    elif isinstance(final, Overlaps):
        named = {"gram": (_MATRIX, "learned Gram matrix")}
    else:
        final = as_arrays(final) if isinstance(final, ReducedNetwork) else final
        return _arrays(FINAL, final, batch)
    return _named(final, named, batch)


def _named(part: Any, named: Mapping[str, tuple[tuple[str, ...], str]], batch: tuple[str, ...]) -> Variables:
    """Attributes of what was learned, by name: their dimensions and meanings."""
    return {
        FINAL + name: ((*batch, *dims), getattr(part, name), {"long_name": meaning, "units": "1"})
        for name, (dims, meaning) in named.items()
    }


def _of_bulk(network: BulkNetwork, batch: tuple[str, ...]) -> Variables:
    """The bulk of a network: a matrix, or the entries that a sparse one has, and their places."""
    if not is_sparse(network.bulk):
        return _named(network, {"bulk": (_PAIR, "bulk W")}, batch)
    entries = {"data": (("entry",), "entries of the bulk W"), "indices": (("entry", "place"), "their rows and columns")}
    return {name.replace(FINAL, f"{FINAL}bulk_"): found for name, found in _named(network.bulk, entries, ()).items()}


def _arrays(kind: str, tree: Any, first: tuple[str, ...], path: str = "") -> Variables:
    """The arrays of a pytree of mappings, by their names."""
    if isinstance(tree, Mapping):
        found: Variables = {}
        for name, part in tree.items():
            if not isinstance(name, str) or not name or WITHIN in name:
                raise ValueError(f"Solution.to_xarray: names must be texts without {WITHIN!r}, got {name!r}.")
            found |= _arrays(kind, part, first, f"{path}{WITHIN if path else ''}{name}")
        return found
    if tree is None:
        return {}
    if not isinstance(tree, (jax.Array, np.ndarray)):
        raise ValueError(
            "Solution.to_xarray: what a learner saves and learns must be arrays, or mappings from names to arrays, to "
            f"have labels; got {type(tree).__name__}."
        )
    name = kind + path
    return {name: ((*first, *(f"{name}_{i}" for i in range(tree.ndim - len(first)))), tree, {})}


@functools.cache
def versions() -> str:
    """The versions of what a result was made with."""
    # Each is a file to read and parse.
    return json.dumps({name: version(name) for name in ("overlap_learning", "jax", "equinox", "diffrax", "numpy")})


def result_code(result: Any) -> Any:
    """A member of `RESULTS`, or a batch of them, as its place in `RESULT_NAMES`."""
    is_it = operator.eq if is_traced(result) else is_one_of
    return sum(code * is_it(result, getattr(RESULTS, name)).astype(np.int8) for code, name in enumerate(RESULT_NAMES))


def describe(model: Model) -> dict[str, Any]:
    """A model as text and numbers."""
    activation, layout = model.activation, model.layout
    rule = getattr(activation, "quadrature", None)
    return {
        "layout": {"n_in": layout.n_in, "rank": layout.rank, "n_out": layout.n_out},
        "activation": type(activation).__name__,
        "quadrature": None if rule is None else [type(rule).__name__, rule.order],
        **({} if model.bulk is None else {"bulk": _describe_bulk(model.bulk)}),
        **({"tied": [list(pair) for pair in model.tied]} if model.tied else {}),
        **({} if model.time_constants is None else {"time_constants": np.asarray(model.time_constants).tolist()}),
    }


def _describe_bulk(bulk: AbstractBulk) -> dict[str, Any]:
    """An ensemble as its name and its numbers."""
    numbers = {name: float(value) for name, value in vars(bulk).items() if np.ndim(value) == 0}
    return {"ensemble": type(bulk).__name__, **numbers}
