"""Holonomy: what is left in the overlaps when the task has come back to where it was, in the adiabatic limit."""

import itertools
from collections.abc import Callable
from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.checks import floating, require_float64
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.studies.memory.linearisation import FLAT, linearise
from overlap_learning.tasks.task import Task


def connection(
    model: Model, family: Callable[[jax.Array], Task], parameters: ArrayLike, overlaps: Overlaps, *, flat: float = FLAT
) -> jax.Array:
    """How learning follows a task that changes slowly: `dM = M sum_a delta_a dtheta_a`.

    At a solution, a small change dtheta of the task gives the gradient `dS/dtheta dtheta`, and learning to convergence
    moves the vectors by the least it can, `delta_a = -H^+ dS/dtheta_a`, with H the Hessian of the loss. This is a
    connection on the manifold of solutions: learning is the horizontal lift of the path of the task. It is the
    adiabatic limit of gradient flow, for tasks that change slowly beside `relaxation_rates` (see `transport`).

    Args:
        model: the `Model`.
        family: a function of the task's parameters, shape [n], that returns a `Task`.
        parameters: theta, shape [n].
        overlaps: `Overlaps` that solve the task at theta (gradient near 0).
        flat: curvatures below this share of the largest count as flat.

    Returns:
        delta, shape [n, d, d].

    Raises:
        ValueError: if layouts or shapes do not match.

    Source: theory page, section 5 (memory as holonomy).
    """
    require_float64("ol.studies.connection", model=model, overlaps=overlaps)
    check_layout(model, overlaps, "connection")
    return _connection(model, family, _checked(parameters, "connection"), overlaps.gram, flat)


def transport(
    model: Model,
    family: Callable[[jax.Array], Task],
    corners: ArrayLike,
    overlaps: Overlaps,
    *,
    flat: float = FLAT,
    rtol: float = 1e-7,
    atol: float = 1e-9,
) -> Overlaps:
    """Where learning leads when the task moves infinitely slowly along straight lines from corner to corner.

    The adiabatic limit of gradient flow: the `connection`, integrated along the path. Flow on a task that changes in n
    equal steps a side, each learned for a time tau, is near it if

    * n is large. What steps leave in a loop falls as 1/n, most of it the same both ways round (`Residue.even`);
    * the task is slow beside learning: with kappa the smallest of `relaxation_rates` (per learning time), learning lags
      by `theta' / kappa` behind a task that moves at theta' = side / (n tau), in units of its parameter per learning
      time. What that leaves falls as the share of a side that it is, 1 / (kappa n tau); nothing if each step is learned
      to convergence, `kappa tau` large;
    * descent takes small steps: it breaks the conserved numbers by O(eta), a drift that has nothing to do with loops.

    Args:
        model: the `Model`.
        family: a function of the task's parameters, shape [n], that returns a `Task`.
        corners: theta at the corners of the path, shape [n_corners, n]; repeat the first at the end for a loop.
        overlaps: `Overlaps` that solve the task at the first corner.
        flat: curvatures below this share of the largest count as flat.
        rtol: relative tolerance of the integration.
        atol: absolute tolerance of the integration.

    Returns:
        The `Overlaps` at the last corner.

    Raises:
        ValueError: if layouts or shapes do not match.

    Source: theory page, section 5 (memory as holonomy).
    """
    require_float64("ol.studies.transport", model=model, overlaps=overlaps)
    check_layout(model, overlaps, "transport")
    corners = floating(corners, "transport: corners")
    if corners.ndim != 2 or len(corners) < 2:
        raise ValueError(
            f"transport: corners must have shape [n_corners, n] with two or more corners, got {list(corners.shape)}."
        )
    gram = overlaps.gram
    for start, end in itertools.pairwise(corners):
        gram = _side(model, family, start, end, gram, flat, jnp.asarray(rtol), jnp.asarray(atol))
    return with_gram(overlaps, gram)


def curvature(
    model: Model, family: Callable[[jax.Array], Task], parameters: ArrayLike, overlaps: Overlaps, *, flat: float = FLAT
) -> jax.Array:
    """The curvature 2-form of learning: the change of the overlaps per area of a small loop in task space.

    With the connection delta and D_a the derivative along it (theta_a moves, and G with it),
    `F_ab = D_a delta_b - D_b delta_a + [delta_a, delta_b]`; a small loop that runs along a, then b, then back, of area
    A, changes G by `(F_ab^T G + G F_ab) A`.

    Args:
        model: the `Model`.
        family: a function of the task's parameters, shape [n], that returns a `Task`.
        parameters: theta, shape [n].
        overlaps: `Overlaps` that solve the task at theta.
        flat: curvatures below this share of the largest count as flat.

    Returns:
        The change of G per area of each pair of parameters, shape [n, n, d, d], antisymmetric in the first two.

    Raises:
        ValueError: if layouts or shapes do not match.

    Source: theory page, section 5 (memory as holonomy).
    """
    require_float64("ol.studies.curvature", model=model, overlaps=overlaps)
    check_layout(model, overlaps, "curvature")
    return _curvature(model, family, _checked(parameters, "curvature"), overlaps.gram, flat)


def _checked(parameters: ArrayLike, caller: str) -> jax.Array:
    parameters = floating(parameters, f"{caller}: parameters")
    if parameters.ndim != 1 or parameters.size == 0:
        raise ValueError(f"{caller}: parameters must have shape [n], got {list(parameters.shape)}.")
    return parameters


@eqx.filter_jit
def _connection(model: Model, family: Callable, parameters: jax.Array, gram: jax.Array, flat: float) -> jax.Array:
    near = linearise(model, gram, family(parameters))
    source = jax.jacfwd(lambda theta: gram_loss_gradient(model, gram, family(theta))[1])(parameters)
    return jax.vmap(lambda s: near.relaxed(s, flat))(jnp.moveaxis(source, -1, 0))


@eqx.filter_jit
def _side(
    model: Model,
    family: Callable,
    start: jax.Array,
    end: jax.Array,
    gram: jax.Array,
    flat: float,
    rtol: jax.Array,
    atol: jax.Array,
) -> jax.Array:
    def velocity(s, position, _):
        now = position.T @ gram @ position
        delta = _connection(model, family, start + s * (end - start), now, flat)
        return position @ jnp.tensordot(end - start, delta, axes=1)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=0.0,
        t1=1.0,
        dt0=None,
        y0=jnp.eye(len(gram)),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
    )
    transfer = cast(Any, solution.ys)[-1]
    return transfer.T @ gram @ transfer


@eqx.filter_jit
def _curvature(model: Model, family: Callable, parameters: jax.Array, gram: jax.Array, flat: float) -> jax.Array:
    delta = _connection(model, family, parameters, gram, flat)

    def along(a):
        moved = delta[a].T @ gram + gram @ delta[a]
        unit = jnp.eye(len(parameters))[a]
        return jax.jvp(lambda t, g: _connection(model, family, t, g, flat), (parameters, gram), (unit, moved))[1]

    # rate[a, b] = D_a delta_b
    rate = jnp.stack([along(a) for a in range(len(parameters))])
    product = jnp.einsum("aij,bjk->abik", delta, delta)
    form = rate - jnp.swapaxes(rate, 0, 1) + product - jnp.swapaxes(product, 0, 1)
    half = gram @ form
    return half + jnp.swapaxes(half, -1, -2)
