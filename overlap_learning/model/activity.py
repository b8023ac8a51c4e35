"""Activity: what a network does with an input, from its overlaps (reduced) and neuron by neuron (full N)."""

import functools
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from overlap_learning.checks import is_traced, is_zero, scalar
from overlap_learning.model.bulk_network import BulkNetwork, check_bulk
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model, check_model, refuse_time_constants
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.model.overlaps import Overlaps, what_has_overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.model.reduced_network import ReducedNetwork, driven


class Stimulus(Protocol):
    """Anything with inputs [B, T, n_in] and an Euler step dt, such as an `ol.Task` (whose noise and penalty count)."""

    @property
    def inputs(self) -> jax.Array: ...

    @property
    def dt(self) -> jax.Array: ...


class Activity(NamedTuple):
    """What a network does.

    Attributes:
        outputs: y, shape [B, T, n_out].
        squares: the mean of `phi(h)^2` over neurons, shape [B, T]; None: the task does not ask for it.
    """

    outputs: jax.Array
    squares: jax.Array | None


class Moments(eqx.Module):
    """What the activity needs to know of the neurons.

    Attributes:
        covariances: of the vectors in each population, shape [P, d, d].
        means: their means, shape [P, d]; None: 0.
        fractions: of the populations, shape [P]; None: there is one.
    """

    covariances: jax.Array
    means: jax.Array | None = None
    fractions: jax.Array | None = None


def rollout(model: Model, overlaps: Overlaps | Populations | ReducedNetwork, task: Stimulus) -> jax.Array:
    """Outputs of the reduced activity: all that the network does, from its overlaps alone.

    With `k = (k_m, k_u)`, field variance `D = k^T G_BB k` and gain `g(D) = < phi'(sqrt(D) zeta) >`::

        dk_m/dt = -k_m + x,   dk_u/dt = -k_u + g(D) (s_vm k_m + s_vu k_u),   y = g(D) (s_zm k_m + s_zu k_u)

    by Euler steps; y[k] is read before the k-th update. Exact for linear phi at every N; for other phi the limit of
    N to infinity with Gaussian neurons. In populations fields have a mean too, `c = k . mu_B`, and
    `< v phi(h) > = sum_p a_p (mu_v < phi > + C_vB k < phi' >)`, averaged over `c + sqrt(D) zeta`; the same for z. Noise
    on the states of the neurons (`Task(state_noise=...)`) adds its variance to D.

    Args:
        model: the `Model`.
        overlaps: the network's `Overlaps`, or its `Populations`; with a bulk, the `final` of `ol.integrate`.
        task: an `ol.Task` (its inputs [B, T, n_in] and its step dt are used).

    Returns:
        Outputs y, shape [B, T, n_out].

    Raises:
        ValueError: if the layouts or the number of inputs do not match.

    Source: Ger & Barak 2026, eqs. 3, 4; theory page, eqs. (3), (4).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2, duration=2.0, dt=0.05)
        >>> ol.rollout(model, ol.Overlaps.from_entries(model.layout, zm=1.0, zu=0.0), task)[0, :3, 0]
        Array([0.  , 1.  , 0.95], dtype=float64)
    """
    if isinstance(overlaps, ReducedNetwork):
        check_model(model, "rollout", with_bulk=True)
        refuse_time_constants(model, "rollout")
        check_channels(model.layout, task, "rollout", reduced=overlaps)
        outputs, _, _ = _driven(overlaps.layout, overlaps.vectors, overlaps.bulk, task)
        return outputs
    check_model(model, "rollout")
    if isinstance(overlaps, Populations):
        check_channels(model.layout, task, "rollout", populations=overlaps)
        return mixture_outputs(model, moments_of(overlaps), task)
    check_channels(model.layout, task, "rollout", overlaps=overlaps)
    return reduced_outputs(model, overlaps.gram, task)


_driven = eqx.filter_jit(driven)


@eqx.filter_jit
def reduced_outputs(model: Model, gram: jax.Array, task: Stimulus) -> jax.Array:
    """`rollout` for a Gram matrix [d, d] whose entries are independent variables."""
    return mixture_outputs(model, Moments(gram[None]), task)


