"""Gradient descent in steps, with what closes in overlap space."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import assembled, count, is_zero, scalar
from overlap_learning.learning.rules.arguments import (
    as_arrays,
    learning_rate_of,
    optional_noise,
    optional_positive,
    rate_at,
    stride,
)
from overlap_learning.learning.rules.drift import Drift
from overlap_learning.learning.rules.rule import AbstractDescent, Motion

if TYPE_CHECKING:
    from overlap_learning.learning.learner import AbstractLearner

#: Of what a person wants few saved points, at most so many times as many as are needed are saved on the way.
MOST_TIMES = 20


class GradientDescent(AbstractDescent):
    """Gradient descent in steps, with everything that closes exactly in overlap space for linear networks.

    With the scaled gradient `g = N dL/dV = V S` (so that eta does not depend on N), at each step::

        g <- g min(1, clip_norm / |g|)          |g|^2 = tr(S G S), over trained vectors: the mean square over neurons
        g <- g + weight_decay V
        q <- momentum q + g
        V <- V - eta q P                        or, Nesterov:  V - eta (g + momentum q) P
        V <- V + sqrt(2 parameter_noise eta) xi         xi: normal, for each entry of the trained vectors

    (the order and the convention of optax and torch). Plain descent is `V <- V (1 - eta S P)`: the exact map
    `G <- (1 - eta S P)^T G (1 - eta S P)`.

    Args:
        learning_rate: eta; a number, or a schedule `step -> eta` such as those of optax.
        n_steps: number of steps.
        momentum: mu, in [0, 1).
        nesterov: look ahead along the momentum.
        weight_decay: lambda.
        label_noise: standard deviation of normal noise added to the targets, drawn anew at each step for every reading.
            At a fixed value the variance of the gradient that it draws falls with dt; `dt**-0.5` keeps it.
        parameter_noise: D, the diffusion of every trained entry (synaptic drift): variance 2 D per learning time. In
            the theory, where N is large, `G <- G + 2 D eta P_train`; not with momentum, which has to be run at full N.
            A bulk that learns gets 2 D / N, the same temperature.
        clip_norm: largest |g|; None for no clipping. torch's clip_grad_norm_(c) on dL/dV is `clip_norm = c sqrt(N)`.
        batch_size: trials per step, drawn anew from the task without replacement; None for all of them.
        rates: relative learning rates P: a mapping from blocks or vectors to rates, or an array [d]; 0 freezes. A bulk
            learns if it is named: `{"W": 1.0}`.
        save_every: steps between saved points (the last step is saved too); None: about 200 points.
        stop_loss: stop at the first step at which the loss, on that step's trials and with its label noise, is at most
            this.

    Raises:
        ValueError: if an argument is out of range.

    Source: theory page, eq. (7) and section 4.

    Examples:
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=2000, momentum=0.5, rates={"m": 0.0})
        >>> rule.save_every
        10
    """

    learning_rate: jax.Array | Callable[[jax.Array], jax.Array]
    n_steps: int = eqx.field(static=True)
    momentum: jax.Array | None
    nesterov: bool = eqx.field(static=True)
    weight_decay: jax.Array
    label_noise: jax.Array | None
    parameter_noise: jax.Array | None
    clip_norm: jax.Array | None
    batch_size: int | None = eqx.field(static=True)
    rates: Any
    save_every: int = eqx.field(static=True)
    stop_loss: jax.Array | None
    dense: bool = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: ArrayLike | Callable[[jax.Array], jax.Array],
        n_steps: int,
        *,
        momentum: ArrayLike = 0.0,
        nesterov: bool = False,
        weight_decay: ArrayLike = 0.0,
        label_noise: ArrayLike = 0.0,
        parameter_noise: ArrayLike = 0.0,
        clip_norm: ArrayLike | None = None,
        batch_size: int | None = None,
        rates: Any = None,
        save_every: int | None = None,
        stop_loss: ArrayLike | None = None,
    ):
        self.learning_rate = learning_rate_of(learning_rate, "GradientDescent")
        self.n_steps = count(n_steps, "GradientDescent: n_steps")
        checked = scalar(momentum, "GradientDescent: momentum", "in [0, 1)", 0, 1 - 1e-9, open_low=False)
        # No momentum: no buffer of the size of the network.
        self.momentum = None if is_zero(momentum) else checked
        self.nesterov = bool(nesterov)
        self.weight_decay = scalar(weight_decay, "GradientDescent: weight_decay", "at least 0", 0, open_low=False)
        self.label_noise = optional_noise(label_noise, "GradientDescent: label_noise")
        self.parameter_noise = optional_noise(parameter_noise, "GradientDescent: parameter_noise")
        self.clip_norm = optional_positive(clip_norm, "GradientDescent: clip_norm")
        self.batch_size = None if batch_size is None else count(batch_size, "GradientDescent: batch_size")
        self.rates = as_arrays(rates)
        self.save_every = stride(save_every, self.n_steps, "GradientDescent")
        self.stop_loss = optional_positive(stop_loss, "GradientDescent: stop_loss")
        self.dense = False

    @property
    def motion(self) -> Motion:
        if self.parameter_noise is None:
            return Motion.LINEAR
        return Motion.DIFFUSING if self.momentum is None else Motion.COUPLED

    @property
    def drift(self) -> Drift:
        return Drift(self.weight_decay, self.clip_norm, self.momentum, self.nesterov)

    def finer(self, n_points: int) -> tuple["GradientDescent", np.ndarray | None]:
        every = self.save_every
        # Points that are saved stay so where a part of the stride divides it; of a stride that few numbers divide there
        # may be many more points than are needed.
        enough = (q for q in range(1, every) if every % q == 0 and self.n_steps * q > every * (n_points - 2))
        parts = next(enough, every)
        if parts == 1 or self.n_steps * parts > every * MOST_TIMES * n_points:
            return self, None
        finer = assembled(type(self), **(vars(self) | {"save_every": every // parts}))
        last = math.ceil(self.n_steps / finer.save_every)
        return finer, np.unique([*range(0, last, parts), last])

    def init(self, position: Any) -> Any:
        return None if self.momentum is None else jax.tree.map(jnp.zeros_like, position)

    def update(
        self, learner: "AbstractLearner", position: Any, gradient: Any, memory: Any, rate: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any]:
        def cast(number, array):
            return number.astype(array.dtype)

        gradient = self.drift.direction(learner, position, gradient)
        if self.momentum is not None:
            momentum = self.momentum
            memory = jax.tree.map(lambda m, g: cast(momentum, g) * m + g, memory, gradient)
            ahead = jax.tree.map(lambda m, g: g + cast(momentum, g) * m, memory, gradient)
            gradient = ahead if self.nesterov else memory
        return jax.tree.map(
            lambda x, g, p: x - g * (cast(rate, x) * cast(p, x)), position, gradient, learner.rates
        ), memory

    def rate(self, step: jax.Array, lowest: jax.Array) -> jax.Array:
        """Eta of this step."""
        return rate_at(self.learning_rate, step, lowest)
