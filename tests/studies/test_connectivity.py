"""What training changed of the connectivity: cuts, shuffles and spectra of changes that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

N = 30
LAYOUT = ol.Layout(n_in=1, rank=0, n_out=1)
MODEL = ol.Model(LAYOUT, ol.Tanh(), bulk=ol.RandomBulk(0.8))
RANDOM = np.random.default_rng(0)
LEFT, RIGHT = (np.linalg.qr(RANDOM.standard_normal((N, 2)))[0] for _ in range(2))
CHANGE = LEFT @ np.diag([2.0, 1.0]) @ RIGHT.T
START = ol.BulkNetwork.sample(MODEL, ol.Overlaps.from_entries(LAYOUT), N, key=jax.random.key(0))
FINAL = ol.BulkNetwork(START.vectors * 1.5, LAYOUT, START.bulk + CHANGE)
TASK = ol.Task(np.ones((2, 12, 1)), np.ones((2, 12, 1)), np.full((2, 12, 1), 1 / 24), 0.5)


def loss_with(w, vectors=FINAL.vectors):
    """The loss of a plain loop with connectivity w."""
    m, z = np.asarray(vectors).T
    h, loss = np.zeros(N), 0.0
    for _ in range(12):
        loss += (np.tanh(h) @ z / N - 1) ** 2 / 12
        h = h + 0.5 * (-h + w @ np.tanh(h) + m)
    return loss


def test_a_change_is_found_as_its_factors():
    found = ol.studies.connectivity_change(START, FINAL)
    np.testing.assert_allclose(found.singular_values, [2.0, 1.0], rtol=1e-12)
    np.testing.assert_allclose(found.norm, np.sqrt(5), rtol=1e-12)
    np.testing.assert_allclose(found.truncated(2), CHANGE, atol=1e-13)
    np.testing.assert_allclose(found.truncated(1), 2 * np.outer(LEFT[:, 0], RIGHT[:, 0]), atol=1e-13)
    assert ol.studies.connectivity_change(START, FINAL, rtol=0.6).singular_values.shape == (1,)


def test_the_loss_of_each_rank_is_that_of_a_plain_loop():
    found = ol.studies.rank_of_change(START, FINAL, MODEL, TASK, ranks=[0, 1, 2, N], whole=True)
    w0 = np.asarray(START.bulk)
    cut = w0 + 2 * np.outer(LEFT[:, 0], RIGHT[:, 0])
    expected = [loss_with(w) for w in (w0, cut, w0 + CHANGE, w0 + CHANGE)]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-11)
    np.testing.assert_allclose(found.trained_loss, expected[-1], rtol=1e-11)
    left, values, right = np.linalg.svd(w0 + CHANGE)
    whole = [loss_with((left[:, :r] * values[:r]) @ right[:r]) for r in (0, 1, 2, N)]
    np.testing.assert_allclose(found.loss_of_whole, whole, rtol=1e-11)
    assert found.reference == found.loss[0]


def test_the_functional_rank_is_the_first_below_a_share_of_its_reference():
    change = ol.studies.connectivity_change(START, FINAL)
    loss = jnp.array([1.0, 1.4, 0.04, 0.2])
    found = ol.studies.RankOfChange(jnp.array([0, 1, 3, 5]), loss, None, loss[-1], jnp.array(1.0), change)
    # The loss need not fall: above the share again at rank 5.
    assert found.functional_rank() == 3
    assert found.functional_rank(share=0.03) is None
    measured = ol.studies.rank_of_change(START, FINAL, MODEL, TASK, ranks=3, reference=1e3)
    assert measured.functional_rank() == 0


def test_low_rank_networks_have_a_change_of_low_rank():
    layout = ol.Layout()
    start = ol.Network.sample(ol.Overlaps.from_entries(layout), N, key=jax.random.key(1))
    final = ol.Network(start.vectors * jnp.array([1.0, 1.0, 3.0, 1.0]), layout)
    found = ol.studies.rank_of_change(start, final, ol.Model(layout, ol.Tanh()), TASK, ranks=2)
    # u and v have length sqrt(N), so that u v^T / N has norm 1, three times as much at the end.
    np.testing.assert_allclose(found.change.singular_values, [2.0], rtol=1e-12)
    w = np.asarray(start.u @ start.v.T) / N
    ends = jnp.concatenate([final.m, final.z], axis=1)
    np.testing.assert_allclose(found.loss, [loss_with(w, ends), loss_with(3 * w, ends)], rtol=1e-11)


def test_neurons_of_unequal_weights_are_read_by_their_shares():
    model, shares = ol.Model(ol.Layout(), ol.Tanh()), np.repeat([1.0, 3.0], N // 2) / (2 * N)
    vectors = RANDOM.standard_normal((2, N, 4))
    start, final = (ol.Network(each, model.layout, shares) for each in vectors)
    found = ol.studies.rank_of_change(start, final, model, TASK, ranks=1)
    # 12 steps of sums over 30 neurons.
    np.testing.assert_allclose(found.trained_loss, TASK.loss(ol.simulate(model, final, TASK)), rtol=1e-13)


def test_shuffling_permutes_the_entries_of_the_start_alone():
    key = jax.random.key(2)
    flat = ol.BulkNetwork(START.vectors, LAYOUT, np.full((N, N), 0.01))
    final = ol.BulkNetwork(FINAL.vectors, LAYOUT, flat.bulk + CHANGE)
    same = ol.studies.shuffled_bulk_loss(flat, final, MODEL, TASK, key)
    np.testing.assert_allclose(same, loss_with(0.01 + CHANGE), rtol=1e-11)
    other = ol.studies.shuffled_bulk_loss(START, FINAL, MODEL, TASK, key)
    assert abs(float(other) - loss_with(np.asarray(START.bulk) + CHANGE)) > 1e-4


def test_spectra_are_those_of_known_matrices():
    values = np.linspace(-2, 1, N)
    start = ol.BulkNetwork(START.vectors, LAYOUT, np.diag(values))
    final = ol.BulkNetwork(START.vectors, LAYOUT, np.diag(values + 0.1))
    found = ol.studies.spectra(start, final)
    np.testing.assert_allclose(np.sort(found.start.real), values, atol=1e-14)
    np.testing.assert_allclose(found.singular_values, np.sort(np.abs(values + 0.1))[::-1], atol=1e-14)
    np.testing.assert_allclose(found.change, np.full(N, 0.1), atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ol.studies.rank_of_change(START, FINAL.vectors, MODEL, TASK), "final must be one ol.BulkNetwork"),
        (lambda: ol.studies.rank_of_change(START, FINAL, MODEL, TASK, ranks=[]), "got none"),
        (lambda: ol.studies.rank_of_change(START, FINAL, MODEL, TASK, ranks=[-1]), "a rank must be an integer"),
        (lambda: ol.studies.connectivity_change(START, ol.Network(np.ones((3, 2)), LAYOUT)), "final 3"),
        (lambda: ol.studies.convergence_step(START), "one run in steps"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
