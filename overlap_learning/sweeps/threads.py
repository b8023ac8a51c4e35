"""Threads: compiled calls of a sweep in this process, several at a time."""

import collections
import os
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from overlap_learning.sweeps import batched, ram
from overlap_learning.sweeps.batched import Batched
from overlap_learning.sweeps.work import Chunk, Done, Work


def run_in_threads(work: Work, how: Batched, done: np.ndarray) -> Generator[list[Done], None, None]:
    """The points that are not done, in the order in which their calls begin.

    What is compiled here leaves Python to its other threads, and one call keeps one core busy.

    Raises:
        ValueError: if threads are asked for which would not have the settings of this one.
    """
    n_threads = how.threads or most_threads()
    if n_threads == 1:
        for chunk in _calls(work, how, done, n_threads):
            yield work.run(chunk)
        return
    if not _share_settings():
        raise ValueError(
            f"sweep: Batched(threads={n_threads}) would run without the settings of jax that hold within a `with` "
            "here, which other threads do not see; leave out threads, or set them for all: jax.config.update(...)."
        )
    running: collections.deque[Future[list[Done]]] = collections.deque()
    with ThreadPoolExecutor(n_threads, "sweep") as pool:
        try:
            for chunk in _calls(work, how, done, n_threads):
                running.append(pool.submit(work.run, chunk))
                # One that waits for each that runs: results are taken before more are made.
                if len(running) == 2 * n_threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            # After an error or Ctrl-C, calls that have begun are waited for: nothing can stop them.
            for future in running:
                future.cancel()


def most_threads() -> int:
    """As many as there are cores, on a CPU that every thread would use alike."""
    return cores() if ram.device().platform == "cpu" and _share_settings() else 1


def cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    # Only Linux has it.
    except AttributeError:
        return os.cpu_count() or 1


def _share_settings() -> bool:
    """Whether all settings of jax hold in other threads as in this one."""

    def settings() -> dict[str, Any]:
        return {name: getattr(jax.config, name, None) for name in jax.config.values}

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(settings).result() == settings()


def _calls(work: Work, how: Batched, done: np.ndarray, n_threads: int) -> Iterator[Chunk]:
    """The compiled calls of each group of points, which is compiled once it is its turn: what is free then counts."""
    for group in work.groups(done):
        size = how.size or work.fit(group, how.memory or ram.budget(share=n_threads))
        if n_threads > 1:
            # Here, before threads would do so each for itself.
            work.compile(group[: batched.even(len(group), size)])
        yield from work.calls([group], [size], done)
