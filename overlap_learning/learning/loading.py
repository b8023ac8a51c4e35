"""Loading: solutions written to files, and read back to the last bit."""

import json
import os
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import as_path, in_jax
from overlap_learning.guides import guide
from overlap_learning.learning.contents import check_contents
from overlap_learning.learning.dataset import FINAL, RESULT_NAMES, SAVED, STAT, WITHIN, describe, to_dataset
from overlap_learning.learning.files import NotInFileError, of_a_stranger, read
from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.learning.solution import Solution
from overlap_learning.learning.trust import BESIDE
from overlap_learning.model.activations import AbstractActivation, Erf, Linear, ReLU, Tanh
from overlap_learning.model.bulk import AbstractBulk, DaleBulk, RandomBulk, SparseBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork, Network
from overlap_learning.model.overlaps import Overlaps, unchecked
from overlap_learning.model.populations import Populations
from overlap_learning.model.quadrature import GaussHermite, Trapezoid
from overlap_learning.model.reduced_network import ReducedNetwork, from_arrays

if TYPE_CHECKING:
    import xarray

#: Version of the file's layout. A reader refuses any other.
SCHEMA = 2
_RESTORABLE: dict[str, Any] = {"Linear": Linear, "Erf": Erf, "Tanh": Tanh, "ReLU": ReLU}
_ENSEMBLES: dict[str, Any] = {"RandomBulk": RandomBulk, "SparseBulk": SparseBulk, "DaleBulk": DaleBulk}
_QUADRATURES = {"GaussHermite": GaussHermite, "Trapezoid": Trapezoid}


def to_file(solution: Solution) -> "xarray.Dataset":
    """`Solution.to_file`."""
    dataset = to_dataset(solution)
    # A dataset with more in it (a validation, say) is no solution.
    dataset.attrs["overlap_learning_schema"] = SCHEMA
    return dataset


def load(
    path: str | os.PathLike[str], *, activation: AbstractActivation | None = None, bulk: AbstractBulk | None = None
) -> Solution:
    """Read a `Solution` that `Solution.save` wrote.

    Args:
        path: the file.
        activation: the activation, for a model with a function of your own (`ol.Activation(phi)`), which no file can
            hold.
        bulk: the ensemble of the bulk, likewise, for a model with one of your own.

    Returns:
        The solution, equal to the saved one to the last bit (without the interpolant of a dense flow).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not, to the last bit, as it was written, or of another kind or version, or needs an
            activation or a bulk.

    Examples:
        >>> import tempfile, pathlib
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 20))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     solution.save(pathlib.Path(folder) / "run.nc")
        ...     same = ol.load(pathlib.Path(folder) / "run.nc")
        >>> bool(jnp.all(same.overlaps.gram == solution.overlaps.gram))
        True
    """
    data = read(path, "load")
    path = as_path(path)
    schema = data.attrs.get("overlap_learning_schema")
    if schema is None:
        raise ValueError(
            f"load: {str(path)!r} is a file of results, but none that Solution.save wrote. The class of a result reads "
            "its files, as ol.Validation.load(path)."
        )
    if not isinstance(schema, (int, np.integer)) or schema != SCHEMA:
        raise ValueError(
            f"load: {str(path)!r} has file version {schema}, this package reads version {SCHEMA}; it was written "
            f"with {data.attrs.get('versions')}.{guide('file')}"
        )
    with of_a_stranger(path, "load", "solution that Solution.save wrote"):
        return from_file(data, activation, bulk)


def from_file(data: "xarray.Dataset", activation: AbstractActivation | None, bulk: AbstractBulk | None) -> Solution:
    """The solution of a dataset as files hold it.

    Raises:
        ValueError: if it is of another version, or none of a solution.
    """
    if data.attrs.get("overlap_learning_schema") != SCHEMA:
        raise ValueError(f"its solution has no file version {SCHEMA}")
    check_contents(data)
    return _from_dataset(data, activation, bulk)


def _from_dataset(data: "xarray.Dataset", activation: AbstractActivation | None, bulk: AbstractBulk | None) -> Solution:
    model = restore(json.loads(data.attrs["model"]), activation, bulk)
    arrays = {str(name): in_jax(data[name].values) for name in data.variables if data[name].dtype.kind in "fiu"}
    return Solution(
        model=model,
        time=arrays["time"],
        step=arrays.get("step"),
        loss=arrays["loss"],
        saved=_tree(SAVED, arrays) if model is None else _observed(arrays),
        final=_tree(FINAL, arrays) if model is None else _final(arrays, model.layout),
        stats={name.removeprefix(STAT): value for name, value in arrays.items() if name.startswith(STAT)},
        result=outcomes_of(arrays["result"]),
    )


