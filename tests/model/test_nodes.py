"""Nodes: weighted neurons with given overlaps, and the averages over a Gaussian that they stand for."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol
from overlap_learning.model.cubature import cubature, moments, n_moments, n_points
from overlap_learning.model.network import triangular_factor
from overlap_learning.model.nodes import BUDGET, default_nodes

EPS = np.finfo(float).eps
SMALL, LARGE = ol.Layout(), ol.Layout(1, 2, 1)
KEY = jax.random.key(0)
NODES = {
    "grid": lambda folded: ol.model.HermiteGrid(4, 3, folded=folded),
    "odd grid": lambda folded: ol.model.HermiteGrid(3, folded=folded),
    "cubature": lambda folded: ol.model.Cubature(7, folded=folded),
    "sobol": lambda folded: ol.model.SobolNodes(64, folded=folded),
    "whitened": lambda folded: ol.model.WhitenedNodes(50, key=KEY, folded=folded),
}


def overlaps_of(layout, seed=0, n_neurons=30):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_neurons, layout.size)) * np.geomspace(0.3, 2.0, layout.size)
    return ol.Overlaps(vectors.T @ vectors / n_neurons, layout)


def rounding(gram, n_nodes):
    """Three steps, each with an error relative to the largest eigenvalue: whitening or scaling of the nodes and the
    factor of G (a modest multiple of d eps; 20 allowed), and the sum over nodes (at worst their number times eps)."""
    return (40 * len(gram) + n_nodes) * EPS * np.linalg.eigvalsh(gram)[-1]


def double_factorial(n):
    return math.prod(range(n, 0, -2))


@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize("layout", [SMALL, LARGE], ids=["d = 4", "d = 6"])
@pytest.mark.parametrize("folded", [True, False])
def test_nodes_have_the_given_overlaps_to_rounding(kind, layout, folded):
    overlaps = overlaps_of(layout)
    network = ol.Network.quadrature(overlaps, NODES[kind](folded))
    gram, weights, vectors = (np.asarray(a) for a in (overlaps.gram, network.weights, network.vectors))
    allowed = rounding(gram, len(weights))
    assert np.max(np.abs((vectors * weights[:, None]).T @ vectors - gram)) <= allowed
    assert np.all(weights > 0)
    if not folded:
        assert np.max(np.abs(weights @ vectors)) <= allowed


@pytest.mark.parametrize("kind", ["grid", "odd grid", "cubature", "sobol"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_only_the_dimensions_that_overlaps_have_get_nodes(kind, rank):
    overlaps = overlaps_of(SMALL, n_neurons=rank)
    network = ol.Network.quadrature(overlaps, NODES[kind](False))
    gram = np.asarray(overlaps.gram)
    assert np.max(np.abs(network.overlaps.gram - gram)) <= rounding(gram, network.n_neurons)
    assert np.linalg.matrix_rank(np.asarray(network.vectors), tol=1e-7) == rank
    if kind == "odd grid":
        assert network.n_neurons == 3**rank


def test_minimal_nodes_are_as_many_as_dimensions_and_of_equal_weight():
    for n_neurons in (30, 2):
        overlaps = overlaps_of(SMALL, n_neurons=n_neurons)
        network = ol.Network.quadrature(overlaps, ol.model.MinimalNodes())
        rank = min(4, n_neurons)
        np.testing.assert_array_equal(network.weights, np.full(rank, 1 / rank))
        assert np.max(np.abs(network.overlaps.gram - overlaps.gram)) <= rounding(np.asarray(overlaps.gram), rank)


def test_vanishing_overlaps_leave_one_silent_neuron():
    network = ol.Network.quadrature(ol.Overlaps(np.zeros((4, 4)), SMALL), ol.model.MinimalNodes())
    np.testing.assert_array_equal(network.vectors, np.zeros((1, 4)))


def test_the_first_dimensions_span_the_fields():
    for n_neurons in (30, 3):
        factor = np.asarray(triangular_factor(overlaps_of(LARGE, n_neurons=n_neurons)))
        assert factor.shape == (min(6, n_neurons), 6)
        assert np.max(np.abs(factor[LARGE.n_fields :, : LARGE.n_fields]), initial=0.0) <= 100 * EPS


@pytest.mark.parametrize("folded", [True, False])
def test_cubature_has_every_moment_it_promises(folded):
    degree, stretch = 9, 2.0
    nodes, weights = ol.model.Cubature(degree, stretch=stretch, folded=folded).standard(4, 2)
    n_exact = n_wrong = 0
    for e in np.ndindex(*[degree + 2] * 4):
        a, b = e[0] + e[1], e[2] + e[3]
        if (a + b) % 2 and folded:
            continue
        exact = float(all(k % 2 == 0 for k in e)) * math.prod(double_factorial(k - 1) for k in e)
        terms = weights * np.prod(nodes ** np.array(e), axis=1)
        # Rounding of the moments of lower degree that the solver left (100 eps each, normalised), in this one.
        allowed = 1000 * EPS * max(1.0, np.sum(np.abs(terms))) * math.sqrt(math.prod(math.factorial(k) for k in e))
        if a + stretch * b < degree:
            assert abs(np.sum(terms) - exact) <= allowed, e
            n_exact += 1
        else:
            n_wrong += abs(np.sum(terms) - exact) > 1e-3 * max(1.0, abs(exact))
    # More would be a miracle: the test tells right from wrong.
    assert n_wrong > n_exact > 50


def test_cubature_needs_far_fewer_nodes_than_a_grid_of_its_degree():
    # A grid of degree 9 has 5 nodes in each of 4 dimensions, half of them folded.
    _, weights = cubature(4, 2, 9, 2.0)
    assert len(weights) == n_points(4, 2, 9, 2.0) < 0.1 * 5**4 / 2


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("n_fields", [0, 1, 2])
@pytest.mark.parametrize("stretch", [1.0, 1.5, 2.0])
def test_moments_are_counted_as_they_are_listed(dimension, n_fields, stretch):
    if n_fields <= dimension:
        kind = (dimension, n_fields, 7, stretch)
        assert n_moments(*kind) == len(moments(*kind)) == len(np.unique(moments(*kind), axis=0))


@given(direction=st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3), power=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_grid_averages_even_powers_along_any_direction_as_the_normal_distribution_does(direction, power):
    nodes, weights = ol.model.HermiteGrid(5).standard(3, 2)
    # The average of (c . x)^2p is (2p - 1)!! |c|^2p; 5 nodes per dimension are exact to degree 9.
    average = weights @ (nodes @ np.array(direction)) ** (2 * power)
    size = np.sum(np.abs(direction)) ** (2 * power) * double_factorial(2 * power - 1)
    exact = double_factorial(2 * power - 1) * np.dot(direction, direction) ** power
    assert abs(average - exact) <= 1000 * EPS * max(size, np.finfo(float).tiny)


@pytest.mark.parametrize("kind", ["grid", "odd grid", "cubature"])
def test_folded_nodes_with_their_mirror_images_are_the_unfolded_ones(kind):
    folded, half = NODES[kind](True).standard(4, 2)
    whole, weights = NODES[kind](False).standard(4, 2)
    both = np.concatenate([folded, -folded])
    shares = np.concatenate([half, half]) / 2
    # Averages of functions that are no polynomials: equal only if the nodes are.
    for direction in np.random.default_rng(0).normal(size=(5, 4)):
        got, expected = shares @ np.cos(both @ direction), weights @ np.cos(whole @ direction)
        assert abs(got - expected) <= 100 * len(weights) * EPS


def test_the_origin_of_a_folded_grid_is_one_node_with_its_own_weight():
    nodes, weights = ol.model.HermiteGrid(3, folded=True).standard(2, 1)
    assert len(nodes) == 5
    at_zero = np.all(nodes == 0, axis=1)
    assert at_zero.sum() == 1
    # The weights of 3 Gauss-Hermite nodes are 1/6, 2/3, 1/6.
    np.testing.assert_allclose(weights[at_zero], 4 / 9, rtol=20 * EPS)


def test_finer_grids_converge_to_the_average_of_a_smooth_function():
    # <cos(c . x)> = exp(-|c|^2 / 2).
    direction = np.array([1.0, -0.5, 0.5])
    errors = []
    for order in (3, 5, 7):
        nodes, weights = ol.model.HermiteGrid(order).standard(3, 2)
        errors.append(abs(weights @ np.cos(nodes @ direction) - np.exp(-0.5 * direction @ direction)))
    # The error of n nodes in one dimension is n! / (2n)! times a derivative of order 2 n, here at most 1; there are 3.
    for order, error in zip((3, 5, 7), errors, strict=True):
        assert error <= 3 * math.factorial(order) / math.factorial(2 * order)
    assert errors[2] < 0.01 * errors[1] < 1e-4 * errors[0]


def test_sobol_nodes_average_better_than_random_ones():
    direction = np.array([0.8, 0.8, -0.8, 0.8])
    exact = np.exp(-0.5 * direction @ direction)
    errors = {}
    for name, kind in (("sobol", ol.model.SobolNodes), ("random", ol.model.WhitenedNodes)):
        found = [
            weights @ np.cos(nodes @ direction) - exact
            for nodes, weights in (kind(512, key=jax.random.key(i)).standard(4, 2) for i in range(8))
        ]
        errors[name] = np.sqrt(np.mean(np.square(found)))
    # A ratio of 1 would have an error of 35 % (8 of each).
    assert errors["sobol"] < 0.5 * errors["random"]


@pytest.mark.parametrize("kind", [ol.model.SobolNodes, ol.model.WhitenedNodes])
def test_random_nodes_are_those_of_their_key(kind):
    first, again, other = (np.asarray(kind(64, key=jax.random.key(i)).standard(4, 2)[0]) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_batch_of_overlaps_gives_a_batch_of_networks_as_vmap_does():
    grams = jnp.stack([overlaps_of(SMALL, seed).gram for seed in range(3)])
    nodes = ol.model.HermiteGrid(3, folded=True)
    batch = ol.Network.quadrature(ol.Overlaps(grams, SMALL), nodes)
    mapped = jax.vmap(lambda gram: ol.Network.quadrature(ol.Overlaps(gram, SMALL), nodes))(grams)
    for network in (batch, mapped):
        assert network.vectors.shape == (3, 41, 4)
        assert np.max(np.abs(network.overlaps.gram - grams)) <= max(rounding(np.asarray(g), 41) for g in grams)
    np.testing.assert_allclose(batch.vectors, mapped.vectors, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 6, 10, 20])
def test_default_nodes_fit_their_budget_and_the_coarser_ones_are_fewer(dimension):
    sizes = []
    for coarser in (True, False):
        nodes = default_nodes(dimension, max(1, dimension // 2), folded=True, coarser=coarser)
        if isinstance(nodes, ol.model.Cubature):
            sizes.append(n_points(dimension, dimension // 2, nodes.degree, nodes.stretch))
        elif isinstance(nodes, ol.model.SobolNodes):
            sizes.append(nodes.n_nodes)
        else:
            sizes.append(len(nodes.standard(dimension, max(1, dimension // 2))[1]))
    # Sobol nodes, where nothing better is left, may be more.
    assert sizes[1] <= (BUDGET if dimension <= 10 else 1024)
    assert sizes[0] < sizes[1] or dimension == 1


def test_networks_have_nodes_by_default():
    network = ol.Network.quadrature(overlaps_of(SMALL))
    assert network.n_neurons == 6**2 * 4**2


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf(), ol.Tanh(), ol.Activation(jnp.sin)])
def test_odd_activations_are_known(activation):
    assert activation.is_odd
    assert jax.jit(lambda: jnp.asarray(activation.is_odd))()


@pytest.mark.parametrize("activation", [ol.ReLU(), ol.Activation(jax.nn.softplus), ol.Activation(lambda h: h + 1e-9)])
def test_activations_that_are_not_odd_are_known(activation):
    assert not activation.is_odd


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ol.model.HermiteGrid(1), "HermiteGrid: order must be an integer of at least 2, got 1"),
        (lambda: ol.model.HermiteGrid(4, 1.5), "HermiteGrid: reader_order must be an integer of at least 2, got 1.5"),
        (
            lambda: ol.model.HermiteGrid(5).standard(6, 3),
            r"15,625, more than 10,000; use ol.model.Cubature\(7\) or ol.model.SobolNodes\(1024\)",
        ),
        (lambda: ol.model.Cubature(8), "Cubature: degree must be odd .* got 8"),
        (lambda: ol.model.Cubature(1), "Cubature: degree must be an integer of at least 3, got 1"),
        (lambda: ol.model.Cubature(7, stretch=0.5), "Cubature: stretch must be at least 1, got 0.5"),
        (
            lambda: ol.model.Cubature(15).standard(10, 5),
            r"moments to solve for, more than 1,000; use a smaller degree, or ol.model.SobolNodes\(1024\)",
        ),
        (lambda: ol.model.SobolNodes(4).standard(4, 2), "SobolNodes: 4 dimensions need at least 5 nodes"),
        (
            lambda: ol.model.WhitenedNodes(4, key=KEY).standard(4, 2),
            "WhitenedNodes: 4 dimensions need at least 5 nodes",
        ),
        (
            lambda: jax.vmap(lambda k: ol.model.SobolNodes(64, key=k).standard(4, 2))(jax.random.split(KEY, 2)),
            "inside jit or vmap use WhitenedNodes",
        ),
        (lambda: ol.Network.quadrature(overlaps_of(SMALL), 64), r"nodes must be ol.model.Cubature\(\), .* got 64"),
        (lambda: ol.Network.quadrature(overlaps_of(SMALL), "sobol"), "Network.quadrature: nodes must be"),
    ],
)
def test_bad_nodes_are_refused_with_the_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()
