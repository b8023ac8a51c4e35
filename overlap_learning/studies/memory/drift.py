"""Drift: how learning in steps, decay and noise move what gradient flow would conserve."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import is_traced, require_float64
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.invariants import away_from, conserved
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.rules import AbstractRule, GradientDescent, GradientFlow
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.studies.memory.linearisation import Linearisation, linearise
from overlap_learning.tasks.task import Task, check_task


class Drift(NamedTuple):
    """The change of every invariant per unit of learning time (n steps of descent with eta take n eta), by its causes.

    Each has shape [d], in the order of `ol.invariants`. Invariants that are equal mix freely: of those only the sum
    means something.

    Attributes:
        steps: of the finite steps of descent, along the mean gradient.
        weight_decay: of weight decay.
        label_noise: of the gradients that label noise draws.
        fluctuations: of the fluctuations about the solution which that noise leaves behind.
        parameter_noise: of the diffusion of the vectors.
        edge: eta times the largest curvature of the loss, as a share of what the rule can bear: beyond 1 descent is
            unstable. The prediction of label noise is first order in the covariance of the fluctuations: it is for
            weak noise, and fails near 1.
    """

    steps: jax.Array
    weight_decay: jax.Array
    label_noise: jax.Array
    fluctuations: jax.Array
    parameter_noise: jax.Array
    edge: jax.Array

    @property
    def total(self) -> jax.Array:
        """The sum of all causes, shape [d]."""
        return self.steps + self.weight_decay + self.label_noise + self.fluctuations + self.parameter_noise


def invariant_drift(
    model: Model, task: Task, overlaps: Overlaps, rule: AbstractRule, *, step: int = 0, flat: float = 1e-9
) -> Drift:
    """How fast a learning rule moves the invariants of a linear network: what writes and erases its memory.

    Gradient flow keeps `K = (A P^-1 A^T - B P^-1 B^T) / N`, because the visible slope S swaps A and B:
    `S Sign + Sign S = 0`. What is left of a step of descent is second order and exact,
    `K <- K + eta^2 V S P Sign S V^T / N`. With momentum mu the gradients of many steps add up, and what moved meanwhile
    adds to K. To leading order, per step:

    * steps: `eta^2 (1 + mu) / (1 - mu)^3 V S P Sign S V^T / N` (Nesterov: `(1 - mu + 2 mu^2) / (1 - mu)^3`);
    * label noise, with gradients S_xi: `eta^2 / (1 - mu)^2 V E[S_xi P Sign S_xi] V^T / N`: momentum acts as the
      learning rate eta / (1 - mu) would;
    * fluctuations about a solution, `delta <- delta - eta (S_xi + H delta) P`: their stationary covariance solves a
      discrete Lyapunov equation along the eigenvectors of H, with position and velocity along each as the state;
    * weight decay lambda: `-2 eta lambda / (1 - mu) K` (for P = 1);
    * parameter noise D: `G <- G + 2 D eta` of the trained vectors.

    The change of an eigenvalue follows to first order. Frozen vectors (rate 0) are projected out as in
    `ol.invariants`.

    Args:
        model: the `Model`, linear.
        task: a fixed batch. With label noise: one that the overlaps solve.
        overlaps: the `Overlaps`.
        rule: `GradientFlow` or `GradientDescent`, without minibatches and clipping.
        step: the step at which a schedule of learning rates is read.
        flat: curvatures below this share of the largest count as flat.

    Returns:
        A `Drift`.

    Raises:
        ValueError: if the model is nonlinear, or the rule is one that the theory does not cover.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zm=0.3, uu=2.0)
        >>> rule = ol.GradientDescent(1e-3, 100, weight_decay=0.01)
        >>> drift = ol.studies.invariant_drift(model, ol.tasks.exponential_filter(), start, rule)
        >>> jnp.allclose(drift.weight_decay, -2 * 0.01 * ol.invariants(model, start))
        Array(True, dtype=bool)
    """
    require_float64("ol.studies.invariant_drift")
    layout = check_layout(model, overlaps, "invariant_drift")
    check_task(model, task, "invariant_drift")
    if not model.is_linear:
        raise ValueError("invariant_drift: nonlinear networks have no invariants that could drift; use ol.Linear().")
    if isinstance(rule, GradientFlow):
        settings = _Settings(0.0, 0.0, 1.0, 0.0, rule.weight_decay, None, 0.0)
    elif isinstance(rule, GradientDescent):
        if rule.batch_size is not None or rule.clip_norm is not None:
            raise ValueError("invariant_drift: batch_size and clip_norm are not covered; leave them out.")
        momentum = 0.0 if rule.momentum is None else rule.momentum
        direct, smooth = (1.0, momentum) if rule.nesterov else (0.0, 1.0)
        diffusion = 0.0 if rule.parameter_noise is None else rule.parameter_noise
        eta = rule.rate(jnp.asarray(step), jnp.inf)
        settings = _Settings(eta, momentum, smooth, direct, rule.weight_decay, rule.label_noise, diffusion)
    else:
        raise ValueError(
            f"invariant_drift: {type(rule).__name__} has no theory of its drift (its learning does not close in "
            "overlap space, or is no network's). Measure it: ol.invariants of the overlaps of ol.train at full N."
        )
    if settings.diffusion is not None and not is_traced(overlaps.gram, settings.diffusion):
        values = np.linalg.eigvalsh(np.asarray(overlaps.gram))
        if np.any(np.asarray(settings.diffusion) > 0) and values[0] <= 1e-12 * values[-1]:
            raise ValueError(
                "invariant_drift: these overlaps are singular (fewer dimensions than vectors); parameter noise then "
                "makes new invariants, which is no drift of the old ones. Use overlaps of full rank."
            )
    # As arrays: other numbers are then no other program.
    settings = jax.tree.map(lambda x: jnp.asarray(x, float), settings)
    return _drift(model, task, overlaps.gram, layout.rates(rule.rates), settings, flat)


class _Settings(NamedTuple):
    """A rule as `m <- mu m + g,  V <- V - eta (direct g + smooth m) P`."""

    eta: ArrayLike
    momentum: ArrayLike
    smooth: ArrayLike
    direct: ArrayLike
    weight_decay: ArrayLike
    label_noise: jax.Array | None
    diffusion: ArrayLike


@eqx.filter_jit
def _drift(model: Model, task: Task, gram: jax.Array, rates: jax.Array, rule: _Settings, flat: float) -> Drift:
    layout, d = model.layout, len(gram)
    near = linearise(model, gram, task, rates)
    sign, trained = jnp.asarray(layout.signature), rates > 0
    projector = away_from(near.root * ~trained)
    values, modes = jnp.linalg.eigh(conserved(layout, near.root, rates))
    eta, mu = jnp.asarray(rule.eta), jnp.asarray(rule.momentum)

    def of_each(change):
        """The change of each eigenvalue when K changes by a matrix, in the d dimensions that the vectors span."""
        return jnp.einsum("ik,ij,jk->k", modes, projector @ change @ projector, modes)

    def seen(moment):
        """`E[x Sign x^T]` of x with second moments [d^2, d^2] along the axes."""
        full = (near.axes @ moment @ near.axes.T).reshape(d, d, d, d)
        return jnp.einsum("iaja,a->ij", full, sign)

    _, slope = gram_loss_gradient(model, gram, task)
    mean = near.coordinates(slope + rule.weight_decay * jnp.eye(d))
    factor = eta * (1 - mu + 2 * mu * rule.smooth) / (1 - mu) ** 3
    steps = of_each(factor * (mean * sign) @ mean.T)
    decay = of_each(-2 * rule.weight_decay / (1 - mu) * (near.root * sign * trained) @ near.root)
    if rule.label_noise is None:
        noise = fluctuations = jnp.zeros(d)
    else:
        kicks = _kicks(model, task, gram, near) * jnp.square(rule.label_noise)
        # Both per step; learning time passes at eta per step.
        bare = jnp.square(eta / (1 - mu)) * kicks
        settled = _settled(near.curvatures, kicks, flat, rule)
        noise, fluctuations = (of_each(seen(moment)) / eta for moment in (bare, settled - bare))
    # With K e = kappa e, `e = V r` for `r = W V^T e / kappa`; more variance of V in direction r moves kappa by
    # 2 D kappa r^2.
    weights = jnp.where(trained, sign / jnp.where(trained, rates, 1.0), 0.0)
    reach = jnp.sum(jnp.square(weights[:, None] * (near.root @ modes)), axis=0)
    there = jnp.abs(values) > flat * jnp.max(jnp.abs(values))
    diffusion = 2 * rule.diffusion * jnp.where(there, reach / jnp.where(there, values, 1.0), 0.0)
    # Where the slowest root of an axis's recursion is -1.
    bearable = 2 * (1 + mu) / (rule.smooth + rule.direct * (1 + mu))
    return Drift(steps, decay, noise, fluctuations, jnp.asarray(diffusion), eta * near.curvatures[-1] / bearable)


def _kicks(model: Model, task: Task, gram: jax.Array, near: Linearisation) -> jax.Array:
    """The covariance of the gradient that unit label noise draws, along the axes, shape [d^2, d^2]."""
    d = len(gram)

    def slope(targets):
        return gram_loss_gradient(model, gram, Task(task.inputs, targets, task.weights, task.dt))[1]

    # S is linear in the targets: each column is what unit noise on one of them adds.
    response = jax.jacrev(slope)(task.targets).reshape(d, d, -1)
    kick = near.axes.T @ jax.vmap(near.coordinates, in_axes=-1, out_axes=-1)(response).reshape(d * d, -1)
    return kick @ kick.T


def _settled(curvatures: jax.Array, kicks: jax.Array, flat: float, rule: _Settings) -> jax.Array:
    """The second moments whose `Sign` contraction is the change of K per step, once fluctuations have settled.

    Along each axis the state is the gradient that displacement causes, `s = h x`, and the velocity m of the last step::

        g = s + xi,   m <- mu m + g,   dx = -eta (direct g + smooth m),   s <- s + h dx

    V and g drop out of K together (`V W g^T` is antisymmetric), so `D = E[V W m^T] + transpose` obeys
    `D = mu (D + E[dx W m^T] + transpose)`, and K changes by `-eta smooth D + E[dx W dx^T]`.
    """
    eta, mu = jnp.asarray(rule.eta), jnp.asarray(rule.momentum)
    # Along flat axes displacement causes no gradient.
    h = jnp.where(curvatures > flat * curvatures[-1], curvatures, 0.0)
    one = jnp.ones_like(h)
    # g, m and dx as rows of coefficients of (s, m of the last step, xi).
    gradient = jnp.stack([one, 0 * one, one])
    velocity = jnp.stack([one, mu * one, one])
    move = -eta * (rule.direct * gradient + rule.smooth * velocity)
    slope = jnp.stack([1.0 * (h > 0), 0 * one, 0 * one]) + h * move
    transition = jnp.stack([slope, velocity])
    carry, kick = transition[:, :2], transition[:, 2]

    # cov_ij = carry_i cov_ij carry_j^T + kick_i kick_j^T N_ij, for each pair of axes.
    n = len(h)
    both = jnp.einsum("abi,cdj->ijacbd", carry, carry).reshape(n, n, 4, 4)
    source = jnp.einsum("ai,cj,ij->ijac", kick, kick, kicks).reshape(n, n, 4)
    covariance = jnp.linalg.solve(jnp.eye(4) - both, source[..., None]).reshape(n, n, 2, 2)
    full = jnp.zeros((n, n, 3, 3)).at[..., :2, :2].set(covariance).at[..., 2, 2].set(kicks)
    cross = jnp.einsum("ai,ijac,cj->ij", move, full, velocity)
    during = mu / (1 - mu) * (cross + cross.T)
    return jnp.einsum("ai,ijac,cj->ij", move, full, move) - eta * rule.smooth * during
