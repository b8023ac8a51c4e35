"""Long steps: what neurons leave a theory by, followed over many steps of a rule at once, by a Chebyshev method."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

#: Damping of the stages of a step. With the usual 0.05 what is stiff falls by a twentieth in one, and the loss, which
#: is made of that where it is small, is seen too large; with 0.5 it falls by a third, for an eighth more stages.
DAMPING = 0.5
#: A curvature may be this many times as large as what its iterations find, or as it was when the step began.
MARGIN = 1.25
#: By how much positions are moved to see curvatures, as a part of their size: states are in single precision.
NEARBY = 1e-2
#: Stages of a long step, at least and at most.
STAGES = (2, 1000)


class Answer(NamedTuple):
    """What neurons say when they are asked.

    Attributes:
        loss: at some vectors, if few neurons did what many do.
        slope: its gradient; where it was asked for first, what of it is linear.
        velocity: that of the rule.
        steep: the same, if nothing were clipped: of what is, the curvature is larger where it is not.
        offset: what was added to what few neurons do.
    """

    loss: jax.Array
    slope: jax.Array
    velocity: jax.Array
    steep: jax.Array
    offset: Any


class LongStep(NamedTuple):
    """A long step, as far as it is done.

    Attributes:
        n_asked: how many times the gradient was asked for.
        at: the departure at which it is asked for next.
        pulled: the velocity of the theory.
        loss_there: the loss of the theory.
        first: the velocity where the step begins.
        steep: the same, if nothing were clipped.
        loss: the loss there.
        slope: the gradient there.
        direction: of the largest curvature, as far as it is known.
        offset: what is added to what few neurons do for what the theory says that many do.
        n_stages: of the step.
        departure: of the last stage.
        older: that before it.
        t: the polynomial of the last stage at w0, by which it is divided.
        t_older: that before it.
    """

    n_asked: jax.Array
    at: jax.Array
    pulled: jax.Array
    loss_there: jax.Array
    first: jax.Array
    steep: jax.Array
    loss: jax.Array
    slope: jax.Array
    direction: jax.Array
    offset: Any
    n_stages: jax.Array
    departure: jax.Array
    older: jax.Array
    t: jax.Array
    t_older: jax.Array


def long_step(
    ask: Callable[[jax.Array, Any, jax.Array], Answer],
    base: jax.Array,
    delta: jax.Array,
    offset: Any,
    direction: jax.Array,
    duration: jax.Array,
    n_iterations: jax.Array,
) -> LongStep:
    """A long step of a departure.

    What asks takes turns in one loop: a program has one gradient, and that is most of what is compiled.

    Args:
        ask: what neurons say at some vectors, with an offset, and whether they are where the theory is.
        base: the vectors in the theory.
        delta: the departure at the beginning.
        offset: of the first answer, which has another one.
        direction: of the largest curvature, as far as it is known.
        duration: of the step.
        n_iterations: for the largest curvature.
    """
    nearby = NEARBY * _norm(base)

    def there(step, answer):
        return step._replace(at=delta, pulled=answer.velocity, loss_there=answer.loss, offset=answer.offset)

    def here(step, answer):
        aside = delta + nearby * step.direction / _norm(step.direction)
        return step._replace(at=aside, first=answer.velocity, steep=answer.steep, loss=answer.loss, slope=answer.slope)

    def turned(step, answer):
        turn = (answer.steep - step.steep) / nearby
        curvature = _norm(turn)
        # The polynomials T_1 = w0 and T_0 = 1 at w0.
        n_stages = n_stages_of(MARGIN * curvature * duration)
        w0, ratio = shape(n_stages)
        departure = delta + ratio / w0 * duration * (step.first - step.pulled)
        is_last = step.n_asked == 2 + n_iterations
        return step._replace(
            at=jnp.where(is_last, departure, delta + nearby * turn / curvature), direction=turn, n_stages=n_stages,
            departure=departure, older=delta, t=w0, t_older=jnp.ones(()),
        )  # fmt: skip

    def staged(step, answer):
        w0, ratio = shape(step.n_stages)
        t = 2 * w0 * step.t - step.t_older
        by_last, by_older, by_moved = 2 * w0 * step.t / t, -step.t_older / t, 2 * ratio * step.t / t
        moved = duration * (answer.velocity - step.pulled)
        departure = by_last * step.departure + by_older * step.older + by_moved * moved
        return step._replace(at=departure, departure=departure, older=step.departure, t=t, t_older=step.t)

    def turn(step):
        answer = ask(base + step.at, step.offset, step.n_asked == 0)
        now = jnp.minimum(step.n_asked, jnp.where(step.n_asked < 2 + n_iterations, 2, 3))
        return lax.switch(now, (there, here, turned, staged), step._replace(n_asked=step.n_asked + 1), answer)

    def goes_on(step):
        # The first stage asks for nothing new.
        return step.n_asked < 2 + n_iterations + step.n_stages - 1

    zero, zeros = jnp.zeros(()), jnp.zeros_like(base)
    start = LongStep(
        n_asked=jnp.zeros((), int), at=zeros, pulled=zeros, loss_there=zero, first=zeros, steep=zeros, loss=zero,
        slope=zeros, direction=direction, offset=offset, n_stages=jnp.full((), STAGES[0]), departure=zeros,
        older=zeros, t=zero, t_older=zero,
    )  # fmt: skip
    return lax.while_loop(goes_on, turn, start)


def _norm(vectors: jax.Array) -> jax.Array:
    """The norm, and 1 of what is 0."""
    norm = jnp.linalg.norm(vectors)
    return jnp.where(norm > 0, norm, 1.0)


def n_stages_of(reach: jax.Array) -> jax.Array:
    """The stages of a long step that is stable up to this curvature over its duration."""
    # By `shape`, s stages reach (1 + w0) / w1, which is at least 2 s^2 tanh(x) / x with x = sqrt(2 DAMPING).
    x = math.sqrt(2 * DAMPING)
    least = jnp.sqrt(reach * x / (2 * math.tanh(x)))
    return jnp.clip(jnp.ceil(jnp.where(jnp.isfinite(least), least, 0.0)), *STAGES).astype(int)


def shape(n_stages: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`w0` and `w1` of the polynomial `T_s(w0 + w1 x) / T_s(w0)` that a long step multiplies a mode by."""
    at = 1 + DAMPING / n_stages**2
    angle = jnp.arccosh(at)
    # T_s / T_s' at w0.
    return at, jnp.sinh(angle) / (n_stages * jnp.tanh(n_stages * angle))
