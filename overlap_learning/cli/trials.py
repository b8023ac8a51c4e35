"""Trials of a file: the own task that a configuration names."""

import zipfile
from pathlib import Path

import numpy as np

import overlap_learning as ol

NAMES = ("inputs", "targets", "weights", "dt")


def arrays(file: str | Path) -> ol.Task:
    """A task of one's own, from `np.savez("task.npz", inputs=..., targets=..., weights=..., dt=...)`.

    The arrays are those of `ol.Task`.

    Args:
        file: an .npz file.

    Raises:
        ValueError: if there is no such file, it is none of NumPy's, an array is missing, or they make no task.
    """
    try:
        # Without pickles, nothing in the file is run.
        with np.load(file, allow_pickle=False) as data:
            found = {name: data[name] if data[name].dtype == bool else data[name].astype(float) for name in data.files}
    except (OSError, EOFError, TypeError, AttributeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"arrays: file must be one of np.savez, of numbers; {str(file)!r} can't be read: {error}"
        ) from None
    if set(found) != set(NAMES):
        raise ValueError(
            f"arrays: file must hold the arrays {', '.join(NAMES)}; {str(file)!r} has {', '.join(found) or 'none'}."
        )
    return ol.Task(**found)
