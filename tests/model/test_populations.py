"""Populations: their moments, their samples, and the averages that their activity needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol

LAYOUT = ol.Layout()
EPS = np.finfo(float).eps


def make(n_populations, seed=0, layout=LAYOUT):
    rng = np.random.default_rng(seed)
    d = layout.size
    fractions = rng.uniform(0.5, 1.5, n_populations)
    vectors = rng.standard_normal((n_populations, 3 * d, d))
    covariances = np.swapaxes(vectors, 1, 2) @ vectors / (3 * d)
    means = 0.5 * rng.standard_normal((n_populations, d))
    return ol.Populations(
        fractions / fractions.sum(), means, (covariances + np.swapaxes(covariances, 1, 2)) / 2, layout
    )


# Every example has parts of sizes of its own, each of which compiles anew.
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_neurons=st.integers(15, 60))
def test_an_exact_sample_has_the_mean_and_covariance_of_each_population(seed, n_neurons):
    populations = make(3, seed)
    network = populations.sample(n_neurons, key=jax.random.key(seed % 1000))
    assert network.n_neurons == n_neurons
    # Sums of N terms of the size of the largest covariance.
    tolerance = 20 * n_neurons * EPS * float(jnp.max(jnp.abs(populations.moments)))
    assert float(jnp.max(jnp.abs(network.overlaps.gram - populations.overlaps.gram))) < tolerance
    # The first ones are of the first population.
    first = np.asarray(network.vectors)[: round(float(populations.fractions[0] / network.weights[0]))]
    np.testing.assert_allclose(first.mean(axis=0), populations.means[0], atol=tolerance)
    np.testing.assert_allclose(np.cov(first.T, bias=True), populations.covariances[0], atol=tolerance)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_splitting_a_gaussian_keeps_its_overlaps(share):
    overlaps = ol.Overlaps.random(LAYOUT, key=jax.random.key(0), scale=0.4)
    split = ol.Populations.split(overlaps, ol.model.HermiteGrid(3), share=share)
    assert split.n_populations == 9
    np.testing.assert_allclose(split.overlaps.gram, overlaps.gram, atol=100 * EPS)


@pytest.mark.parametrize(
    "activation",
    [ol.Linear(), ol.Erf(), ol.Tanh(), ol.ReLU(), ol.Activation(jax.nn.softplus)],
    ids=["linear", "erf", "tanh", "relu", "softplus"],
)
@pytest.mark.parametrize(("centre", "variance"), [(0.0, 0.7), (0.6, 2.0), (-1.3, 0.05), (2.0, 0.0)])
def test_averages_are_those_of_adaptive_integration(activation, centre, variance):
    """Against scipy, with the slope as the derivative of the mean by the centre."""

    def integrate(function):
        if variance == 0:
            return function(centre)
        spread = np.sqrt(variance)
        value, _ = scipy.integrate.quad(
            lambda x: function(centre + spread * x) * scipy.stats.norm.pdf(x), -12, 12, points=[-centre / spread],
            epsabs=1e-12, limit=200,
        )  # fmt: skip
        return value

    mean, slope = activation.averages(jnp.asarray(centre), jnp.asarray(variance))
    # Quadrature with 128 nodes of functions that are smooth at the scale of the spread: gain_error is below 1e-8 for
    # these; the kink of ReLU is done in closed form.
    tolerance = 1e-8
    assert abs(float(mean) - integrate(lambda h: float(activation(jnp.asarray(h))))) < tolerance
    assert abs(float(slope) - integrate(lambda h: float(jax.grad(activation)(jnp.asarray(h))))) < tolerance
    if centre == 0:
        np.testing.assert_allclose(slope, activation.gain(jnp.asarray(variance)), rtol=1e-12)


def test_quadrature_neurons_have_the_overlaps_of_the_populations():
    populations = make(2)
    network = populations.quadrature(ol.model.HermiteGrid(3))
    np.testing.assert_allclose(network.overlaps.gram, populations.overlaps.gram, atol=200 * EPS)


def test_bad_populations_are_refused():
    good = make(2)
    a, mu, C = np.asarray(good.fractions), np.asarray(good.means), np.asarray(good.covariances)
    with pytest.raises(ValueError, match=r"means has \[3, 4\]"):
        ol.Populations(a, np.zeros((3, 4)), C, LAYOUT)
    with pytest.raises(ValueError, match=r"positive with sum 1; .* the sum 2"):
        ol.Populations(2 * a, mu, C, LAYOUT)
    with pytest.raises(ValueError, match="positive with sum 1"):
        ol.Populations([1.5, -0.5], mu, C, LAYOUT)
    with pytest.raises(ValueError, match="population 1 is not positive semi-definite"):
        ol.Populations(a, mu, np.stack([C[0], -C[1]]), LAYOUT)
    with pytest.raises(ValueError, match="population 0 is not symmetric"):
        ol.Populations(a, mu, C + np.triu(np.ones((4, 4)), 1) * [[[1.0]], [[0.0]]], LAYOUT)
    with pytest.raises(ValueError, match="means must be finite; 1 values are not"):
        ol.Populations(a, np.where(np.arange(8).reshape(2, 4) == 3, np.nan, mu), C, LAYOUT)
    with pytest.raises(ValueError, match="at least 10 neurons, got n_neurons=9"):
        good.sample(9, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"share must be from 0 to 1, got 1\.2"):
        ol.Populations.split(good.overlaps, share=1.2)
    with pytest.raises(ValueError, match="must not be folded"):
        good.quadrature(ol.model.HermiteGrid(2, folded=True))
    with pytest.raises(ValueError, match=r"nodes must be ol\.model\.HermiteGrid.*got 4"):
        ol.Populations.split(good.overlaps, 4)
    with pytest.raises(ValueError, match=r"layout must be an ol\.Layout"):
        ol.Populations(a, mu, C, None)


# -- of a network -----------------------------------------------------------------------------------------------------


def test_a_network_of_two_kinds_of_neurons_is_told_from_a_gaussian_one_and_keeps_its_overlaps():
    rng = np.random.default_rng(4)
    kinds = rng.integers(0, 2, 1000)
    vectors = np.array([[1.5, 0.0, 0.0, 1.5], [-1.5, 0.0, 1.5, 0.0]])[kinds] + 0.5 * rng.normal(size=(1000, 4))
    network = ol.Network(vectors, ol.Layout())
    found = ol.Populations.from_network(network, most=4, key=jax.random.key(0))
    # The clouds are 3 and more apart, and 0.5 wide: a neuron is misplaced with a chance below 1e-2.
    assert np.sort(found.fractions) == pytest.approx(np.sort(np.bincount(kinds) / 1000), abs=0.01)
    labelled = ol.Populations.from_network(network, kinds)
    assert labelled.means[0] == pytest.approx(vectors[kinds == 0].mean(axis=0), rel=1e-12)
    for one in (found, labelled):
        assert np.abs(one.overlaps.gram - network.overlaps.gram).max() <= 1000 * np.finfo(float).eps
    gaussian = ol.Network(rng.normal(size=(500, 4)), ol.Layout())
    assert ol.Populations.from_network(gaussian, most=4, key=jax.random.key(0)).n_populations == 1


def test_one_population_with_a_mean_does_what_neurons_of_one_sign_do_and_overlaps_do_not():
    rng = np.random.default_rng(0)
    network = ol.Network(0.7 * np.abs(rng.normal(size=(4000, 4))), ol.Layout())
    x = np.abs(rng.normal(size=(3, 20, 1)))
    task, model = ol.Task(x, 0 * x, np.ones(x.shape) / 60, 0.1), ol.Model(ol.Layout(), ol.ReLU())
    truth = np.asarray(ol.simulate(model, network, task))
    one = ol.Populations.from_network(network, np.zeros(4000, int))
    # All fields have one sign, where ReLU is linear; what is left comes from the Gaussian's tail beyond 0.
    assert np.abs(ol.rollout(model, one, task) - truth).max() < 0.05 * np.abs(truth).max()
    assert np.abs(ol.rollout(model, network.overlaps, task) - truth).max() > 0.3 * np.abs(truth).max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a mixture begins at random and needs a key"),
        ({"labels": [0, 1]}, r"labels must have shape \[50\], got \[2\]"),
        ({"labels": [np.nan] + 49 * [0.0]}, "labels must say something of each neuron; 1 are NaN"),
        ({"key": jax.random.key(0), "most": 0}, "most must be an integer of at least 1"),
    ],
)
def test_populations_of_a_network_need_labels_or_a_key(arguments, message):
    network = ol.Network(np.random.default_rng(0).normal(size=(50, 4)), ol.Layout())
    with pytest.raises(ValueError, match=message):
        ol.Populations.from_network(network, **arguments)
