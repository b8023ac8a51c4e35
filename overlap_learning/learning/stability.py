"""Stability: a loss that rises on fixed trials, and the largest learning rate with which it would not."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.record import Outcome
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.trials import are_drawn
from overlap_learning.tasks.task import Task

#: The names of what `rise` finds, among the numbers about a run. Runs that were compiled together are not looked at.
FOUND = ("rise_step", "stable_rate")
#: A loss that is more than this part above the lowest one before has risen; and what rounding makes of the first loss.
RISE, ROUNDING = 0.01, 1e-12
#: Power iterations: two largest curvatures that differ by a tenth are told apart to 1 %.
N_ITERATIONS = 50


def rise(outcome: Outcome, learner: AbstractLearner, rule: AbstractRule, task: Any) -> dict[str, Any]:
    """Of a loss that rose: the step of the lowest point before, and the largest stable rate there. Empty for others.

    Descent is stable for `eta kappa < 2`, kappa the largest curvature of the loss along what learns.

    Args:
        outcome: of the run. If its positions were saved, as a `transfer`, the rate is known.
        learner: what moved.
        rule: how.
        task: on what.
    """
    record = outcome.record
    loss = record.loss
    if isinstance(loss, jax.core.Tracer) or record.step is None or loss.ndim > 1:
        return {}
    loss = np.asarray(loss)
    # Most runs end here: the rest would take longer than a short one.
    if not (loss[1:] > loss[:-1]).any():
        return {}
    decay = getattr(rule, "weight_decay", None)
    if (
        are_drawn(task, rule)
        or rule.parameter_noise is not None
        or not (decay is None or np.all(np.asarray(decay) == 0))
    ):
        return {}
    loss = loss[np.isfinite(np.asarray(record.time))]
    lowest = np.minimum.accumulate(loss)[:-1]
    risen = loss[1:] > (1 + RISE) * lowest + ROUNDING * loss[0]
    if not risen.any():
        return {}
    index = int(np.argmin(loss[: np.argmax(risen) + 1]))
    found = {FOUND[0]: jnp.asarray(record.step[index])}
    if "transfer" in record.saved:
        found[FOUND[1]] = _momentum(rule) * 2 / largest_curvature(learner, record.saved["transfer"][index], task)
    return found


def rise_sentence(record: Any, stats: Any) -> str:
    """What `rise` found, in words; empty if it found nothing.

    Args:
        record: what has the loss, the step and the time of each saved point.
        stats: numbers about the run.
    """
    if FOUND[0] not in stats:
        return ""
    step, time, loss = (np.asarray(a) for a in (record.step, record.time, record.loss))
    index = int(np.argmax(step == int(stats[FOUND[0]])))
    rate = (time[index + 1] - time[index]) / (step[index + 1] - step[index])
    found = f"The loss rose after step {step[index]}, from {loss[index]:.3g} to {np.nanmax(loss[index:]):.3g}: "
    if FOUND[1] not in stats:
        return f"{found}the learning rate {rate:.3g} is too large there, or momentum overshot. Use a smaller one."
    stable = float(stats[FOUND[1]])
    if rate < stable:
        return (
            f"{found}the learning rate {rate:.3g} was stable there (below {stable:.3g}): a step on it was no "
            "longer, or momentum overshot."
        )
    return (
        f"{found}the learning rate is {rate:.3g}, and the largest stable one there {stable:.3g} "
        "(2 / the largest curvature). Use one well below."
    )


@eqx.filter_jit
def largest_curvature(learner: AbstractLearner, position: Any, task: Task) -> jax.Array:
    """The largest eigenvalue of the change of the gradient with the position, along what learns, by power iteration.

    The derivative is a central difference of gradients, which every learner has.
    """
    at, unravel = ravel_pytree(position)
    task = task.astype(at.dtype)
    rates = jax.tree.map(lambda x, p: jnp.broadcast_to(jnp.asarray(p, x.dtype), x.shape), position, learner.rates)
    speed = jnp.sqrt(ravel_pytree(rates)[0])
    size = jnp.finfo(at.dtype).eps ** (1 / 3) * jnp.linalg.norm(at)

    def times(x):
        def gradient(sign):
            return ravel_pytree(learner.gradient(unravel(at + sign * size * speed * x), task)[1])[0]

        # One after another: each gradient would be compiled on its own.
        ahead, behind = lax.map(gradient, jnp.array([1.0, -1.0], at.dtype))
        return speed * (ahead - behind) / (2 * size)

    def extreme(shift):
        def step(_, now):
            x, _ = now
            moved = times(x)
            turned = moved - shift * x
            norm = jnp.linalg.norm(turned)
            return turned / jnp.where(norm > 0, norm, 1.0), x @ moved

        # Of no key: to draw in the program takes longer to compile than all else. Positions of a theory are small.
        start = np.random.default_rng(0).standard_normal(at.shape).astype(at.dtype)
        return lax.fori_loop(0, N_ITERATIONS + 1, step, (start / np.linalg.norm(start), jnp.zeros((), at.dtype)))[1]

    # The largest in size may be negative; all others are then positive from it.
    def goes_on(now):
        n_found, found = now
        return (n_found == 0) | ((n_found == 1) & (found < 0))

    return lax.while_loop(goes_on, lambda now: (now[0] + 1, extreme(now[1])), (0, jnp.zeros((), at.dtype)))[1]


def _momentum(rule: AbstractRule) -> Any:
    """How much larger a stable rate may be with momentum mu: `1 + mu`; with Nesterov's `(1 + mu) / (1 + 2 mu)`."""
    mu = getattr(rule, "momentum", None)
    if mu is None:
        return 1.0
    return (1 + mu) / (1 + 2 * mu) if getattr(rule, "nesterov", False) else 1 + mu