def _observed(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {
        name: arrays[name]
        for name in ("gram", "transfer", "vectors", "bulk", "singular_values", "change_norm", *BESIDE)
        if name in arrays
    }


def _final(arrays: dict[str, jax.Array], layout: Layout) -> Overlaps | Populations | AbstractNetwork | ReducedNetwork:
    """What was learned, of the kind that the names of the arrays tell."""
    learned = {name.removeprefix(FINAL): array for name, array in arrays.items() if name.startswith(FINAL)}
    if (reduced := from_arrays(learned, layout)) is not None:
        return reduced
    if f"{FINAL}bulk" in arrays:
        return BulkNetwork(arrays[f"{FINAL}vectors"], layout, arrays[f"{FINAL}bulk"])
    if f"{FINAL}bulk_data" in arrays:
        from jax.experimental.sparse import BCOO

        n = arrays[f"{FINAL}vectors"].shape[0]
        entries = (arrays[f"{FINAL}bulk_data"], arrays[f"{FINAL}bulk_indices"])
        return BulkNetwork(arrays[f"{FINAL}vectors"], layout, BCOO(entries, shape=(n, n)))
    if f"{FINAL}vectors" in arrays:
        return Network(arrays[f"{FINAL}vectors"], layout, arrays[f"{FINAL}weights"])
    if f"{FINAL}means" in arrays:
        blank = Populations.from_overlaps(Overlaps(jnp.eye(layout.size), layout))
        parts = tuple(arrays[FINAL + name] for name in ("fractions", "means", "covariances"))
        return eqx.tree_at(lambda p: (p.fractions, p.means, p.covariances), blank, parts)
    return unchecked(arrays[f"{FINAL}gram"], layout)


def _tree(kind: str, arrays: dict[str, jax.Array]) -> Any:
    """A pytree of mappings, from arrays by name."""
    if kind in arrays:
        return arrays[kind]
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        if name.startswith(kind):
            *path, last = name.removeprefix(kind).split(WITHIN)
            inner = found
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = array
    return found or None


def outcomes_of(codes: jax.Array) -> Any:
    """The members of `RESULTS` that `result_code` wrote."""
    decode = _result
    for _ in range(codes.ndim):
        decode = jax.vmap(decode)
    return decode(codes)


def _result(code: jax.Array) -> Any:
    """The member of `RESULTS` that `result_code` wrote, for one run."""
    result: Any = RESULTS.successful
    for number, name in enumerate(RESULT_NAMES):
        result = RESULTS.where(code == number, getattr(RESULTS, name), result)
    return result


def restore(
    description: dict[str, Any] | None, activation: AbstractActivation | None, bulk: AbstractBulk | None
) -> Model | None:
    """The model that `describe` described.

    Raises:
        NotInFileError: if it has an activation or a bulk of a person's own, which is not given.
    """
    if description is None:
        return None
    if bulk is None:
        bulk = _restore_bulk(description.get("bulk"))
    layout = Layout(**description["layout"])
    further = {"tied": dict(description.get("tied", ())), "time_constants": description.get("time_constants")}
    name, rule = description["activation"], description["quadrature"]
    if activation is None:
        if name not in _RESTORABLE:
            raise NotInFileError(
                "load: this solution's model has an activation of its own, which no file can hold; pass it: "
                "ol.load(path, activation=ol.Activation(phi))."
            )
        settings = [] if rule is None else [_QUADRATURES[rule[0]](rule[1])]
        return Model(layout, _RESTORABLE[name](*settings), bulk, **further)
    model = Model(layout, activation, bulk, **further)
    if describe(model) != description:
        made_with = name if rule is None else f"{name} ({rule[0]} of order {rule[1]})"
        raise NotInFileError(f"load: the solution was made with {made_with}, got activation={activation!r}.")
    return model


def _restore_bulk(description: dict[str, Any] | None) -> AbstractBulk | None:
    if description is None:
        return None
    numbers = dict(description)
    if (name := numbers.pop("ensemble")) not in _ENSEMBLES:
        raise NotInFileError(
            f"load: this solution's model has a bulk of its own ({name}), which no file can hold; pass it: "
            "ol.load(path, bulk=...)."
        )
    return _ENSEMBLES[name](**numbers)
