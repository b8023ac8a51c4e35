"""What gradient flow conserves, along runs; phases as one run."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import overlap_learning as ol


def test_k_at_full_n_has_the_invariants_as_its_eigenvalues():
    overlaps = ol.Overlaps.random(ol.Layout(), key=jax.random.key(0), scale=0.5)
    neurons = ol.Network.sample(overlaps, 20, key=jax.random.key(1))
    values = np.linalg.eigvalsh(ol.studies.conserved_matrix(neurons))
    largest = np.sort(values[np.argsort(np.abs(values))[-4:]])
    model = ol.Model(ol.Layout(), ol.Linear())
    np.testing.assert_allclose(largest, ol.invariants(model, overlaps), atol=1e-13)


def test_joined_phases_are_one_course_of_learning():
    model = ol.Model(ol.Layout(), ol.Linear())
    start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.2)
    a, b = (ol.tasks.exponential_filter(decay, 5.0, 0.1) for decay in (0.2, 0.4))
    phases = ol.protocol(model, [a, b], start, ol.GradientDescent(5e-3, 40))
    course = ol.studies.joined(phases)
    np.testing.assert_allclose(ol.studies.phase_edges(phases), [0, 0.2, 0.4])
    assert np.all(np.diff(course.time) >= 0)
    # The transfer matrix of the whole takes the first start to every later point.
    moved = jnp.swapaxes(course.transfer, 1, 2) @ start.gram @ course.transfer
    np.testing.assert_allclose(moved, course.overlaps.gram, atol=1e-14)


def test_the_rate_of_drift_is_the_slope_of_the_trace():
    model = ol.Model(ol.Layout(), ol.Linear())
    start = ol.Overlaps.from_entries(model.layout)
    run = ol.integrate(model, ol.tasks.exponential_filter(0.2, 5.0, 0.1), start, ol.GradientDescent(5e-3, 40))
    # v v grows by 0.3 per unit of learning time, and it counts +1.
    grams = jnp.eye(4) + jnp.zeros((len(run.time), 4, 4)).at[:, 2, 2].set(0.3 * run.time)
    run = eqx.tree_at(lambda s: s.overlaps.gram, run, grams)
    np.testing.assert_allclose(ol.studies.trace_drift(run), (0.3, 0.0), atol=1e-12)
