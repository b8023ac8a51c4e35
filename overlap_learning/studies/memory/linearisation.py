"""Linearisation: learning near a solution, where the gradient is a linear map of the displacement."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.model.model import Model
from overlap_learning.tasks.task import Task


class Linearisation(eqx.Module):
    """Learning of `V = V0 (1 + delta)` at an overlap matrix G, to first order in delta: the gradient is `S0 + H delta`.

    H maps d x d matrices to d x d matrices and is self-adjoint for the inner product `<a, b> = tr(a^T G b)` (the mean
    over neurons of `V0 a . V0 b`) where S0 = 0. Learning with rates P moves `delta <- delta - eta (S0 + H delta) P`. In
    the coordinates `x = G^(1/2) delta P^(-1/2)` that is a descent `x <- x - eta (x0 + h x)` with a symmetric matrix h,
    the Hessian of the loss in the directions that V0 spans, seen at the speed at which they are learned.

    Attributes:
        gram: G, shape [d, d].
        root: G^(1/2), shape [d, d], symmetric.
        inverse_root: its pseudo-inverse.
        speed: P^(1/2), shape [d].
        curvatures: eigenvalues of h in ascending order, shape [d^2].
        axes: their eigenvectors as columns, shape [d^2, d^2], in the coordinates x.
    """

    gram: jax.Array
    root: jax.Array
    inverse_root: jax.Array
    speed: jax.Array
    curvatures: jax.Array
    axes: jax.Array

    def coordinates(self, slope: jax.Array) -> jax.Array:
        """A gradient S as a change of the coordinates x, `G^(1/2) S P^(1/2)`, shape [d, d]."""
        return self.root @ slope * self.speed

    def relaxed(self, source: jax.Array, threshold: float) -> jax.Array:
        """Where gradient flow from delta = 0 ends when the gradient is `source + H delta`: `delta = -H^+ source`.

        Args:
            source: the gradient S at delta = 0, shape [d, d].
            threshold: curvatures below this share of the largest count as flat.
        """
        stiff = self.curvatures > threshold * self.curvatures[-1]
        inverse = jnp.where(stiff, 1 / jnp.where(stiff, self.curvatures, 1.0), 0.0)
        x = self.axes @ (inverse * (self.axes.T @ self.coordinates(source).ravel()))
        return -self.inverse_root @ x.reshape(source.shape) * self.speed

    def rank(self, threshold: float) -> jax.Array:
        """The number of directions in which the loss is curved: by how many the solutions are confined."""
        return jnp.sum(self.curvatures > threshold * self.curvatures[-1])


def slope_at(model: Model, gram: jax.Array, task: Task) -> Callable[[jax.Array], jax.Array]:
    """S as a function of delta, for `G = (1 + delta)^T gram (1 + delta)`."""
    identity = jnp.eye(len(gram))

    def slope(delta: jax.Array) -> jax.Array:
        moved = identity + delta
        return gram_loss_gradient(model, moved.T @ gram @ moved, task)[1]

    return slope


def linearise(model: Model, gram: jax.Array, task: Task, rates: jax.Array | None = None) -> Linearisation:
    """The `Linearisation` of learning at a Gram matrix [d, d], with rates P [d] (None: 1)."""
    d = len(gram)
    speed = jnp.ones(d) if rates is None else jnp.sqrt(rates)
    values, vectors = jnp.linalg.eigh(gram)
    # Directions that no vector has take no part in learning.
    present = values > d * jnp.finfo(gram.dtype).eps * values[-1]
    root = (vectors * jnp.sqrt(jnp.where(present, values, 0.0))) @ vectors.T
    inverse_root = (vectors * jnp.where(present, 1 / jnp.sqrt(jnp.where(present, values, 1.0)), 0.0)) @ vectors.T
    slope = slope_at(model, gram, task)

    def column(x: jax.Array) -> jax.Array:
        _, change = jax.jvp(slope, (jnp.zeros((d, d)),), (inverse_root @ x.reshape(d, d) * speed,))
        return (root @ change * speed).ravel()

    hessian = jax.vmap(column)(jnp.eye(d * d))
    curvatures, axes = jnp.linalg.eigh((hessian + hessian.T) / 2)
    return Linearisation(gram, root, inverse_root, speed, curvatures, axes)
