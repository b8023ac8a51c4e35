"""Network: neurons with given overlaps, exactly or on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

LAYOUTS = [ol.Layout(1, 1, 1), ol.Layout(2, 3, 2)]


def spread_gram(layout, seed=0, n_neurons=None):
    """A Gram matrix of vectors of quite different lengths; singular if there are fewer neurons than vectors."""
    rng = np.random.default_rng(seed)
    n = n_neurons or 2 * layout.size
    vectors = rng.normal(size=(n, layout.size)) * np.geomspace(0.2, 3.0, layout.size)
    return vectors.T @ vectors / n


def rounding(gram, n_neurons):
    """How far the Gram matrix of N neurons may be off when it is exact but for rounding in the precision of `gram`.

    Three steps leave an error relative to the largest eigenvalue: orthonormal columns from a singular value
    decomposition and the square root of G from an eigenvalue decomposition (a modest multiple of d eps each; 10
    allowed), and the sum over N neurons (N eps at worst).
    """
    return (20 * len(gram) + n_neurons) * np.finfo(gram.dtype).eps * np.linalg.eigvalsh(gram)[-1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_neurons", [None, 60])
def test_exact_neurons_have_the_given_overlaps_to_rounding(layout, n_neurons):
    n = n_neurons or layout.size
    gram = spread_gram(layout)
    network = ol.Network.sample(ol.Overlaps(gram, layout), n, key=jax.random.key(1))
    vectors = np.asarray(network.vectors)
    assert vectors.shape == (n, layout.size)
    assert np.max(np.abs(vectors.T @ vectors / n - gram)) <= rounding(gram, n)
    assert np.max(np.abs(network.overlaps.gram - gram)) <= rounding(gram, n)


@pytest.mark.parametrize("n_neurons", [4, 60])
def test_exact_neurons_of_singular_overlaps_have_them_to_rounding(n_neurons):
    layout = ol.Layout()
    for gram in (spread_gram(layout, n_neurons=2), np.ones((4, 4)), np.diag([1.0, 0.0, 2.0, 0.0]), np.zeros((4, 4))):
        network = ol.Network.sample(ol.Overlaps(gram, layout), n_neurons, key=jax.random.key(2))
        assert np.max(np.abs(network.overlaps.gram - gram)) <= rounding(gram, n_neurons)


def test_exact_neurons_in_single_precision_have_the_overlaps_to_its_rounding():
    gram = spread_gram(ol.Layout()).astype(np.float32)
    network = ol.Network.sample(ol.Overlaps(gram, ol.Layout()), 60, key=jax.random.key(1))
    assert network.vectors.dtype == jnp.float32
    assert np.max(np.abs(network.overlaps.gram - gram)) <= rounding(gram, 60)


def test_exact_neurons_are_the_nearest_to_the_independent_ones():
    """The polar factor: among all frames, the one whose product with the Gaussian draw is symmetric and positive."""
    identity = ol.Overlaps.from_entries(ol.Layout())
    key = jax.random.key(3)
    exact = np.asarray(ol.Network.sample(identity, 60, key=key).vectors)
    independent = np.asarray(ol.Network.sample(identity, 60, key=key, exact=False).vectors)
    product = independent.T @ exact / 60
    assert np.allclose(product, product.T, rtol=0, atol=rounding(product, 60))
    assert np.linalg.eigvalsh(product)[0] > 0


def test_a_batch_of_overlaps_gives_a_batch_of_networks():
    layout = ol.Layout()
    grams = np.stack([spread_gram(layout, seed) for seed in range(3)])
    network = ol.Network.sample(ol.Overlaps(grams, layout), 60, key=jax.random.key(0))
    assert network.vectors.shape == (3, 60, 4)
    assert network.weights.shape == (3, 60)
    for gram, found in zip(grams, network.overlaps.gram, strict=True):
        assert np.max(np.abs(found - gram)) <= rounding(gram, 60)


@pytest.mark.parametrize("n_neurons", [50, 800])
def test_overlaps_of_independent_neurons_scatter_as_the_root_of_their_number(n_neurons):
    """For independent Gaussian neurons, < |G_N - G|^2 > = (tr(G)^2 + |G|^2) / N exactly, at every N."""
    layout, n_networks = ol.Layout(), 400
    gram = spread_gram(layout)
    overlaps = ol.Overlaps(gram, layout)
    keys = jax.random.split(jax.random.key(4), n_networks)
    found = jax.vmap(lambda key: ol.Network.sample(overlaps, n_neurons, key=key, exact=False).overlaps.gram)(keys)
    squared = np.mean(np.sum(np.square(np.asarray(found) - gram), axis=(1, 2)))
    expected = (np.trace(gram) ** 2 + np.sum(gram**2)) / n_neurons
    # Four standard errors. The square of a Gaussian deviation has a relative variance of 2; an average over N neurons
    # of a square (excess kurtosis 12) adds at most 12/N; a sum of such squares has no larger one.
    assert abs(squared / expected - 1) <= 4 * np.sqrt((2 + 12 / n_neurons) / n_networks)


def test_independent_neurons_may_be_fewer_than_the_vectors():
    network = ol.Network.sample(ol.Overlaps.from_entries(ol.Layout()), 2, key=jax.random.key(0), exact=False)
    assert network.n_neurons == 2


def test_neurons_are_those_of_the_key():
    overlaps = ol.Overlaps(spread_gram(ol.Layout()), ol.Layout())
    first = ol.Network.sample(overlaps, 60, key=jax.random.key(0)).vectors
    assert np.array_equal(first, ol.Network.sample(overlaps, 60, key=jax.random.key(0)).vectors)
    assert not np.array_equal(first, ol.Network.sample(overlaps, 60, key=jax.random.key(1)).vectors)


def test_columns_are_the_vectors_of_the_blocks():
    layout = ol.Layout(2, 3, 2)
    vectors = np.random.default_rng(0).normal(size=(5, layout.size))
    network = ol.Network(vectors, layout)
    assert [block.shape[1] for block in (network.m, network.u, network.v, network.z)] == [2, 3, 3, 2]
    assert np.array_equal(np.concatenate([network.m, network.u, network.v, network.z], axis=1), vectors)


def test_weights_are_the_shares_of_neurons_in_the_overlaps():
    layout, n = ol.Layout(), 7
    rng = np.random.default_rng(0)
    vectors, weights = rng.normal(size=(n, 4)), rng.dirichlet(np.ones(n))
    expected = sum(weights[i] * np.outer(vectors[i], vectors[i]) for i in range(n))
    found = ol.Network(vectors, layout, weights).overlaps.gram
    assert np.allclose(found, expected, rtol=0, atol=2 * n * np.finfo(float).eps * np.max(np.diag(expected)))
    assert np.array_equal(found, found.T)
    assert np.array_equal(ol.Network(vectors, layout).weights, np.full(n, 1 / n))


# -- errors ---------------------------------------------------------------------------------------------------------


def test_exact_overlaps_with_too_few_neurons_are_refused_with_the_cure():
    overlaps = ol.Overlaps.from_entries(ol.Layout(rank=2))
    with pytest.raises(
        ValueError, match="6 vectors with given overlaps need at least 6 neurons, got n_neurons=5"
    ) as caught:
        ol.Network.sample(overlaps, 5, key=jax.random.key(0))
    assert "exact=False" in str(caught.value)


@pytest.mark.parametrize("n_neurons", [0, -3, 10.0, True])
def test_an_impossible_number_of_neurons_is_refused(n_neurons):
    overlaps = ol.Overlaps.from_entries(ol.Layout())
    with pytest.raises(ValueError, match=f"n_neurons must be an integer of at least 1, got {n_neurons}"):
        ol.Network.sample(overlaps, n_neurons, key=jax.random.key(0))


@pytest.mark.parametrize("shape", [(5, 3), (4,), (0, 4)])
def test_vectors_of_wrong_shape_are_refused_with_the_right_one(shape):
    with pytest.raises(ValueError, match=r"vectors must have shape \[N, 4\] for Layout") as caught:
        ol.Network(np.zeros(shape), ol.Layout())
    assert str(caught.value).endswith(f"got {list(shape)}.")


def test_vectors_that_are_not_finite_are_refused_with_their_number():
    vectors = np.zeros((5, 4))
    vectors[1, 2], vectors[3, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="vectors must be finite; 2 of 20 values are not"):
        ol.Network(vectors, ol.Layout())


def test_a_layout_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"layout must be an ol\.Layout, got 4"):
        ol.Network(np.zeros((5, 4)), 4)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.5, 0.25, 0.25, 0.0], "the smallest is 0 and the sum 1"),
        ([0.5, 0.5, 0.5, -0.5], "the smallest is -0.5 and the sum 1"),
        ([0.25, 0.25, 0.25, 0.3], "the smallest is 0.25 and the sum 1.05"),
        ([0.25, 0.25, 0.25, np.nan], "the smallest is nan"),
    ],
)
def test_weights_that_are_no_shares_are_refused_with_the_cure(weights, said):
    with pytest.raises(ValueError, match="weights must be positive with sum 1") as caught:
        ol.Network(np.ones((4, 4)), ol.Layout(), weights)
    assert said in str(caught.value)
    assert str(caught.value).endswith("Pass weights / weights.sum().")


def test_weights_of_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"weights must have shape \[4\], got \[3\]"):
        ol.Network(np.ones((4, 4)), ol.Layout(), np.full(3, 1 / 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalised_weights_are_accepted_in_either_precision(dtype):
    for n in (3, 1000, 30000):
        weights = np.random.default_rng(n).exponential(size=n).astype(dtype) + dtype(1e-3)
        ol.Network(np.ones((n, 4), dtype), ol.Layout(), weights / weights.sum())


# -- networks of other programs ---------------------------------------------------------------------------------------


def plain_outputs(w_in, w, w_out, inputs, dt):
    """A program that knows no overlaps, one trial: `h <- h + dt (-h + W phi(h) + W_in x)`, `y = W_out phi(h)`."""
    h, outputs = np.zeros(len(w)), []
    for x in inputs:
        outputs.append(w_out @ np.tanh(h))
        h = h + dt * (-h + w @ np.tanh(h) + w_in @ x)
    return np.array(outputs)


def other_program():
    rng = np.random.default_rng(3)
    n = 40
    w_in, left, right, w_out = rng.normal(size=(n, 3)), *rng.normal(size=(2, n, 2)), rng.normal(size=(2, n)) / n
    inputs = rng.normal(size=(15, 3))
    task = ol.Task(inputs[None], np.zeros((1, 15, 2)), np.ones((1, 15, 2)), 0.2)
    return w_in, left, right, w_out, inputs, task


def test_networks_of_other_programs_do_what_those_do():
    w_in, left, right, w_out, inputs, task = other_program()
    n = len(w_in)
    w = left @ right.T / n
    wanted = plain_outputs(w_in, w, w_out, inputs, 0.2)
    model = ol.Model(ol.Layout(3, 2, 2), ol.Tanh())
    found = {
        "from_vectors": ol.Network.from_vectors(m=w_in, u=left, v=right, z=n * w_out.T),
        "from_ostojic": ol.Network.from_ostojic(I=w_in, m=left, n=right, w=n * w_out.T),
        "from_weights": ol.Network.from_weights(inputs=w_in, recurrence=w, readout=w_out, rank=2),
    }
    found["back"] = ol.Network.from_weights(**found["from_vectors"].as_weights, rank=2)
    for name, network in found.items():
        # 15 steps of sums over 40 neurons, of activity of order 1.
        off = np.abs(np.asarray(ol.simulate(model, network, task))[0] - wanted).max()
        assert off <= 15 * n * np.finfo(float).eps, name


def test_the_rnn_layer_of_pytorch_is_a_network_in_discrete_time_read_after_its_update():
    w_in, left, right, w_out, inputs, _ = other_program()
    n, biases = len(w_in), np.random.default_rng(4).normal(size=(2, len(w_in)))
    w, r, wanted = left @ right.T / n, np.zeros(n), []
    for x in inputs:
        # The equation of its documentation, of two biases.
        r = np.tanh(w_in @ x + biases[0] + w @ r + biases[1])
        wanted.append(w_out @ r)
    with_bias = np.column_stack([w_in, biases.sum(axis=0)])
    network = ol.Network.from_weights(inputs=with_bias, recurrence=w, readout=w_out, rank=2)
    task = ol.Task(inputs[None], np.zeros((1, 15, 2)), np.ones((1, 15, 2)), 1.0).with_bias().read_after_update()
    outputs = ol.simulate(ol.Model(ol.Layout(4, 2, 2), ol.Tanh()), network, task)[0, 1:]
    # 15 steps of sums over 40 neurons, of activity of order 1.
    assert np.abs(np.asarray(outputs) - wanted).max() <= 15 * n * np.finfo(float).eps


def test_vectors_and_matrices_that_do_not_fit_are_refused():
    w_in, left, right, w_out, *_ = other_program()
    n = len(w_in)
    with pytest.raises(ValueError, match=r"from_vectors: u and v must have as many columns, the rank.*v \[40, 1\]"):
        ol.Network.from_vectors(m=w_in, u=left, v=right[:, 0], z=w_out.T)
    with pytest.raises(ValueError, match=r"from_ostojic: each must have shape \[N, number of vectors\].*w \[2, 40\]"):
        ol.Network.from_ostojic(I=w_in, m=left, n=right, w=w_out)
    given = {"inputs": w_in, "recurrence": left @ right.T / n, "readout": w_out}
    with pytest.raises(ValueError, match=r"readout must have shape \[n_out, 40\], got \[40, 2\]"):
        ol.Network.from_weights(**given | {"readout": w_out.T}, rank=2)
    with pytest.raises(ValueError, match=r"recurrence is not of rank 1: .* rank 2 leaves less than rtol=1e-06"):
        ol.Network.from_weights(**given, rank=1)
    with pytest.raises(ValueError, match=r"recurrence must be finite; 1600 of 1600 values are not"):
        ol.Network.from_weights(**given | {"recurrence": np.full((n, n), np.nan)}, rank=2)
    with pytest.raises(ValueError, match=r"recurrence must have shape"):
        ol.Network.from_weights(**given | {"recurrence": 3.0}, rank=2)
