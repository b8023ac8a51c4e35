"""Figures 4d-f, 9 and 10: what the data say, and what is drawn of them. Learning itself is tested with the studies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.gallery.ger_barak import twins
from overlap_learning.studies.memory.twins import Phase

N_PAIRS, N_POINTS = 6, 5
SETTINGS = twins.Settings(n_pairs=N_PAIRS, n_neurons=30, n_flips=200)
#: The smallest p-value, of all flips of the signs of pairs.
LEAST = 1 / 2 ** (N_PAIRS - 1)
NAMES = (*twins.MODEL.visible_names, *twins.MODEL.invisible_names)


def overlaps(grams):
    return ol.Overlaps(jnp.asarray(grams), twins.MODEL.layout)


def phase(grams):
    """All twins at these overlaps [2, n_pairs, d, d] at every saved point."""
    shape = (2, N_PAIRS, N_POINTS)
    loss = np.broadcast_to(np.geomspace(1.0, 1e-3, N_POINTS), shape)
    time = np.broadcast_to(np.arange(N_POINTS, dtype=float), shape)
    course = np.repeat(np.asarray(grams)[:, :, None], N_POINTS, axis=2)
    return Phase(jnp.asarray(time), jnp.asarray(loss), overlaps(course), overlaps(grams), jnp.ones((2, N_PAIRS), bool))


def made_up(n_neurons, written):
    """Twins whose history is in one overlap after the common task, and nowhere else."""
    starts = ol.studies.random_starts(twins.MODEL.layout, N_PAIRS, key=jax.random.key(0))
    both = np.stack([np.asarray(starts.gram)] * 2)
    after = both.copy()
    rows, columns = twins.MODEL.layout.locate(written)
    after[0, :, rows, columns] = 3.0 + 0.01 * np.arange(N_PAIRS)[:, None, None]
    after[1, :, rows, columns] = 5.0 + 0.01 * np.arange(N_PAIRS)[:, None, None]
    return ol.studies.Twins(twins.MODEL, n_neurons, starts, phase(both), phase(after))


@pytest.fixture(scope="module")
def data():
    return twins.dataset(SETTINGS, twins.Runs(made_up(None, "zz"), made_up(30, "mm")))


def test_history_is_decoded_from_the_overlap_that_holds_it_and_from_no_other(data):
    after_common = data["accuracy"].sel(after="common")
    for kind, holds, group in (("theory", "zz", "invisible"), ("full", "mm", "visible")):
        for features in (holds, group):
            assert np.all(after_common.sel(kind=kind, features=features) == 1.0)
        for features in {*NAMES, "visible", "invisible"} - {holds, group}:
            # Twins are equal there, so that one of each pair is right whatever a decoder says.
            assert np.all(after_common.sel(kind=kind, features=features) == 0.5), features
    assert np.all(data["accuracy"].sel(after="first") == 0.5)


def test_every_accuracy_lies_in_its_interval_and_p_values_are_those_of_all_flips(data):
    assert np.all(data["low"] <= data["accuracy"])
    assert np.all(data["accuracy"] <= data["high"])
    assert float(data["p_value"].min()) == LEAST
    clear = data["p_value"].sel(noise="none")
    assert np.all(clear.sel(after="first") == 1.0)
    for kind, holds in (("theory", "zz"), ("full", "mm")):
        assert clear.sel(after="common", kind=kind, features=holds) == LEAST
    assert np.all(data["n_pairs"] == N_PAIRS)
    assert np.all(data["single_accuracy"].sel(after="first") == 0.5)


def test_the_data_hold_all_overlaps_of_both_kinds(data):
    assert data["theory_common_overlaps"].dims == ("history", "pair", "common_point", "overlap")
    np.testing.assert_allclose(data["theory_common_final"].sel(overlap="zz", history=1, pair=3), 5.03)
    assert list(data["features"].values) == ["visible", "invisible", *NAMES]
    assert data.attrs["n_neurons"] == 30


@pytest.mark.parametrize("name", ["figure_4d", "figure_9", "figure_10"])
def test_figures_are_drawn_with_their_numbers_from_the_same_data(name, data, monkeypatch, tmp_path):
    monkeypatch.setattr(twins, "experiment", lambda settings, **_: data)
    found = getattr(twins, name)(SETTINGS)
    found.figure.savefig(tmp_path / "figure.png")
    values = {number.name: number.value for number in found.numbers}
    assert values["accuracy, invisible, after C, no noise, theory"] == 1.0
    assert values["accuracy, invisible, after C, no noise, full N"] == 0.5
    assert values["p, invisible, after C, no noise, theory"] == LEAST
    assert values["p, invisible, after C, no noise, full N"] == 1.0
    assert values["accuracy of single twins, invisible, after C, no noise, theory"] > 0.5
    assert values["loss, C after B, full N"] == pytest.approx(1e-3)
    assert len(values) == len(found.numbers)
    found.data.to_netcdf(tmp_path / "data.nc", engine="h5netcdf")
    drawn = {"figure_4d": 4, "figure_9": 10, "figure_10": 2}[name]
    assert len(found.figure.axes) == drawn


def test_what_is_drawn_of_figure_9_are_the_twins_of_each_pair(data):
    figure = twins.draw_overlaps(data)
    ax = next(ax for ax, name in zip(figure.axes, NAMES, strict=True) if name == "zz")
    theory = ax.get_lines()[0]
    np.testing.assert_allclose(theory.get_xdata(), 3.0 + 0.01 * np.arange(N_PAIRS))
    np.testing.assert_allclose(theory.get_ydata(), 5.0 + 0.01 * np.arange(N_PAIRS))


def test_theory_and_networks_are_given_the_published_experiment(monkeypatch):
    calls = []
    monkeypatch.setattr(twins, "train_twins", lambda *arguments, **named: calls.append((arguments, named)))
    settings = twins.Settings(n_neurons=16)
    twins.learn(settings)
    (theory, named), (full, other) = calls
    assert jnp.all(named["key"] == other["key"])
    assert theory[:3] == full[:3]
    np.testing.assert_allclose(theory[3].gram, full[3].overlaps.gram, atol=1e-5)
    assert full[3].vectors.dtype == jnp.float32
    first, common, rules = theory[1], theory[2], theory[4]
    assert first[0].generator is ol.tasks.flip_flop
    assert dict(first[0].settings) == {
        "n_trials": 128, "dt": 0.05, "wait_range": (1.0, 2.0), "input_amplitude": 2.0, "target_amplitude": 1.0
    }  # fmt: skip
    # Coherences +-2, +-8, +-16 and noise 0.05 are the defaults of the generator.
    assert first[1].generator is ol.tasks.decision_making
    assert common.generator is ol.tasks.teacher
    assert float(rules[0].learning_rate.at(0.016)) == pytest.approx(0.01)
    assert float(rules[0].learning_rate.at(0.015)) == pytest.approx(0.002)
    assert float(rules[1].learning_rate) == pytest.approx(0.001)
    assert rules[0].n_steps == rules[1].n_steps == 30_000
