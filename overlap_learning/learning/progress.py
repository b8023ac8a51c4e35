"""Progress: bars for a person who is watching."""

import os
import sys
import warnings
from typing import Any

#: A run of a few compiled calls shows a bar after so many seconds.
DELAY = 1.0


def is_watched() -> bool:
    """Whether a person is watching: standard error is a terminal, or this process is the kernel of a notebook."""
    is_terminal = getattr(sys.stderr, "isatty", lambda: False)
    return is_notebook() or is_terminal()


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    # A kernel has imported IPython.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def shows_in_program(progress: bool | None) -> bool:
    """Whether a compiled program moves a bar: asked for, or in a notebook.

    Not in a terminal unasked: no cache keeps a program that calls Python.
    """
    is_shown = is_notebook() if progress is None else progress
    return is_shown and not os.environ.get("TQDM_DISABLE")


def bar(progress: bool | None, total: int, unit: str, title: str, *, done: int = 0, delay: float = 0.0) -> Any:
    """A progress bar of tqdm. TQDM_DISABLE=1 in the environment leaves all of them out.

    Args:
        progress: show it; None: if a person is watching.
        total: its end.
        unit: what it counts.
        title: what it is of.
        done: how many are done at its start.
        delay: show it after so many seconds.
    """
    with warnings.catch_warnings():
        # Notebooks without ipywidgets get a bar of text, about which tqdm warns.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm

    is_shown = is_watched() if progress is None else progress
    # An argument `disable` would go before the environment.
    hidden: dict[str, Any] = {} if is_shown else {"disable": True}
    # A bar that comes late may be one of many within another: those do not stay.
    leave = None if delay else True
    return tqdm(total=total, unit=unit, desc=title, initial=done, delay=delay, leave=leave, **hidden)
