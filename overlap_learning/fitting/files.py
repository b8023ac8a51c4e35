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
from overlap_learning.fitting import contents
from overlap_learning.fitting.contents import ARRAYS, BLOCKS, COURSE, DEVIANCE, DIMENSIONS, READOUT
from overlap_learning.fitting.decoder import AbstractDecoder, FreeLinear, OneToOne, Orthonormal
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.fitting.likelihood import AbstractLikelihood, Gaussian, Poisson
from overlap_learning.fitting.masks import Masks
from overlap_learning.fitting.prior import GaussianProcess, RationalQuadratic, Reparametrised, SquaredExponential
from overlap_learning.fitting.result import Fit
from overlap_learning.fitting.solver import AbstractSolver, Diffrax, Euler
from overlap_learning.fitting.tensor_network import TensorNetwork
from overlap_learning.learning.dataset import versions
from overlap_learning.learning.files import of_a_stranger, read
from overlap_learning.model.activations import AbstractActivation, Erf, Linear, ReLU, Tanh

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
_OF_NETWORK = ("activation", "decoder", "solver")
#: What a fit and its networks are made of, and the kind of each.
_PARTS: dict[str, Any] = {
    "likelihood": AbstractLikelihood,
    "prior": GaussianProcess,
    "inputs": Inputs,
    "activation": AbstractActivation,
    "decoder": AbstractDecoder,
    "solver": AbstractSolver,
}


def to_dataset(fit: Fit) -> "xarray.Dataset":
    """`Fit.to_xarray`.

    Raises:
        ValueError: if it has an activation or a solver of a person's own, which no file can hold.
    """
    import xarray

    networks, best = fit.networks, fit.network
    columns, rows = best.neurons
    eigenvalues = best.eigenvalues
    values: dict[str, Any] = {
        **{name: getattr(networks, name) for name in ARRAYS},
        **{f"readout_{name}": value for name, value in networks.readout.items()},
        "time_constant": networks.time_constant[0],
        "condition": networks.conditions[0],
        "step": fit.step,
        **{f"course_{name}": value for name, value in fit.course.items()},
        **{f"deviance_{name}": value for name, value in fit.deviance.items()},
        **{f"block_{name}": getattr(fit, f"block_{name}") for name in BLOCKS},
        "part": _parts(fit.masks),
        "curvature": fit.curvature,
        "seen_columns": columns,
        "seen_rows": rows,
        "eigenvalues_real": np.real(eigenvalues),
        "eigenvalues_imag": np.imag(eigenvalues),
    }  # fmt: skip
    objects = {name: _described(getattr(best if name in _OF_NETWORK else fit, name)) for name in _PARTS}
    about = {
        "objects": objects,
        "best": fit.best,
        "results": fit.results,
        "condition_names": fit.condition_names,
        "epochs": fit.epochs,
        "level": fit.level,
    }
    return xarray.Dataset(
        {name: (DIMENSIONS[name], np.asarray(value)) for name, value in values.items()},
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
    contents.check_contents(data, about)
    objects = {name: _part(about["objects"], name, kind) for name, kind in _PARTS.items()}
    contents.check_parts(data, objects["decoder"], objects["inputs"])
    n_seeds = data.sizes["seed"]

    def each_seed(name: str) -> jnp.ndarray:
        value = data[name].values
        return jnp.asarray(np.broadcast_to(value, (n_seeds, *value.shape)))

    networks = TensorNetwork(
        **{name: jnp.asarray(data[name].values) for name in ARRAYS},
        readout={n: jnp.asarray(data[f"readout_{n}"].values) for n in READOUT if f"readout_{n}" in data},
        times=each_seed("time"),
        conditions=each_seed("condition"),
        time_constant=each_seed("time_constant"),
        **{name: objects[name] for name in _OF_NETWORK},
    )
    parts = {name: data[name].values for name in ("step", "curvature", "trial_id")}
    return Fit(
        networks=networks,
        best=about["best"],
        step=parts["step"],
        course={name: data[f"course_{name}"].values for name in COURSE},
        deviance={name: data[f"deviance_{name}"].values for name in DEVIANCE},
        block_deviance=data["block_deviance"].values,
        block_null=data["block_null"].values,
        block_sizes=data["block_sizes"].values,
        results=tuple(about["results"]),
        curvature=parts["curvature"],
        **{name: objects[name] for name in _PARTS if name not in _OF_NETWORK},
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


def _part(objects: dict[str, Any], name: str, kind: type) -> Any:
    """An object of a kind, from its description."""
    found = _restored(objects[name])
    if not isinstance(found, kind):
        raise ValueError(f"its {name} is {found!r:.50}")
    return found


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "diffrax" in value:
        import diffrax

        found = getattr(diffrax, str(value["diffrax"]), None)
        if not (isinstance(found, type) and issubclass(found, (diffrax.AbstractSolver, diffrax.AbstractAdjoint))):
            raise ValueError(f"{value['diffrax']!r} is no solver of diffrax, and no adjoint")
        return found()
    return _OBJECTS[value["kind"]](**{name: _restored(each) for name, each in value.items() if name != "kind"})
