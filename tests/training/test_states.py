"""What a task asks of the states of neurons, a penalty on their activity and noise: theory against every neuron."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import EPS, RANK_1, largest, make_network, make_overlaps, make_task

import overlap_learning as ol
from overlap_learning.model.activity import Moments, full_activity, mixture_activity

LINEAR, TANH = (ol.Model(RANK_1, activation) for activation in (ol.Linear(), ol.Tanh()))
START, TASK = make_overlaps(RANK_1), make_task(RANK_1, n_times=20)
N_STEPS = 50


def rule(learning_rate=0.02, **settings):
    return ol.GradientDescent(learning_rate, N_STEPS, save_every=10, **settings)


def test_a_penalty_on_activity_of_linear_networks_is_known_exactly():
    task = TASK.replace(activity_penalty=0.3)
    theory = ol.integrate(LINEAR, task, START, rule())
    full = ol.train(LINEAR, task, make_network(START, 20), rule())
    # Rounding of some 20 time steps in each of 50 steps of learning.
    assert largest(theory.overlaps.gram - full.overlaps.gram) < 20 * N_STEPS * EPS
    assert largest(theory.loss - full.loss) < 20 * N_STEPS * EPS
    # By hand, neuron by neuron: h(t) of the start.
    h, total = np.zeros((TASK.n_trials, 20)), 0.0
    vectors = np.asarray(make_network(START, 20).vectors)
    for x in np.moveaxis(np.asarray(TASK.inputs), 1, 0):
        total += np.mean(h**2) / TASK.n_steps
        h = h + 0.1 * (-h + h @ vectors[:, 2:3] @ vectors[:, 1:2].T / 20 + x @ vectors[:, :1].T)
    assert float(theory.loss[0] - ol.loss(LINEAR, TASK, START)) == pytest.approx(0.3 * total, rel=1e-12)


def test_activity_with_noise_is_that_of_many_neurons():
    n = 20_000
    task = TASK.replace(activity_penalty=1.0, state_noise=0.5)
    network = make_network(START, n)
    full = full_activity(TANH, network.vectors, network.weights, None, task, task.state_noise, jax.random.key(2))
    theory = mixture_activity(TANH, Moments(START.gram[None]), task)
    # Averages over n neurons of numbers of order 1: five standard errors.
    assert largest(full.outputs - theory.outputs) < 5 / np.sqrt(n)
    assert largest(full.squares - theory.squares) < 5 / np.sqrt(n)
    quiet = mixture_activity(TANH, Moments(START.gram[None]), task.replace(state_noise=None))
    assert largest(quiet.squares - theory.squares) > 50 / np.sqrt(n)


def test_noise_in_learning_slows_a_nonlinear_network_as_theory_says():
    task, n = TASK.replace(state_noise=1.0), 500
    theory = ol.integrate(TANH, task, START, rule())
    # Of rates that are numbers, so that what learns and what does not are one program.
    learns, frozen = (rule(rates=dict.fromkeys("muvz", rate)) for rate in (1.0, 0.0))
    full = ol.train(TANH, task, make_network(START, n), learns, key=jax.random.key(0))
    # Overlaps of n neurons that begin with those of theory, with noise of their own in each gradient.
    assert largest(theory.overlaps.gram[-1] - full.overlaps.gram[-1]) < 1 / np.sqrt(n)
    assert largest(theory.overlaps.gram[-1] - ol.integrate(TANH, TASK, START, rule()).overlaps.gram[-1]) > 0.2
    # Drawn anew at each step of learning: the same loss is never met twice where nothing learns.
    losses = ol.train(TANH, task, make_network(START, n), frozen, key=jax.random.key(0)).loss
    assert len(set(losses.tolist())) == len(losses)


def test_the_gradient_with_both_is_that_of_the_loss():
    """Also at the first reading, where the field has no variance."""
    task = TASK.replace(activity_penalty=0.7, state_noise=0.5)
    along = np.random.default_rng(0).normal(size=(4, 4))
    along, step = along + along.T, 1e-4
    ahead, behind = (float(ol.loss(TANH, task, ol.Overlaps(START.gram + e * along, RANK_1))) for e in (step, -step))
    _, slope = ol.loss_gradient(TANH, task, START)
    # Central differences: third derivatives of order 1 times step^2, and rounding by the step.
    assert abs((ahead - behind) / (2 * step) - float(jnp.sum(slope * along)) / 2) < 1e-7


def test_the_mean_square_of_an_activation_is_the_closed_form_with_a_slope_at_no_variance():
    variance = jnp.array([0.0, 1e-9, 1e-5, 0.3, 5.0])
    erf = ol.Erf()
    inside = np.pi / 2 * variance
    expected = 2 / np.pi * jnp.arcsin(inside / (1 + inside))
    # The quadrature of the package is good to 1e-10 for smooth functions.
    assert largest(jax.jit(erf.mean_square)(jnp.zeros(5), variance) - expected) < 1e-10
    slope = jax.jit(jax.grad(lambda v: erf.mean_square(jnp.zeros(()), v)))(0.0)
    assert float(slope) == pytest.approx(1.0, abs=1e-6)


def test_what_knows_nothing_of_activity_or_noise_refuses_by_name():
    penalised, noisy = TASK.replace(activity_penalty=0.1), TASK.replace(state_noise=0.1)
    network = make_network(START, 10)
    with pytest.raises(ValueError, match=r"activity_penalty.*given outputs alone"):
        penalised.loss(penalised.targets)
    with pytest.raises(ValueError, match=r"limit: holds without state_noise.*replace\(state_noise=None\)"):
        ol.limit(TANH, noisy, START, rule())
    for start, closure in ((network, None), (START, ol.WeightedNeurons())):
        with pytest.raises(ValueError, match=r"integrate: of state_noise.*average out.*ol\.train"):
            ol.integrate(TANH, noisy, start, rule(), closure=closure)
    with pytest.raises(ValueError, match="validate: holds without state_noise"):
        ol.validate(LINEAR, noisy, START, rule(), key=jax.random.key(0))
    with pytest.raises(ValueError, match="solution_manifold: holds without activity_penalty"):
        ol.studies.solution_manifold(LINEAR, penalised, START)
    with pytest.raises(ValueError, match=r"state_noise.*GradientFlow takes none"):
        ol.train(LINEAR, noisy, network, ol.GradientFlow(1.0), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"state_noise.*needs a key"):
        ol.train(LINEAR, noisy, network, rule())
    with pytest.raises(ValueError, match="needs a key"):
        ol.simulate(LINEAR, network, noisy)
    with pytest.raises(ValueError, match="state_noise must be None or a number of at least 0, got -1"):
        TASK.replace(state_noise=-1.0)
