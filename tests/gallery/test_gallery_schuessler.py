"""The figures of Schuessler et al. 2020: what their numbers claim, at small sizes."""

import dataclasses

import numpy as np

from overlap_learning.gallery.schuessler import linear, nonlinear

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
