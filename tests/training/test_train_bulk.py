"""train with a bulk: gradients and whole runs against plain loops, kinds of W, batches, files, checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse

import overlap_learning as ol
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.learner import NeuronLearner

N, B, T = 24, 3, 8
LAYOUT = ol.Layout(n_in=2, rank=1, n_out=1)
MODEL = ol.Model(LAYOUT, ol.Tanh(), bulk=ol.RandomBulk(1.1))
RULE = ol.GradientDescent(0.3, 6, save_every=2, rates={"W": 2.0, "m": 0.5})
EPS = float(np.finfo(float).eps)


def make_task():
    random = np.random.default_rng(0)
    inputs, targets = random.standard_normal((B, T, 2)), random.standard_normal((B, T, 1))
    return ol.Task(inputs, targets, np.full(targets.shape, 1 / targets.size), 0.3)


TASK = make_task()
NETWORK = ol.BulkNetwork.sample(MODEL, ol.Overlaps.from_entries(LAYOUT, vu=0.6), N, key=jax.random.key(0))


def plain_loss(m, u, v, z, w, task=TASK):
    """The loss of `h <- h + dt (-h + W phi(h) + u v^T phi(h) / N + m x)`, read before each step, as one writes it."""

    def step(h, x):
        phi = jnp.tanh(h)
        return h + task.dt * (-h + phi @ w.T + (phi @ v / N) @ u.T + x @ m.T), phi @ z / N

    _, outputs = jax.lax.scan(step, jnp.zeros((B, N)), jnp.swapaxes(task.inputs, 0, 1))
    return jnp.sum(task.weights * (jnp.swapaxes(outputs, 0, 1) - task.targets) ** 2)


LOSS, SLOPES = jax.jit(plain_loss), jax.jit(jax.grad(plain_loss, argnums=range(5)))


def plain_descent(network, n_steps, eta):
    arrays = [np.asarray(a) for a in (network.m, network.u, network.v, network.z, network.dense_bulk)]
    for _ in range(n_steps):
        rates = (0.5 * eta * N, eta * N, eta * N, eta * N, 2.0 * eta)
        arrays = [a - rate * np.asarray(g) for a, rate, g in zip(arrays, rates, SLOPES(*arrays), strict=True)]
    return arrays


@pytest.mark.parametrize("start", ["dense", "sparse"])
def test_vectors_and_bulk_learn_as_in_a_plain_loop(start):
    w = scipy.sparse.random_array((N, N), density=0.3, rng=np.random.default_rng(1)) if start == "sparse" else None
    network = NETWORK if w is None else ol.BulkNetwork(NETWORK.vectors, LAYOUT, w)
    learned = ol.train(MODEL, TASK, network, RULE)
    expected = plain_descent(network, RULE.n_steps, 0.3)
    got = (*(getattr(learned.final, name) for name in "muvz"), learned.final.bulk)
    for a, b in zip(got, expected, strict=True):
        # Six steps, each with a gradient of T products of N numbers, rounded in another order.
        np.testing.assert_allclose(a, b, atol=6 * T * N * EPS)
    assert np.max(np.abs(learned.final.bulk - np.asarray(network.dense_bulk))) > 1e-2
    np.testing.assert_allclose(learned.loss[-1], LOSS(*expected), rtol=T * N * EPS)


def test_a_sparse_bulk_that_is_not_named_stays_and_its_network_learns():
    w = scipy.sparse.random_array((N, N), density=0.3, rng=np.random.default_rng(1))
    network = ol.BulkNetwork(NETWORK.vectors, LAYOUT, w)
    learned = ol.train(MODEL, TASK, network, ol.GradientDescent(0.3, 1))
    slopes = SLOPES(network.m, network.u, network.v, network.z, network.dense_bulk)
    expected = network.vectors - 0.3 * N * jnp.concatenate(slopes[:4], axis=1)
    np.testing.assert_allclose(learned.final.vectors, expected, atol=T * N * EPS)
    assert isinstance(learned.final.bulk, type(network.bulk))
    np.testing.assert_array_equal(learned.final.dense_bulk, network.dense_bulk)


def test_a_bulk_of_zeros_is_no_bulk():
    network = ol.Network(NETWORK.vectors, LAYOUT)
    rule = ol.GradientDescent(0.3, 4)
    without = ol.train(ol.Model(LAYOUT, ol.Tanh()), TASK, network, rule)
    zeros = ol.train(MODEL, TASK, ol.BulkNetwork(network.vectors, LAYOUT, np.zeros((N, N))), rule)
    # Two programs: fields from k, and states step by step.
    np.testing.assert_allclose(zeros.overlaps.gram, without.overlaps.gram, atol=4 * T * N * EPS)


def test_adam_moves_the_arrays_of_a_plain_program():
    rate, n_steps = 1e-3, 3
    rule = ol.Optimiser(optax.adam(rate), n_steps, rates={"W": 1.0})
    learned = ol.train(MODEL, TASK, NETWORK, rule, arrays=ol.training.Arrays({"z": N}, per_neuron=False))

    arrays = (NETWORK.m, NETWORK.u, NETWORK.v, NETWORK.z / N, NETWORK.bulk)
    adam = optax.adam(rate)

    @jax.jit
    def step(arrays, memory):
        *vectors, readout, w = arrays
        *slopes, to_z, to_w = SLOPES(*vectors, N * readout, w)
        steps, memory = adam.update((*slopes, N * to_z, to_w), memory)
        return optax.apply_updates(arrays, steps), memory

    memory = adam.init(arrays)
    for _ in range(n_steps):
        arrays, memory = step(arrays, memory)
    got = (learned.final.m, learned.final.u, learned.final.v, learned.final.z / N, learned.final.bulk)
    for a, b in zip(got, arrays, strict=True):
        # Adam divides a gradient by its size: a gradient of rounding's size would be off by a whole step. The smallest
        # here is above 1e-7, a millionth of the largest; rounding is 1e-16 of that one.
        np.testing.assert_allclose(a, b, atol=1e-5 * rate)


def test_clipping_is_that_of_the_plain_gradient_of_all_that_learns():
    slopes = SLOPES(NETWORK.m, NETWORK.u, NETWORK.v, NETWORK.z, NETWORK.bulk)
    norm = float(jnp.sqrt(sum(jnp.sum(g**2) for g in slopes)))
    rule = ol.GradientDescent(0.3, 1, rates={"W": 1.0}, clip_norm=norm / 4)
    learned = ol.train(MODEL, TASK, NETWORK, rule, arrays=ol.training.Arrays(per_neuron=False))
    np.testing.assert_allclose(learned.final.bulk - NETWORK.bulk, -0.3 * slopes[4] / 4, atol=T * N * EPS)


def test_noise_of_one_temperature_moves_the_bulk_by_2d_over_n():
    rule = ol.GradientDescent(1e-6, 1, rates={"W": 1.0}, parameter_noise=1e3)
    learned = ol.train(MODEL, TASK, NETWORK, rule, jax.random.key(0))
    moved = (
        jnp.mean((learned.final.bulk - NETWORK.bulk) ** 2),
        jnp.mean((learned.final.vectors - NETWORK.vectors) ** 2),
    )
    # Mean squares of N^2 and of 5 N normal numbers.
    np.testing.assert_allclose(moved[0], 2e-3 / N, rtol=5 * np.sqrt(2) / N)
    np.testing.assert_allclose(moved[1], 2e-3, rtol=5 * np.sqrt(2 / (5 * N)))


def test_states_in_single_precision_change_the_gradient_by_their_rounding_only():
    def gradient(dtype):
        learner = NeuronLearner(MODEL, Neurons(jnp.ones(5), jnp.ones(())), NETWORK.weights, state_dtype=dtype)
        return jax.jit(lambda at: learner.gradient(at, TASK)[1])(Neurons(NETWORK.vectors, NETWORK.bulk))

    double, mixed = gradient(None), gradient(jnp.dtype(jnp.float32))
    for a, b in zip(jax.tree.leaves(double), jax.tree.leaves(mixed), strict=True):
        assert b.dtype == jnp.float64
        # Each of T steps, forth and back, rounds a few times; the activity is not chaotic for so long.
        difference = float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a)))
        assert 1e-12 < difference < 10 * T * np.finfo(np.float32).eps


def test_networks_side_by_side_learn_as_alone_each_with_its_frozen_bulk():
    rule = ol.GradientDescent(0.3, 4)
    start = ol.Overlaps(jnp.broadcast_to(NETWORK.overlaps.gram, (2, 5, 5)), LAYOUT)
    both = ol.BulkNetwork.sample(MODEL, start, N, key=jax.random.key(1))
    together = ol.train(MODEL, TASK, both, rule, save_vectors=True)
    alone = ol.train(MODEL, TASK, ol.BulkNetwork(both.vectors[1], LAYOUT, both.bulk[1]), rule)
    # Products of several networks add in another order.
    np.testing.assert_allclose(together.final.vectors[1], alone.final.vectors, atol=4 * T * N * EPS)
    assert together.networks.bulk.shape == (2, 5, N, N)
    np.testing.assert_array_equal(together.networks.bulk[:, -1], together.final.bulk)


@pytest.mark.parametrize("kind", ["learning", "sparse"])
def test_solutions_come_back_from_a_file(kind, tmp_path):
    w = scipy.sparse.random_array((N, N), density=0.3, rng=np.random.default_rng(1))
    network = ol.BulkNetwork(NETWORK.vectors, LAYOUT, w) if kind == "sparse" else NETWORK
    rule = ol.GradientDescent(0.3, 4, rates={"W": 1.0} if kind == "learning" else None)
    learned = ol.train(MODEL, TASK, network, rule, save_vectors=kind == "learning")
    learned.save(tmp_path / "run.nc")
    again = ol.load(tmp_path / "run.nc")
    assert jax.tree.structure(again) == jax.tree.structure(learned)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(learned), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": ol.Network(NETWORK.vectors, LAYOUT)}, "the network has none"),
        ({"model": ol.Model(LAYOUT, ol.Tanh()), "network": ol.Network(NETWORK.vectors, LAYOUT)}, 'rates\\["W"\\]'),
        ({"rule": ol.GradientDescent(0.1, 1, rates={"W": -1.0})}, 'rates\\["W"\\] must be at least 0'),
        ({"arrays": {"z": 24}}, "arrays must be ol.training.Arrays"),
        ({"arrays": ol.training.Arrays({"q": 1.0})}, "got the key 'q'"),
        ({"arrays": ol.training.Arrays({"z": 0.0})}, "units must be positive"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"model": MODEL, "task": TASK, "network": NETWORK, "rule": RULE} | change
    with pytest.raises(ValueError, match=message):
        ol.train(**arguments)
