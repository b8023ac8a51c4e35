"""Bulk: the statistics of each ensemble, networks with a given or drawn matrix, and their activity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import overlap_learning as ol

N = 600
LAYOUT = ol.Layout(n_in=2, rank=0, n_out=1)
ENSEMBLES = [
    ol.RandomBulk(0.9),
    ol.RandomBulk(0.9, symmetry=0.5),
    ol.model.SparseBulk(0.9, density=0.2),
]


def near(found, expected, deviation, n_terms):
    """A mean of independent terms of this standard deviation, within five of its own."""
    assert abs(found - expected) < 5 * deviation / np.sqrt(n_terms)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_entries_have_variance_g2_over_n_and_the_correlation_asked_for(ensemble):
    w = np.sqrt(N) / 0.9 * np.asarray(ensemble.sample(N, jax.random.key(0)))
    pairs = w[np.triu_indices(N, 1)], w.T[np.triu_indices(N, 1)]
    n_pairs = pairs[0].size
    density, tau = float(getattr(ensemble, "density", 1.0)), float(getattr(ensemble, "symmetry", 0.0))
    # Squares of entries that are there with probability p, of variance 1 / p, have the variance 3 / p - 1; products of
    # a pair with correlation tau that of 1 + tau^2.
    near(np.mean(pairs[0] ** 2), 1.0, np.sqrt(3 / density - 1), n_pairs)
    near(np.mean(pairs[0] * pairs[1]), tau, np.sqrt(1 + tau**2), n_pairs)
    near(np.mean(np.diag(w) ** 2), 1 + tau, np.sqrt(3 / density - 1) * (1 + tau), N)
    near(np.mean(w != 0), density, 0.5, w.size)


def test_symmetric_matrices_reach_to_2g_and_others_to_g():
    drawn = [ol.RandomBulk(0.9, symmetry=tau).sample(200, jax.random.key(1)) for tau in (0.0, 1.0)]
    edges = [np.abs(np.linalg.eigvals(np.asarray(w))).max() for w in drawn]
    # Edges fluctuate by N^(-1/2) (circle) and N^(-2/3) (semicircle) at most.
    np.testing.assert_allclose(edges, [0.9, 1.8], rtol=200**-0.5)


def test_columns_obey_dales_law_and_balance_with_the_radius_g():
    w = np.asarray(ol.model.DaleBulk(0.9, excitatory=0.8).sample(N, jax.random.key(2)))
    signs = np.sign(w)
    assert np.all(signs[:, :480] == 1)
    assert np.all(signs[:, 480:] == -1)
    # Of the entries, N^2 / 5 inhibitory ones of size a_I = 2 g / sqrt((1 - 2 / pi) N) make most of the noise of a mean.
    spread = 2 * 0.9 / np.sqrt(N)
    near(np.mean(w), 0, spread, w.size)
    expected = w - np.where(np.arange(N) < 480, w[:, :480].mean(), w[:, 480:].mean())
    np.testing.assert_allclose(np.mean(expected**2), 0.9**2 / N, rtol=10 / N)


def test_strength_is_an_array_so_that_a_sweep_compiles_once():
    draw = jax.jit(lambda ensemble, key: ensemble.sample(50, key))
    a, b = (draw(ol.RandomBulk(g), jax.random.key(0)) for g in (0.5, 1.0))
    # Multiplied by a number of its own at the end.
    np.testing.assert_allclose(b, 2 * a, rtol=4e-16)
    assert draw._cache_size() == 1


@pytest.fixture(scope="module")
def network():
    model = ol.Model(LAYOUT, ol.Tanh(), bulk=ol.RandomBulk(1.2))
    return model, ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(LAYOUT), 40, key=jax.random.key(3))


def test_activity_is_that_of_a_plain_loop(network):
    model, net = network
    task = ol.tasks.flip_flop_channels(key=jax.random.key(4), n_trials=3)
    got = ol.simulate(model, net, ol.Task(task.inputs, task.targets[..., :1], task.weights[..., :1], task.dt))
    m, z, w = np.asarray(net.m), np.asarray(net.z), np.asarray(net.bulk)
    h, outputs = np.zeros((3, 40)), []
    for x in np.moveaxis(np.asarray(task.inputs), 1, 0):
        outputs.append(np.tanh(h) @ z / 40)
        h = h + 0.5 * (-h + np.tanh(h) @ w.T + x @ m.T)
    # Rounding grows along the activity by less than g^T of a chaotic one: 1.1^100.
    np.testing.assert_allclose(got, np.stack(outputs, axis=1), atol=1e-11)


def test_a_low_rank_part_adds_up_with_the_bulk():
    layout = ol.Layout()
    model = ol.Model(layout, ol.Erf(), bulk=ol.RandomBulk(0.8))
    net = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(layout, vu=0.7, zu=0.4), 30, key=jax.random.key(5))
    full = ol.Layout(rank=0)
    vectors = jnp.concatenate([net.m, net.z], axis=1)
    same = ol.BulkNetwork(vectors, full, net.connectivity)
    task = ol.tasks.exponential_filter(duration=10.0, dt=0.1)
    np.testing.assert_allclose(
        ol.simulate(model, net, task), ol.simulate(ol.Model(full, ol.Erf()), same, task), atol=1e-13
    )


def test_sparse_matrices_of_scipy_do_what_dense_ones_do(network):
    model, net = network
    sparse = scipy.sparse.random_array((40, 40), density=0.2, rng=np.random.default_rng(0), format="csr")
    task = ol.Task(jnp.ones((2, 20, 2)), jnp.zeros((2, 20, 1)), jnp.ones((2, 20, 1)), 0.5)
    a, b = (ol.simulate(model, ol.BulkNetwork(net.vectors, LAYOUT, w), task) for w in (sparse, sparse.todense()))
    np.testing.assert_allclose(a, b, atol=1e-14)


def test_networks_of_a_batch_have_a_bulk_each():
    model = ol.Model(ol.Layout(rank=0), ol.Linear(), bulk=ol.RandomBulk(0.5))
    start = ol.Overlaps(jnp.stack([jnp.eye(2)] * 3), model.layout)
    nets = ol.BulkNetwork.sample(model, start, 30, key=jax.random.key(0))
    assert nets.bulk.shape == (3, 30, 30)
    assert not np.any(np.asarray(nets.bulk[0]) == np.asarray(nets.bulk[1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ol.RandomBulk(-0.1), "g must be a finite number of at least 0"),
        (lambda: ol.RandomBulk(np.nan), "g must be a finite number"),
        (lambda: ol.RandomBulk(0.5, symmetry=1.5), "symmetry must be a correlation"),
        (lambda: ol.model.SparseBulk(0.5, density=0.0), r"density must be a share of connections, in \(0, 1\]"),
        (lambda: ol.model.SparseBulk(0.5, density=1.1), r"in \(0, 1\], got 1.1"),
        (lambda: ol.model.DaleBulk(0.5, excitatory=0.9).sample(5, jax.random.key(0)), "no neuron of one kind"),
        (lambda: ol.Model(LAYOUT, ol.Tanh(), bulk=np.eye(3)), "A given matrix belongs to the network"),
        (lambda: ol.BulkNetwork(np.ones((4, 3)), LAYOUT, np.ones((4, 3))), r"bulk must have shape \[4, 4\]"),
        (lambda: ol.BulkNetwork(np.ones((4, 3)), LAYOUT, np.full((4, 4), np.nan)), "16 of 16 values are not"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_knows_no_bulk_refuses_one(network):
    model, net = network
    task = ol.Task(jnp.ones((2, 20, 2)), jnp.zeros((2, 20, 1)), jnp.ones((2, 20, 1)), 0.5)
    with pytest.raises(ValueError, match="rollout: the model has a bulk"):
        ol.rollout(model, ol.Overlaps.from_entries(LAYOUT), task)
    with pytest.raises(ValueError, match=r"ol\.BulkNetwork\.sample"):
        ol.simulate(model, ol.Network(net.vectors, LAYOUT), task)
