"""Objects: results taken apart into arrays and text, as files hold them, and put together again."""

import dataclasses
import json
import os
from collections.abc import Mapping
from importlib import import_module
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import as_path, assembled
from overlap_learning.learning.contents import check_vectors
from overlap_learning.learning.dataset import describe, result_code, versions
from overlap_learning.learning.files import of_a_stranger, read
from overlap_learning.learning.loading import outcomes_of, restore
from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.learning.result import AbstractResult
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.bulk import AbstractBulk
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps, unchecked

if TYPE_CHECKING:
    import xarray

Kind = TypeVar("Kind", bound=AbstractResult)

#: Version of the file's layout. A reader refuses any other.
SCHEMA = 1
ABOUT = "overlap_learning_result"
#: What files may hold, besides models and overlaps: nothing else is made of what a file says.
_KINDS = {
    kind: f"overlap_learning.{module}"
    for module, kinds in {
        "fitting.bootstrap": "Bootstrap",
        "fitting.ranks": "RankComparison",
        "fitting.result": "Fit",
        "learning.solution": "Solution",
        "random_connectivity.chain": "Chain Bases",
        "random_connectivity.network": "FiniteNetwork InfiniteNetwork",
        "random_connectivity.spectrum": "Spectrum",
        "studies.connectivity": "ConnectivityChange RankOfChange Spectra",
        "studies.equivalence.comparison": "Comparison",
        "studies.gates": "GateRanks",
        "studies.memory.savings": "Savings LearningSpeed",
        "studies.memory.twins": "Twins Phase",
        "studies.random_connectivity.learning": "FixedPointLearning",
        "studies.tensor.weights": "WeightTensor",
        "validation.closure": "ClosureReport",
        "validation.finite_size": "FiniteSize",
        "validation.limit": "Limit",
        "validation.validate": "Validation",
    }.items()
    for kind in kinds.split()
}
_MODEL_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Layout, Network, Overlaps)}
#: What has a file of its own is a part of another's under a name of its own.
_INNER = "part"


def taken_apart(result: AbstractResult) -> "xarray.Dataset":
    """`AbstractResult.to_file`.

    Raises:
        ValueError: if it has something in it that no file can hold.
    """
    data = result.to_xarray()
    parts = _Parts(data)
    kind = type(result).__name__
    about = {"kind": kind, "schema": SCHEMA, "fields": parts.fields(result)}
    data = data.assign(parts.variables)
    data.attrs |= {ABOUT: json.dumps(about), "versions": versions()}
    return data


def load(
    kind: type[Kind],
    path: str | os.PathLike[str],
    activation: AbstractActivation | None,
    bulk: AbstractBulk | None,
) -> Kind:
    """`AbstractResult.load`."""
    caller = f"{kind.__name__}.load"
    data = read(path, caller)
    path = as_path(path)
    with of_a_stranger(path, caller, f"{kind.__name__} that {kind.__name__}.save wrote"):
        return kind.from_file(data, activation, bulk)


def put_together(
    kind: type[Kind], data: "xarray.Dataset", activation: AbstractActivation | None, bulk: AbstractBulk | None
) -> Kind:
    """`AbstractResult.from_file`.

    Raises:
        ValueError: if the file is of another kind or version, or what it says does not fit together.
    """
    about = json.loads(data.attrs.get(ABOUT, "{}"))
    if about.get("kind") != kind.__name__:
        found = about.get("kind", "a Solution" if "overlap_learning_schema" in data.attrs else "something else")
        raise ValueError(f"it holds {found}, which its own class loads")
    if about.get("schema") != SCHEMA:
        raise ValueError(f"it has file version {about.get('schema')}; this package reads version {SCHEMA}")
    result = _Whole(data, activation, bulk).module(kind, about["fields"])
    # Fields of sizes that do not fit make no dataset, or another one than other programs read.
    shown = result.to_xarray()
    for name, variable in shown.variables.items():
        if name not in data.variables or data[name].dims != variable.dims or data[name].shape != variable.shape:
            raise ValueError(f"its {str(name)!r} is none that its parts make")
    # A number that is no place among the others is found where it is used.
    str(result)
    return result