@eqx.filter_jit
def mixture_outputs(model: Model, moments: Moments, task: Stimulus) -> jax.Array:
    """`rollout` for `Moments` whose entries are independent variables."""
    return mixture_activity(model, moments, task).outputs


@eqx.filter_jit
def mixture_activity(model: Model, moments: Moments, task: Stimulus) -> Activity:
    """The `Activity` of `Moments` whose entries are independent variables."""
    outputs, _, squares = _reduced(model, moments, task)
    return Activity(jnp.moveaxis(outputs, -1, 0), None if squares is None else squares.T)


def field_variance(model: Model, overlaps: Overlaps, task: Stimulus) -> jax.Array:
    """The variance of the field h at each time, `D = k^T G_BB k` with that of noise on the states, shape [B, T].

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> task = ol.tasks.exponential_filter(decay=0.2, duration=2.0, dt=0.05)
        >>> ol.model.field_variance(model, ol.Overlaps.from_entries(model.layout), task)[0, :2]
        Array([0., 1.], dtype=float64)
    """
    check_model(model, "field_variance")
    check_channels(model.layout, task, "field_variance", overlaps=overlaps)
    return reduced_variance(model, overlaps.gram, task)


@eqx.filter_jit
def reduced_variance(model: Model, gram: jax.Array, task: Stimulus) -> jax.Array:
    """`field_variance` for a Gram matrix [d, d]."""
    _, variance, _ = _reduced(model, Moments(gram[None]), task)
    return jnp.moveaxis(variance[:, 0], -1, 0)


def _reduced(model: Model, moments: Moments, task: Stimulus) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """The one place that integrates k: outputs [T, n_out, B], field variance [T, P, B], mean squares of phi [T, B]."""
    penalised = getattr(task, "activity_penalty", None) is not None
    layout = model.layout
    n_fields, rank = layout.n_fields, layout.rank
    inputs = jnp.moveaxis(task.inputs, 0, -1)

    # Of each step the derivative keeps k alone and computes the rest again: that is faster than to store and load it.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(k, now):
        x, private = now
        read, variance = _read(model, moments, k, private)
        drive = jnp.concatenate([x, read[:rank]])
        squares = None
        if penalised:
            centre = jnp.zeros_like(variance) if moments.means is None else _times(moments.means[:, :n_fields], k)
            squares = _over_populations(moments, model.activation.mean_square(centre, variance))
        return k + task.dt * (drive - k), (read[rank:], variance, squares)

    start = jnp.zeros((n_fields, inputs.shape[-1]), jnp.result_type(moments.covariances, inputs))
    _, found = lax.scan(step, start, (inputs, _variance_of_noise(task)))
    return found


