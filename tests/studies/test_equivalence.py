"""Functionally equivalent networks: completions, members, gauges, noise, comparison."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol

LAYOUTS = {rank: ol.Layout(1, rank, 1) for rank in (1, 2, 3)}


def _task(n_steps=60, dt=0.1):
    """An impulse, and a damped oscillation as the answer."""
    times = dt * jnp.arange(n_steps)
    target = jnp.exp(-0.3 * times) * jnp.cos(times)
    inputs = jnp.zeros((1, n_steps, 1)).at[:, 0].set(1 / dt)
    return ol.Task(inputs, target[None, :, None], jnp.full((1, n_steps, 1), dt), dt)


def _pair(rank, activation=None):
    """A network, and one with the same visible overlaps: invisible norms raised, one other overlap moved."""
    layout = LAYOUTS[rank]
    model = ol.Model(layout, activation or ol.Linear())
    first = ol.Overlaps.random(layout, key=jax.random.key(rank), scale=0.3)
    diagonal = [name for name, i, j in zip(layout.entry_names, *layout.entry_indices, strict=True) if i == j]
    values = first.entries()
    changes = {name: values[name] + 0.7 for name in diagonal if name in model.invisible_names}
    other = "vz" if rank == 1 else "v1z"
    changes[other] = values[other] + 0.3
    return model, first, ol.equivalent(first, model, **changes)


@pytest.mark.parametrize("rank", [1, 3])
def test_equivalent_linear_networks_do_the_same_and_learn_differently_in_theory_and_at_full_n(rank):
    model, first, second = _pair(rank)
    task = _task()
    # Visible overlaps are copied, so they are equal to the last bit, and with them the reduced activity.
    np.testing.assert_array_equal(np.asarray(first.gram)[model.visible], np.asarray(second.gram)[model.visible])
    np.testing.assert_array_equal(ol.rollout(model, first, task), ol.rollout(model, second, task))

    rule = ol.GradientDescent(5e-3, 200, save_every=20)
    found = ol.compare(model, task, [first, second], rule)
    assert float(found.told_apart(1e-3)[1]) < float(found.solutions[0].time[-1])

    for overlaps, theory, key in zip(
        (first, second), found.solutions, jax.random.split(jax.random.key(0)), strict=True
    ):
        network = ol.Network.sample(overlaps, 30, key=key)
        # The outputs of the two networks agree through the reduced activity, each to rounding of sums over 30 neurons.
        outputs = [np.asarray(ol.simulate(model, network, task)), np.asarray(ol.rollout(model, overlaps, task))]
        assert np.max(np.abs(outputs[0] - outputs[1])) < 1e-12
        full = ol.train(model, task, network, rule)
        # The bound that `ol.validate` derives: eps ((T + N) path + n_steps size), here below 2.2e-16 (90 * 20 + 200 *
        # 5).
        grams = [np.asarray(run.overlaps.gram) for run in (full, theory)]
        assert np.max(np.abs(grams[0] - grams[1])) < 1e-12


def test_equivalent_nonlinear_networks_have_the_same_gaussian_theory():
    model, first, second = _pair(2, ol.Erf())
    np.testing.assert_array_equal(ol.rollout(model, first, _task()), ol.rollout(model, second, _task()))
    assert jnp.max(jnp.abs(first.gram - second.gram)) > 0.2


def test_visible_overlap_is_refused_and_invisible_ones_listed():
    model, first, _ = _pair(1)
    with pytest.raises(
        ValueError, match=r"'zu' is visible to the loss.*invisible overlaps of this model are mm, mu, uu"
    ):
        ol.equivalent(first, model, zu=0.3)


def test_infeasible_overlap_is_refused_with_its_interval_and_the_closest_network():
    model = ol.Model(LAYOUTS[1], ol.Linear())
    first = ol.Overlaps.from_entries(model.layout, zu=0.5)
    low = ol.feasible(first, model, "uu").low
    with pytest.raises(ValueError, match="positive semi-definite") as caught:
        ol.equivalent(first, model, uu=0.1)
    assert f"{low:.6g} to inf" in str(caught.value)
    assert "closest=True takes it" in str(caught.value)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), entry=st.integers(0, 20))
def test_feasible_interval_is_where_the_smallest_eigenvalue_vanishes(seed, entry):
    layout = LAYOUTS[2]
    model = ol.Model(layout, ol.Linear())
    overlaps = ol.Overlaps.random(layout, key=jax.random.key(seed), scale=0.4)
    name, i, j = layout.entry_names[entry], *(int(index[entry]) for index in layout.entry_indices)
    for value in ol.feasible(overlaps, model, name):
        if np.isinf(value):
            continue
        edge = np.array(overlaps.gram)
        edge[i, j] = edge[j, i] = value
        eigenvalues = np.linalg.eigvalsh(edge)
        # The Schur complements of a matrix of condition number below 1e4 are good to 1e4 eps.
        assert abs(eigenvalues[0]) < 1e-11 * eigenvalues[-1]


def test_closest_completion_is_optimal():
    """No other feasible completion is closer, and the conditions of the projection onto a convex set hold."""
    model = ol.Model(LAYOUTS[2], ol.Linear())
    first = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.5)
    asked = {"uu": np.array([[0.05, 0.3], [0.3, 0.1]]), "mm": 0.2}
    found = np.asarray(ol.equivalent(first, model, closest=True, **asked).gram)
    target = np.array(first.gram)
    target[1:3, 1:3], target[0, 0] = asked["uu"], asked["mm"]
    np.testing.assert_array_equal(found[model.visible], np.asarray(first.gram)[model.visible])
    # <target - found, member - found> <= 0 for every member of the convex set, as far as Dykstra converges.
    members = np.asarray(ol.studies.members(first, model, 500, key=jax.random.key(1), spread=0.3).gram)
    inner = np.sum((target - found) * (members - found), axis=(1, 2))
    assert inner.max() < 1e-8


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf()], ids=["linear", "erf"])
def test_members_share_the_visible_overlaps_and_are_networks(activation):
    model = ol.Model(LAYOUTS[2], activation)
    first = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.4)
    found = np.asarray(ol.studies.members(first, model, 50, key=jax.random.key(1)).gram)
    np.testing.assert_array_equal(
        found[:, model.visible], np.broadcast_to(np.asarray(first.gram)[model.visible], (50, model.visible.sum()))
    )
    ol.Overlaps(found, model.layout)  # checks that each is positive semi-definite
    assert np.all(np.std(found[:, model.invisible], axis=0) > 0.01)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4).filter(lambda x: abs(x[0] * x[3] - x[1] * x[2]) > 0.3))
def test_gauge_leaves_outputs_alone_and_composes(numbers):
    matrix = np.array(numbers).reshape(2, 2)
    model = ol.Model(LAYOUTS[2], ol.Erf())
    first = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.4)
    second = ol.studies.gauge(first, model, matrix)
    # T and its inverse multiply up rounding by at most cond(T)^2 < (8 / 0.3)^2 per step of 60.
    bound = 60 * 2.2e-16 * np.linalg.cond(matrix) ** 2 * 100
    assert jnp.max(jnp.abs(ol.rollout(model, first, _task()) - ol.rollout(model, second, _task()))) < bound
    back = ol.studies.gauge(second, model, np.linalg.inv(matrix))
    assert jnp.max(jnp.abs(back.gram - first.gram)) < bound


def test_singular_gauge_is_refused():
    model, first, _ = _pair(2)
    with pytest.raises(ValueError, match="invertible"):
        ol.studies.gauge(first, model, np.ones((2, 2)))


def test_output_noise_is_that_of_simulated_networks_and_differs_between_equivalent_ones():
    model, first, second = _pair(2)
    task, n, sigma, runs = _task(), 30, 0.5, 2000
    silent = ol.Task(jnp.zeros_like(task.inputs), task.targets, task.weights, task.dt)
    measured = []
    for overlaps in (first, second):
        network = ol.Network.sample(overlaps, n, key=jax.random.key(1))
        simulate = jax.vmap(lambda k, net=network: ol.simulate(model, net, silent, state_noise=sigma, key=k))
        outputs = simulate(jax.random.split(jax.random.key(2), runs))[:, 0, :, 0]
        theory = ol.studies.output_noise(model, overlaps, task, n, sigma)[:, 0, 0]
        variance = jnp.mean(jnp.square(outputs), axis=0)
        # The variance of `runs` Gaussian samples has error sqrt(2 / runs) times itself; 4.5 of them at 59 times.
        assert theory[0] == 0
        assert jnp.max(jnp.abs(variance[1:] / theory[1:] - 1)) < 4.5 * np.sqrt(2 / runs)
        measured.append(theory[-1])
    assert measured[1] > 1.2 * measured[0]


def test_comparison_finds_the_direction_in_which_learning_tells_apart():
    model, first, second = _pair(1)
    found = ol.compare(model, _task(), [first, second], ol.GradientDescent(1e-3, 1))
    for name, excess in found.direction.items():
        series = [np.asarray(s.visible[name]) for s in found.solutions]
        slope = ((series[1][1] - series[1][0]) - (series[0][1] - series[0][0])) / 1e-3
        # A step of 1e-3: the second derivative (of order 10) times half of it.
        assert abs(slope - excess[1]) < 0.02
    assert max(abs(excess[1]) for excess in found.direction.values()) > 0.1
    text = repr(found)
    assert "network 1" in text
    assert "uu after" in text


def test_compare_needs_two_networks():
    model, first, _ = _pair(1)
    with pytest.raises(ValueError, match="two or more"):
        ol.compare(model, _task(), [first], ol.GradientFlow(1.0))
