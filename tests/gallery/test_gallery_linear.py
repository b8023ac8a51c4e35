"""Figures 1 to 3, 5 to 7, 11 and 12: linear networks. In one file and of one size, so that they compile once."""

import json
import sys

import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.gallery.ger_barak import adam, history, linear, metric, pair, rank_two

SIZES = {"n_neurons": 20, "duration": 5.0, "dt": 0.1}
LINEAR = linear.Settings(**SIZES, n_steps=40)
HISTORY = history.Settings(**SIZES, uu=2.0, mu=0.5, n_steps=(40, 40, 40, 40, 40), label_noise=0.5)


def numbers(result):
    return {number.name: number for number in result.numbers}


@pytest.fixture(scope="module")
def first():
    return linear.figure_1(LINEAR, progress=False)


def test_theory_is_the_full_network_in_the_data_of_figure_1(first):
    data = first.data
    gap = np.abs(data["theory_gram"].values - data["full_gram"].values)
    # 40 steps at N = 20: rounding of some 1e-16 a step. An Euler step of the flow would be 1e-3 off.
    assert gap.max() < 1e-12
    name = "largest deviation of any overlap, theory from full N, all learning"
    assert numbers(first)[name].value == gap.max()
    assert numbers(first)[name].expected == 0


def test_direct_descent_leaves_the_invisible_overlaps_where_they_were_and_ends_elsewhere(first):
    hidden = first.data["direct_overlaps"].isel(overlap=np.flatnonzero(first.data["is_visible"].values == 0))
    assert np.ptp(hidden.values, axis=0).max() == 0
    assert numbers(first)["largest deviation of any overlap, direct descent from full N, all learning"].value > 1e-2


