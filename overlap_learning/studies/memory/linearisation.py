"""Linearisation: learning near a solution, where the gradient is a linear map of the displacement."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from overlap_learning.checks import refuse_traced, require_float64
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.task import Task, check_task

#: Curvatures of the loss below this share of the largest count as flat directions.
FLAT = 1e-9
#: How many times as curved a direction must be as what is left of the gradient can make a flat one.
BEYOND = 4.0


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
        slope: S0, with the decay of weights, shape [d, d].
    """

    gram: jax.Array
    root: jax.Array
    inverse_root: jax.Array
    speed: jax.Array
    curvatures: jax.Array
    axes: jax.Array
    slope: jax.Array

    @property
    def excess(self) -> jax.Array:
        """The curvature that flat directions may have because S0 is not quite 0, shape [].

        By way of `G = (1 + delta)^T G0 (1 + delta)` the loss has a second derivative `x -> x P^(1/2) S0 P^(1/2)`, which
        is all that there is where G stays as it is; elsewhere what is left of the errors adds as much.
        """
        pull = lax.stop_gradient(self.speed[:, None] * self.slope * self.speed)
        return jnp.max(jnp.abs(jnp.linalg.eigvalsh((pull + pull.T) / 2)))

    def coordinates(self, slope: jax.Array) -> jax.Array:
        """A gradient S as a change of the coordinates x, `G^(1/2) S P^(1/2)`, shape [d, d]."""
        return self.root @ slope * self.speed

    def relaxed(self, source: jax.Array, threshold: float) -> jax.Array:
        """Where gradient flow from delta = 0 ends when the gradient is `source + H delta`: `delta = -H^+ source`.

        Args:
            source: the gradient S at delta = 0, shape [d, d].
            threshold: curvatures below this share of the largest count as flat.
        """
        stiff = self.is_curved(threshold)
        inverse = jnp.where(stiff, 1 / jnp.where(stiff, self.curvatures, 1.0), 0.0)
        x = self.axes @ (inverse * (self.axes.T @ self.coordinates(source).ravel()))
        return -self.inverse_root @ x.reshape(source.shape) * self.speed

    def is_curved(self, threshold: float) -> jax.Array:
        """Whether the loss is curved along each axis, shape [d^2]: beyond a share of the largest curvature and beyond
        what learning that has not quite ended leaves of curvature in flat directions.
        """
        return self.curvatures > jnp.maximum(threshold * self.curvatures[-1], BEYOND * self.excess)

    def rank(self, threshold: float) -> jax.Array:
        """The number of directions in which the loss is curved: by how many the solutions are confined."""
        return jnp.sum(self.is_curved(threshold))


def slope_at(model: Model, gram: jax.Array, task: Task) -> Callable[[jax.Array], jax.Array]:
    """S as a function of delta, for `G = (1 + delta)^T gram (1 + delta)`."""
    identity = jnp.eye(len(gram))

    def slope(delta: jax.Array) -> jax.Array:
        moved = identity + delta
        return gram_loss_gradient(model, moved.T @ gram @ moved, task)[1]

    return slope


def linearise(
    model: Model, gram: jax.Array, task: Task, rates: jax.Array | None = None, decay: ArrayLike = 0.0
) -> Linearisation:
    """The `Linearisation` of learning at a Gram matrix [d, d], with rates P [d] (None: 1).

    Where learning with a `decay` of weights has ended S is `-decay`: that is nothing that it has left.
    """
    d = len(gram)
    speed = jnp.ones(d) if rates is None else jnp.sqrt(rates)
    values, vectors = jnp.linalg.eigh(gram)
    # Directions that no vector has take no part in learning.
    present = values > d * jnp.finfo(gram.dtype).eps * values[-1]
    root = (vectors * jnp.sqrt(jnp.where(present, values, 0.0))) @ vectors.T
    inverse_root = (vectors * jnp.where(present, 1 / jnp.sqrt(jnp.where(present, values, 1.0)), 0.0)) @ vectors.T
    slope = slope_at(model, gram, task)

    left, change = jax.linearize(slope, jnp.zeros((d, d)))

    def column(x: jax.Array) -> jax.Array:
        return (root @ change(inverse_root @ x.reshape(d, d) * speed) * speed).ravel()

    hessian = jax.vmap(column)(jnp.eye(d * d))
    curvatures, axes = jnp.linalg.eigh((hessian + hessian.T) / 2)
    return Linearisation(gram, root, inverse_root, speed, curvatures, axes, left + decay * jnp.eye(d))


def relaxation_rates(
    model: Model, task: Task, overlaps: Overlaps, *, rates: Any = None, flat: float = FLAT
) -> np.ndarray:
    """How fast gradient flow relaxes to a solution, mode by mode: the curvatures of the loss that are not 0.

    Displacements of the vectors decay as `exp(-kappa tau)`, tau the learning time. The smallest says what slow means: a
    task that changes at a speed theta' is followed adiabatically if theta' / kappa is small beside the range over which
    theta matters. The largest says which steps are small: descent is stable for `eta kappa < 2`. A gradient that
    learning has left bends flat directions by about as much; so small a curvature counts as 0.

    Args:
        model: the `Model`.
        task: a fixed batch that the overlaps solve.
        overlaps: the `Overlaps`.
        rates: relative learning rates P.
        flat: curvatures below this share of the largest count as 0.

    Returns:
        kappa per unit of learning time, in ascending order, shape [k], one for each direction that the task pins.

    Raises:
        ValueError: if layouts or channels do not match.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task, start = ol.tasks.exponential_filter(), ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solved = ol.integrate(model, task, start, ol.GradientDescent(1e-2, 5000, save_every=100)).final
        >>> ol.studies.relaxation_rates(model, task, solved).shape
        (3,)
    """
    require_float64("ol.studies.relaxation_rates", model=model, task=task, overlaps=overlaps)
    check_layout(model, overlaps, "relaxation_rates")
    refuse_traced("relaxation_rates", overlaps)
    check_task(model, task, "relaxation_rates")
    curvatures, is_curved = map(np.asarray, _curvatures(model, overlaps.gram, task, model.layout.rates(rates), flat))
    return curvatures[is_curved]


@eqx.filter_jit
def _curvatures(
    model: Model, gram: jax.Array, task: Task, rates: jax.Array, flat: float
) -> tuple[jax.Array, jax.Array]:
    near = linearise(model, gram, task, rates)
    return near.curvatures, near.is_curved(flat)
