"""Threads: compiled calls of a sweep in this process, several at a time."""

import os
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from overlap_learning.studies.sweeps import batched, memory
from overlap_learning.studies.sweeps.batched import Batched
from overlap_learning.studies.sweeps.work import Chunk, Done, Work


def run_in_threads(work: Work, how: Batched, done: np.ndarray) -> Generator[list[Done], None, None]:
    """The points that are not done, in the order in which their calls end.

    What is compiled here leaves Python to its other threads, and one call keeps one core busy.
    """
    n_threads = how.threads or most_threads()
    if n_threads == 1:
        for chunk in _calls(work, how, done, n_threads):
            yield work.run(chunk)
        return
    running: set[Future[list[Done]]] = set()
    with ThreadPoolExecutor(n_threads, "sweep") as pool:
        try:
            for chunk in _calls(work, how, done, n_threads):
                running.add(pool.submit(work.run, chunk))
                # One that waits for each that runs: results are taken before more are made.
                if len(running) == 2 * n_threads:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield future.result()
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        finally:
            # After an error or Ctrl-C, calls that have begun are waited for: nothing can stop them.
            for future in running:
                future.cancel()


def most_threads() -> int:
    """As many as there are cores, on a CPU that every thread would use alike."""
    if memory.device().platform != "cpu":
        return 1
    with ThreadPoolExecutor(1) as pool:
        if pool.submit(_settings).result() != _settings():
            return 1
    return cores()


def cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    # Only Linux has it.
    except AttributeError:
        return os.cpu_count() or 1


def _settings() -> dict[str, Any]:
    """All settings of jax, as they hold in this thread."""
    return {name: getattr(jax.config, name, None) for name in jax.config.values}


def _calls(work: Work, how: Batched, done: np.ndarray, n_threads: int) -> Iterator[Chunk]:
    """The compiled calls of each group of points, which is compiled once it is its turn: what is free then counts."""
    for group in work.groups(done):
        size = how.size or work.fit(group, how.memory or memory.budget(share=n_threads))
        if n_threads > 1:
            # Here, before threads would do so each for itself.
            work.compile(group[: batched.even(len(group), size)])
        yield from work.calls([group], [size], done)
