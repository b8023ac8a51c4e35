"""Apart: calls in a process of their own, which HDF5 may take down or keep for ever."""

import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ClassVar

#: Seconds after which a call hangs.
PATIENCE = 60.0


class Apart:
    """Calls functions in one other process, and in a new one after it has died or hung."""

    DIED, HANGS = "the process died", "the process hangs"
    ENDS: ClassVar[set[str]] = {DIED, HANGS}

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; `DIED` or `HANGS` if it does not."""
        try:
            return self._pool.submit(function, *arguments).result(PATIENCE)
        except BrokenProcessPool:
            found = self.DIED
        except TimeoutError:
            found = self.HANGS
        self._close()
        self._pool = self._new()
        return found

    def __enter__(self) -> "Apart":
        self._pool = self._new()
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

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
