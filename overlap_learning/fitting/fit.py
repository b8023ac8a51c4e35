"""Fit: a tensor network fitted to recordings, and what is known of how well."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import check_key, count, scalar
from overlap_learning.fitting.decoder import AbstractDecoder, Orthonormal, check_decoder
from overlap_learning.fitting.inputs import Inputs, check_inputs
from overlap_learning.fitting.learner import TensorLearner, starts
from overlap_learning.fitting.likelihood import AbstractLikelihood, Gaussian, check_likelihood
from overlap_learning.fitting.masks import Masks, block_masks, check_masks
from overlap_learning.fitting.prior import GaussianProcess, check_prior
from overlap_learning.fitting.recordings import Recordings, check_recordings, warn_of_counts
from overlap_learning.fitting.result import Fit, fit_of
from overlap_learning.fitting.solver import AbstractSolver, Euler, check_solver
from overlap_learning.fitting.stopping import PATIENCE, EarlyStopping
from overlap_learning.learning.checkpoint import Checkpoint, Store
from overlap_learning.learning.driver import run
from overlap_learning.learning.pace import watched
from overlap_learning.learning.rules import AbstractDescent, Optimiser
from overlap_learning.learning.solution import finish
from overlap_learning.model.activations import AbstractActivation, Tanh
from overlap_learning.tasks.task import Task

CALLER = "fit_low_tensor_rank"


def fit_low_tensor_rank(
    recordings: Recordings,
    rank: int,
    key: jax.Array,
    *,
    masks: Masks | None = None,
    n_units: int | None = None,
    n_seeds: int = 3,
    time_constant: float | None = None,
    inputs: Inputs | None = None,
    prior: GaussianProcess | None = None,
    likelihood: AbstractLikelihood | None = None,
    decoder: AbstractDecoder | None = None,
    activation: AbstractActivation | None = None,
    level: float = 0.5,
    solver: AbstractSolver | None = None,
    rule: AbstractDescent | None = None,
    patience: int = PATIENCE,
    throw: bool = True,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """A recurrent network whose weights are a tensor of low rank over trials, fitted to recordings (ltrRNN).

    In trial k of condition s(k)::

        tau dx/dt = -x + W^(k) phi(x) + sqrt(n) A u_s(t),    W^(k) = sum_r c_r(k) a_r b_r^T,    y = D phi(x) + o

    Only the trial factors c_r(k) differ between the trials of a condition: recurrent weights explain how activity
    changes over trials, or nothing does. The fit maximises the posterior density of what `masks.train` has, from
    several starts side by side, and each is ended where `masks.stop` is no longer fitted better; of these the one that
    fits `masks.stop` best is the result, and `masks.report` says how good it is.

    Args:
        recordings: the `Recordings`. The fit runs in the dtype of their activity (float32 is twice as fast; float64
            needs jax's 64-bit mode).
        rank: R, the number of components.
        key: a jax random key, of the masks and the starts.
        masks: `ol.fitting.block_masks(recordings, key)`; None: those, from the key. Give fits that you compare the
            same.
        n_units: n; None: as many as neurons, at most 200.
        n_seeds: starts.
        time_constant: tau, in the unit of the times; None: half the duration of a trial.
        inputs: `Inputs`; None: `Inputs()`, inputs throughout the trial.
        prior: of trial factors; None: `GaussianProcess()`.
        likelihood: `Gaussian()` or `Poisson()`; None: `Gaussian()`.
        decoder: `Orthonormal()`, `FreeLinear()` or `OneToOne()`; None: `Orthonormal()`.
        activation: phi, such as `ol.Tanh()` or `ol.Linear()`; None: tanh.
        level: the root mean square of the states of units at the start. It sets the size of the decoder: the larger
            the level, the more the units saturate.
        solver: `Euler(n_steps)` or `Diffrax(...)`; None: `Euler()`, one step between two times.
        rule: a rule in steps; None: `ol.Optimiser` with optax's Adam, 1,500 steps whose learning rate falls from 5e-2
            along a cosine. Rates are relative to the size of what learns.
        patience: saved points of the rule without a better fit to `masks.stop`, after which a start is ended.
        throw: raise an error if a start diverges; False: keep the others, with result codes.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook).
        checkpoint: where to write down, every so many steps, where the run is: the same call then goes on from there.

    Returns:
        A `Fit`.

    Raises:
        ValueError: if the arguments do not fit together, or the rank is 0 or above what the data can hold.
        LearningError: if a start diverged, and throw.
        LearningInterrupted: on Ctrl-C.

    Source: Pellegrino, Cayco-Gajic & Chadwick 2023; the input, the prior and the third part of the masks are ours.

    Examples:
        >>> import optax
        >>> rng = np.random.default_rng(0)
        >>> course = np.sin(np.linspace(0, 3, 10)) * np.linspace(1, 2, 40)[:, None]
        >>> activity = course[..., None] * rng.normal(size=12) + 0.1 * rng.normal(size=(40, 10, 12))
        >>> recordings = ol.fitting.Recordings(activity, times=np.linspace(0, 1, 10))
        >>> rule = ol.Optimiser(optax.adam(1e-2), 100, save_every=20)
        >>> fit = ol.fitting.fit_low_tensor_rank(recordings, 1, jax.random.key(0), n_seeds=1, rule=rule)
        >>> fit.network.trials.shape, bool(fit.explained > 0.5)
        ((40, 1), True)
    """
    check_recordings(recordings, CALLER)
    check_key(key, CALLER)
    mask_key, start_key = jax.random.split(key)
    masks = block_masks(recordings, mask_key) if masks is None else masks
    check_masks(masks, recordings, CALLER)
    n_seeds = count(n_seeds, f"{CALLER}: n_seeds")
    level = float(scalar(level, f"{CALLER}: level", "positive", 0))
    learner = learner_of(recordings, masks, time_constant, inputs, prior, likelihood, decoder, activation, solver)
    n_units = _units(n_units, recordings, learner.decoder)
    rank = _rank(rank, recordings, masks, n_units)
    positions = starts(learner, recordings, masks, (n_units, rank), level, start_key, n_seeds)
    rates = rates_of(positions, float(recordings.activity[masks.train].std()))
    learner = eqx.tree_at(lambda tree: tree.rates, learner, rates, is_leaf=lambda x: x is None)
    rule = EarlyStopping(_rule(rule), patience)
    store = None
    if checkpoint is not None:
        store = Store(checkpoint, CALLER, learner=learner, positions=positions, rule=rule)
    with watched(rule, progress, f"fit of rank {rank}", store) as pace:
        outcome, final = run(learner, rule, learner.task, positions, None, (), pace)
    solution = finish(None, outcome, final, CALLER, throw=throw)
    return fit_of(solution, learner, recordings, masks, level)


def learner_of(
    recordings: Recordings,
    masks: Masks,
    time_constant: float | None,
    inputs: Inputs | None,
    prior: GaussianProcess | None,
    likelihood: AbstractLikelihood | None,
    decoder: AbstractDecoder | None,
    activation: AbstractActivation | None,
    solver: AbstractSolver | None,
) -> TensorLearner:
    """What is fitted, without its rates.

    Raises:
        ValueError: if an argument is of another kind.
    """
    inputs = Inputs() if inputs is None else inputs
    prior = GaussianProcess() if prior is None else prior
    likelihood = Gaussian() if likelihood is None else likelihood
    decoder = Orthonormal() if decoder is None else decoder
    activation = Tanh() if activation is None else activation
    solver = Euler() if solver is None else solver
    check_inputs(inputs, CALLER)
    check_prior(prior, CALLER)
    check_likelihood(likelihood, recordings, CALLER)
    check_decoder(decoder, CALLER)
    check_solver(solver, CALLER)
    if not isinstance(activation, AbstractActivation):
        raise ValueError(
            f"{CALLER}: activation must be ol.Tanh(), ol.Linear() or another of ol.model, got {activation!r}."
        )
    if isinstance(likelihood, Gaussian):
        warn_of_counts(recordings, CALLER)
    if recordings.n_times < 2:
        raise ValueError(f"{CALLER}: the dynamics of a network need at least 2 times, got {recordings.n_times}.")
    times = recordings.times
    duration = times[-1] - times[0]
    tau = duration / 2 if time_constant is None else time_constant
    tau = float(scalar(tau, f"{CALLER}: time_constant", "positive", 0))
    longest = float(np.diff(times).max())
    if isinstance(solver, Euler) and longest / solver.n_steps >= 2 * tau:
        raise ValueError(
            f"{CALLER}: an Euler step of {longest / solver.n_steps:g} is too long for a time constant of {tau:g}, from "
            "twice which on every state grows; use ol.fitting.Euler(n_steps) with more steps, or ol.fitting.Diffrax()."
        )
    activity = jnp.asarray(recordings.activity)
    dtype = activity.dtype
    task = Task(jnp.zeros((*activity.shape[:2], 1), dtype), activity, jnp.asarray(masks.train, dtype), 1.0)
    return TensorLearner(
        rates=None,
        likelihood=likelihood,
        prior=prior,
        inputs=inputs,
        decoder=decoder,
        solver=solver,
        activation=activation,
        time_constant=jnp.asarray(tau, dtype),
        times=jnp.asarray(times, dtype),
        conditions=jnp.asarray(recordings.conditions),
        factor=jnp.asarray(prior.factor(recordings.trial_ids), dtype),
        stop=jnp.asarray(masks.stop, dtype),
        task=task,
    )


def _units(n_units: int | None, recordings: Recordings, decoder: AbstractDecoder) -> int:
    n_neurons = recordings.n_neurons
    if not decoder.learns:
        if n_units not in (None, n_neurons):
            raise ValueError(
                f"{CALLER}: ol.fitting.OneToOne() has one unit for each of {n_neurons} neurons, got n_units={n_units}."
            )
        return n_neurons
    return min(n_neurons, 200) if n_units is None else count(n_units, f"{CALLER}: n_units")


def _rank(rank: Any, recordings: Recordings, masks: Masks, n_units: int) -> int:
    """The rank, which the data have to be able to hold.

    Raises:
        ValueError: if they are not.
    """
    rank = count(rank, f"{CALLER}: rank")
    trials = int(masks.train.any(axis=(1, 2)).sum())
    held = {"units": n_units, "neurons": recordings.n_neurons, "trials that train": trials}
    limit = min(held.values())
    if rank > limit:
        raise ValueError(
            f"{CALLER}: rank must be at most {limit}, got {rank}: there are "
            f"{', '.join(f'{number} {name}' for name, number in held.items())}."
        )
    return rank


@functools.cache
def _default_rule() -> Optimiser:
    """The same object each time: another one would be another program."""
    try:
        import optax
    except ImportError:
        raise ImportError(
            f"{CALLER}: the default rule needs optax: pip install 'overlap_learning[fitting]'. "
            "Or give a rule=ol.GradientDescent(...)."
        ) from None
    n_steps = 1500
    return Optimiser(optax.adam(optax.cosine_decay_schedule(5e-2, n_steps), b2=0.99), n_steps, save_every=20)


def _rule(rule: AbstractDescent | None) -> AbstractDescent:
    if rule is None:
        return _default_rule()
    if not isinstance(rule, AbstractDescent):
        raise ValueError(
            f"{CALLER}: rule must be one in steps, such as ol.Optimiser(optax.adam(1e-2), 3000), got {rule!r}."
        )
    for name in ("batch_size", "label_noise", "parameter_noise"):
        if getattr(rule, name) is not None:
            raise ValueError(f"{CALLER}: a fit uses all trials at each step and adds no noise; leave {name} out.")
    return rule


def rates_of(positions: Any, spread: float) -> Any:
    """The size of the numbers in each array, as a relative learning rate: Adam moves all numbers alike."""
    sizes = {"columns": positions["columns"].shape[1] ** -0.5, "rows": positions["rows"].shape[1] ** -0.5}
    rates = jax.tree.map(lambda array: jnp.ones((), array.dtype), positions)
    for name, size in sizes.items():
        rates[name] = rates[name] * size
    decoder = positions["decoder"]
    if "matrix" in decoder:
        rates["decoder"]["matrix"] *= jnp.std(decoder["matrix"])
    if "log_gain" in decoder:
        # It sets how far units are driven into saturation.
        rates["decoder"]["log_gain"] *= 0
    rates["decoder"]["offset"] *= spread
    return rates
