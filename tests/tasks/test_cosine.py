"""cosine: a given state at the start, for full networks, the theory and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol


def test_the_loss_is_that_of_the_published_loop():
    task, n = ol.tasks.cosine(), 20
    layout = ol.Layout(rank=0)
    vectors = np.random.default_rng(0).standard_normal((n, 2))
    w = np.random.default_rng(1).standard_normal((n, n)) / np.sqrt(n)
    network = ol.BulkNetwork(vectors, layout, w)
    loss = task.loss(ol.simulate(ol.Model(layout, ol.Linear()), network, task))
    # h starts as the input vector; each output follows its update; half the mean over the first two periods.
    h, errors = vectors[:, 0], []
    for step in range(100):
        h = 0.9 * h + 0.1 * w @ h
        errors.append(np.cos(2 * np.pi * 0.1 * step / 5) - vectors[:, 1] @ h / n)
    np.testing.assert_allclose(loss, np.mean(np.square(errors)) / 2, rtol=1e-12)


def test_a_state_at_the_start_is_one_step_for_the_theory_too():
    random = np.random.default_rng(0)
    layout = ol.Layout(2, 1, 1)
    arrays = random.standard_normal((2, 5, 2)), random.standard_normal((2, 5, 1)), np.ones((2, 5, 1))
    state = random.standard_normal((2, 2))
    task = ol.Task(*arrays, 0.5).starting_from(state)
    model, start = ol.Model(layout, ol.Linear()), ol.Overlaps.random(layout, key=jax.random.key(0), scale=0.3)
    network = ol.Network.sample(start, 15, key=jax.random.key(1))
    h, outputs = state @ np.asarray(network.m).T, []
    for x in np.moveaxis(arrays[0], 1, 0):
        outputs.append(h @ np.asarray(network.z) / 15)
        h = h + 0.5 * (-h + h @ np.asarray(network.connectivity).T + x @ np.asarray(network.m).T)
    for got in (ol.simulate(model, network, task), ol.rollout(model, start, task)):
        np.testing.assert_allclose(got[:, 1:], np.stack(outputs, axis=1), atol=1e-12)
    rule = ol.GradientDescent(0.02, 3)
    theory, full = ol.integrate(model, task, start, rule), ol.train(model, task, network, rule)
    np.testing.assert_allclose(theory.overlaps.gram, full.overlaps.gram, atol=1e-12)


@pytest.mark.parametrize("state", [1.0, [1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]]])
def test_a_state_of_another_shape_is_named(state):
    task = ol.Task(jnp.ones((2, 5, 1)), jnp.ones((2, 5, 1)), jnp.ones((2, 5, 1)), 0.5)
    with pytest.raises(ValueError, match=r"state must have shape \[1\] or \[2, 1\]"):
        task.starting_from(state)


def test_periods_beyond_the_trial_are_named():
    with pytest.raises(ValueError, match="5 periods of 5 must fit into duration=20"):
        ol.tasks.cosine(n_periods=5)
