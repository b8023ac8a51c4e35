"""Storage: solutions as labelled datasets and as NetCDF files."""

import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.results import RESULTS
from overlap_learning.dynamics.solution import Solution
from overlap_learning.model.activations import AbstractActivation, Erf, Linear, ReLU, Tanh
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.model.populations import Populations
from overlap_learning.model.quadrature import GaussHermite, Trapezoid

if TYPE_CHECKING:
    import xarray

#: Version of the file's layout. A reader refuses any other.
SCHEMA = 2
#: Stands at the end of every written file, before the checksum of all that comes before.
SEAL = b"\noverlap_learning sha256 "
RESULT_NAMES = ("successful", "loss_reached", "diverged", "max_steps_reached", "solver_failed", "interrupted")
RESULT_ATTRIBUTES = {"flag_values": list(range(len(RESULT_NAMES))), "flag_meanings": " ".join(RESULT_NAMES)}
_RESTORABLE: dict[str, Any] = {"Linear": Linear, "Erf": Erf, "Tanh": Tanh, "ReLU": ReLU}
_QUADRATURES = {"GaussHermite": GaussHermite, "Trapezoid": Trapezoid}
_STAT = "stat_"


def to_dataset(solution: Solution) -> "xarray.Dataset":
    """`Solution.to_xarray`. Batch axes of a vmapped solution become dimensions `member`, `member_2`, ..."""
    import xarray

    if isinstance(solution.final, Network) and not solution.final.vectors.is_fully_addressable:
        raise ValueError(
            "Solution.to_xarray: the neurons are spread over several processes, and each knows its own only. Call "
            "whole = solution.gathered() in every process, and save whole in one of them."
        )
    model, layout = solution.model, solution.model.layout
    batch = tuple("member" if i == 0 else f"member_{i + 1}" for i in range(solution.loss.ndim - 1))
    # A dataset's coordinate has one dimension, and a batch of runs need not share its times.
    point = (*batch, "time" if not batch else "point")
    names = layout.entry_names
    visible = np.isin(names, model.visible_names)
    matrix = ("vector", "vector_2")
    variables: dict[str, Any] = {
        "time": (point, solution.time, {"long_name": "learning time", "units": "sum of learning rates"}),
        "loss": (point, solution.loss, {"long_name": "loss", "units": "1"}),
        "overlaps": (
            (*point, "overlap"),
            jnp.stack(list(solution.overlaps.entries().values()), axis=-1),
            {"long_name": "overlaps by name", "units": "1"},
        ),
        "gram": ((*point, *matrix), solution.overlaps.gram, {"long_name": "Gram matrix V^T V / N", "units": "1"}),
        "result": (batch, result_code(solution.result), RESULT_ATTRIBUTES),
    }
    if solution.step is not None:
        variables["step"] = (point, solution.step, {"long_name": "learning steps done", "units": "1"})
    if solution.transfer is not None:
        of_each = isinstance(solution.final, Populations)
        variables["transfer"] = (
            (*point, "population", "affine", "affine_2") if of_each else (*point, *matrix),
            solution.transfer,
            {"long_name": f"M of {'(1, V)' if of_each else 'V'}(tau) = {'(1, V)' if of_each else 'V'}(0) M(tau)",
             "units": "1"},
        )  # fmt: skip
    if isinstance(solution.final, Network):
        variables["final_vectors"] = (
            (*batch, "neuron", "vector"), solution.final.vectors, {"long_name": "learned vectors V", "units": "1"}
        )  # fmt: skip
        variables["final_weights"] = (
            (*batch, "neuron"),
            solution.final.weights,
            {"long_name": "weights of the neurons", "units": "1"},
        )
    elif isinstance(solution.final, Populations):
        for name, dims, meaning in (
            ("fractions", (), "shares of the populations"),
            ("means", ("vector",), "learned means of the vectors"),
            ("covariances", matrix, "learned covariances of the vectors"),
        ):
            variables[f"final_{name}"] = (
                (*batch, "population", *dims), getattr(solution.final, name), {"long_name": meaning, "units": "1"}
            )  # fmt: skip
    else:
        variables["final_gram"] = (
            (*batch, *matrix),
            solution.final.gram,
            {"long_name": "learned Gram matrix", "units": "1"},
        )
    for name, value in solution.stats.items():
        variables[_STAT + name] = (batch, value, {"long_name": name.replace("_", " "), "units": "1"})
    dataset = xarray.Dataset(
        {name: (dims, np.asarray(values), attributes) for name, (dims, values, attributes) in variables.items()},
        coords={
            "vector": ("vector", list(layout.vector_names)),
            "vector_2": ("vector_2", list(layout.vector_names)),
            "overlap": ("overlap", list(names)),
            "is_visible": ("overlap", visible.astype(np.int8)),
        },
        attrs={
            "title": "Course of learning of a low-rank recurrent network",
            "model": json.dumps(_describe(model), sort_keys=True),
            "versions": _versions(),
        },
    )
    return dataset.set_coords(["time"])


