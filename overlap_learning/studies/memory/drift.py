"""Drift: how noise moves what gradient flow would conserve."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.dynamics.gradient import check_task, gram_loss_gradient
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.precision import require_float64, scalar
from overlap_learning.studies.memory.linearisation import Linearisation, linearise
from overlap_learning.tasks.task import Task


class Drift(NamedTuple):
    """The predicted change per learning step of what gradient flow conserves, under label noise at a solution.

    Attributes:
        trace: of `tr(Sign G)`.
        invariants: of each eigenvalue of `Sign G`, in the order of `ol.invariants`, shape [d].
        edge: eta times the largest curvature of the loss: from 2 on, descent is unstable; the prediction is first order
            in the fluctuations and fails near that edge.
    """

    trace: jax.Array
    invariants: jax.Array
    edge: jax.Array


def label_noise_drift(
    model: Model,
    task: Task,
    overlaps: Overlaps,
    learning_rate: ArrayLike,
    label_noise: ArrayLike,
    *,
    flat: float = 1e-9,
) -> Drift:
    """How fast label noise writes into the invariants of a linear network that has learned its task.

    Each step changes `K = A A^T - B B^T` by exactly `eta^2 V S Sign S V^T`. At a solution S is the noise part S_xi and
    the fluctuation `S_f = H delta` that earlier noise left behind, `delta <- delta - eta (S_xi + H delta)`, whose
    covariance solves a discrete Lyapunov equation: along an eigenvector of H with curvature h,
    `var = eta^2 var_xi / (1 - (1 - eta h)^2)`. So the drift per step is
    `eta^2 V E[S_xi Sign S_xi + S_f Sign S_f] V^T`.

    Args:
        model: the `Model`, linear.
        task: a fixed batch that the overlaps solve.
        overlaps: the `Overlaps`.
        learning_rate: eta.
        label_noise: standard deviation of the noise on the targets, new at each step, as in `ol.GradientDescent`.
        flat: curvatures below this share of the largest count as flat.

    Returns:
        A `Drift`.

    Raises:
        ValueError: if the model is nonlinear, or an argument is out of range.

    Source: theory page, section 5.
    """
    require_float64("ol.studies.label_noise_drift")
    check_layout(model, overlaps, "label_noise_drift")
    check_task(model, task, "label_noise_drift")
    if not model.is_linear:
        raise ValueError("label_noise_drift: nonlinear networks have no invariants that could drift; use ol.Linear().")
    eta = scalar(learning_rate, "label_noise_drift: learning_rate", "positive", 0)
    sigma = scalar(label_noise, "label_noise_drift: label_noise", "at least 0", 0, open_low=False)
    return _drift(model, task, overlaps.gram, eta, sigma, flat)


@eqx.filter_jit
def _drift(model: Model, task: Task, gram: jax.Array, eta: jax.Array, sigma: jax.Array, flat: float) -> Drift:
    near: Linearisation = linearise(model, gram, task)
    d = len(gram)
    sign = jnp.asarray(model.layout.signature)

    def noisy_slope(targets):
        return gram_loss_gradient(model, gram, Task(task.inputs, targets, task.weights, task.dt))[1]

    # S is linear in the targets; each column of `kick` is what unit noise on one target adds, in the coordinates x =
    # G^(1/2) delta.
    response = jax.jacrev(noisy_slope)(task.targets).reshape(d, d, -1)
    kick = near.axes.T @ jnp.einsum("ij,jkn->ikn", near.root, response).reshape(d * d, -1)
    noise = jnp.square(sigma) * kick @ kick.T

    # Mode by mode: delta_i <- (1 - eta h_i) delta_i - eta xi_i, stationary where the loss is curved.
    h = near.curvatures
    stiff = h > flat * h[-1]
    damping = 1 - eta * h
    remaining = 1 - damping[:, None] * damping[None, :]
    both = stiff[:, None] & stiff[None, :]
    settled = jnp.where(both, jnp.square(eta) * noise / jnp.where(both, remaining, 1.0), 0.0)
    fluctuation = h[:, None] * settled * h[None, :]

    # E[S Sign S] seen through V: with X = G^(1/2) S and E[x x^T] known, X Sign X^T sums over the columns of X.
    moment = (near.axes @ (noise + fluctuation) @ near.axes.T).reshape(d, d, d, d)
    change = jnp.square(eta) * jnp.einsum("iajb,ab,a->ij", moment, jnp.eye(d), sign)
    # Eigenvalues of Sign G are those of the symmetric G^(1/2) Sign G^(1/2), which moves by `change`.
    _, modes = jnp.linalg.eigh((near.root * sign) @ near.root)
    return Drift(jnp.trace(change), jnp.einsum("ik,ij,jk->k", modes, change, modes), eta * h[-1])
