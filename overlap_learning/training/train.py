"""train: gradient descent on the vectors of a full network, the referee of the theory."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from overlap_learning.checks import in_jax, is_traced
from overlap_learning.learning.checkpoint import Checkpoint, Store
from overlap_learning.learning.driver import check_run, run
from overlap_learning.learning.pace import Pace, watched
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution, finish
from overlap_learning.learning.stability import rise
from overlap_learning.model.activity import check_channels, check_time_constants
from overlap_learning.model.bulk import BULK, bulk_rate
from overlap_learning.model.bulk_network import BulkNetwork, check_bulk
from overlap_learning.model.model import Model, check_tied, known_rates
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.neurons.arrays import Arrays, Neurons
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task


def train(
    model: Model,
    task: Task | TaskStream,
    network: AbstractNetwork,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    arrays: Arrays | None = None,
    throw: bool = True,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
    state_dtype: DTypeLike | None = None,
    save_vectors: bool = False,
) -> Solution:
    """Full N: the same question as `ol.integrate`, answered by training every neuron.

    Gradients are backpropagated through simulated time; overlaps are only measured. Memory is O(N (d + B) + B T d): the
    states of the neurons are recomputed, not stored; with a penalty on activity or noise on states (`Task`) they are
    stored, B T N numbers. With a bulk W it is O(N^2 + B T N), and W learns if the rule has a rate for it,
    `rates={"W": 1.0}`: `dW/dtau = -dL/dW` beside `dV/dtau = -N dL/dV`. Runs in the dtype of `network.vectors` (float64
    to compare with theory to rounding) on the device that jax chooses, or on several (`Network.sharded`).

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        network: the start, a `Network` or a `BulkNetwork`; or several, vectors [n_networks, N, d] (of `Network.sample`
            of several overlaps, say), which learn side by side on the same trials, each as it would alone.
        rule: `GradientDescent`, `GradientFlow` or `Optimiser`; here `rates` may be those of single neurons, [N, d].
        key: a jax random key; needed for a stream, for minibatches and for noise. `ol.integrate` draws the same trials
            from the same key.
        arrays: the arrays that the rule moves, and how their gradients are scaled, for rules such as Adam that depend
            on it; None: the vectors, along N dL/dV, and W. Those of a plain program: `ol.training.Arrays`.
        throw: raise an error if learning ends badly; False: return the solution up to there, with its result code.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook).
        checkpoint: where to write down, every so many steps, where the run is: the same call then goes on from there
            after the program was killed. Not with a flow.
        state_dtype: the dtype in which neurons are simulated, if another than that of the vectors. `jnp.float32` is
            several times as fast, and closer to double precision than vectors in single precision would be: vectors,
            their updates and the overlaps stay double.
        save_vectors: also keep every neuron at every saved point, S N d numbers, and a W that learns, S N^2:
            `Solution.networks`, from which `ol.studies.weight_tensor` is made.

    Returns:
        A `Solution`; its `final` is the learned network, its `transfer` None. For several networks every array has
        them as its first axis, as under `jax.vmap`: a network whose learning ended early has the time NaN at the points
        that it did not reach, and the others go on.

    Raises:
        ValueError: if the arguments do not fit together, or the checkpoint is that of another run.
        LearningError: if learning diverged (of at least one network), and throw.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved.
        OSError: if a checkpoint can't be written.

    Source: Ger & Barak 2026, section 4; theory page, eqs. (1), (5).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter(decay=0.2)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=50)
        >>> full = ol.train(model, task, ol.Network.sample(start, 20, key=jax.random.key(0)), rule)
        >>> theory = ol.integrate(model, task, start, rule)
        >>> bool(jnp.max(jnp.abs(full.overlaps.gram - theory.overlaps.gram)) < 1e-12)
        True

        Five networks at once:

        >>> starts = ol.Overlaps(jnp.stack([start.gram] * 5), model.layout)
        >>> ol.train(model, task, ol.Network.sample(starts, 20, key=jax.random.key(0)), rule).overlaps.gram.shape
        (5, 51, 4, 4)
    """
    _check(model, task, network, rule, key)
    network = check_tied(model, network, "train")
    is_batch = network.vectors.ndim > 2
    states = _state_dtype(state_dtype, network.vectors.dtype)
    store = None
    if checkpoint is not None:
        _check_addressable(network)
        arguments = {"model": model, "task": task, "network": network, "rule": rule, "key": key, "arrays": arrays}
        settings = {"state_dtype": None if states is None else states.name, "save_vectors": bool(save_vectors)}
        store = Store(checkpoint, "train", **arguments, **settings)
    learner, position = _learner(model, network, rule, arrays, state_dtype=states, keeps_vectors=bool(save_vectors))
    fields = ("weights",) if learner.bulk is None else ("weights", "bulk")
    title = f"train {len(network.vectors)} x N={network.n_neurons}" if is_batch else f"train N={network.n_neurons}"
    traced = is_traced(network, rule, task, key)
    with contextlib.nullcontext(Pace(is_whole=True)) if traced else watched(rule, progress, title, store) as pace:
        outcome, final = run(learner, rule, task, position, key, fields if is_batch else None, pace)
    return finish(model, outcome, final, "train", throw=throw, look=lambda: rise(outcome, learner, rule, task))


def _learner(
    model: Model, network: AbstractNetwork, rule: AbstractRule, arrays: Arrays | None, **settings: Any
) -> tuple[NeuronLearner, Neurons]:
    """What moves, and where it starts.

    Raises:
        ValueError: if a rate or a unit fits nothing that the network has.
    """
    dtype = network.vectors.dtype
    named, rate = bulk_rate(rule.rates)
    bulk = network.bulk if isinstance(network, BulkNetwork) else None
    if rate is not None and bulk is None:
        raise ValueError(
            f'train: rates["{BULK}"] is a rate of the bulk, and this network has none; make one with '
            "ol.BulkNetwork.sample(model, overlaps, n_neurons, key=key), or ol.BulkNetwork(vectors, layout, bulk)."
        )
    rates = Neurons(
        model.free(in_jax(known_rates(model, named, network.n_neurons)).astype(dtype)),
        None if rate is None else rate.astype(dtype),
    )
    arrays = Arrays() if arrays is None else arrays
    if not isinstance(arrays, Arrays):
        raise ValueError(f"train: arrays must be ol.training.Arrays(units, per_neuron=...), or None, got {arrays!r}.")
    units = None if arrays.units is None else model.free(arrays.known_units(model.layout).astype(dtype))
    free = model.free(network.vectors)
    learner = NeuronLearner(
        model=model,
        rates=rates,
        weights=network.weights,
        bulk=bulk if rate is None else None,
        units=units,
        per_neuron=arrays.per_neuron,
        **settings,
    )
    dense = network.dense_bulk if isinstance(network, BulkNetwork) and rate is not None else None
    return learner, Neurons(free if units is None else free / units, dense)


def _check(
    model: Model, task: Task | TaskStream, network: AbstractNetwork, rule: AbstractRule, key: jax.Array | None
) -> None:
    """Refuse arguments of `train` that do not fit together, before anything is compiled.

    Raises:
        ValueError: naming the argument, what it was and what is allowed.
    """
    if not isinstance(network, AbstractNetwork):
        raise ValueError(
            f"train: network must be an ol.Network, got {type(network).__name__}; make one with "
            "ol.Network.sample(overlaps, n_neurons, key=key)."
        )
    check_run(model, task, rule, key, "train", with_bulk=True)
    check_bulk(model, network, "train")
    check_time_constants(model, network, task.outline, "train")
    if rule.motion is Motion.BARE:
        raise ValueError(
            "train: DirectDescent moves overlaps without neurons, so there is nothing to train; use ol.integrate."
        )
    if rule.dense:
        raise ValueError(
            "train: dense=True keeps an interpolant of every neuron; save chosen times with save_at instead."
        )
    if rule.parameter_noise is not None and key is None:
        raise ValueError(
            "train: parameter_noise draws at random and needs a key: ol.train(..., key=jax.random.key(0))."
        )
    if task.outline.state_noise is not None:
        if rule.n_steps is None:
            raise ValueError(
                "train: state_noise is drawn anew in each learning step, and GradientFlow takes none; use "
                "ol.GradientDescent with a small learning rate."
            )
        if key is None:
            raise ValueError(
                "train: state_noise draws at random and needs a key: ol.train(..., key=jax.random.key(0))."
            )
    is_batch = network.vectors.ndim > 2
    if is_batch and len(network.vectors) == 0:
        raise ValueError(f"train: network is a batch of no networks, vectors {list(network.vectors.shape)}.")
    one = jax.eval_shape(lambda batch: jax.tree.map(lambda array: array[0], batch), network) if is_batch else network
    check_channels(model.layout, task.outline, "train", network=one)


def _check_addressable(network: AbstractNetwork) -> None:
    """Refuse to write checkpoints of neurons that no single process has.

    Raises:
        ValueError: if they are spread over several processes.
    """
    if not is_traced(network) and not network.vectors.is_fully_addressable:
        raise ValueError(
            "train: a checkpoint can't be written of neurons that are spread over several processes; spread them over "
            "the devices of one, or leave checkpoint out."
        )


def _state_dtype(dtype: DTypeLike | None, network_dtype: jnp.dtype) -> jnp.dtype | None:
    """The dtype of the neurons' states; None if it is that of the network.

    Raises:
        ValueError: if it is not a floating-point dtype, or a wider one than the network's.
    """
    if dtype is None:
        return None
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating) or found.itemsize > network_dtype.itemsize:
        raise ValueError(
            f"train: state_dtype must be a floating-point dtype no wider than the network's {network_dtype}, such as "
            f"jnp.float32, got {dtype!r}."
        )
    return None if found == network_dtype else found