class _Parts:
    """The arrays of what is taken apart, beside those of a labelled dataset, and where they are.

    Args:
        data: the labelled dataset: an array that it has is not written twice.
    """

    def __init__(self, data: "xarray.Dataset"):
        self.variables: dict[str, Any] = {}
        self._known = {_fingerprint(v.values): str(name) for name, v in data.variables.items() if v.dtype.kind in "fiu"}
        self._n = 0

    def fields(self, value: Any) -> dict[str, Any]:
        """The fields of a dataclass or a named tuple."""
        names = value._fields if hasattr(value, "_fields") else [field.name for field in dataclasses.fields(value)]
        return {name: self.part(getattr(value, name)) for name in names}

    def part(self, value: Any) -> Any:
        """One value as JSON, its arrays put aside."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, (float, np.generic)):
            return self.part(np.asarray(value)) | {"number": True}
        if isinstance(value, (jax.Array, np.ndarray)):
            return self._array(value)
        if isinstance(value, type(RESULTS.successful)):
            return {"outcome": self._array(np.asarray(result_code(value)))}
        if isinstance(value, Model):
            return {"model": describe(value)}
        if isinstance(value, Mapping):
            return {"mapping": {name: self.part(each) for name, each in value.items()}}
        kind = type(value).__name__
        if isinstance(value, AbstractResult) and type(value).to_file is not AbstractResult.to_file:
            return {"file": self._file(value), "kind": kind}
        if type(value) in (list, tuple):
            return {type(value).__name__: [self.part(each) for each in cast(Any, value)]}
        if type(value) is _MODEL_KINDS.get(kind) or type(value).__module__ == _KINDS.get(kind):
            return {"kind": kind, "fields": self.fields(value)}
        raise ValueError(f"save: a file can't hold {value!r}, an object of your own.")

    def _name(self) -> str:
        self._n += 1
        return f"{_INNER}_{self._n}"

    def _array(self, value: jax.Array | np.ndarray) -> dict[str, Any]:
        found: dict[str, Any] = {"of": "jax" if isinstance(value, jax.Array) else "numpy"}
        array = np.asarray(value)
        if array.dtype.kind in "cb":
            # NetCDF has neither complex numbers nor truth values.
            found["as"] = str(array.dtype)
            parts = np.stack([np.real(array), np.imag(array)], axis=-1)
            array = parts if array.dtype.kind == "c" else array.astype(np.int8)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"save: a file can't hold an array of {array.dtype}.")
        name = self._known.get(_fingerprint(array))
        if name is None:
            name = self._name()
            self.variables[name] = (tuple(f"{name}_{i}" for i in range(array.ndim)), array)
            self._known[_fingerprint(array)] = name
        return found | {"array": name, "dtype": str(array.dtype), "shape": array.shape}

    def _file(self, value: AbstractResult) -> dict[str, Any]:
        """A result that has a file of its own, every name in it marked."""
        name, data = self._name(), value.to_file()
        for key, variable in data.variables.items():
            dims = tuple(f"{name}.{dim}" for dim in variable.dims)
            # Labels of an axis are a variable like others here.
            marked = f"{name}.{key}" if key not in data.dims else f"{name}.{key}."
            self.variables[marked] = (dims, variable.values, variable.attrs)
        return {"name": name, "attributes": {str(k): _plain(v) for k, v in data.attrs.items()}}


class _Whole:
    """What parts are of.

    Args:
        data: a dataset with the parts.
        activation: as for `load`.
        bulk: as for `load`.
    """

    def __init__(self, data: "xarray.Dataset", activation: AbstractActivation | None, bulk: AbstractBulk | None):
        self._data, self._activation, self._bulk = data, activation, bulk

    def module(self, kind: type, fields: Mapping[str, Any]) -> Any:
        """A dataclass or named tuple of exactly these fields."""
        names = getattr(kind, "_fields", None) or [field.name for field in dataclasses.fields(kind)]
        if set(fields) != set(names):
            raise ValueError(f"a {kind.__name__} has the fields {', '.join(names)}, not {', '.join(fields)}")
        values = {name: self.whole(part) for name, part in fields.items()}
        hints = get_type_hints(kind)
        if strange := [name for name, value in values.items() if not _is_of(value, hints[name])]:
            raise ValueError(f"{strange[0]!r} of its {kind.__name__} is {values[strange[0]]!r:.50}")
        if kind is Overlaps:
            return _overlaps(**values)
        if kind is Network:
            check_vectors("vectors", values["vectors"])
        # A class that computes its fields is given them as they were.
        is_checked = kind in (Layout, Network) or not issubclass(kind, eqx.Module)
        return kind(**values) if is_checked else assembled(kind, **values)

    def whole(self, part: Any) -> Any:
        """One value."""
        if not isinstance(part, dict):
            return part
        if "array" in part:
            array = self._array(part)
            return array.item() if "number" in part else array
        if "outcome" in part:
            return outcomes_of(jnp.asarray(self._array(part["outcome"])))
        if "model" in part:
            return restore(part["model"], self._activation, self._bulk)
        if "mapping" in part:
            return {name: self.whole(each) for name, each in part["mapping"].items()}
        for sequence in (list, tuple):
            if sequence.__name__ in part:
                return sequence(self.whole(each) for each in part[sequence.__name__])
        if part["kind"] in _MODEL_KINDS:
            return self.module(_MODEL_KINDS[part["kind"]], part["fields"])
        kind = getattr(import_module(_KINDS[part["kind"]]), part["kind"])
        return self._inner(kind, part["file"]) if "file" in part else self.module(kind, part["fields"])

    def _array(self, part: Mapping[str, Any]) -> Any:
        array = self._data[part["array"]].values
        if str(array.dtype) != part["dtype"] or list(array.shape) != part["shape"]:
            told = f"{part['dtype']}{part['shape']}"
            raise ValueError(f"{part['array']!r} is {array.dtype}{list(array.shape)}, not {told}")
        if "as" in part:
            dtype = np.dtype(part["as"])
            if dtype.kind not in "cb":
                raise ValueError(f"{part['array']!r} is said to be of {dtype}")
            array = (array[..., 0] + 1j * array[..., 1] if dtype.kind == "c" else array).astype(dtype)
        return jnp.asarray(array) if part["of"] == "jax" else array

    def _inner(self, kind: type[AbstractResult], file: Mapping[str, Any]) -> AbstractResult:
        import xarray

        mark = f"{file['name']}."
        variables = {}
        for name, variable in self._data.variables.items():
            if str(name).startswith(mark):
                dims = tuple(str(dim).removeprefix(mark) for dim in variable.dims)
                variables[str(name).removeprefix(mark).removesuffix(".")] = (dims, variable.values, variable.attrs)
        return kind.from_file(xarray.Dataset(variables, attrs=dict(file["attributes"])), self._activation, self._bulk)


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is what the annotation of a field says; arrays of numpy and of jax are alike."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is UnionType:
        return any(_is_of(value, each) for each in inner)
    if origin in (tuple, dict):
        parts = value.values() if isinstance(value, dict) else value
        return isinstance(value, origin) and all(_is_of(part, inner[origin is dict]) for part in parts)
    if hint in (np.ndarray, jax.Array):
        return isinstance(value, (np.ndarray, jax.Array, float))
    # A truth value is an integer to Python.
    return type(value) is hint if hint in (int, bool) else isinstance(value, hint)


def _overlaps(gram: Any, layout: Any) -> Overlaps:
    """Overlaps that learning led to, which rounding may have taken below 0."""
    d = layout.size
    known = np.asarray(gram)
    if known.shape[-2:] != (d, d) or known.dtype.kind != "f":
        raise ValueError(f"a Gram matrix of {d} vectors has shape {list(known.shape)}")
    return unchecked(gram, layout)


def _fingerprint(array: np.ndarray) -> tuple[str, tuple[int, ...], int]:
    return str(array.dtype), array.shape, hash(np.ascontiguousarray(array).tobytes())


def _plain(value: Any) -> Any:
    """An attribute of a dataset as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value
