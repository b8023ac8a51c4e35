"""The modes of linear networks, and what enters the metric."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol


@pytest.mark.parametrize(("decay", "dt"), [(0.2, 0.05), (0.7, 0.1)])
def test_a_network_with_the_expected_final_overlaps_solves_the_filter(decay, dt):
    zm, product, vu = ol.studies.filter_solution(decay, dt)
    model = ol.Model(ol.Layout(), ol.Linear())
    overlaps = ol.Overlaps.from_entries(model.layout, zm=zm, zu=product, vm=1.0, vu=vu, vv=4.0, zz=4.0, uu=2.0)
    task = ol.tasks.exponential_filter(decay, 5.0, dt)
    # Squares of rounding errors; in closed form the rounding of the target's own sum of squares.
    assert task.loss(ol.rollout(model, overlaps, task)) < 1e-25
    assert ol.loss(model, task, overlaps) < 1e-14


def test_the_slowest_mode_of_a_rotation_has_its_decay_and_frequency():
    dt = 0.01
    # One step turns by 2 dt and shrinks by exp(-0.3 dt).
    step = np.exp(-0.3 * dt) * np.array([[np.cos(2 * dt), np.sin(2 * dt)], [-np.sin(2 * dt), np.cos(2 * dt)]])
    recurrence = (step - np.eye(2)) / dt + np.eye(2)
    np.testing.assert_allclose(ol.studies.slowest_mode(recurrence, dt), (0.3, 2.0), atol=1e-10)


def test_the_terms_give_back_the_metric_of_any_overlaps():
    model = ol.Model(ol.Layout(), ol.Linear())
    terms = ol.studies.metric_terms(model)
    overlaps = ol.Overlaps.random(model.layout, key=jax.random.key(3), scale=0.5)
    sigma = jnp.stack(list(overlaps.entries().values()))
    np.testing.assert_allclose(terms @ np.asarray(sigma), ol.metric(model, overlaps), atol=1e-14)
