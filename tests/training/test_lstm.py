"""The LSTM against its equations, written out; its gradient, its start, its dropout."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.training import LSTM, LSTMLearner

EPS = np.finfo(float).eps
WORDS = np.array([[1, 2, 3, 4], [4, 1, 0, 0], [2, 0, 0, 0]])
LENGTHS, LABELS = [4, 2, 1], [1, 0, 1]
LSTM_ = LSTM.sample(3, 4, key=jax.random.key(5))
EMBEDDINGS = np.concatenate([np.zeros((1, 3)), np.random.default_rng(0).normal(size=(4, 3))])
LEARNER = LSTMLearner(LSTM_, EMBEDDINGS, dropout=0.4)
TASK = ol.tasks.Sentences(WORDS, LENGTHS, LABELS).task


@pytest.fixture(scope="module")
def gradient():
    return eqx.filter_jit(LEARNER.gradient)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def output_by_hand(words, factors):
    """The output after the last word of a sentence that is not padded, with factors of each layer and step."""
    arrays = jax.tree.map(np.asarray, LSTM_.arrays)
    inputs = [EMBEDDINGS[word] for word in words]
    for layer, of_layer in zip(("l0", "l1"), factors, strict=True):
        h, c, states = np.zeros(4), np.zeros(4), []
        for x in inputs:
            pre = arrays[f"weight_ih_{layer}"] @ x + arrays[f"weight_hh_{layer}"] @ h + arrays[f"bias_{layer}"]
            i, f, g, o = pre[:4], pre[4:8], pre[8:12], pre[12:]
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            states.append(h)
        inputs = [h * factor for h, factor in zip(states, of_layer, strict=False)]
    return (arrays["readout_weight"] @ inputs[-1] + arrays["readout_bias"])[0]


@pytest.fixture(scope="module")
def dropped():
    """Outputs after the last word with dropout, and its factors, of each sentence with each of 50 seeds, 7 twice."""
    seeds = np.tile([*range(49), 7], 3)
    words, lengths, labels = (np.repeat(a, 50, axis=0) for a in (WORDS, LENGTHS, LABELS))
    task = ol.tasks.Sentences(words, lengths, labels).task
    inputs = np.stack([words, np.broadcast_to(seeds[:, None], words.shape)], axis=-1)
    task = task.replace(inputs=inputs)
    both = eqx.filter_jit(
        lambda learner, task: (learner.outputs(LSTM_, task), learner._factors(LSTM_, task, learner.dropout))
    )
    outputs, factors = both(LEARNER, task)
    return np.asarray(outputs)[np.arange(150), lengths - 1, 0], np.asarray(factors)


def test_outputs_and_loss_are_those_of_the_equations_and_padding_does_not_matter(gradient, dropped):
    sentences = [words[:n] for words, n in zip(WORDS, LENGTHS, strict=True)]
    for k, words in enumerate(sentences):
        outputs, factors = (array[..., 50 * k : 50 * k + 5] for array in (dropped[0], np.moveaxis(dropped[1], 2, 3)))
        by_hand = [output_by_hand(words, factors[..., i]) for i in range(5)]
        # Some ten roundings in each of 4 steps and 2 layers, of numbers of order 1.
        np.testing.assert_allclose(outputs, by_hand, atol=100 * EPS)
    expected = np.array([output_by_hand(words, np.ones((2, 4, 1))) for words in sentences])
    p = sigmoid(expected)
    cross_entropy = -np.mean(np.where(np.array(LABELS) == 1, np.log(p), np.log(1 - p)))
    loss, slope = gradient(LSTM_, TASK)
    assert float(loss) == pytest.approx(cross_entropy, rel=100 * EPS)
    # Other words in the padding: not a bit of the loss or its gradient changes.
    inside = np.arange(4) < np.array(LENGTHS)[:, None]
    other = ol.tasks.Sentences(np.where(inside, WORDS, 3), LENGTHS, LABELS).task
    for a, b in zip(jax.tree.leaves(gradient(LSTM_, other)), jax.tree.leaves((loss, slope)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_is_of_each_trial_and_keeps_the_mean(dropped):
    factors = dropped[1]
    assert factors.shape == (2, 4, 150, 4)
    # One seed, one draw, whatever else is in the batch; layers, steps and seeds have their own.
    np.testing.assert_array_equal(factors[:, :, :50], factors[:, :, 50:100])
    np.testing.assert_array_equal(factors[:, :, 7], factors[:, :, 49])
    kept = factors[:, :, :49]
    assert set(np.unique(kept).round(4)) == {0.0, round(1 / 0.6, 4)}
    # 1568 independent numbers of mean 1 and variance 0.4 / 0.6: five standard errors.
    assert abs(kept.mean() - 1) < 5 * np.sqrt(0.4 / 0.6 / kept.size)
    flat = (kept > 0).reshape(8, 49, 4)
    assert not any(np.array_equal(flat[0], other) for other in flat[1:])
    assert not any(np.array_equal(kept[:, :, 0], kept[:, :, i]) for i in range(1, 49))


def test_the_start_is_uniform_and_has_the_spectrum_of_random_matrices():
    n, n_inputs = 100, 50
    lstm = LSTM.sample(n_inputs, n, key=jax.random.key(3))
    for i, cell in enumerate(lstm.layers):
        for name, size in (("weight_ih", n if i else n_inputs), ("weight_hh", n), ("bias", n)):
            largest = np.max(np.abs(np.asarray(getattr(cell, name)))) * np.sqrt(size)
            # The largest of at least 400 numbers within 1 is below 0.96 with probability 1e-7.
            assert 0.96 < largest <= 1
    for matrix in lstm.matrices.values():
        values = np.linalg.svd(matrix, compute_uv=False)
        # Entries of variance 1 / 3N, shape [4N, N]: from (2 - 1) / sqrt 3 to (2 + 1) / sqrt 3. At finite N the ends are
        # off by some N^(-2/3) = 0.05 of their size.
        np.testing.assert_allclose(values[[0, -1]] * np.sqrt(3), [3, 1], rtol=3 * n ** (-2 / 3))


def test_arrays_make_the_lstm_again_and_others_are_refused():
    again = LSTM.from_arrays(LSTM_.arrays)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(LSTM_), strict=True):
        np.testing.assert_array_equal(a, b)
    swapped = LSTM_.with_matrices({"weight_ih_l1": LSTM_.layers[1].weight_hh})
    np.testing.assert_array_equal(swapped.layers[1].weight_ih, LSTM_.layers[1].weight_hh)
    for change in ({"bias_l1": None}, {"readout_bias": jnp.zeros(2)}, {"more": jnp.zeros(1)}):
        wrong = {name: array for name, array in (LSTM_.arrays | change).items() if array is not None}
        with pytest.raises(ValueError, match="arrays must have shapes"):
            LSTM.from_arrays(wrong)
    with pytest.raises(ValueError, match=r"arrays must be weight_ih_l0 \[4N, E\]"):
        LSTM.from_arrays({})


def test_what_is_no_learner_of_sentences_is_refused():
    with pytest.raises(ValueError, match=r"embeddings must have shape \[V, 3\]"):
        LSTMLearner(LSTM_, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        LSTMLearner(LSTM_, EMBEDDINGS, dropout=1.0)
    with pytest.raises(ValueError, match="got 3 channels"):
        LEARNER.outputs(LSTM_, TASK.replace(inputs=np.zeros((3, 4, 3))))
    # A word without a vector is no other word.
    beyond = TASK.replace(inputs=np.where(WORDS == 2, 5, WORDS)[..., None])
    assert np.isnan(LEARNER.loss(LSTM_, beyond))