@functools.cache
def _versions() -> str:
    # Each is a file to read and parse.
    return json.dumps({name: version(name) for name in ("overlap_learning", "jax", "equinox", "diffrax", "numpy")})


def save(solution: Solution, path: str | os.PathLike[str]) -> None:
    """`Solution.save`."""
    dataset = to_dataset(solution)
    # A dataset with more in it (a validation, say) is no solution.
    dataset.attrs["overlap_learning_schema"] = SCHEMA
    write(dataset, path)


def write(dataset: "xarray.Dataset", path: str | os.PathLike[str]) -> None:
    """Write a dataset as a NetCDF-4 file that ends with a checksum of itself, whole or not at all.

    Readers of NetCDF pass over what stands behind its end.

    Raises:
        ValueError: if there is no such folder.
        OSError: if it can't be written, as on a full disk. An older file of this name is intact.
    """
    # In memory: HDF5 itself can't go on after a write to a full disk, and may take the program down with it.
    with _without_cluster():
        content = bytes(dataset.to_netcdf(engine="h5netcdf"))
    replace(path, content + SEAL + hashlib.sha256(content).hexdigest().encode())


def _without_cluster() -> contextlib.AbstractContextManager[Any]:
    """With a client of Dask about, xarray would ask its cluster for the lock of a file that this process alone has."""
    if "distributed" not in sys.modules:
        return contextlib.nullcontext()
    from dask import config

    return config.set(scheduler="synchronous")


def replace(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file, whole or not at all: a killed program leaves the old file, or none.

    Raises:
        ValueError: if there is no such folder.
        OSError: if it can't be written, as on a full disk. An older file of this name is intact.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"save: there is no folder {str(target.parent)!r}; make it first.")
    draft = None
    try:
        # It is complete, and on the disk, before it has its name.
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private to its owner; a result has the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, target)
    except BaseException as error:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(f"save: {str(target)!r} could not be written ({error.strerror or error}).") from error
        raise


