"""Files: fits as labelled datasets, and read back to the last bit."""

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import as_path
from overlap_learning.fitting.decoder import FreeLinear, OneToOne, Orthonormal
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.fitting.likelihood import Gaussian, Poisson
from overlap_learning.fitting.masks import Masks
from overlap_learning.fitting.prior import GaussianProcess, RationalQuadratic, Reparametrised, SquaredExponential
from overlap_learning.fitting.result import Fit
from overlap_learning.fitting.solver import Diffrax, Euler
from overlap_learning.fitting.tensor_network import TensorNetwork
from overlap_learning.learning.dataset import versions
from overlap_learning.learning.files import of_a_stranger, read
from overlap_learning.model.activations import Erf, Linear, ReLU, Tanh

if TYPE_CHECKING:
    import xarray

#: Version of the file's layout. A reader refuses any other.
SCHEMA = 2
_OBJECTS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Orthonormal, FreeLinear, OneToOne, Inputs, Gaussian, Poisson, GaussianProcess, Reparametrised,
        RationalQuadratic, SquaredExponential, Euler, Diffrax, Erf, Linear, ReLU, Tanh,
    )
}  # fmt: skip
#: The dimensions of the arrays of a network, after the starts.
_ARRAYS = {
    "columns": ("unit", "component"),
    "rows": ("unit", "component"),
    "trials": ("trial", "component"),
    "extra": ("unit", "extra"),
    "inputs": ("condition_name", "time", "direction"),
    "start": ("condition_name", "direction"),
}
_READOUT = {"matrix": ("neuron", "unit"), "log_gain": (), "offset": ("neuron",)}
_PARTS = ("likelihood", "prior", "inputs")
_NETWORK_PARTS = ("activation", "decoder", "solver")


def to_dataset(fit: Fit) -> "xarray.Dataset":
    """`Fit.to_xarray`.

    Raises:
        ValueError: if it has an activation or a solver of a person's own, which no file can hold.
    """
    import xarray

    networks, best = fit.networks, fit.network
    columns, rows = best.neurons
    eigenvalues = best.eigenvalues
    point = ("seed", "point")
    variables: dict[str, Any] = {
        **{name: (("seed", *dims), getattr(networks, name)) for name, dims in _ARRAYS.items()},
        **{f"readout_{name}": (("seed", *_READOUT[name]), value) for name, value in networks.readout.items()},
        "time_constant": ((), networks.time_constant[0]),
        "condition": (("trial",), networks.conditions[0]),
        "step": (("point",), fit.step),
        **{f"course_{name}": (point, value) for name, value in fit.course.items()},
        **{f"deviance_{name}": (("seed",), value) for name, value in fit.deviance.items()},
        **{f"block_{name}": (("block",), getattr(fit, f"block_{name}")) for name in ("deviance", "null", "sizes")},
        "part": (("trial", "time", "neuron"), _parts(fit.masks)),
        "curvature": (("trial", "component", "component_2"), fit.curvature),
        "seen_columns": (("neuron", "component"), columns),
        "seen_rows": (("neuron", "component"), rows),
        "eigenvalues_real": (("trial", "component"), np.real(eigenvalues)),
        "eigenvalues_imag": (("trial", "component"), np.imag(eigenvalues)),
    }  # fmt: skip
    objects = {name: _described(getattr(fit, name)) for name in _PARTS}
    objects |= {name: _described(getattr(best, name)) for name in _NETWORK_PARTS}
    about = {
        "objects": objects,
        "best": fit.best,
        "results": fit.results,
        "condition_names": fit.condition_names,
        "epochs": fit.epochs,
        "level": fit.level,
    }
    return xarray.Dataset(
        {name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()},
        coords={"time": np.asarray(best.times), "trial_id": ("trial", fit.trial_ids)},
        attrs={
            "title": "Low-tensor-rank network fitted to recordings",
            "about": json.dumps(about),
            "versions": versions(),
            "overlap_learning_fit_schema": SCHEMA,
        },
    )


