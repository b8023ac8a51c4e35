"""Pace: how a run is cut into compiled calls, and what happens between them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from overlap_learning.learning.checkpoint import Store
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
    """

    steps_per_call: int | None = None
    after_call: Callable[[Any], None] = _nothing
    store: Store | None = None
    is_whole: bool = False


@contextlib.contextmanager
def watched(rule: AbstractRule, progress: bool | None, title: str, store: Store | None = None) -> Iterator[Pace]:
    """A pace at which a bar moves, Ctrl-C is heard and checkpoints are written.

    Args:
        rule: the rule; a flow is one compiled call.
        progress: show a progress bar; None: if a person is watching (standard error is a terminal).
        title: what the bar is of.
        store: where checkpoints are kept.
    """
    if rule.n_steps is None or rule.save_every is None:
        yield Pace(is_whole=True)
        return
    from tqdm.auto import tqdm

    most = min(POINTS_PER_CALL * rule.save_every, STEPS_PER_CALL)
    disable = None if progress is None else not progress
    holds = contextlib.nullcontext() if store is None else store.held()
    with holds, tqdm(total=rule.n_steps, disable=disable, unit="step", desc=title) as bar:

        def show(state: Any) -> None:
            # Reading the step waits for the device, which is what makes the bar true.
            bar.update(int(np.max(np.asarray(state.step))) - bar.n)

        yield Pace(most if store is None else min(most, store.every), show, store)
