"""What the engine asks of a learning rule."""

import abc
import enum
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import described
from overlap_learning.learning.rules.drift import Drift
from overlap_learning.module import Module

if TYPE_CHECKING:
    from overlap_learning.learning.learner import AbstractLearner
    from overlap_learning.tasks.task import Task


class Motion(enum.Enum):
    """How a rule moves the vectors of a network, which says what their overlaps are enough for."""

    LINEAR = "each vector becomes a linear combination of all vectors"
    DIFFUSING = "and every entry of the vectors gets noise of its own"
    COUPLED = "and noise and velocity get overlaps of their own"
    BARE = "overlaps move by themselves, without vectors"
    ELEMENTWISE = "each entry of the vectors moves by itself"


class AbstractRule(Module):
    """A learning rule: all that the engine asks of one.

    Attributes:
        rates: relative learning rates, as a person gave them; None: 1.
        stop_loss: the loss at which a run stops; None: it does not.
        dense: whether the interpolant of the position is kept.
        n_steps: steps; None: a flow, which takes those that its solver chooses.
        save_every: steps between saved points; None: of a flow.
        batch_size: trials per step; None: all.
        label_noise: on the targets; None: none.
        parameter_noise: on the position; None: none.
    """

    rates: eqx.AbstractVar[Any]
    stop_loss: eqx.AbstractVar[Any]
    dense: eqx.AbstractVar[Any]
    n_steps: eqx.AbstractVar[Any]
    save_every: eqx.AbstractVar[Any]
    batch_size: eqx.AbstractVar[Any]
    label_noise: eqx.AbstractVar[Any]
    parameter_noise: eqx.AbstractVar[Any]

    def __repr__(self) -> str:
        return described(self)

    @property
    @abc.abstractmethod
    def motion(self) -> Motion:
        """How it moves vectors."""

    @property
    def drift(self) -> Drift | None:
        """The velocity that it moves a position with on average, if its steps are small; None: it has none."""
        return None

    def finer(self, n_points: int) -> tuple["AbstractRule", np.ndarray | None]:
        """The same rule with at least so many saved points, if it can have them; and which are its own, None: all."""
        return self, None

    @abc.abstractmethod
    def error(self, size: float) -> float:
        """How far off, beyond rounding, one step may be by intention, at positions of this size."""


class AbstractDescent(AbstractRule):
    """A rule that learns in steps. The same object drives any learner."""

    #: Whether the rule looks at saved points, and may end a run there.
    reviews: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, position: Any) -> Any:
        """What the rule remembers between steps, at the start."""

    @abc.abstractmethod
    def update(
        self, learner: "AbstractLearner", position: Any, gradient: Any, memory: Any, rate: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any]:
        """The next position and memory, by a step of this learning rate from where the loss and its gradient are."""

    @abc.abstractmethod
    def rate(self, step: jax.Array, lowest: jax.Array) -> jax.Array:
        """The learning time that a step takes, before which the lowest loss was `lowest`."""

    def review(self, learner: "AbstractLearner", position: Any, memory: Any, task: "Task") -> tuple[Any, jax.Array]:
        """At a saved point, of a rule that `reviews`: what is remembered from here on, and whether the run ends."""
        return memory, jnp.zeros((), bool)

    def chosen(self, position: Any, memory: Any) -> Any:
        """Where a run has led: to its last position, or to one that the rule remembers."""
        return position

    def error(self, size: float) -> float:
        return 0.0
