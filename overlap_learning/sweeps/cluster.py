"""Cluster: the chunks of a sweep as tasks of Dask."""

import functools
from collections.abc import Generator, Iterator
from typing import Any

import jax
import numpy as np

from overlap_learning.guides import guide
from overlap_learning.learning.fingerprint import SETTINGS
from overlap_learning.sweeps import ram
from overlap_learning.sweeps.batched import Batched
from overlap_learning.sweeps.pieces import Piece
from overlap_learning.sweeps.work import Chunk, Done, Work, describe

#: Of points that are computed one after another, at most so many tasks: each costs the scheduler about a millisecond.
MOST_TASKS = 5000


def check_client(client: Any, what: str) -> None:
    """Refuse what is no client.

    Raises:
        ImportError: if dask.distributed is not installed.
        ValueError: naming what it was and what is allowed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            f"sweep: {what} is {client!r}. To sweep on a cluster install dask: pip install 'overlap_learning[dask]'."
        ) from None
    if not isinstance(client, Client):
        raise ValueError(
            f"sweep: {what} must be None (one point after another), ol.Batched() or a dask.distributed.Client, got "
            f"{client!r}."
        )
    if client.asynchronous:
        raise ValueError("sweep: the client is asynchronous; make it with Client(..., asynchronous=False).")


def run_on_cluster(client: Any, work: Work, how: Batched | None, done: np.ndarray) -> Generator[list[Done], None, None]:
    """The points that are not done, in the order in which they end. Those on a worker that dies are run by another.

    Raises:
        ValueError: if the function can't be sent to another process.
        RuntimeError: if the cluster is gone.
    """
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm.core import CommClosedError

    # Workers take them from the process that sweeps.
    settings = {name: getattr(jax.config, name) for name in SETTINGS}
    # The result of a task, so that it is there again when the worker that had it is not.
    parcel = client.submit(bytes, _pickled(work), pure=False)
    futures: dict[Any, Chunk] = {}
    try:
        chunks = work.singles(done, MOST_TASKS) if how is None else _calls(client, parcel, settings, work, how, done)
        futures = {client.submit(_run, parcel, settings, chunk, pure=False): chunk for chunk in chunks}
        for future in as_completed(list(futures)):
            chunk = futures.pop(future)
            try:
                results = future.result()
            except KilledWorker as error:
                text = describe(error)
                results = [Done(Piece(chunk.points, (text,) * len(chunk.points), None, passing=True), None)]
            future.release()
            yield results
    except (CancelledError, CommClosedError) as error:
        raise RuntimeError(
            f"sweep: the cluster is gone ({describe(error)}). What is in the folder is kept: the same call with the "
            "client of a new cluster goes on from there."
        ) from error
    finally:
        client.cancel([*futures, parcel])


def _calls(
    client: Any, parcel: Any, settings: dict[str, Any], work: Work, how: Batched, done: np.ndarray
) -> Iterator[Chunk]:
    """The compiled calls; how many points they take, workers find out at the same time for all programs."""
    groups = work.groups(done)
    if how.size is not None:
        return work.calls(groups, [how.size] * len(groups), done)
    sizes = [client.submit(_fit, parcel, settings, group, how.memory, pure=False) for group in groups]
    return work.calls(groups, client.gather(sizes), done)


def _pickled(work: Work) -> bytes:
    import cloudpickle

    try:
        return cloudpickle.dumps(work)
    # Anything can be in the way of pickling, and may raise anything.
    except Exception as error:
        raise ValueError(
            f"sweep: the function or the grid can't be sent to the cluster ({type(error).__name__}: {error}). Make "
            f"what the function uses (open files, locks, generators) inside it.{guide('cluster')}"
        ) from error


@functools.lru_cache(maxsize=4)
def _unpickled(parcel: bytes) -> Work:
    # Once in each process: what is compiled for a function is kept with it.
    import cloudpickle

    return cloudpickle.loads(parcel)


def _configure(settings: dict[str, Any]) -> None:
    """On a worker: jax as in the process that sweeps."""
    for name, value in settings.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)


def _fit(parcel: bytes, settings: dict[str, Any], group: np.ndarray, allowed: float | None) -> int:
    """On a worker: the points per call of a group."""
    from distributed import get_worker

    _configure(settings)
    worker = get_worker()
    limit = worker.memory_manager.memory_limit
    left = None if limit is None else limit - worker.monitor.get_process_memory()
    return _unpickled(parcel).fit(group, allowed or ram.budget(left, worker.state.nthreads))


def _run(parcel: bytes, settings: dict[str, Any], chunk: Chunk) -> list[Done]:
    """On a worker."""
    _configure(settings)
    # An exception may hold what can't be sent back; its text is in the piece.
    return [Done(piece, None) for piece, _ in _unpickled(parcel).run(chunk)]