def load(path: str | os.PathLike[str]) -> Fit:
    """Read a `Fit` that `Fit.save` wrote, equal to the saved one to the last bit.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not, to the last bit, as it was written, or of another kind or version.
    """
    data = read(path, "fitting.load")
    with of_a_stranger(as_path(path), "fitting.load", "fit that Fit.save wrote"):
        return from_file(data)


def from_file(data: "xarray.Dataset") -> Fit:
    """The fit of a dataset as files hold it.

    Raises:
        ValueError: if it is of another version, or none of a fit.
    """
    schema = data.attrs.get("overlap_learning_fit_schema")
    if not isinstance(schema, (int, np.integer)) or schema != SCHEMA:
        found = "is no fit" if schema is None else f"has file version {schema}"
        raise ValueError(f"it {found}; this reads fits of version {SCHEMA}")
    return _from_dataset(data)


def _from_dataset(data: "xarray.Dataset") -> Fit:
    about = json.loads(data.attrs["about"])
    objects = {name: _restored(each) for name, each in about["objects"].items()}
    n_seeds = data.sizes["seed"]

    def each_seed(name: str) -> jnp.ndarray:
        value = data[name].values
        return jnp.asarray(np.broadcast_to(value, (n_seeds, *value.shape)))

    networks = TensorNetwork(
        **{name: jnp.asarray(data[name].values) for name in _ARRAYS},
        readout={n: jnp.asarray(data[f"readout_{n}"].values) for n in _READOUT if f"readout_{n}" in data},
        times=each_seed("time"),
        conditions=each_seed("condition"),
        time_constant=each_seed("time_constant"),
        **{name: objects[name] for name in _NETWORK_PARTS},
    )
    parts = {name: data[name].values for name in ("step", "curvature", "trial_id")}
    return Fit(
        networks=networks,
        best=about["best"],
        step=parts["step"],
        course={name: data[f"course_{name}"].values for name in ("train", "stop")},
        deviance={name: data[f"deviance_{name}"].values for name in ("train", "stop", "report")},
        block_deviance=data["block_deviance"].values,
        block_null=data["block_null"].values,
        block_sizes=data["block_sizes"].values,
        results=tuple(about["results"]),
        curvature=parts["curvature"],
        **{name: objects[name] for name in _PARTS},
        masks=_masks(data["part"].values),
        level=about["level"],
        trial_ids=parts["trial_id"],
        condition_names=tuple(about["condition_names"]),
        epochs=None if about["epochs"] is None else tuple(about["epochs"]),
    )


def _parts(masks: Masks) -> np.ndarray:
    """The part of each entry: 0 of none, 1 where it trains, 2 where it stops, from 3 on the reported blocks."""
    part = masks.train + 2 * masks.stop
    return np.where(masks.report, 3 + masks.blocks, part).astype(np.int32)


def _masks(part: np.ndarray) -> Masks:
    return Masks(part == 1, part == 2, part >= 3, np.where(part >= 3, part - 3, -1))


def _described(value: Any) -> Any:
    """An object as its kind and its settings."""
    if not isinstance(value, eqx.Module):
        return float(value) if isinstance(value, jax.Array) else value
    name = type(value).__name__
    if type(value).__module__.startswith("diffrax"):
        return {"diffrax": name}
    if _OBJECTS.get(name) is not type(value):
        raise ValueError(f"Fit.save: a file can't hold {value!r}, an object of your own.")
    if name in ("Erf", "Linear", "ReLU", "Tanh"):
        # Their quadrature is of the theory.
        return {"kind": name}
    return {"kind": name} | {f.name: _described(getattr(value, f.name)) for f in dataclasses.fields(value)}


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "diffrax" in value:
        import diffrax

        solver = getattr(diffrax, value["diffrax"], None)
        if not (isinstance(solver, type) and issubclass(solver, diffrax.AbstractSolver)):
            raise ValueError(f"{value['diffrax']!r} is no solver of diffrax")
        return solver()
    return _OBJECTS[value["kind"]](**{name: _restored(each) for name, each in value.items() if name != "kind"})
