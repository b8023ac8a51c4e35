"""The C loop of the discrete map, compiled on the spot."""

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import overlap_learning as ol

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native")


class Descent(NamedTuple):
    """What the loop saved: loss [S] and overlaps [S, 4, 4]."""

    loss: np.ndarray
    gram: np.ndarray


def compiler() -> str:
    """The C compiler: `$CC`, or `cc`."""
    return os.environ.get("CC", "cc")


@functools.cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "filter_loop.so"
        command = [compiler(), *FLAGS, "-shared", "-fPIC", str(SOURCE), "-o", str(path)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError as error:
            raise RuntimeError(
                f"filter_loop: there is no C compiler {compiler()!r}; set the environment variable CC to one."
            ) from error
        # A loaded library stays when its file goes.
        library = ctypes.CDLL(str(path))
    array = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
    integer, number = ctypes.c_int, ctypes.c_double
    library.filter_loop.argtypes = [
        integer, number, array, array, array, integer, number, integer, array, array, array,
    ]  # fmt: skip
    return library


def filter_loop(task: ol.Task, gram: np.ndarray, learning_rate: float, n_steps: int, save_every: int) -> Descent:
    """Gradient descent of a linear network of rank 1 on a task of one trial, one input and one output.

    Args:
        task: the task.
        gram: the overlaps at the start, shape [4, 4].
        learning_rate: eta.
        n_steps: number of steps.
        save_every: steps between saved points; the start and the end are saved too.

    Raises:
        ValueError: if the task or the overlaps have another shape.
    """
    columns = [np.ascontiguousarray(a, float) for a in (task.inputs, task.targets, task.weights)]
    if any(a.shape != (1, task.n_steps, 1) for a in columns) or np.shape(gram) != (4, 4):
        raise ValueError(
            f"filter_loop: one trial, one channel and rank 1 only; got inputs {list(columns[0].shape)}, targets "
            f"{list(columns[1].shape)}, overlaps {list(np.shape(gram))}."
        )
    n_saved = -(-n_steps // save_every) + 1
    final, loss, saved = np.array(gram, float), np.empty(n_saved), np.empty((n_saved, 4, 4))
    failed = _library().filter_loop(
        task.n_steps, float(task.dt), *columns, n_steps, learning_rate, save_every, final, loss, saved
    )
    if failed:
        raise MemoryError("filter_loop: no memory for the activity.")
    return Descent(loss, saved)
