"""Drift: how learning in steps, decay and noise move what gradient flow would conserve."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import is_traced, require_float64
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.laws import AbstractLaw, Gauge, Spectrum, laws_of
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.rules import AbstractRule, GradientDescent, GradientFlow
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.studies.memory.linearisation import Linearisation, linearise
from overlap_learning.tasks.task import Task, check_squares, check_task


class Drift(NamedTuple):
    """The change of every invariant per unit of learning time (n steps of descent with eta take n eta), by its causes.

    Each has shape [n], in the order of the law's numbers; without a law in that of `ol.invariants`. Eigenvalues of K
    that are equal mix freely: of those only the sum means something.

    Attributes:
        steps: of the finite steps of descent, along the mean gradient.
        weight_decay: of weight decay.
        label_noise: of the gradients that label noise draws.
        minibatches: of what the gradients of minibatches differ by. What it makes the network fluctuate by is left out.
        fluctuations: of the fluctuations about the solution which that noise leaves behind.
        parameter_noise: of the diffusion of the vectors.
        edge: eta times the largest curvature of the loss, as a share of what the rule can bear: beyond 1 descent is
            unstable. The prediction of label noise is first order in the covariance of the fluctuations: it is for
            weak noise, and fails near 1.
    """

    steps: jax.Array
    weight_decay: jax.Array
    label_noise: jax.Array
    minibatches: jax.Array
    fluctuations: jax.Array
    parameter_noise: jax.Array
    edge: jax.Array

    @property
    def total(self) -> jax.Array:
        """The sum of all causes, shape [n]."""
        noise = self.label_noise + self.minibatches + self.fluctuations
        return self.steps + self.weight_decay + noise + self.parameter_noise


def invariant_drift(
    model: Model,
    task: Task,
    overlaps: Overlaps,
    rule: AbstractRule,
    *,
    law: AbstractLaw | None = None,
    step: int = 0,
    flat: float = 1e-9,
) -> Drift:
    """How fast a learning rule moves what gradient flow conserves: what writes and erases a network's memory.

    Every conserved quantity is `Q = tr(L V R V^T) / N` of a symmetry `V -> V + eps L V R P` of the loss: a gradient
    changes it at second order only. What is left of a step of descent is exact where L = 1 (gauge, balance),
    `Q <- Q + eta^2 tr(R P S G S P)`, and for all of K, with L every symmetric matrix, `R = Sign P^-1`:
    `K <- K + eta^2 V S P Sign S V^T / N`. With momentum mu the gradients of many steps add up, and what moved meanwhile
    adds to Q. To leading order, per step, with `[X] = tr(L X R X^T) / N` of a displacement X of V:

    * steps: `eta^2 (1 + mu) / (1 - mu)^3 [V S P]` (Nesterov: `(1 - mu + 2 mu^2) / (1 - mu)^3`);
    * label noise, with gradients S_xi: `eta^2 / (1 - mu)^2 E[V S_xi P]`: momentum acts as the learning rate
      eta / (1 - mu) would. Noise of sigma per reading, whatever dt is: with readings of weight dt, `E[S_xi S_xi]` is
      `sigma^2 dt` times an integral over the trial, so that halving dt halves it, and sigma ~ dt^(-1/2) keeps it;
    * minibatches of b of B trials: the same, with the covariance of their gradients S_b about the mean,
      `(1/b) (B - b) / (B - 1)` times that of single trials; a fresh batch each step: take B large;
    * fluctuations about a solution, `delta <- delta - eta (S_xi + H delta) P`: their stationary covariance solves a
      discrete Lyapunov equation along the eigenvectors of H, with position and velocity along each as the state;
    * weight decay lambda: `-2 eta lambda / (1 - mu) tr(L V R P V^T) / N`, which is `-2 eta lambda / (1 - mu) Q` for
      P = 1;
    * parameter noise D: `G <- G + 2 D eta` of the trained vectors.

    The change of an eigenvalue of K follows to first order.

    Args:
        model: the `Model`.
        task: a fixed batch. With label noise: one that the overlaps solve.
        overlaps: the `Overlaps`.
        rule: `GradientFlow` or `GradientDescent`, without clipping.
        law: what is conserved, such as `overlap_learning.dynamics.laws.Gauge()`: one that the model has. None: the one
            of `ol.invariants`, `Spectrum()` for linear networks and `Gauge()` for all others.
        step: the step at which a schedule of learning rates is read.
        flat: curvatures below this share of the largest count as flat.

    Returns:
        A `Drift`.

    Raises:
        ValueError: if the model does not have the law, or the rule is one that the theory does not cover.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zm=0.3, uu=2.0)
        >>> rule = ol.GradientDescent(1e-3, 100, weight_decay=0.01)
        >>> drift = ol.studies.invariant_drift(model, ol.tasks.exponential_filter(), start, rule)
        >>> jnp.allclose(drift.weight_decay, -2 * 0.01 * ol.invariants(model, start))
        Array(True, dtype=bool)
        >>> nonlinear = ol.Model(ol.Layout(), ol.Erf())
        >>> drift = ol.studies.invariant_drift(nonlinear, ol.tasks.exponential_filter(), start, rule)
        >>> jnp.allclose(drift.weight_decay, -2 * 0.01 * ol.invariants(nonlinear, start))
        Array(True, dtype=bool)
    """
    require_float64("ol.studies.invariant_drift", model=model, task=task, overlaps=overlaps, rule=rule)
    layout = check_layout(model, overlaps, "invariant_drift")
    check_task(model, task, "invariant_drift")
    check_squares(task, "invariant_drift")
    if law is None:
        law = Spectrum() if model.is_linear else Gauge()
    has = laws_of(model)
    if law not in has.values():
        raise ValueError(f"invariant_drift: {model.activation!r} does not conserve {law!r}; its laws are {has}.")
    if isinstance(rule, GradientFlow):
        settings, batch_size = _Settings(0.0, 0.0, 1.0, 0.0, rule.weight_decay, None, 0.0), None
    elif isinstance(rule, GradientDescent):
        if rule.clip_norm is not None:
            raise ValueError("invariant_drift: clip_norm is not covered; leave it out.")
        batch_size = rule.batch_size
        if batch_size is not None and batch_size > task.n_trials:
            raise ValueError(f"invariant_drift: batch_size is {batch_size}, the task has {task.n_trials} trials.")
        momentum = 0.0 if rule.momentum is None else rule.momentum
        direct, smooth = (1.0, momentum) if rule.nesterov else (0.0, 1.0)
        diffusion = 0.0 if rule.parameter_noise is None else rule.parameter_noise
        eta = rule.rate(jnp.asarray(step), jnp.asarray(jnp.inf))
        settings = _Settings(eta, momentum, smooth, direct, rule.weight_decay, rule.label_noise, diffusion)
    else:
        raise ValueError(
            f"invariant_drift: {type(rule).__name__} has no theory of its drift (its learning does not close in "
            "overlap space, or is no network's). Measure it: ol.invariants of the overlaps of ol.train at full N."
        )
    if not law.is_linear and not is_traced(overlaps.gram, settings.diffusion):
        values = np.linalg.eigvalsh(np.asarray(overlaps.gram))
        if np.any(np.asarray(settings.diffusion) > 0) and values[0] <= 1e-12 * values[-1]:
            raise ValueError(
                "invariant_drift: these overlaps are singular (fewer dimensions than vectors); parameter noise then "
                "makes new eigenvalues, which is no drift of the old ones. Use overlaps of full rank, or law=Gauge()."
            )
    # As arrays: other numbers are then no other program.
    settings = jax.tree.map(lambda x: jnp.asarray(x, float), settings)
    return _drift(model, task, overlaps.gram, layout.rates(rule.rates), settings, law, flat, batch_size)


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
def _drift(
    model: Model,
    task: Task,
    gram: jax.Array,
    rates: jax.Array,
    rule: _Settings,
    law: AbstractLaw,
    flat: float,
    batch_size: int | None,
) -> Drift:
    d = len(gram)
    near = linearise(model, gram, task, rates, rule.weight_decay)
    charges = law.charges(model.layout, near.root, rates)
    eta, mu = jnp.asarray(rule.eta), jnp.asarray(rule.momentum)

    def seen(moment):
        """The change of each quantity by displacements with second moments [d^2, d^2] along the axes."""
        full = near.axes @ moment @ near.axes.T
        return charges.moved(full.reshape(d, d, d, d), near.speed)

    mean = near.coordinates(near.slope)
    factor = eta * (1 - mu + 2 * mu * rule.smooth) / (1 - mu) ** 3
    steps = factor * charges.moved(jnp.einsum("ia,jb->iajb", mean, mean), near.speed)
    decay = jnp.asarray(rule.weight_decay) / (1 - mu) * charges.shrunk(near.root, rates)
    if rule.label_noise is None:
        noise = fluctuations = jnp.zeros_like(charges.values)
    else:
        kicks = _kicks(model, task, gram, near) * jnp.square(rule.label_noise)
        # Both per step; learning time passes at eta per step.
        bare = jnp.square(eta / (1 - mu)) * kicks
        settled = _settled(jnp.where(near.is_curved(flat), near.curvatures, 0.0), kicks, rule)
        noise, fluctuations = (seen(moment) / eta for moment in (bare, settled - bare))
    if batch_size is None:
        minibatches = jnp.zeros_like(charges.values)
    else:
        spread = _spread_of_batches(model, task, gram, near, batch_size)
        minibatches = eta / jnp.square(1 - mu) * charges.moved(spread, near.speed)
    diffusion = 2 * rule.diffusion * jnp.diagonal(charges.slopes, axis1=1, axis2=2) @ (1.0 * (rates > 0))
    # Where the slowest root of an axis's recursion is -1.
    bearable = 2 * (1 + mu) / (rule.smooth + rule.direct * (1 + mu))
    edge = eta * near.curvatures[-1] / bearable
    return Drift(steps, decay, noise, minibatches, fluctuations, jnp.asarray(diffusion), edge)


def _spread_of_batches(model: Model, task: Task, gram: jax.Array, near: Linearisation, size: int) -> jax.Array:
    """`E[x_ia x_jb]` of the gradients of batches of so many trials about their mean, as coordinates, [d, d, d, d]."""
    n = task.n_trials

    def slope(inputs, targets, weights):
        single = Task(inputs[None], targets[None], n * weights[None], task.dt)
        return near.coordinates(gram_loss_gradient(model, gram, single)[1])

    single = jax.vmap(slope)(task.inputs, task.targets, task.weights)
    off = single - jnp.mean(single, axis=0)
    # Drawn without replacement.
    share = (n - size) / (size * max(n - 1, 1) * n)
    return share * jnp.einsum("kia,kjb->iajb", off, off)


def _kicks(model: Model, task: Task, gram: jax.Array, near: Linearisation) -> jax.Array:
    """The covariance of the gradient that unit label noise draws, along the axes, shape [d^2, d^2]."""
    d = len(gram)

    def slope(targets):
        return gram_loss_gradient(model, gram, Task(task.inputs, targets, task.weights, task.dt))[1]

    # S is linear in the targets: each column is what unit noise on one of them adds.
    response = jax.jacrev(slope)(task.targets).reshape(d, d, -1)
    kick = near.axes.T @ jax.vmap(near.coordinates, in_axes=-1, out_axes=-1)(response).reshape(d * d, -1)
    return kick @ kick.T


def _settled(h: jax.Array, kicks: jax.Array, rule: _Settings) -> jax.Array:
    """The second moments of the displacement that changes Q per step, once fluctuations have settled.

    Along each axis the state is the gradient that displacement causes, `s = h x`, and the velocity m of the last step::

        g = s + xi,   m <- mu m + g,   dx = -eta (direct g + smooth m),   s <- s + h dx

    V and g drop out of Q together (`tr(L V R g^T) = 0`), so `D = 2 E[tr(L V R m^T)]` obeys
    `D = mu (D + 2 E[tr(L dx R m^T)])`, and Q changes by `-eta smooth D + E[tr(L dx R dx^T)]`.

    Args:
        h: curvatures; 0 along flat axes, where displacement causes no gradient.
        kicks: the covariance of the gradient that label noise draws, along the axes.
        rule: of learning.
    """
    eta, mu = jnp.asarray(rule.eta), jnp.asarray(rule.momentum)
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
