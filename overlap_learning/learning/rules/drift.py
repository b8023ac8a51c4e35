"""Drift: how a rule moves what learns on average, as a velocity."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.checks import in_numpy, namespace
from overlap_learning.module import Module

if TYPE_CHECKING:
    from overlap_learning.learning.learner import AbstractLearner


class Drift(Module):
    """A velocity, `-(clipped gradient + weight_decay position) rates / (1 - momentum)` per learning time.

    Attributes:
        weight_decay: lambda.
        clip_norm: largest norm of the gradient; None: it is not clipped.
        momentum: mu; None: 0.
        nesterov: whether steps look ahead along it.
    """

    weight_decay: jax.Array
    clip_norm: jax.Array | None = None
    momentum: jax.Array | None = None
    nesterov: bool = eqx.field(static=True, default=False)

    def direction(self, learner: "AbstractLearner", position: Any, gradient: Any) -> Any:
        """The gradient, clipped and with the decay of weights: what a step goes against."""
        if self.clip_norm is not None:
            moving = jax.tree.map(lambda g, p: g * (p > 0), gradient, learner.rates)
            square, limit = learner.square(moving), self.clip_norm
            # Not the root of the square, whose derivative is infinite where nothing is to be clipped at 0.
            excess = jnp.sqrt(jnp.maximum(square, limit**2)) / limit
            gradient = jax.tree.map(lambda g: g / excess.astype(g.dtype), gradient)
        return jax.tree.map(lambda g, x: g + self.weight_decay.astype(x.dtype) * x, gradient, position)

    def __call__(self, learner: "AbstractLearner", position: Any, gradient: Any) -> Any:
        """The velocity of a position, where the loss has this gradient."""
        direction = self.direction(learner, position, gradient)
        velocity = jax.tree.map(lambda g, p: -g * p.astype(g.dtype), direction, learner.rates)
        if self.momentum is None:
            return velocity
        retained = 1 - self.momentum
        return jax.tree.map(lambda v: v / retained.astype(v.dtype), velocity)

    def inertia(self, n_steps: Any) -> tuple[Any, Any]:
        """What momentum makes of a velocity that stays the same for so many steps, after it has been another one.

        Returns:
            The part of the difference of the two by which the way falls behind, and that which is left in the end.
        """
        if self.momentum is None:
            return 0.0 * n_steps, 0.0 * n_steps
        xp = namespace(n_steps, momentum := in_numpy(self.momentum))
        left = momentum**n_steps
        behind = momentum ** (2 if self.nesterov else 1) / (1 - momentum) * (1 - left)
        return behind / xp.where(n_steps > 0, n_steps, 1.0), left
