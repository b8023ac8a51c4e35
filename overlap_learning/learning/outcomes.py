"""How a run ended: result codes, and the errors that carry what was saved."""

import functools
import operator
from typing import Any

import equinox as eqx
import jax
import numpy as np


class RESULTS(eqx.Enumeration):
    """How learning ended. Each value is a sentence that says what to try next."""

    successful = "Learning ran to its end."
    loss_reached = "Learning stopped because the loss fell to stop_loss."
    diverged = (
        "Learning diverged: the next step would give a loss or overlaps that are not finite, or overlaps more than 1e8 "
        "times the largest initial one. The solution ends with the last good state. Try a smaller "
        "learning rate, or clip_norm."
    )
    max_steps_reached = (
        "The solver used up max_steps before the end; the solution ends where it got. Try an implicit solver "
        "(solver=diffrax.Kvaerno5()) on a stiff plateau, larger rtol and atol, or more max_steps."
    )
    solver_failed = (
        "The solver could not go on (its step size fell to the minimum, or its nonlinear solve diverged); the solution "
        "ends where it got. Try another solver, or larger rtol and atol."
    )
    interrupted = "Learning was interrupted; the solution ends with the last saved state."
    gradient_not_finite = (
        "The gradient of the loss is not finite, though the loss is; the solution ends there. No learning rate helps: "
        "look for a phi or a loss whose derivative is infinite where it is evaluated, such as a square root or a "
        "logarithm at 0, or jnp.where around one (keep its argument away from 0 inside, too)."
    )
    stalled = (
        "Learning stopped because what was held out was no longer fitted better; the best point is what it returns."
    )


def is_one_of(result: RESULTS, *members: RESULTS) -> np.ndarray:
    """Whether a result that is known, or each of a batch of them, is one of these members.

    On the host: `==` is several operations on the device, which take longer than many a run.
    """
    number, *numbers = (jax.tree.leaves(item)[0] for item in (result, *members))
    number = np.asarray(number)
    return functools.reduce(operator.or_, (number == other for other in numbers))


class LearningError(RuntimeError):
    """Learning ended badly; `.solution` holds everything up to the last good state."""

    def __init__(self, message: str, solution: Any):
        super().__init__(message)
        self.solution = solution

    def __reduce__(self) -> tuple[Any, ...]:
        # As made, so that a process pool can hand it on.
        return type(self), (str(self), self.solution)


class LearningInterrupted(KeyboardInterrupt):
    """Learning was interrupted (Ctrl-C); `.solution` holds everything up to the last saved state."""

    def __init__(self, solution: Any):
        super().__init__("Learning was interrupted; `.solution` of this exception holds what was saved.")
        self.solution = solution

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.solution,)