def load(path: str | os.PathLike[str], *, activation: AbstractActivation | None = None) -> Solution:
    """Read a `Solution` that `Solution.save` wrote.

    Args:
        path: the file.
        activation: the activation, for a model with a function of your own (`ol.Activation(phi)`), which no file can
            hold.

    Returns:
        The solution, equal to the saved one to the last bit (without the interpolant of a dense flow).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not, to the last bit, as it was written, or of another kind or version, or needs an
            activation.

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
    import xarray

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: there is no file {str(path)!r}.")
    check_seal(path)
    with xarray.open_dataset(path, engine="h5netcdf") as opened:
        data = opened.load()
    schema = data.attrs.get("overlap_learning_schema")
    if schema is None:
        raise ValueError(f"load: {str(path)!r} is a file of results, but none that Solution.save wrote.")
    if int(schema) != SCHEMA:
        raise ValueError(
            f"load: {str(path)!r} has file version {int(schema)}, this package reads version {SCHEMA}; it was written "
            f"with {data.attrs.get('versions')}."
        )
    return _from_dataset(data, activation)


def check_seal(path: Path) -> None:
    """Refuse a file that is not, to the last bit, as `write` wrote it; before HDF5 sees it, whose parser may hang.

    Raises:
        ValueError: if it is not.
    """
    length = len(SEAL) + 64
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - length
        while left > 0 and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
        seal = file.read()
    if len(seal) != length or not seal.startswith(SEAL):
        raise ValueError(
            f"load: {str(path)!r} does not end with the checksum of a saved solution: it was cut off or changed, or "
            "Solution.save did not write it."
        )
    if seal != SEAL + digest.hexdigest().encode():
        raise ValueError(f"load: {str(path)!r} is damaged: its contents do not match the checksum at its end.")


def _from_dataset(data: "xarray.Dataset", activation: AbstractActivation | None) -> Solution:
    model = _restore(json.loads(data.attrs["model"]), activation)
    arrays = {str(name): jnp.asarray(data[name].values) for name in data.variables if data[name].dtype.kind in "fiu"}
    blank = Overlaps(jnp.eye(model.layout.size), model.layout)
    if "final_vectors" in arrays:
        final = Network(arrays["final_vectors"], model.layout, arrays["final_weights"])
    elif "final_means" in arrays:
        blank_populations = Populations.from_overlaps(blank)
        final = eqx.tree_at(
            lambda p: (p.fractions, p.means, p.covariances),
            blank_populations,
            tuple(arrays[f"final_{name}"] for name in ("fractions", "means", "covariances")),
        )
    else:
        final = with_gram(blank, arrays["final_gram"])
    decode = _result
    for _ in range(arrays["result"].ndim):
        decode = jax.vmap(decode)
    return Solution(
        model=model,
        time=arrays["time"],
        step=arrays.get("step"),
        loss=arrays["loss"],
        overlaps=with_gram(blank, arrays["gram"]),
        transfer=arrays.get("transfer"),
        final=final,
        stats={name.removeprefix(_STAT): value for name, value in arrays.items() if name.startswith(_STAT)},
        result=decode(arrays["result"]),
    )


def result_code(result: Any) -> Any:
    """A member of `RESULTS`, or a batch of them, as its place in `RESULT_NAMES`."""
    return sum(code * (result == getattr(RESULTS, name)).astype(np.int8) for code, name in enumerate(RESULT_NAMES))


def _result(code: jax.Array) -> Any:
    """The member of `RESULTS` that `result_code` wrote, for one run."""
    result: Any = RESULTS.successful
    for number, name in enumerate(RESULT_NAMES):
        result = RESULTS.where(code == number, getattr(RESULTS, name), result)
    return result


def _describe(model: Model) -> dict[str, Any]:
    activation = model.activation
    layout = model.layout
    rule = getattr(activation, "quadrature", None)
    return {
        "layout": {"n_in": layout.n_in, "rank": layout.rank, "n_out": layout.n_out},
        "activation": type(activation).__name__,
        "quadrature": None if rule is None else [type(rule).__name__, rule.order],
    }


def _restore(description: dict[str, Any], activation: AbstractActivation | None) -> Model:
    name, rule = description["activation"], description["quadrature"]
    if activation is None:
        if name not in _RESTORABLE:
            raise ValueError(
                "load: this solution's model has an activation of its own, which no file can hold; pass it: "
                "ol.load(path, activation=ol.Activation(phi))."
            )
        settings = [] if rule is None else [_QUADRATURES[rule[0]](rule[1])]
        return Model(Layout(**description["layout"]), _RESTORABLE[name](*settings))
    model = Model(Layout(**description["layout"]), activation)
    if _describe(model) != description:
        made_with = name if rule is None else f"{name} ({rule[0]} of order {rule[1]})"
        raise ValueError(f"load: the solution was made with {made_with}, got activation={activation!r}.")
    return model
