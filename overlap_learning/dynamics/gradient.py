"""The loss and its gradient in overlap space: the one place that computes S."""

import jax
import jax.numpy as jnp

from overlap_learning.dynamics.impulse_loss import impulse_loss, impulse_loss_gradient, not_negative
from overlap_learning.learning.compiled import compiled
from overlap_learning.model.activity import Activity, Moments, check_channels, mixture_activity
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.task import Task, check_task


def loss(model: Model, task: Task, overlaps: Overlaps) -> jax.Array:
    """The loss of a network with these overlaps: `task.loss(rollout(model, overlaps, task))`, shape [].

    Args:
        model: the `Model`.
        task: the `Task`.
        overlaps: the network's `Overlaps`.

    Raises:
        ValueError: if layouts or channels do not match.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2)
        >>> perfect = ol.Overlaps.from_entries(model.layout, zm=1.0, zu=0.8, vm=1.0, vu=0.8, vv=4.0, zz=4.0, uu=2.0)
        >>> bool(ol.loss(model, task, perfect) < 1e-4)
        True
    """
    check_task(model, task, "loss")
    check_channels(model.layout, task, "loss", overlaps=overlaps)
    return _gram_loss(model, overlaps.gram, task)


def loss_gradient(model: Model, task: Task, overlaps: Overlaps) -> tuple[jax.Array, jax.Array]:
    """The loss and its symmetrised gradient S, from which every learning rule is made.

    With the entries of G treated as independent, `Gamma = dL/dG` and `S = Gamma + Gamma^T`; then `dL/dV = V S / N`. The
    derivative with respect to an overlap as one number (an entry and its mirror image together) is `S_ij` off the
    diagonal and `S_ii / 2` on it.

    Args:
        model: the `Model`.
        task: the `Task`.
        overlaps: the network's `Overlaps`.

    Returns:
        The loss, shape [], and S, shape [d, d], zero on the invisible overlaps.

    Raises:
        ValueError: if layouts or channels do not match.

    Source: theory page, eq. (5).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2)
        >>> value, S = ol.loss_gradient(model, task, ol.Overlaps.from_entries(model.layout))
        >>> bool(jnp.all(S[model.invisible] == 0))
        True
    """
    check_task(model, task, "loss_gradient")
    check_channels(model.layout, task, "loss_gradient", overlaps=overlaps)
    return _gram_loss_gradient(model, overlaps.gram, task)


def gram_loss(model: Model, gram: jax.Array, task: Task) -> jax.Array:
    """`loss` of a Gram matrix [d, d] whose entries are independent variables."""
    return not_negative(_summed_loss(model, gram, task))


def gram_loss_gradient(model: Model, gram: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
    """`loss_gradient` of a Gram matrix [d, d]."""
    if model.is_linear and task.trials.sums is not None:
        value, block = impulse_loss_gradient(model.layout, gram, task.trials.sums)
        n_fields = model.layout.n_fields
        gamma = jnp.pad(block, ((n_fields, 0), (0, len(gram) - n_fields)))
    else:
        value, gamma = jax.value_and_grad(_summed_loss, argnums=1)(model, gram, task)
    return not_negative(value), gamma + gamma.T


#: As people call them, each is one program.
_gram_loss, _gram_loss_gradient = compiled(gram_loss), compiled(gram_loss_gradient)


def _summed_loss(model: Model, gram: jax.Array, task: Task) -> jax.Array:
    """The loss, summed in closed form where that is known, else step by step."""
    if model.is_linear and task.trials.sums is not None:
        return impulse_loss(model.layout, gram, task.trials.sums)
    return task.loss(*gram_activity(model, gram, task))


def gram_activity(model: Model, gram: jax.Array, task: Task) -> Activity:
    """What a task asks for of neurons with a Gram matrix [d, d]."""
    return mixture_activity(model, Moments(gram[None]), task)


def mixture_loss(model: Model, fractions: jax.Array, moments: jax.Array, task: Task) -> jax.Array:
    """`loss` of populations with second moments [P, d + 1, d + 1] of `(1, m, u, v, z)`."""
    return task.loss(*moments_activity(model, fractions, moments, task))


def moments_activity(model: Model, fractions: jax.Array, moments: jax.Array, task: Task) -> Activity:
    """What a task asks for of populations with second moments [P, d + 1, d + 1] of `(1, m, u, v, z)`."""
    means = moments[:, 0, 1:]
    covariances = moments[:, 1:, 1:] - means[:, :, None] * means[:, None, :]
    return mixture_activity(model, Moments(covariances, means, fractions), task)


def mixture_loss_gradient(
    model: Model, fractions: jax.Array, moments: jax.Array, task: Task
) -> tuple[jax.Array, jax.Array]:
    """`loss_gradient` of populations: `N dL/d(1, V) = (1, V) S_p` for the neurons of population p, S [P, d + 1, d + 1].

    The mean `mu_p` and the second moment of V are overlaps like others, those of a constant vector 1 that does not
    learn: the same chain rule gives `dmu = -(1/a) dL/dmu` and `dC = -(S C + C S)` at once.
    """
    value, gamma = jax.value_and_grad(mixture_loss, argnums=2)(model, fractions, moments, task)
    return value, (gamma + jnp.swapaxes(gamma, 1, 2)) / fractions[:, None, None]
