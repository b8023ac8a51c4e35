"""The LSTM with its matrices cut off at a rank."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.training import LSTM, LSTMLearner

N = 5
START, OTHER = (LSTM.sample(3, N, key=jax.random.key(i)) for i in (1, 2))
#: Without a bias, its outputs have both signs.
FINAL = eqx.tree_at(lambda lstm: lstm.readout.bias, OTHER, jnp.zeros(1))
EMBEDDINGS = np.concatenate([np.zeros((1, 3)), np.random.default_rng(0).normal(size=(9, 3))])
LEARNER = LSTMLearner(START, EMBEDDINGS)


@pytest.fixture(scope="module")
def task():
    """Sentences whose labels are what the trained LSTM says."""
    random = np.random.default_rng(1)
    words, lengths = random.integers(1, 10, size=(200, 6)), random.integers(1, 7, size=200)
    blank = ol.tasks.Sentences(words, lengths, np.zeros(200, int))
    outputs = np.asarray(LEARNER.outputs(FINAL, blank.task))[np.arange(200), lengths - 1, 0]
    return ol.tasks.Sentences(words, lengths, (outputs > 0).astype(int)).task


@pytest.fixture(scope="module")
def found(task):
    return ol.studies.rank_of_gates(START, FINAL, LEARNER, task, ranks=N + 1)


def test_at_rank_0_is_the_start_and_at_full_rank_the_trained_one(found, task):
    assert found.ranks.tolist() == list(range(N + 1))
    for accuracies in (found.accuracy, found.accuracy_of_whole):
        # Logits differ by rounding; a label would change for one within 1e-14 of 0.
        assert float(accuracies[-1]) == float(found.trained_accuracy) == 1
        assert float(jnp.min(accuracies)) < 1
    bare = FINAL.with_matrices(START.matrices)
    assert float(found.accuracy[0]) == float(LEARNER.accuracy(bare, task))
    none = FINAL.with_matrices({name: np.zeros((4 * N, N)) for name in START.matrices})
    assert float(found.accuracy_of_whole[0]) == float(LEARNER.accuracy(none, task))


def test_cut_matrices_are_the_nearest_of_their_rank(found):
    for name, change in found.change.items():
        before, after = np.asarray(START.matrices[name]), np.asarray(FINAL.matrices[name])
        s = np.linalg.svd(after - before, compute_uv=False)
        np.testing.assert_array_equal(change.truncated(0), 0)
        cut = np.asarray(change.truncated(2))
        assert np.linalg.matrix_rank(cut) == 2
        # Eckart and Young: what is left has the other singular values.
        np.testing.assert_allclose(np.linalg.norm(after - before - cut), np.linalg.norm(s[2:]), rtol=1e-12)
        np.testing.assert_allclose(
            found.start_singular_values[name], np.linalg.svd(before, compute_uv=False), rtol=1e-12
        )
        held = np.cumsum(s**2) / np.sum(s**2)
        rank = change.rank_holding(0.8)
        assert held[rank - 1] >= 0.8 > (held[rank - 2] if rank > 1 else 0)


def test_intervals_are_those_of_wilson(found):
    low, high = found.interval([0.5, 0.995, 1.0])
    # By hand, z = 1.96 and n = 200: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    z, n, p = 1.959963984540054, 200, np.array([0.5, 0.995, 1.0])
    middle, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose(low, (middle - reach) / (1 + z**2 / n), rtol=1e-10)
    np.testing.assert_allclose(high, (middle + reach) / (1 + z**2 / n), rtol=1e-10)


def test_what_are_no_two_lstms_of_one_shape_is_refused(task):
    with pytest.raises(ValueError, match=r"start must be an ol\.training\.LSTM, got dict"):
        ol.studies.rank_of_gates(START.arrays, FINAL, LEARNER, task)
    with pytest.raises(ValueError, match="the same shapes"):
        ol.studies.rank_of_gates(LSTM.sample(3, 4, key=jax.random.key(1)), FINAL, LEARNER, task)
