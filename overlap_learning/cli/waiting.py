"""Waiting: a sign of life while something runs."""

import contextlib
import threading
import time
from collections.abc import Iterator

#: Seconds between two dots.
INTERVAL = 1.0


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Print what runs, a dot for each second of it, and how long it took: compiling shows no other progress."""
    print(f"  {what} ", end="", flush=True)
    start, is_over = time.monotonic(), threading.Event()

    def count_seconds() -> None:
        while not is_over.wait(INTERVAL):
            print(".", end="", flush=True)

    counter = threading.Thread(target=count_seconds, daemon=True)
    counter.start()
    try:
        yield
    finally:
        is_over.set()
        counter.join()
        print(f" {time.monotonic() - start:.0f} s", flush=True)
