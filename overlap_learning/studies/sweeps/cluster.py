"""Cluster: the chunks of a sweep as tasks of Dask."""

import functools
from collections.abc import Generator, Sequence
from typing import Any

import jax

from overlap_learning.studies.sweeps.pieces import Piece
from overlap_learning.studies.sweeps.work import Chunk, Done, Work, describe

#: jax's settings that change numbers; workers take them from the process that sweeps.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
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
            f"sweep: {what} must be None (one point after another), ol.Batched(size) or a dask.distributed.Client, got "
            f"{client!r}."
        )
    if client.asynchronous:
        raise ValueError("sweep: the client is asynchronous; make it with Client(..., asynchronous=False).")


def run_on_cluster(client: Any, work: Work, chunks: Sequence[Chunk]) -> Generator[list[Done], None, None]:
    """The chunks in the order in which they end. Those on a worker that dies are run by another.

    Raises:
        ValueError: if the function can't be sent to another process.
        RuntimeError: if the cluster is gone.
    """
    from distributed import KilledWorker, as_completed

    settings = {name: getattr(jax.config, name) for name in _SETTINGS}
    # The result of a task, so that it is there again when the worker that had it is not.
    parcel = client.submit(bytes, _pickled(work), pure=False)
    futures = {client.submit(_run, parcel, settings, chunk, pure=False): chunk for chunk in chunks}
    try:
        for future in as_completed(list(futures)):
            chunk = futures.pop(future)
            try:
                done = future.result()
            except KilledWorker as error:
                text = describe(error)
                done = [Done(Piece(chunk.points, (text,) * len(chunk.points), None, passing=True), None)]
            future.release()
            yield done
    finally:
        client.cancel([*futures, parcel])


def _pickled(work: Work) -> bytes:
    import cloudpickle

    try:
        return cloudpickle.dumps(work)
    # Anything can be in the way of pickling, and may raise anything.
    except Exception as error:
        raise ValueError(
            f"sweep: the function or the grid can't be sent to the cluster ({type(error).__name__}: {error}). Make "
            "what the function uses (open files, locks, generators) inside it."
        ) from error


@functools.lru_cache(maxsize=4)
def _unpickled(parcel: bytes) -> Work:
    # Once in each process: what is compiled for a function is kept with it.
    import cloudpickle

    return cloudpickle.loads(parcel)


def _run(parcel: bytes, settings: dict[str, Any], chunk: Chunk) -> list[Done]:
    """On a worker."""
    for name, value in settings.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)
    # An exception may hold what can't be sent back; its text is in the piece.
    return [Done(piece, None) for piece, _ in _unpickled(parcel).run(chunk)]
