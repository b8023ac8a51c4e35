"""Neurons as polynomials of what they were: what their learning must be equal to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.validation.expansion import ExpansionLearner, expand, polynomials

EPS = np.finfo(float).eps
MODEL = ol.Model(ol.Layout(), ol.Erf())
TASK = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=2, duration=5.0, dt=0.2, wait_range=(1.0, 2.0))
START = ol.Overlaps.from_entries(ol.Layout(), zm=0.3, zu=0.4, vm=0.4, vu=0.4)
RULE = ol.GradientDescent(0.2, 20, save_every=10)
GRID = ol.model.HermiteGrid(8, 3, folded=True)


def largest(difference):
    return float(np.max(np.abs(np.asarray(difference))))


def test_linear_polynomials_are_the_gaussian_theory():
    theory = ol.integrate(MODEL, TASK, START, RULE).overlaps.gram
    fine, coarse = (
        largest(expand(MODEL, TASK, START, RULE, 2, nodes).overlaps.gram - theory)
        for nodes in (GRID, ol.model.HermiteGrid(6, 3, folded=True))
    )
    # Projected on linear functions, the gradient is the theory's, but for the error of the grid, which falls by a
    # factor of two or more with each node per dimension.
    assert fine < coarse / 4
    assert coarse < 0.01 * largest(theory[-1] - theory[0])


def test_as_many_polynomials_as_nodes_are_the_training_of_the_nodes():
    network = ol.Network.quadrature(START, ol.model.HermiteGrid(2, folded=True))
    root = jnp.sqrt(network.weights)[:, None]
    # Indicators of the nodes: as orthonormal as any basis.
    expansion = ExpansionLearner(MODEL, jnp.ones(4), jnp.diag(1 / root[:, 0]), network.weights)
    neurons, at = NeuronLearner(MODEL, Neurons(jnp.ones(4)), network.weights), Neurons(network.vectors)
    position = root * network.vectors
    assert largest(expansion.observe(position)["gram"] - neurons.observe(at)["gram"]) < 100 * EPS
    value, slope = expansion.gradient(position, TASK)
    expected_value, expected = neurons.gradient(at, TASK)
    # Sums over 25 times and 8 nodes.
    assert abs(value - expected_value) < 200 * EPS
    assert largest(slope / root - expected.vectors) < 200 * EPS * largest(expected.vectors)


@pytest.mark.parametrize(("degree", "size"), [(2, 4), (3, 8), (5, 26)])
def test_polynomials_are_orthonormal_on_the_grid_and_begin_with_the_linear_ones(degree, size):
    points, weights = GRID.standard(4, 2)
    basis = polynomials(points, 2, degree)
    assert basis.shape == (len(points), size)
    np.testing.assert_allclose(basis[:, :4], points, rtol=0, atol=0)
    # Sums over 288 nodes of products that reach 1e4.
    np.testing.assert_allclose(basis.T @ (weights[:, None] * basis), np.eye(size), rtol=0, atol=1e-10)
