"""sweep: a function at every point of a grid."""

import contextlib
import os
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from overlap_learning.guides import guide
from overlap_learning.learning.fingerprint import check_version
from overlap_learning.learning.progress import bar
from overlap_learning.sweeps.batched import Batched
from overlap_learning.sweeps.cluster import check_client, run_on_cluster
from overlap_learning.sweeps.folder import Folder
from overlap_learning.sweeps.grid import Grid
from overlap_learning.sweeps.pieces import Collection
from overlap_learning.sweeps.threads import run_in_threads
from overlap_learning.sweeps.work import Done, Work

if TYPE_CHECKING:
    import xarray


def sweep(
    function: Callable[..., Any],
    grid: Mapping[str, Any],
    executor: Any = None,
    *,
    key: jax.Array | None = None,
    folder: str | os.PathLike[str] | None = None,
    version: str | None = None,
    throw: bool = False,
    progress: bool | None = None,
) -> "xarray.Dataset":
    """A function at every point of a grid, as one labelled dataset.

    `function(**point)` for each point of the outer product of the grid's values. Its results are stacked along the
    dimensions of the grid. A point that fails is missing (NaN) and says why in the variable `error`; the others go on.

    Args:
        function: takes the names of the grid as arguments; returns a `Solution`, an `xarray.Dataset` or `DataArray`, a
            number or an array, or a mapping of names to those, with dimensions if you like: `{"loss": ("time", loss)}`.
            If it takes a `key` too, each point gets its own.
        grid: for each name its values: numbers, texts, a list of objects, objects by label (`{"slow": task_a, "fast":
            task_b}`: the labels become the coordinate), or a batch: random keys, or an object whose arrays have the
            values as their first axis, such as the `Overlaps` of `jax.vmap`.
        executor: None: one point after another, in this process. `ol.Batched()`: side by side in compiled calls. A
            `dask.distributed.Client`, or `ol.Batched(client=client)`: on its cluster. The numbers are the same; those
            of `Batched` to rounding, since other programs add in other orders.
        key: a jax random key; the point of index i, counted in the order of the grid (the last name changes fastest),
            gets `jax.random.fold_in(key, i)`, whatever the executor.
        folder: where results are written as they come. The same call, after the program was ended in any way, goes on
            from there to the same dataset, to the last bit if on the same kind of machine with the same executor (and
            for `Batched()` as much free memory, if its calls are small for lack of that). One sweep per folder, and one
            program at a time: another one is told which process holds it. A folder with anything else in it is refused.
        version: a text of your own that stands for what the folder can't tell from another run's in the function and
            the grid; change it whenever that changes. None: such things are refused. All else that the function reads
            (closures, globals, modules and classes of your own) is compared by itself, libraries by their version;
            files that it reads are not.
        throw: raise the error of the first point that fails; False: go on. Points whose learning ended badly then keep
            what their `LearningError` carries, with its result code, if the others return solutions too.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook).

    Returns:
        An `xarray.Dataset` with the dimensions of the grid. Saved points of solutions have the dimension `point`, and
        are NaN where a run did not get to; a coordinate such as `time` has only those dimensions of the grid along
        which it varies.

    Raises:
        ValueError: if the arguments do not fit together, the results of two points differ in names or shapes, or the
            folder is that of another sweep, or can't be told from another's for what the function reads.
        RuntimeError: if the function failed at every point.
        OSError: if results can't be written; those written before are intact.

    Examples:
        >>> model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=5.0)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> def learn(learning_rate):
        ...     return ol.integrate(model, task, start, ol.GradientDescent(learning_rate, 50))
        >>> data = ol.sweep(learn, {"learning_rate": [1e-3, 1e-2, 100.0]})
        >>> dict(data.loss.sizes)
        {'learning_rate': 3, 'point': 51}
        >>> data.result.values
        array([0, 0, 2], dtype=int8)
        >>> data.error.sel(learning_rate=100.0).item()[:32]
        'LearningError: Learning diverged'
    """
    check_version(version, "sweep")
    points = Grid.of(grid)
    work = Work(function, points, key)
    how, client = _read_executor(executor)
    found = Collection(points)
    store = None
    with contextlib.ExitStack() as ends:
        if folder is not None:
            axes = {axis.name: (axis.labels, axis.values) for axis in points.axes}
            store = Folder(folder, version, function=function, names=points.names, grid=axes, key=key)
            ends.callback(store.close)
            for piece in store.load(points.size):
                found.add(piece)
            _raise_if(throw, found, [])
        runs = _run(work, how, found.done) if client is None else run_on_cluster(client, work, how, found.done)
        with bar(progress, points.size, "point", "sweep", done=int(np.sum(found.done))) as shown:
            _collect(runs, found, store, shown, throw)
    return found.dataset(f"Sweep of {getattr(function, '__qualname__', type(function).__name__)}")


def _read_executor(executor: Any) -> tuple[Batched | None, Any]:
    """How points are batched (None: one after another), and the client, of an executor."""
    how, client = (executor, executor.client) if isinstance(executor, Batched) else (None, executor)
    if client is not None:
        check_client(client, "executor" if how is None else "the client of Batched")
    return how, client


def _run(work: Work, how: Batched | None, done: np.ndarray) -> Generator[list[Done], None, None]:
    """The points that are not done, in this process."""
    if how is None:
        for chunk in work.singles(done):
            yield work.run(chunk)
    else:
        yield from run_in_threads(work, how, done)


def _collect(
    runs: Generator[list[Done], None, None], found: Collection, store: Folder | None, shown: Any, throw: bool
) -> None:
    """Take results as they come, and write them."""
    try:
        for done in runs:
            for piece, _ in done:
                new = found.add(piece)
                # Points that were there are on disk already, and files hold none twice.
                if store is not None and new is not None:
                    store.keep(new)
            shown.update(int(np.sum(found.done)) - shown.n)
            _raise_if(throw, found, [error for _, error in done if error is not None])
    finally:
        # Also after an error or Ctrl-C. A generator that is not at its end ends here, and with it what it left on a
        # cluster.
        runs.close()
        if store is not None:
            store.flush()


def _raise_if(throw: bool, found: Collection, errors: list[Exception]) -> None:
    if not throw:
        return
    for error in errors:
        raise error
    for index, text in found.failed():
        raise RuntimeError(f"sweep: at {found.grid.describe(index)}: {text}{guide('points')}")
