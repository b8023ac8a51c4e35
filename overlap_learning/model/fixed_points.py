"""Fixed points: states at which the activity stands still, by Newton's method."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from overlap_learning.checks import floating, refuse_traced
from overlap_learning.model.activity import Moments, moments_of, reduced_flow
from overlap_learning.model.model import Model, check_model
from overlap_learning.model.overlaps import Overlaps, what_has_overlaps
from overlap_learning.model.populations import Populations

#: Newton's method begins at so many states of the recurrent coordinates, of each sign.
_STARTS = 150


class FixedPoints(NamedTuple):
    """States that stay where they are.

    Attributes:
        states: shape [points, n], the nearest to 0 first.
        eigenvalues: of the flow linearised there, shape [points, n].
    """

    states: np.ndarray
    eigenvalues: np.ndarray

    @property
    def growth(self) -> np.ndarray:
        """The rate of what grows fastest about each point, the largest real part of an eigenvalue, shape [points]."""
        return np.real(self.eigenvalues).max(axis=1)

    @property
    def stable(self) -> np.ndarray:
        """Whether everything decays about each point, shape [points]."""
        return self.growth < 0


def fixed_points(model: Model, overlaps: Overlaps | Populations, inputs: ArrayLike = 0.0) -> FixedPoints:
    """Where the reduced activity stands still under a constant input x: `k_m = x`, `k_u = g(D) (s_vm k_m + s_vu k_u)`.

    Newton's method from 300 states of several sizes: points that it does not reach from there are missed, and of a line
    or ring of fixed points some are found.

    Args:
        model: the `Model`, of rank 1 or more.
        overlaps: the network's `Overlaps`, or its `Populations`.
        inputs: x, a number for all inputs, or shape [n_in].

    Returns:
        `FixedPoints` in coordinates `k = (k_m, k_u)`, states of shape [points, n_in + rank].

    Raises:
        ValueError: if layouts or shapes do not match, the overlaps are a batch, or the rank is 0.

    Source: theory page, eq. (3); Mastrogiuseppe & Ostojic 2018.

    Examples:
        An erf network whose recurrence is strong enough rests in one of two states, or at the unstable 0.

        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, vu=2.0, uu=2.0, vv=4.0)
        >>> found = ol.model.fixed_points(model, overlaps)
        >>> found.states.shape, found.stable.tolist()
        ((3, 2), [False, True, True])
    """
    moments, x = checked_flow(model, overlaps, inputs, "fixed_points")
    n_in, rank = model.layout.n_in, model.layout.rank
    squares = jnp.diagonal(moments.covariances, axis1=-2, axis2=-1)
    scale = jnp.sqrt(jnp.max(squares if moments.means is None else squares + jnp.square(moments.means)))
    directions = jax.random.normal(jax.random.key(0), (_STARTS, rank), x.dtype)
    sizes = scale * jnp.geomspace(0.03, 3.0, _STARTS, dtype=x.dtype)[:, None]
    recurrent = jnp.concatenate([jnp.zeros((1, rank), x.dtype), sizes * directions, -sizes * directions])
    starts = jnp.concatenate([jnp.broadcast_to(x, (len(recurrent), n_in)), recurrent], axis=1)
    return distinct(*_found(model, moments, x, starts))


def checked_flow(
    model: Model, overlaps: Overlaps | Populations, inputs: ArrayLike, caller: str
) -> tuple[Moments, jax.Array]:
    """The moments and the input [n_in] that a network's reduced activity flows by.

    Raises:
        ValueError: naming the caller, as `fixed_points` says.
    """
    check_model(model, caller)
    refuse_traced(caller, overlaps, inputs)
    layout = model.layout
    if not isinstance(overlaps, (Overlaps, Populations)):
        raise ValueError(
            f"{caller}: overlaps must be ol.Overlaps or ol.Populations, got {what_has_overlaps(overlaps)}."
        )
    if overlaps.layout != layout or layout.rank < 1:
        raise ValueError(
            f"{caller}: overlaps must be those of a network of rank 1 or more with the model's {layout}, got "
            f"{overlaps.layout}."
        )
    moments = moments_of(overlaps)
    if moments.covariances.ndim != 3:
        raise ValueError(
            f"{caller}: overlaps are a batch of shape {list(moments.covariances.shape[1:-2])}; pass one network, such "
            "as jax.tree.map(lambda a: a[0], overlaps)."
        )
    given = floating(inputs, f"{caller}: inputs")
    if given.shape not in ((), (layout.n_in,)) or not np.all(np.isfinite(given)):
        raise ValueError(f"{caller}: inputs must be a finite number, or one for each of {layout.n_in}, got {inputs!r}.")
    return moments, jnp.broadcast_to(given, (layout.n_in,)).astype(moments.covariances.dtype)


@eqx.filter_jit
def _found(model: Model, moments: Moments, inputs: jax.Array, starts: jax.Array):
    return newton(lambda state: reduced_flow(model, moments, state, inputs), starts)


def newton(flow: Callable[[jax.Array], jax.Array], starts: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Newton's method for `flow(state) = 0` from each of the starts [M, n].

    Returns:
        The states that it led to, shape [M, n]; what is left of the flow, shape [M]; its slopes there, [M, n, n].
    """

    def step(_, states):
        return states - jnp.linalg.solve(slopes(states), jax.vmap(flow)(states)[..., None])[..., 0]

    slopes = jax.vmap(jax.jacfwd(flow))
    states = lax.fori_loop(0, 30, step, starts)
    return states, jnp.abs(jax.vmap(flow)(states)).max(axis=1), slopes(states)


def distinct(states: ArrayLike, residual: ArrayLike, slopes: ArrayLike) -> FixedPoints:
    """The different fixed points that `newton` reached."""
    states, residual, slopes = (np.asarray(array) for array in (states, residual, slopes))
    size, rounding = np.abs(states).max(axis=1), np.finfo(states.dtype).eps ** 0.75
    # Newton's method doubles digits at each step: what it has reached is exact to rounding.
    reached = np.flatnonzero(residual <= rounding * (1 + size))
    found: list[int] = []
    for place in reached[np.argsort(size[reached])]:
        if all(np.abs(states[place] - states[other]).max() > 1e-3 * (1 + size[place]) for other in found):
            found.append(place)
    return FixedPoints(states[found], np.linalg.eigvals(slopes[found]))
