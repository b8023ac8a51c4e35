"""Contents: what the variables of a saved fit must be, to be those of a fit."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from overlap_learning.fitting.decoder import AbstractDecoder
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.learning.dataset import RESULT_NAMES

if TYPE_CHECKING:
    import xarray

#: The dimensions of the arrays of a network, after the starts.
ARRAYS = {
    "columns": ("unit", "component"),
    "rows": ("unit", "component"),
    "trials": ("trial", "component"),
    "extra": ("unit", "extra"),
    "inputs": ("condition_name", "time", "direction"),
    "start": ("condition_name", "direction"),
}
#: Those of what a decoder has learned.
READOUT = {"matrix": ("neuron", "unit"), "log_gain": (), "offset": ("neuron",)}
COURSE, DEVIANCE, BLOCKS = ("train", "stop"), ("train", "stop", "report"), ("deviance", "null", "sizes")
#: The dimensions of all variables; those of a readout are there if the decoder has them.
DIMENSIONS = (
    {name: ("seed", *dims) for name, dims in ARRAYS.items()}
    | {f"readout_{name}": ("seed", *dims) for name, dims in READOUT.items()}
    | {f"course_{name}": ("seed", "point") for name in COURSE}
    | {f"deviance_{name}": ("seed",) for name in DEVIANCE}
    | {f"block_{name}": ("block",) for name in BLOCKS}
    | {
        "time_constant": (),
        "condition": ("trial",),
        "step": ("point",),
        "part": ("trial", "time", "neuron"),
        "curvature": ("trial", "component", "component_2"),
        "seen_columns": ("neuron", "component"),
        "seen_rows": ("neuron", "component"),
        "eigenvalues_real": ("trial", "component"),
        "eigenvalues_imag": ("trial", "component"),
        "time": ("time",),
        "trial_id": ("trial",),
    }
)
_WHOLE = {"condition", "step", "part", "block_sizes"}
#: Those in which a start that ended, or diverged, has no number.
_MAY_LACK = {f"course_{name}" for name in COURSE} | {f"deviance_{name}" for name in DEVIANCE}


def check_contents(data: "xarray.Dataset", about: Any) -> None:
    """Refuse a dataset whose names, sizes and values are not those of a fit.

    Args:
        data: the dataset.
        about: what it says of itself.

    Raises:
        ValueError: that says what is wrong, without the name of the file.
    """
    if not isinstance(about, dict):
        raise ValueError(f"it says of itself {about!r:.50}")
    _check_variables(data)
    sizes, best = data.sizes, about["best"]
    if type(best) is not int or not 0 <= best < sizes["seed"]:
        raise ValueError(f"'best' is {best!r}, of {sizes['seed']} starts")
    _check_values(data)
    _check_texts(about["results"], "results", sizes["seed"])
    if unknown := set(about["results"]) - set(RESULT_NAMES):
        raise ValueError(f"'results' holds {sorted(unknown)[0]!r}, none of {', '.join(RESULT_NAMES)}")
    _check_texts(about["condition_names"], "condition_names", sizes["condition_name"])
    if about["epochs"] is not None:
        _check_texts(about["epochs"], "epochs", sizes["trial"])
    level = about["level"]
    if type(level) is not float or not 0 < level < math.inf:
        raise ValueError(f"'level' is {level!r}")


def check_parts(data: "xarray.Dataset", decoder: AbstractDecoder, inputs: Inputs) -> None:
    """Refuse arrays that are not those of the decoder and the inputs that the file describes.

    Raises:
        ValueError: that says what is wrong, without the name of the file.
    """
    learned = {name for name in READOUT if f"readout_{name}" in data.variables}
    wanted = set(decoder.start(np.eye(1), 1.0, np.zeros(1)))
    if learned != wanted:
        raise ValueError(f"its decoder has {sorted(learned)}, that of a {type(decoder).__name__} is {sorted(wanted)}")
    sizes = data.sizes
    if not decoder.learns and sizes["unit"] != sizes["neuron"]:
        raise ValueError(f"it has {sizes['unit']} units for {sizes['neuron']} neurons, one to one")
    if inputs.n_columns != sizes["extra"]:
        raise ValueError(f"its inputs have {inputs.n_columns} directions of their own, and arrays for {sizes['extra']}")


def _check_variables(data: "xarray.Dataset") -> None:
    for name in (str(name) for name in data.variables):
        if name not in DIMENSIONS:
            raise ValueError(f"it has {name!r}, which is of no fit")
    for name, dims in DIMENSIONS.items():
        if name not in data.variables:
            if name.startswith("readout_"):
                continue
            raise ValueError(f"it has no {name!r}")
        variable = data.variables[name]
        if variable.dims != dims:
            raise ValueError(f"{name!r} has the dimensions {list(variable.dims)}, those of a fit are {list(dims)}")
        if variable.dtype.kind not in ("iu" if name in _WHOLE else "iufUO" if name == "trial_id" else "f"):
            raise ValueError(f"{name!r} holds {variable.dtype}")
    sizes = data.sizes
    if min(size for name, size in sizes.items() if name != "extra") < 1:
        raise ValueError(f"it has sizes of 0 among {dict(sizes)}")
    if sizes["direction"] != sizes["component"] + sizes["extra"] or sizes["component_2"] != sizes["component"]:
        raise ValueError(f"its sizes {dict(sizes)} do not fit together")


def _check_values(data: "xarray.Dataset") -> None:
    for name, variable in data.variables.items():
        if variable.dtype.kind == "f" and name not in _MAY_LACK and not np.all(np.isfinite(variable.values)):
            raise ValueError(f"{str(name)!r} is not finite")
    values = {str(name): variable.values for name, variable in data.variables.items()}
    rules = {
        "time": np.all(np.diff(values["time"]) > 0),
        "time_constant": values["time_constant"] > 0,
        "step": values["step"][0] >= 0 and np.all(np.diff(values["step"]) >= 0),
        "condition": _within(values["condition"], 0, data.sizes["condition_name"]),
        "block_sizes": np.all(values["block_sizes"] > 0),
        "part": _within(values["part"], 0, values["part"].size),
    }
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name!r} holds what no fit does: {values[name].ravel()[:5].tolist()}")


def _within(numbers: np.ndarray, low: int, high: int) -> bool:
    return bool(np.all((numbers >= low) & (numbers < high)))


def _check_texts(texts: Any, name: str, n: int) -> None:
    if not isinstance(texts, list) or len(texts) != n or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name!r} must be {n} texts, got {texts!r:.50}")
