"""Learners of the theory: what is followed in place of the vectors of a network."""

import abc
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import assembled, namespace
from overlap_learning.dynamics.gradient import (
    gram_activity,
    gram_loss,
    gram_loss_gradient,
    mixture_loss,
    mixture_loss_gradient,
    moments_activity,
)
from overlap_learning.guides import guide
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.rules import Motion
from overlap_learning.model.activity import Activity, reduced_variance
from overlap_learning.model.factor import gram_factor
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps, unchecked
from overlap_learning.model.populations import Populations, from_moments
from overlap_learning.model.products import product
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.tasks.task import Task


class AbstractGramLearner(AbstractLearner):
    """A position from which one Gram matrix follows, and with it the loss."""

    model: eqx.AbstractVar[Model]

    @classmethod
    @abc.abstractmethod
    def begin(cls, model: Model, start: Any, rates: jax.Array) -> "Beginning":
        """The learner and its position at the start."""

    @abc.abstractmethod
    def gram(self, position: jax.Array) -> jax.Array:
        """The Gram matrix [d, d] of a position."""

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return gram_loss(self.model, self.gram(position), task)

    def activity(self, position: jax.Array, task: Task) -> Activity:
        """What a task asks for of the neurons."""
        return gram_activity(self.model, self.gram(position), task)

    def size(self, position: jax.Array) -> jax.Array:
        # No overlap of two vectors is larger than both of theirs with themselves.
        return jnp.max(jnp.diagonal(self.gram(position)))

    def square(self, change: jax.Array) -> jax.Array:
        # The mean square over neurons.
        return jnp.trace(self.gram(self.model.counted_once(change)))

    def observe(self, position: jax.Array) -> dict[str, jax.Array]:
        return {"gram": self.gram(position)}

    def final(self, position: jax.Array) -> Overlaps:
        return unchecked(self.gram(position), self.model.layout)

    def stats(self, first: jax.Array, last: jax.Array, task: Task) -> dict[str, jax.Array]:
        if self.model.is_linear:
            return {}
        met = jnp.stack([reduced_variance(self.model, self.gram(position), task) for position in (first, last)])
        return {"field_variance": jnp.max(met), "gain_error": jnp.max(self.model.activation.gain_error(met))}


class Beginning(NamedTuple):
    """A learner and its position at the start."""

    learner: AbstractLearner
    position: jax.Array


class TransferLearner(AbstractGramLearner):
    """The theory: M of `V(tau) = V(0) M(tau)`, so that `G = M^T G(0) M` and `N dL/dV = V(0) (M S)`.

    Source: theory page, eq. (8).
    """

    model: Model
    rates: jax.Array
    start: jax.Array

    @classmethod
    def begin(cls, model: Model, start: Overlaps, rates: jax.Array) -> Beginning:
        gram = _double(start.gram)
        return Beginning(assembled(cls, model=model, rates=rates, start=gram), _identity(gram.shape))

    def gram(self, position: jax.Array) -> jax.Array:
        gram = product(position.T, product(self.start, position))
        return 0.5 * (gram + gram.T)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = gram_loss_gradient(self.model, self.gram(position), task)
        return value, product(position, self.model.summed_over_ties(slope))

    def observe(self, position: jax.Array) -> dict[str, jax.Array]:
        return {"gram": self.gram(position), "transfer": position}

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        raise ValueError("TransferLearner: independent noise leaves the span of the vectors; FactorLearner follows it.")


class FactorLearner(AbstractGramLearner):
    """The theory where noise acts on single neurons: a factor F of `G = F^T F`, the vectors of d neurons.

    Descent moves F as it moves V; there is no M, because noise leaves the span of the vectors.
    """

    model: Model
    rates: jax.Array

    @classmethod
    def begin(cls, model: Model, start: Overlaps, rates: jax.Array) -> Beginning:
        return Beginning(cls(model=model, rates=rates), gram_factor(_double(start.gram)))

    def gram(self, position: jax.Array) -> jax.Array:
        return position.T @ position

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = gram_loss_gradient(self.model, self.gram(position), task)
        return value, position @ slope

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        # The limit of many neurons, in which noise adds its variance to G and is orthogonal to all vectors. The
        # triangular factor of both stacked has exactly that Gram matrix, without forming and rooting it.
        noise = jnp.sqrt(variance) * jnp.diag((self.rates > 0).astype(position.dtype))
        return jnp.linalg.qr(jnp.concatenate([position, noise]), mode="r")


class DirectLearner(AbstractGramLearner):
    """The contrast case: the position is G itself, and its gradient dL/dsigma, with no metric."""

    model: Model
    rates: jax.Array

    @classmethod
    def begin(cls, model: Model, start: Overlaps, rates: jax.Array) -> Beginning:
        return Beginning(cls(model=model, rates=jnp.ones_like(_double(start.gram))), _double(start.gram))

    def gram(self, position: jax.Array) -> jax.Array:
        return position

    def size(self, position: jax.Array) -> jax.Array:
        # Not a Gram matrix of vectors: it need not be positive semi-definite.
        return jnp.max(jnp.abs(position))

    def square(self, change: jax.Array) -> jax.Array:
        # Each overlap once, as the parameters that they are taken for.
        return jnp.sum(jnp.square(jnp.triu(change)))

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = gram_loss_gradient(self.model, position, task)
        # S counts an off-diagonal overlap once and a diagonal one twice.
        return value, slope * (1 - 0.5 * jnp.eye(len(slope)))


