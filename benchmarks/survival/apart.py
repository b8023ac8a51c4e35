"""Apart: calls in a process of their own, which HDF5 may take down or keep for ever."""

import contextlib
import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ClassVar

import psutil

#: Seconds of a processor's time after which a call hangs, and of the clock's: others may keep the machine busy.
PATIENCE, LONGEST = 60.0, 1800.0


class Apart:
    """Calls functions in one other process, and in a new one after it has died or hung."""

    DIED, HANGS = "the process died", "the process hangs"
    ENDS: ClassVar[set[str]] = {DIED, HANGS}

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; `DIED` or `HANGS` if it does not."""
        future, begin, used = self._pool.submit(function, *arguments), time.monotonic(), self._used()
        found = self.HANGS
        while self._used() - used < PATIENCE and time.monotonic() - begin < LONGEST:
            try:
                return future.result(PATIENCE / 4)
            except BrokenProcessPool:
                found = self.DIED
                break
            except TimeoutError:
                continue
        self._close()
        self._pool = self._new()
        return found

    def __enter__(self) -> "Apart":
        self._pool = self._new()
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _used(self) -> float:
        """Seconds that the other process has computed; 0 before there is one, or once it has died."""
        with contextlib.suppress(psutil.Error):
            return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self._pool._processes or {})
        return 0.0

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)

    def _close(self) -> None:
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
            process.join()


def _begin() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")
