"""Stationary activity of nonlinear networks with a bulk: against closed forms, its own equations, and full networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.random_connectivity import stationary_activity

LAYOUT = ol.Layout()
START = ol.Overlaps.from_entries(LAYOUT, zm=0.3, zu=0.4, vm=0.6, vu=0.3)


def model(g, activation=None):
    return ol.Model(LAYOUT, ol.Erf() if activation is None else activation, bulk=ol.RandomBulk(g))


def correlated(delta, variance):
    """`< phi phi' >` of two fields for phi = erf(sqrt(pi)/2 h), in closed form (Williams 1997)."""
    return 2 / np.pi * np.arcsin(np.pi / 2 * delta / (1 + np.pi / 2 * variance))


def test_without_input_chaos_begins_at_g_1():
    for g, is_chaotic in ((0.99, False), (1.01, True)):
        found = stationary_activity(model(g), START, [0.0])
        assert found.is_chaotic == is_chaotic
        assert (found.variance > 0) == is_chaotic


def test_a_fixed_point_obeys_its_equations_and_chaos_its_own():
    for g, x in ((0.8, 1.0), (2.5, 0.7)):
        found = stationary_activity(model(g), START, [x])
        assert found.is_chaotic == (g > 1)
        gain = (1 + np.pi / 2 * found.variance) ** -0.5
        (k,) = found.recurrent
        # Rounding of root finding, 1e-14, and of averages over 64 nodes, 1e-9.
        assert k == pytest.approx(gain * (0.6 * x + 0.3 * k), rel=1e-9)
        assert found.outputs[0] == pytest.approx(gain * (0.3 * x + 0.4 * k), rel=1e-9)
        drive = x**2 + k**2
        rest = drive + g**2 * correlated(found.static, found.variance)
        assert found.static == pytest.approx(rest, rel=1e-6)
        # Work of the force between both ends, by the trapezoid rule in 2,000 steps.
        at = np.linspace(found.static, found.variance, 2001)
        work = np.trapezoid(at - drive - g**2 * correlated(at, found.variance), at)
        assert abs(work) < 1e-5 * found.variance**2
        lags = np.linspace(0, 3, 301)
        course = found.autocorrelation(lags)
        bend = np.gradient(np.gradient(course, lags), lags)[5:-5]
        force = (course - drive - g**2 * correlated(course, found.variance))[5:-5]
        # Second differences in steps of 0.01 are off by their fourth derivative, and the table by its 4,000 points.
        np.testing.assert_allclose(bend, force, atol=2e-3 * found.variance)


def test_a_full_network_settles_to_it():
    with_bulk = model(0.9)
    found = stationary_activity(with_bulk, START, [1.0])
    n, n_networks, n_steps = 200, 12, 200
    task = ol.Task(jnp.ones((1, n_steps, 1)), jnp.zeros((1, n_steps, 1)), jnp.ones((1, n_steps, 1)), 0.2)
    batch = ol.Overlaps(jnp.stack([START.gram] * n_networks), LAYOUT)
    networks = ol.BulkNetwork.sample(with_bulk, batch, n, key=jax.random.key(0))
    outputs = jax.vmap(lambda network: ol.simulate(with_bulk, network, task)[0, -1, 0])(networks)
    # Four standard errors of the mean, and 1 / N beside.
    allowed = 4 * float(outputs.std(ddof=1)) / n_networks**0.5 + 1 / n
    assert abs(float(outputs.mean()) - found.outputs[0]) < allowed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ol.Model(LAYOUT, ol.Tanh())}, "RandomBulk"),
        ({"model": ol.Model(LAYOUT, ol.Tanh(), bulk=ol.RandomBulk(1.0, symmetry=0.5))}, "independent entries"),
        ({"model": ol.Model(LAYOUT, ol.Linear(), bulk=ol.RandomBulk(0.5))}, "odd and saturate"),
        ({"model": ol.Model(LAYOUT, ol.ReLU(), bulk=ol.RandomBulk(0.5))}, "odd and saturate"),
        ({"inputs": [1.0, 2.0]}, "1 finite numbers"),
    ],
)
def test_what_it_does_not_hold_for_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        stationary_activity(**{"model": model(0.9), "overlaps": START, "inputs": [1.0]} | change)