class MixtureLearner(AbstractLearner):
    """The theory of populations: one M for each, of `(1, V)(tau) = (1, V)(0) M(tau)`; the constant 1 does not learn.

    Attributes:
        rates: of the constant, 0, and of the vectors, shape [d + 1].
        start: second moments of `(1, V)` at the start, shape [P, d + 1, d + 1].
        populations: the start.

    Source: theory page, section 8.
    """

    model: Model
    rates: jax.Array
    start: jax.Array
    populations: Populations

    @classmethod
    def begin(cls, model: Model, start: Populations, rates: jax.Array) -> Beginning:
        start = jax.tree.map(_double, start)
        moments = start.moments
        rates = namespace(rates).concatenate([np.zeros(1), rates])
        return Beginning(
            cls(model=model, rates=rates, start=moments, populations=start),
            _identity(moments.shape),
        )

    def moments(self, position: jax.Array) -> jax.Array:
        """The second moments in each population."""
        return jnp.swapaxes(position, 1, 2) @ self.start @ position

    def gram(self, position: jax.Array) -> jax.Array:
        """The Gram matrix [d, d] of all neurons."""
        gram = jnp.einsum("p,pij->ij", self.populations.fractions, self.moments(position)[:, 1:, 1:])
        return 0.5 * (gram + gram.T)

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return mixture_loss(self.model, self.populations.fractions, self.moments(position), task)

    def activity(self, position: jax.Array, task: Task) -> Activity:
        """What a task asks for of the neurons."""
        return moments_activity(self.model, self.populations.fractions, self.moments(position), task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = mixture_loss_gradient(self.model, self.populations.fractions, self.moments(position), task)
        return value, position @ slope

    def size(self, position: jax.Array) -> jax.Array:
        return jnp.max(jnp.diagonal(self.gram(position)))

    def square(self, change: jax.Array) -> jax.Array:
        return jnp.trace(self.gram(change))

    def observe(self, position: jax.Array) -> dict[str, jax.Array]:
        return {"gram": self.gram(position), "transfer": position}

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        raise ValueError("MixtureLearner: independent noise leaves the span of the vectors, and is not followed.")

    def final(self, position: jax.Array) -> Populations:
        return from_moments(self.populations, self.moments(position))


_NOT_ALONE = (
    "populations learn by GradientFlow or GradientDescent without parameter_noise; direct descent and parameter noise "
    "are for ol.Overlaps."
)
_ELEMENTWISE = (
    "an Optimiser works element by element on the neurons, so the overlaps it leads to depend on more than overlaps: "
    "its learning does not close in overlap space. Run it at full N: ol.train(model, task, network, rule)."
)
_COUPLED = (
    "parameter_noise with momentum needs the overlaps of noise and velocity too, which are not followed. Use "
    "momentum=0, or run it at full N: ol.train(model, task, network, rule, key)."
)

_NO_NEURONS = (
    "weighted neurons learn by GradientFlow, GradientDescent without parameter_noise, or Optimiser; of a whole network "
    "ol.train follows noise too, and direct descent is for ol.Overlaps."
)

#: Which learner follows which start under which motion of the vectors; or why there is none.
LEARNERS: Mapping[tuple[type, Motion], type[AbstractGramLearner] | type[MixtureLearner] | type[NeuronLearner] | str] = {
    (Overlaps, Motion.LINEAR): TransferLearner,
    (Overlaps, Motion.DIFFUSING): FactorLearner,
    (Overlaps, Motion.BARE): DirectLearner,
    (Overlaps, Motion.COUPLED): _COUPLED,
    (Overlaps, Motion.ELEMENTWISE): _ELEMENTWISE,
    (Populations, Motion.LINEAR): MixtureLearner,
    (Populations, Motion.DIFFUSING): _NOT_ALONE,
    (Populations, Motion.BARE): _NOT_ALONE,
    (Populations, Motion.COUPLED): _COUPLED,
    (Populations, Motion.ELEMENTWISE): _ELEMENTWISE,
    (Network, Motion.LINEAR): NeuronLearner,
    (Network, Motion.DIFFUSING): _NO_NEURONS,
    (Network, Motion.BARE): _NO_NEURONS,
    (Network, Motion.COUPLED): _NO_NEURONS,
    (Network, Motion.ELEMENTWISE): NeuronLearner,
}


def learner_of(start: Overlaps | Populations | Network, motion: Motion, caller: str) -> Any:
    """The class of learner that follows a start.

    Raises:
        ValueError: if there is none; the message says why, and what to do.
    """
    found = LEARNERS[type(start), motion]
    if isinstance(found, str):
        raise ValueError(f"{caller}: {found}{guide('refused')}")
    return found


def _double(array: jax.Array) -> jax.Array:
    # Overlaps of a network in single precision are a usual start.
    return array if array.dtype == float else array.astype(float)


@functools.cache
def _identity(shape: tuple[int, ...]) -> Any:
    """Identity matrices, one for each matrix of a batch; in numpy, which compiles nothing. Not to be written to."""
    identity = np.eye(shape[-1]) + np.zeros(shape)
    identity.flags.writeable = False
    return identity
