"""train: gradient descent on the vectors of a full network, the referee of the theory."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.dynamics.descent import State
from overlap_learning.dynamics.learner import AbstractLearner
from overlap_learning.dynamics.rules import AbstractDescent, AbstractRule, DirectDescent, GradientFlow
from overlap_learning.dynamics.run import check_run, follow
from overlap_learning.dynamics.solution import Solution, finish
from overlap_learning.model.activity import check_channels
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network, weighted_gram, with_vectors
from overlap_learning.model.precision import is_traced
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.validation.backpropagation import neuron_loss

#: Saved points between two looks at the progress bar and at Ctrl-C, at most.
_POINTS_PER_CALL = 10


class NeuronLearner(AbstractLearner):
    """Full N: the position is V itself, its scaled gradient `dL/dV_i / w_i` (N dL/dV for plain networks)."""

    model: Model
    rates: jax.Array
    weights: jax.Array

    def gram(self, position: jax.Array) -> jax.Array:
        return weighted_gram(position, self.weights)

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return neuron_loss(self.model, position, self.weights, task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        value, slope = jax.value_and_grad(neuron_loss, argnums=1)(self.model, position, self.weights, task)
        return value, slope / self.weights[:, None]

    def transfer(self, position: jax.Array) -> None:
        return None

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        size = jnp.sqrt(variance).astype(position.dtype) * (self.rates > 0)
        return position + size * jax.random.normal(key, position.shape, position.dtype)


def train(
    model: Model,
    task: Task | TaskStream,
    network: Network,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    throw: bool = True,
    progress: bool | None = None,
) -> Solution:
    """Full N: the same question as `ol.integrate`, answered by training every neuron.

    Gradients are backpropagated through simulated time; overlaps are only measured. Memory is O(N d + B T d): the
    states of the neurons are recomputed, not stored. Runs in the dtype of `network.vectors` (float64 to compare with
    theory to rounding, float32 for speed) on the device that jax chooses.

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        network: the start.
        rule: `GradientDescent`, `GradientFlow` or `Optimiser`.
        key: a jax random key; needed for a stream, for minibatches and for label noise. `ol.integrate` draws the same
            trials from the same key.
        throw: raise an error if learning ends badly; False: return the solution up to there, with its result code.
        progress: show a progress bar; None: if a person is watching (standard error is a terminal).

    Returns:
        A `Solution`; its `final` is the learned `Network`, its `transfer` None.

    Raises:
        ValueError: if the arguments do not fit together.
        LearningError: if learning diverged, and throw.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved.

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
    """
    if not isinstance(network, Network):
        raise ValueError(
            f"train: network must be an ol.Network, got {type(network).__name__}; make one with "
            "ol.Network.sample(overlaps, n_neurons, key=key)."
        )
    if isinstance(rule, DirectDescent):
        raise ValueError(
            "train: DirectDescent moves overlaps without neurons, so there is nothing to train; use ol.integrate."
        )
    if isinstance(rule, GradientFlow) and rule.dense:
        raise ValueError(
            "train: dense=True keeps an interpolant of every neuron; save chosen times with save_at instead."
        )
    if isinstance(rule, AbstractDescent) and rule.parameter_noise is not None and key is None:
        raise ValueError(
            "train: parameter_noise draws at random and needs a key: ol.train(..., key=jax.random.key(0))."
        )
    key = check_run(model, task, rule, key, "train")
    check_channels(
        model.layout, task if isinstance(task, Task) else jax.eval_shape(task.sample, key), "train", network=network
    )
    learner = NeuronLearner(model, model.layout.rates(getattr(rule, "rates", None)), network.weights)
    with _progress(rule, progress, network, is_traced(network, rule, task, key)) as calls:
        outcome = follow(learner, rule, task, network.vectors, key, **calls)
    return finish(model, outcome, with_vectors(network, outcome.position), outcome.stats, throw=throw)


@contextlib.contextmanager
def _progress(rule: AbstractRule, progress: bool | None, network: Network, traced: bool) -> Iterator[dict[str, Any]]:
    """How `descend` is to be called, so that a bar moves and Ctrl-C is heard."""
    if not isinstance(rule, AbstractDescent) or traced:
        yield {}
        return
    from tqdm.auto import tqdm

    disable = None if progress is None else not progress
    with tqdm(total=rule.n_steps, disable=disable, unit="step", desc=f"train N={network.n_neurons}") as bar:

        def show(state: State) -> None:
            # Reading the step waits for the device, which is what makes the bar true.
            bar.update(int(jnp.max(state.step)) - bar.n)

        yield {"points_per_call": _POINTS_PER_CALL, "after_call": show}