def _read(
    model: Model, moments: Moments, k: jax.Array, private: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """`< v phi(h) >` and `< z phi(h) >`, shape [R + n_out, B], at k [n_fields, B]; the field variance, shape [P, B].

    Args:
        model: the `Model`.
        moments: of the neurons.
        k: coordinates of the activity.
        private: the variance that noise adds to the fields; None: there is none.
    """
    n_fields = model.layout.n_fields
    spread, read = jnp.split(_times(moments.covariances[:, :, :n_fields], k), [n_fields], axis=1)
    variance = jnp.sum(k * spread, axis=1)
    if private is not None:
        variance = variance + private
    if moments.means is None:
        read = model.activation.gain(variance)[:, None] * read
    else:
        mean, slope = model.activation.averages(_times(moments.means[:, :n_fields], k), variance)
        read = slope[:, None] * read + mean[:, None] * moments.means[:, n_fields:, None]
    return _over_populations(moments, read), variance


# Trials are the last axis and products are sums over an explicit axis: XLA then fuses a whole step into one loop
# over trials, several times faster than a matrix product of this size.
def _times(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    return jnp.sum(matrix[..., None] * vector, axis=-2)


def _over_populations(moments: Moments, found: jax.Array) -> jax.Array:
    if moments.fractions is None:
        return found[0]
    return jnp.sum(moments.fractions.reshape(-1, *[1] * (found.ndim - 1)) * found, axis=0)


def reduced_flow(model: Model, moments: Moments, states: jax.Array, inputs: jax.Array) -> jax.Array:
    """dk/dt at states k [..., n_fields] of the reduced activity, under a constant input [n_in]."""
    k = states.reshape(-1, states.shape[-1]).T
    read, _ = _read(model, moments, k)
    x = jnp.broadcast_to(inputs[:, None], (len(inputs), k.shape[1]))
    drive = jnp.concatenate([x, read[: model.layout.rank]])
    return (drive - k).T.reshape(states.shape)


def moments_of(overlaps: Overlaps | Populations) -> Moments:
    """The `Moments` of overlaps or populations."""
    if isinstance(overlaps, Populations):
        return Moments(overlaps.covariances, overlaps.means, overlaps.fractions)
    return Moments(overlaps.gram[None])


def _variance_of_noise(task: Stimulus) -> jax.Array | None:
    """The variance that noise has in the state of a neuron at each reading, shape [T]; None: there is no noise."""
    noise = getattr(task, "state_noise", None)
    if noise is None:
        return None
    # A geometric series: what a step adds has decayed by (1 - dt)^2 after each further one.
    kept = jnp.square(1 - task.dt)
    return jnp.square(noise) * (1 - kept ** jnp.arange(task.inputs.shape[1])) / (1 - kept)


def simulate(
    model: Model,
    network: AbstractNetwork,
    task: Stimulus,
    *,
    state_noise: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Outputs of the full network: the state h of each of the N neurons is integrated, overlaps appear nowhere.

    `dh/dt = -h + W phi(h) + m x`, `W = u v^T / N` (with a bulk: plus it), `y = z^T phi(h) / N`, by Euler steps; y[k] is
    read before the k-th update. Averages over neurons carry the network's weights (1/N each unless given).

    Args:
        model: the `Model`.
        network: the `Network` or `BulkNetwork`.
        task: an `ol.Task` (its inputs [B, T, n_in] and its step dt are used).
        state_noise: standard deviation of normal noise added to the state of each neuron at each step; None: that of
            the task.
        key: a jax random key; needed with noise.

    Returns:
        Outputs y, shape [B, T, n_out], in the dtype of the network's vectors.

    Raises:
        ValueError: if the layouts or the number of inputs do not match, or noise has no key.

    Source: Ger & Barak 2026, eq. 1; theory page, eq. (1).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2, duration=2.0, dt=0.05)
        >>> overlaps = ol.Overlaps.from_entries(model.layout, zm=0.7, zu=0.2, vm=0.5)
        >>> network = ol.Network.sample(overlaps, 50, key=jax.random.key(0))
        >>> difference = ol.simulate(model, network, task) - ol.rollout(model, overlaps, task)
        >>> bool(jnp.max(jnp.abs(difference)) < 1e-13)
        True
    """
    check_model(model, "simulate", with_bulk=True)
    check_channels(model.layout, task, "simulate", network=network)
    check_bulk(model, network, "simulate")
    check_time_constants(model, network, task, "simulate")
    own = getattr(task, "state_noise", None)
    given = state_noise if state_noise is not None else 0.0 if own is None else own
    noise = scalar(given, "simulate: state_noise", "at least 0", 0, open_low=False)
    silent = is_zero(given)
    if key is None and not silent:
        raise ValueError(
            "simulate: state_noise draws at random and needs a key: ol.simulate(..., key=jax.random.key(0))."
        )
    return _simulate(model, network, task, noise, None if silent else key)


@eqx.filter_jit
def _simulate(
    model: Model, network: AbstractNetwork, task: Stimulus, noise: jax.Array, key: jax.Array | None
) -> jax.Array:
    bulk = network.bulk if isinstance(network, BulkNetwork) else None
    return full_activity(model, network.vectors, network.weights, bulk, task, noise, key).outputs


def full_activity(
    model: Model,
    vectors: jax.Array,
    weights: jax.Array,
    bulk: Any,
    task: Stimulus,
    noise: jax.Array | None,
    key: jax.Array | None,
    dtype: DTypeLike | None = None,
) -> Activity:
    """The `Activity` of every neuron, whose states are kept for derivatives: T B N numbers.

    Args:
        model: the `Model`.
        vectors: V, shape [N, d].
        weights: w, shape [N].
        bulk: W, shape [N, N], dense or a BCOO; None: there is none.
        task: inputs, dt, and whether activity is penalised.
        noise: the standard deviation of noise on the states.
        key: that of the noise; None: there is none.
        dtype: of the states; None: that of the vectors.
    """
    dtype = vectors.dtype if dtype is None else dtype
    penalised = getattr(task, "activity_penalty", None) is not None
    rank, n_fields = model.layout.rank, model.layout.n_fields
    inputs = jnp.moveaxis(task.inputs, 0, 1).astype(dtype)
    dt, weights = task.dt.astype(dtype), weights.astype(dtype)
    if model.time_constants is not None:
        dt = dt / model.time_constants.astype(dtype)
    fields = vectors[:, :n_fields].T.astype(dtype)
    readers = weights[:, None] * vectors[:, n_fields:].astype(dtype)
    across = None if bulk is None else bulk.astype(dtype).T

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(h, now):
        x, step_key = now
        rates = model.activation(h)
        read = rates @ readers
        drive = jnp.concatenate([x, read[:, :rank]], axis=1) @ fields
        if across is not None:
            drive = drive + rates @ across
        squares = jnp.square(rates) @ weights if penalised else None
        h = h + dt * (drive - h)
        if step_key is not None and noise is not None:
            h = h + noise.astype(dtype) * jax.random.normal(step_key, h.shape, dtype)
        return h, (read[:, rank:], squares)

    keys = None if key is None else jax.random.split(key, len(inputs))
    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((inputs.shape[1], len(vectors)), dtype)
        _, (outputs, squares) = lax.scan(step, start, (inputs, keys))
    return Activity(jnp.moveaxis(outputs, 1, 0), None if squares is None else squares.T)


def check_time_constants(model: Model, network: AbstractNetwork, task: Stimulus, caller: str) -> None:
    """Refuse time constants of another number of neurons, or so short that Euler steps are unstable.

    Raises:
        ValueError: naming what was passed, and what is allowed.
    """
    times = model.time_constants
    if times is None:
        return
    if len(times) != network.n_neurons:
        raise ValueError(
            f"{caller}: the model has {len(times)} time_constants, the network {network.n_neurons} neurons."
        )
    if not is_traced(times, task.dt) and 2 * (shortest := float(np.asarray(times).min())) <= float(task.dt):
        raise ValueError(
            f"{caller}: time_constants must be longer than dt / 2 = {float(task.dt) / 2:g}, or Euler steps are "
            f"unstable; the shortest is {shortest:g}."
        )


def check_channels(
    layout: Layout, task: Stimulus, caller: str, **parts: Overlaps | Populations | AbstractNetwork | ReducedNetwork
) -> None:
    """Refuse a task or a network of another layout than the model's.

    Raises:
        ValueError: naming the argument, what it was, and what the model allows.
    """
    kinds = {"overlaps": Overlaps, "populations": Populations, "network": AbstractNetwork, "reduced": ReducedNetwork}
    for name, part in parts.items():
        if not isinstance(part, kinds[name]):
            kind = kinds[name].__name__.removeprefix("Abstract")
            got = what_has_overlaps(part) if kinds[name] is Overlaps else type(part).__name__
            raise ValueError(f"{caller}: {name} must be an ol.{kind}, got {got}.")
        if getattr(part, "layout", None) != layout:
            raise ValueError(
                f"{caller}: {name} has {getattr(part, 'layout', type(part).__name__)}, the model has {layout}. "
                f"Build both from the same layout."
            )
        if isinstance(part, Populations):
            continue
        array = part.gram if isinstance(part, Overlaps) else part.vectors
        if array.ndim != 2:
            raise ValueError(
                f"{caller}: {name} is a batch of shape {list(array.shape[:-2])}; use jax.vmap over its leading axes, "
                f"as in jax.vmap(lambda x: ol.{caller}(model, ..., x, ...))({name})."
            )
    # An ol.Task knows its sizes without making the array: the class is asked first.
    if not (hasattr(type(task), "inputs") or hasattr(task, "inputs")) or not hasattr(task, "dt"):
        raise ValueError(f"{caller}: task must be an ol.Task, got {task!r}.")
    n_in = getattr(task, "n_in", None)
    n_in = jnp.shape(task.inputs)[-1] if n_in is None else n_in
    if n_in != layout.n_in:
        raise ValueError(f"{caller}: the task has {n_in} input channels, the model has n_in={layout.n_in}.")
