"""The figures of Schuessler et al. 2020: what their numbers claim, at small sizes."""

import dataclasses

import numpy as np
import pytest

from overlap_learning.gallery.schuessler import cosine, divergence, linear, lstm, nonlinear, scan

SMALL = dataclasses.replace(
    linear.QUICK, n_neurons=200, n_instances=4, targets=(0.5,), learning_rates=(0.015,), curves=(0.6,),
    strengths=(0.0, 0.6), n_trial_neurons=20,
)  # fmt: skip


def test_networks_learn_the_linear_task_as_the_theory_says():
    result = linear.figure_3(SMALL)
    data = result.data
    exact, measured = (data[f"g0.6_target0.5_singular_values{kind}"].values[..., -1, 0] for kind in ("_exact", ""))
    # The first output of a network, of order beta N^(-1/2), is a fifth of the target: a tenth in the mean of four.
    assert abs(measured.mean() / exact - 1) < 0.3
    # 200 steps of a network of 20 neurons, whose error falls as exp(-t), t = 3.
    assert abs(data["g0.6_target0.5_trial"].values[-1] - 0.5) < 0.1
    assert np.all(data["g0.6_target0.5_loss"].values[:, -1] < 1e-3)


def test_a_bulk_speeds_learning_up_and_shuffling_it_undoes_it():
    data = linear.figure_4(SMALL).data
    time, norm, shuffled = (data[f"{name}_target0.5"].mean("instance").values for name in ("time", "norm", "shuffled"))
    # First order: (1 - g^2)^2 = 0.41, 1 - g^2 = 0.64, g^4 (2 - g^2)^2 = 0.35; exactly 0.37, 0.60, 0.45.
    np.testing.assert_allclose([time[1] / time[0], norm[1] / norm[0], shuffled[1]], [0.37, 0.60, 0.45], rtol=0.25)
    assert shuffled[0] < 1e-3


def test_a_bulk_speeds_up_tasks_and_the_change_has_low_rank():
    small = dataclasses.replace(
        nonlinear.QUICK,
        n_neurons=64,
        n_steps=(150,),
        strengths=((0.0, 0.9),),
        n_instances=1,
        n_test_trials=32,
        n_ranks=8,
    )
    data = nonlinear.figure_2(small).data
    steps, norm, shuffled, rank = (data[f"flip-flop_{measure}"].values[:, 0] for measure in nonlinear.MEASURES)
    # Published, for N = 64 to 1024: some 220 to 105 steps without a bulk, 70 to 42 with; norms 1.9 and 1.2; ranks of
    # about 2 and 5; and with W0 shuffled the first loss again.
    assert steps[1] < 0.6 * steps[0]
    assert norm[1] < norm[0]
    assert rank[0] == 2
    assert 2 < rank[1] < 8
    assert shuffled[0] < 0.05
    assert shuffled[1] > 0.5


def test_a_cosine_is_learned_by_a_pair_of_eigenvalues_which_needs_a_bulk():
    small = dataclasses.replace(
        cosine.QUICK, n_neurons=40, strengths=(0.0, 0.8), learning_rates=(0.2, 0.1), n_steps=400, spectrum_every=80
    )
    data = cosine.figure_cosine(small, progress=False).data
    neutral = cosine.neutral_pair(5.0, 0.1)
    # The mode of an Euler step keeps its size, and is itself again after 50 of them.
    np.testing.assert_allclose((1 + 0.1 * (neutral - 1)) ** 50, 1, atol=1e-13)
    loss = {g: data[f"g{g}_loss"].values for g in ("0", "0.8")}
    assert loss["0"][-1] > 0.9 * loss["0"][0]
    assert loss["0.8"][-1] < 0.1 * loss["0.8"][0]
    # Errors of growth and turning add up over two periods: a tenth of the loss is an error of some 0.1 of 10 units.
    assert abs(data["g0.8_pair_real"].values[-1] - neutral.real) < 0.1
    assert abs(data["g0.8_pair_imaginary"].values[-1] - neutral.imag) < 0.1
    assert np.all(np.abs(data["g0_pair_imaginary"].values) < 1e-12)


def test_an_eigenvalue_leaves_the_bulk_as_the_theory_says():
    small = dataclasses.replace(
        divergence.QUICK, n_neurons=64, n_instances=1, strengths=(0.6,), targets=(2.0,), learning_rates=(0.002,),
        duration=41.0, save_every=50,
    )  # fmt: skip
    data = divergence.figure_divergence(small, progress=False).data
    loss, eigenvalue, exact = (
        data[f"g0.6_target2_{name}"].values for name in ("loss", "eigenvalue", "eigenvalue_exact")
    )
    # 200 steps are ten times the time constant of the last ones.
    assert np.all(loss[:, -1] < 1e-3 * loss[:, 0])
    # The edge of a bulk of 64 neurons varies by some N^(-1/2); what it leads to at the end, by a third of it.
    assert np.all(np.abs(eigenvalue[:, 0] - 0.6) < 0.2)
    assert np.all(np.abs(eigenvalue[:, -1] - exact[-1]) < 0.1)


def test_an_lstm_learns_sentences_and_all_ranks_of_its_matrices_are_the_trained_one():
    # Epochs in calls of one size, which are one program.
    small = lstm.Settings(
        n_units=8, sizes=(400, 300, 100), n_words=2000, n_dimensions=10, mean_length=5.0, longest=6, label_noise=0.0,
        learning_rate=0.2, n_epochs=16, n_trials=40, dropout=0.0, ranks=(0, 2, 8, 16),
    )  # fmt: skip
    data = lstm.figure_5(small, progress=False).data
    assert data["rank"].values.tolist() == [0, 2, 8]
    trained = data["validation_accuracy"].values[-1]
    # By chance half of 300 sentences, within five standard errors of 0.029.
    assert trained > 0.65
    assert data["accuracy_of_change"].values[0] < trained
    # Rank 8 is all; rounding in single precision may turn one sentence.
    for name in ("change", "whole"):
        assert abs(data[f"accuracy_of_{name}"].values[-1] - trained) < 1.5 / 300
    # Weyl: singular values move by at most the largest of the change, to rounding.
    W, W0, change = (data[f"singular_values_{name}"].values for name in ("W", "W0", "change"))
    assert np.abs(W - W0).max() < change[0] * (1 + 1e-5)


def test_the_power_of_n_is_that_of_the_norms():
    sizes = (64, 128, 256)
    norms = np.array(sizes)[:, None] ** 0.25 * np.array([[1.0, np.nan]])
    assert scan._exponent(sizes, norms) == pytest.approx((0.25, 0.0), abs=1e-7)
    assert scan._exponent(sizes, np.full((3, 2), np.nan)) is None
