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