def test_the_data_say_what_made_them_and_survive_a_file(first, tmp_path):
    import xarray

    assert json.loads(first.data.attrs["settings"])["n_neurons"] == 20
    assert first.data.attrs["title"] == first.figure.get_suptitle()
    first.data.to_netcdf(tmp_path / "fig.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "fig.nc", engine="h5netcdf") as opened:
        xarray.testing.assert_identical(opened.load(), first.data)
        values = opened["number"].sel(number_name="loss at the end, full N")
        assert float(values) == float(first.data["full_loss"][-1])


def test_the_same_seed_gives_the_same_figure_and_another_seed_another(first):
    linear._learn.cache_clear()
    again = linear.figure_1(LINEAR, progress=False)
    assert again.data.equals(first.data)
    other = linear.figure_1(linear.Settings(**SIZES, n_steps=40, seed=1), progress=False)
    assert not np.allclose(other.data["theory_gram"], first.data["theory_gram"])


def test_figure_5_draws_each_overlap_of_the_data_of_figure_1(first):
    fifth = linear.figure_5(LINEAR, progress=False)
    assert fifth.data["theory_gram"].equals(first.data["theory_gram"])
    model = ol.Model(ol.Layout(), ol.Linear())
    names = (*model.visible_names, *model.invisible_names)
    axes = [ax for ax in fifth.figure.axes if ax.get_lines()]
    for ax, name in zip(axes, names, strict=True):
        theory, full, direct = (line.get_ydata() for line in ax.get_lines())
        for drawn, run in ((theory, "theory"), (full, "full"), (direct, "direct")):
            np.testing.assert_array_equal(drawn, fifth.data[f"{run}_overlaps"].sel(overlap=name))


def test_figure_11_finds_that_visible_overlaps_move_through_invisible_ones_and_the_other_way_round():
    result = metric.figure_11(metric.Settings(n_neurons=500, duration=4.0, dt=0.1, n_trials=2))
    data, found = result.data, numbers(result)
    model = ol.Model(ol.Layout(), ol.Linear())
    seen, hidden = list(model.visible_names), list(model.invisible_names)
    terms = data["coefficients"]
    # Linear rank 1: what moves a visible overlap along a visible slope is invisible, and what moves an invisible one is
    # visible.
    assert np.all(terms.sel(row=seen, column=seen, overlap=seen) == 0)
    assert np.all(terms.sel(row=hidden, column=seen, overlap=hidden) == 0)
    assert np.any(terms.sel(row=seen, column=seen, overlap=hidden) != 0)
    assert found["of them not zero, linear"].value == np.any(terms.sel(column=seen) != 0, axis=-1).sum()
    # Exact for every N; and for erf the distance of 500 neurons from infinitely many, some 1 / sqrt(500).
    assert found["velocity of the overlaps, metric minus full N, largest share, linear"].value < 1e-12
    assert 1e-6 < found["velocity of the overlaps, metric minus full N, largest share, nonlinear"].value < 0.2


def test_figure_12_has_9_visible_and_12_invisible_overlaps_and_follows_full_n():
    result = rank_two.figure_12(rank_two.Settings(**SIZES, n_steps=40), progress=False)
    found = numbers(result)
    assert (found["visible overlaps"].value, found["invisible overlaps"].value) == (9, 12)
    assert found["largest deviation of any overlap, theory from full N, all learning"].value < 1e-12
    assert result.data["theory_overlaps"].sizes["overlap"] == 21


@pytest.fixture(scope="module")
def equivalent_networks():
    return pair.figure_2(pair.Settings(**SIZES, uu=2.0, mu=0.5, n_steps=40, n_trials=100), progress=False)


@pytest.fixture(scope="module")
def remembered():
    return history.figure_3(HISTORY, progress=False), history.figure_6(HISTORY, progress=False)


def test_equivalent_networks_do_the_same_before_learning(equivalent_networks):
    data, found = equivalent_networks.data, numbers(equivalent_networks)
    assert np.abs(data["output"][1:] - data["output"][0]).max() < 1e-14
    assert np.abs(data["output"]).max() > 1e-3
    for name in ("second", "third"):
        assert found[f"recurrent current, {name} minus first, largest"].value < 1e-13


def test_state_noise_tells_apart_only_the_network_with_other_v_and_z(equivalent_networks):
    data = equivalent_networks.data
    assert data["variance_predicted"][1].equals(data["variance_predicted"][0])
    assert (data["variance_predicted"][2, -1] / data["variance_predicted"][0, -1]) > 1.5
    for name in pair.NAMES:
        number = numbers(equivalent_networks)[f"output variance under state noise, {name}: measured / predicted"]
        # Small enough to see the factor of two between networks.
        assert number.error < 0.1
        # Four standard errors of 100 trials.
        assert abs(number.value - number.expected) < 4 * number.error


def test_learning_tells_equivalent_networks_apart_as_the_theory_says(equivalent_networks):
    data = equivalent_networks.data
    for name in pair.NAMES:
        assert np.abs(data[f"{name}_theory_gram"].values - data[f"{name}_full_gram"].values).max() < 1e-12
    seen = data["is_visible"].values == 1
    for name in ("second", "third"):
        gap = np.abs(data[f"{name}_full_overlaps"].values - data["first_full_overlaps"].values)[:, seen].max(axis=1)
        assert gap[0] < 1e-14
        assert gap[-1] > 1e-2
    # The first step is along the predicted direction: the change of sigma in one step is eta times the velocity, up to
    # a second-order term of relative size eta |S|, some 5e-3 * 10.
    change = data["second_theory_overlaps"].values[1] - data["second_theory_overlaps"].values[0]
    np.testing.assert_allclose(change, 5e-3 * data["velocity"].values[1], atol=0.05 * np.abs(change).max())


def test_theory_and_full_n_share_the_noise_of_the_last_phase(remembered):
    data = remembered[0].data
    assert np.abs(data["theory_gram"].values - data["full_gram"].values).max() < 1e-12
    silent = remembered[1].data["silent_gram"].values
    assert np.abs(data["theory_gram"].values - silent)[-1].max() > 1e-3


def test_flow_keeps_the_invariants_and_steps_do_not(remembered):
    found = numbers(remembered[1])
    # The solver's tolerance is 1e-11 a step.
    assert found["invariants, change over A-B-A, flow"].value < 1e-9
    assert found["invariants, change over A-B-A, descent, full N"].value > 1e-5


def test_adam_breaks_the_invariants_that_plain_descent_nearly_keeps():
    result = adam.figure_7(adam.Settings(**SIZES, uu=2.0, mu=0.5, learning_rate=1e-2, n_steps=40))
    found = numbers(result)
    by_adam = found["invariants, A1 minus start, largest, Adam"].value
    by_descent = found["invariants, A1 minus start, largest, plain descent"].value
    assert by_adam > 10 * by_descent
    moved = result.data["adam_invariants"].values
    sign = np.diag([-1.0, -1.0, 1.0, 1.0])
    expected = np.sort(np.linalg.eigvals(sign @ result.data["adam_gram"].values[-1]).real)
    np.testing.assert_allclose(moved[-1], expected, atol=1e-12)
    # Drawn on one axis of steps.
    loss = result.figure.axes[0]
    assert {float(line.get_xdata()[-1]) for line in loss.get_lines()} == {200.0}


def test_without_optax_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "overlap_learning\[gallery\]"'):
        adam.figure_7(adam.Settings(**SIZES))
