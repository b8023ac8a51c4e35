"""Readers: recordings from files of other programs, as the arguments of `Recordings`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from overlap_learning.checks import as_path, scalar

_ARGUMENTS = ("activity", "times", "conditions", "epochs", "trial_ids", "mask")


def read_mat(path: str | os.PathLike[str], fields: Mapping[str, str], axes: str) -> dict[str, Any]:
    """`Recordings.from_mat`."""
    where = _existing(path, "from_mat")
    unknown = sorted(set(fields) - set(_ARGUMENTS))
    if unknown or "activity" not in fields:
        raise ValueError(
            f"from_mat: fields must name the field of the activity, and may those of {', '.join(_ARGUMENTS[1:])}: "
            f'{{"activity": "rates"}}; got {dict(fields)!r}.'
        )
    if sorted(axes) != sorted("ktn"):
        raise ValueError(f"from_mat: axes must be k (trials), t (times) and n (neurons) in some order, got {axes!r}.")
    found = {name: _matlab_value(where, field) for name, field in fields.items()}
    order = [axes.index(letter) for letter in "ktn"]
    for name in ("activity", "mask"):
        if name in found:
            array = np.asarray(found[name])
            if array.ndim != 3:
                raise ValueError(f"from_mat: {fields[name]!r} must have three axes, got shape {list(array.shape)}.")
            found[name] = array.transpose(order)
    if "mask" in found:
        found["mask"] = found["mask"].astype(bool)
    for name in set(found) - {"activity", "mask"}:
        # MATLAB knows no vectors, and its texts may be cells of cells.
        flat = np.asarray(found[name]).ravel()
        found[name] = [each.item() if isinstance(each, np.ndarray) and each.size == 1 else each for each in flat]
    return found


def _matlab_value(path: Path, field: str) -> Any:
    """A field as MATLAB shows it.

    Raises:
        ValueError: if it is missing.
    """
    first, *inner = field.split(".")
    try:
        from scipy.io import loadmat

        value: Any = loadmat(path, simplify_cells=True)
    except NotImplementedError:
        return _hdf5_value(path, field)
    for depth, name in enumerate([first, *inner]):
        if not isinstance(value, dict) or name not in value:
            raise _missing("from_mat", path, ".".join([first, *inner][: depth + 1]), value)
        value = value[name]
    return value


def _hdf5_value(path: Path, field: str) -> Any:
    import h5py

    with h5py.File(path) as file:
        value: Any = file
        for name in field.split("."):
            if not isinstance(value, h5py.Group) or name not in value:
                raise _missing("from_mat", path, field, value)
            value = value[name]
        content = value[()]
        if value.attrs.get("MATLAB_class") == b"cell":
            texts = ["".join(map(chr, np.ravel(cast(Any, file[reference])[()]))) for reference in content.ravel()]
            return np.array(texts)
    # HDF5 has the axes of MATLAB in reverse.
    return np.transpose(content)


def read_nwb(
    path: str | os.PathLike[str],
    align: str,
    window: tuple[float, float],
    bin_width: float,
    condition: str | None,
    epoch: str | None,
) -> dict[str, Any]:
    """`Recordings.from_nwb`."""
    where = _existing(path, "from_nwb")
    scalar(bin_width, "from_nwb: bin_width", "positive", 0)
    width = float(bin_width)
    n_bins = round((window[1] - window[0]) / width)
    if n_bins < 2:
        raise ValueError(f"from_nwb: window must hold at least two bins of {width:g} s, got {window!r}.")
    edges = window[0] + width * np.arange(n_bins + 1)
    try:
        from pynwb import NWBHDF5IO  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("from_nwb: reading NWB files needs pynwb: pip install 'overlap_learning[fitting]'.") from None
    with NWBHDF5IO(str(where), "r") as opened:
        file = opened.read()
        for table, content in (("trials", file.trials), ("units", file.units)):
            if content is None:
                raise ValueError(f"from_nwb: {str(where)!r} has no {table} table.")
        trials, units = file.trials, file.units
        for column in filter(None, (align, condition, epoch)):
            if column not in trials.colnames:
                raise _missing("from_nwb", where, f"trials.{column}", trials.colnames)
        if "spike_times" not in units.colnames:
            raise _missing("from_nwb", where, "units.spike_times", units.colnames)
        events = np.asarray(trials[align][:], float)
        chosen = np.flatnonzero(np.isfinite(events))
        if chosen.size == 0:
            raise ValueError(f"from_nwb: no trial has a time in {align!r}.")
        all_edges = events[chosen, None] + edges
        counts = np.empty((len(chosen), n_bins, len(units)))
        mask = np.ones(counts.shape, bool)
        for i in range(len(units)):
            # Spikes before each edge; those of a bin are their difference.
            before = np.searchsorted(np.sort(np.asarray(units["spike_times"][i])), all_edges)
            counts[:, :, i] = np.diff(before, axis=1)
            if "obs_intervals" in units.colnames:
                spans = np.asarray(units["obs_intervals"][i])
                starts, stops = all_edges[:, :-1, None], all_edges[:, 1:, None]
                mask[:, :, i] = ((starts >= spans[:, 0]) & (stops <= spans[:, 1])).any(axis=2)
        labels = {name: np.asarray(trials[column][:])[chosen] for name, column in
                  (("conditions", condition), ("epochs", epoch)) if column is not None}  # fmt: skip
    return {"activity": counts, "times": (edges[:-1] + edges[1:]) / 2, "trial_ids": chosen, "mask": mask, **labels}


def _existing(path: str | os.PathLike[str], caller: str) -> Path:
    found = as_path(path)
    if not found.is_file():
        raise FileNotFoundError(f"{caller}: there is no file {str(found)!r}.")
    return found


def _missing(caller: str, path: Path, field: str, within: Any) -> ValueError:
    names: Iterable[str] = [name for name in within if not name.startswith("__")] if hasattr(within, "__iter__") else []
    return ValueError(f"{caller}: {str(path)!r} has no field {field!r}; there are: {', '.join(names) or 'none'}.")
