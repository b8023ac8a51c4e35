"""Figures 4 and 8: nonlinear networks and the distribution of their neurons."""

import jax
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.gallery.ger_barak import flip_flop, regimes
from overlap_learning.gallery.kit.page import headroom, mark_phases, page, telling_trial
from overlap_learning.plot.style import label_ends

SMALL = flip_flop.Settings(n_neurons=50, n_trials=2, duration=8.0, dt=0.2, n_steps=20, learning_rate=0.5)


@pytest.fixture(scope="module")
def learned():
    return flip_flop.figure_4(SMALL, progress=False), regimes.figure_8(
        regimes.Settings(SMALL, large_rate=2.0, adam_rate=0.05, n_held_out=3), progress=False
    )


def numbers(result):
    return {number.name: number for number in result.numbers}


def test_theory_and_full_network_start_together_and_see_the_same_trials(learned):
    data = learned[0].data
    np.testing.assert_allclose(data["theory_gram"][0], data["full_gram"][0], atol=1e-14)
    # Trials differ from step to step, and their loss with them, in both alike: on the plateau the two losses differ by
    # less than their course varies.
    gap = np.abs(data["theory_loss"].values - data["full_loss"].values)[:10].max()
    assert gap < 0.2 * np.ptp(data["full_loss"].values[:10])


def test_numbers_of_the_figures_are_those_of_the_neurons(learned):
    data = learned[0].data
    vectors = data["full_final_vectors"].values
    found = numbers(learned[0])
    for i, name in enumerate(("m", "u", "v", "z")):
        expected = (vectors[:, i] ** 4).mean() / (vectors[:, i] ** 2).mean() ** 2 - 3
        assert found[f"excess kurtosis of {name} after learning"].value == pytest.approx(expected, abs=1e-12)


def test_the_small_step_of_figure_8_is_the_network_of_figure_4(learned):
    fourth, eighth = learned
    np.testing.assert_array_equal(fourth.data["full_final_vectors"], eighth.data["small_full_final_vectors"])
    for name in ("large_full", "adam_full"):
        np.testing.assert_array_equal(eighth.data[f"{name}_gram"][0], fourth.data["full_gram"][0])
        assert not np.allclose(eighth.data[f"{name}_final_vectors"], fourth.data["full_final_vectors"])
    assert "adam_theory_loss" not in eighth.data


def test_effective_and_full_network_differ_by_what_the_neurons_add(learned):
    eighth = learned[1].data
    model = flip_flop.erf_model()
    network = ol.Network(eighth["large_full_final_vectors"].values, model.layout)
    held_out = flip_flop.trials_of(SMALL, 3).sample(jax.random.key(1))
    full, effective = ol.simulate(model, network, held_out), ol.rollout(model, network.overlaps, held_out)
    share = np.linalg.norm(full - effective) / np.linalg.norm(full)
    name = "output, full minus effective network, rms, share of the output's, large"
    assert numbers(learned[1])[name].value == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_phases_are_marked_above_the_data(scale):
    _, (ax,) = page("title", 1, 1)
    ax.plot([0, 1, 2], [1e-6, 1.0, 1e-3])
    ax.set_yscale(scale)
    mark_phases(ax, [0, 1, 2], ["A", "B"])
    heights = ax.transAxes.inverted().transform(ax.transData.transform([[0, 1e-6], [1, 1.0]]))[:, 1]
    assert 0 < heights[0] < heights[1] < 0.91
    assert [text.get_text() for text in ax.texts] == ["A", "B"]


def test_headroom_is_the_share_asked_for():
    _, (ax,) = page("title", 1, 1)
    ax.set_ylim(1.0, 3.0)
    headroom(ax, 0.2)
    assert ax.get_ylim() == pytest.approx((1.0, 3.5))


def test_names_at_the_ends_of_curves_stay_with_them():
    _, (ax,) = page("title", 1, 1)
    ax.plot([0, 1], [0.0, 1.0])
    label_ends(ax, [(1.0, 1.0)], ["name"], ["black"])
    headroom(ax, 0.2)
    (name,) = ax.texts
    assert name.get_position()[1] == pytest.approx(ax.transAxes.inverted().transform(ax.transData.transform([1, 1]))[1])


def test_the_telling_trial_has_the_target_that_changes_most():
    targets = np.zeros((3, 4, 1))
    targets[0, 2:] = 1.0
    targets[2, 2:] = -1.5
    task = ol.Task(np.zeros((3, 4, 1)), targets, np.ones((3, 4, 1)), 0.1)
    assert telling_trial(task) == 2
