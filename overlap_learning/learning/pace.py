"""Pace: how a run is cut into compiled calls, and what happens between them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from overlap_learning.learning.checkpoint import Store
from overlap_learning.learning.progress import bar, shows_in_program
from overlap_learning.learning.rules import AbstractRule

#: Between two looks at the progress bar and at Ctrl-C, at most so many saved points, and so many steps.
POINTS_PER_CALL, STEPS_PER_CALL = 10, 500


def _nothing(state: Any) -> None:
    """After a call of which nobody wants to know."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How a run is cut into compiled calls.

    Args:
        steps_per_call: the most steps of one; None: all in one.
        after_call: called with the state after each (for progress).
        store: where checkpoints are kept; the run goes on from the last one.
        is_whole: whether the run, with what is done before and after learning, is one program; not with the others.
        has_bar: whether a flow, which is one call, shows a bar that its program moves.
    """

    steps_per_call: int | None = None
    after_call: Callable[[Any], None] = _nothing
    store: Store | None = None
    is_whole: bool = False
    has_bar: bool = False


@contextlib.contextmanager
def watched(
    rule: AbstractRule,
    progress: bool | None,
    title: str,
    store: Store | None = None,
    *,
    steps_per_call: int | None = None,
    delay: float = 0.0,
) -> Iterator[Pace]:
    """A pace at which a bar moves, Ctrl-C is heard and checkpoints are written.

    Args:
        rule: the rule; a flow is one compiled call, whose program moves the bar.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook).
        title: what the bar is of.
        store: where checkpoints are kept.
        steps_per_call: the most steps of one call; None: as few as a bar that moves needs.
        delay: show the bar after so many seconds.
    """
    if rule.n_steps is None or rule.save_every is None:
        yield Pace(is_whole=True, has_bar=shows_in_program(progress))
        return
    most = steps_per_call or min(POINTS_PER_CALL * rule.save_every, STEPS_PER_CALL)
    holds = contextlib.nullcontext() if store is None else store.held()
    with holds, bar(progress, rule.n_steps, "step", title, delay=delay) as shown:

        def show(state: Any) -> None:
            # Reading the step waits for the device, which is what makes the bar true.
            shown.update(int(np.max(np.asarray(state.step))) - shown.n)

        yield Pace(most if store is None else min(most, store.every), show, store)
