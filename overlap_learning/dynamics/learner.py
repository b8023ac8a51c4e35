"""Learners: what a rule moves. Theory and full N differ here and nowhere else."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.dynamics.gradient import (
    gram_loss,
    gram_loss_gradient,
    mixture_loss,
    mixture_loss_gradient,
)
from overlap_learning.model.model import Model
from overlap_learning.tasks.task import Task


class AbstractLearner(eqx.Module):
    """A position [*, d] whose columns are the vectors, and the loss as a function of it.

    Every rule multiplies from the right (columns are combined, rows never mixed), so the same rule drives the transfer
    matrix M of the theory and the vectors V of a full network.
    """

    #: Whether a run that has ended skips the steps that are left of a compiled call. Under vmap both ways of a choice
    #: run, and each member gets a copy of all that a step uses, the task included: not worth it for the theory.
    skips: ClassVar[bool] = False

    model: eqx.AbstractVar[Model]
    rates: eqx.AbstractVar[jax.Array]

    @abc.abstractmethod
    def gram(self, position: jax.Array) -> jax.Array:
        """The Gram matrix [d, d] of a position or of a change of position."""

    def largest(self, position: jax.Array) -> jax.Array:
        """The largest overlap in size, shape []: one of the diagonal, as none of two vectors is larger than both."""
        return jnp.max(jnp.diagonal(self.gram(position)))

    @abc.abstractmethod
    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        """The loss, shape []."""

    @abc.abstractmethod
    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        """The loss, and the scaled gradient `N dL/dV` as a change of position."""

    @abc.abstractmethod
    def transfer(self, position: jax.Array) -> jax.Array | None:
        """M, if the position has one."""

    @abc.abstractmethod
    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        """The position after every entry of the trained vectors has moved by independent noise of this variance."""


class TransferLearner(AbstractLearner):
    """The theory: M of `V(tau) = V(0) M(tau)`, so that `G = M^T G(0) M` and `N dL/dV = V(0) (M S)`.

    Source: theory page, eq. (8).
    """

    model: Model
    rates: jax.Array
    start: jax.Array

    def gram(self, position: jax.Array) -> jax.Array:
        gram = position.T @ self.start @ position
        return 0.5 * (gram + gram.T)

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return gram_loss(self.model, self.gram(position), task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = gram_loss_gradient(self.model, self.gram(position), task)
        return value, position @ slope

    def transfer(self, position: jax.Array) -> jax.Array:
        return position

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        raise ValueError("TransferLearner: independent noise leaves the span of the vectors; FactorLearner follows it.")


class FactorLearner(AbstractLearner):
    """The theory where noise acts on single neurons: a factor F of `G = F^T F`, the vectors of d neurons.

    Descent moves F as it moves V; there is no M, because noise leaves the span of the vectors.
    """

    model: Model
    rates: jax.Array

    def gram(self, position: jax.Array) -> jax.Array:
        return position.T @ position

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return gram_loss(self.model, self.gram(position), task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = gram_loss_gradient(self.model, self.gram(position), task)
        return value, position @ slope

    def transfer(self, position: jax.Array) -> None:
        return None

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        # The limit of many neurons, in which noise adds its variance to G and is orthogonal to all vectors. The
        # triangular factor of both stacked has exactly that Gram matrix, without forming and rooting it.
        noise = jnp.sqrt(variance) * jnp.diag((self.rates > 0).astype(position.dtype))
        return jnp.linalg.qr(jnp.concatenate([position, noise]), mode="r")


class MixtureLearner(AbstractLearner):
    """The theory of populations: one M for each, of `(1, V)(tau) = (1, V)(0) M(tau)`; the constant 1 does not learn.

    Attributes:
        rates: of the constant, 0, and of the vectors, shape [d + 1].
        start: second moments of `(1, V)` at the start, shape [P, d + 1, d + 1].
        fractions: of the populations, shape [P].

    Source: theory page, section 8.
    """

    model: Model
    rates: jax.Array
    start: jax.Array
    fractions: jax.Array

    def moments(self, position: jax.Array) -> jax.Array:
        """The second moments in each population."""
        return jnp.swapaxes(position, 1, 2) @ self.start @ position

    def gram(self, position: jax.Array) -> jax.Array:
        gram = jnp.einsum("p,pij->ij", self.fractions, self.moments(position)[:, 1:, 1:])
        return 0.5 * (gram + gram.T)

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return mixture_loss(self.model, self.fractions, self.moments(position), task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = mixture_loss_gradient(self.model, self.fractions, self.moments(position), task)
        return value, position @ slope

    def transfer(self, position: jax.Array) -> jax.Array:
        return position

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        raise ValueError("MixtureLearner: independent noise leaves the span of the vectors, and is not followed.")


class DirectLearner(AbstractLearner):
    """The contrast case: the position is G itself, and its gradient dL/dsigma, with no metric."""

    model: Model
    rates: jax.Array

    def gram(self, position: jax.Array) -> jax.Array:
        return position

    def largest(self, position: jax.Array) -> jax.Array:
        # Not a Gram matrix of vectors: it need not be positive semi-definite.
        return jnp.max(jnp.abs(position))

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return gram_loss(self.model, position, task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = gram_loss_gradient(self.model, position, task)
        # S counts an off-diagonal overlap once and a diagonal one twice.
        return value, slope * (1 - 0.5 * jnp.eye(len(slope)))

    def transfer(self, position: jax.Array) -> None:
        return None

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        return position + variance * jnp.diag((self.rates > 0).astype(position.dtype))
