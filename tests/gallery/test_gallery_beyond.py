"""The sheets beyond the paper: what their numbers claim, at small sizes."""

import numpy as np

from overlap_learning.gallery.beyond import bulk, geometry, holonomy, savings


def test_a_loop_leaves_the_same_residue_at_full_n_and_the_curvature_predicts_small_ones():
    settings = holonomy.Settings(
        duration=5.0, dt=0.2, n_per_side=(1,), full_n_per_side=(1,), n_neurons=20, sizes=(0.1,), learning_time=40.0,
        side_times=(4.0, 16.0), n_slow=8,
    )  # fmt: skip
    data = holonomy.figure_holonomy(settings).data
    odd, limit = data["theory_odd"].values, data["limit_odd"].values
    # Both are flows to a solver's tolerance of 1e-8 per step, some hundred steps, eight legs.
    assert np.abs(data["full_odd"].values[0] - odd[0]).max() < 1e-5 * np.abs(odd[0]).max() + 1e-8
    assert np.abs(limit).max() > 1e-4
    # Whole sides at once leave nearly the geometric part already: it is the other part that needs small steps.
    assert np.abs(odd[0] - limit).max() < 0.2 * np.abs(limit).max()
    # The rest of slow loops falls with their speed, that of their direction too, and less of it is there.
    slow, even = (np.abs(data[name].values).max(axis=1) for name in ("slow_odd", "slow_even"))
    off = np.abs(data["slow_odd"].values - limit).max(axis=1)
    assert even[1] < 0.6 * even[0]
    assert off[1] < 0.6 * off[0]
    assert off[1] < 0.05 * slow[1]
    # A loop of a tenth of the size: the next order is of relative size a tenth.
    per_area = data["small_odd"].values[0] / float(data["area"].values[0])
    assert np.abs(per_area - data["curvature"].values).max() < 0.1 * np.abs(per_area).max()


def test_savings_tell_linear_networks_from_erf_ones():
    settings = savings.Settings(
        duration=5.0, dt=0.2, n_starts=2, learning_time=60.0, n_noisy_steps=100, n_neurons=20, relearning_time=5.0
    )
    result = savings.figure_savings(settings, progress=False)
    gain = result.data["gain"].values
    assert not result.data["switched"].values[0].any()
    assert np.abs(gain[0]).max() < 0.01
    assert gain[2].max() > 0.03
    # Speed over one step of 1e-6: off by half a step times the curvature of the loss along the flow, over the speed.
    np.testing.assert_allclose(result.data["measured_speed"], result.data["predicted_speed"], rtol=1e-4)
    assert [panel.get_xlabel() != "" for panel in result.figure.axes].count(False) <= 2


def test_low_rank_is_learned_in_a_bulk_as_theory_says_and_equivalent_networks_begin_alike():
    settings = bulk.Settings(
        duration=3.0, dt=0.3, shown=(0.5,), strengths=(0.5,), n_steps=40, n_later=40, n_neurons=(20, 80), n_networks=6,
        criterion=0.8, learning_rate=5e-2, tolerance=1e-2,
    )  # fmt: skip
    result = bulk.figure_bulk(settings, progress=False)
    numbers, data = {number.name: number for number in result.numbers}, result.data
    assert numbers["first loss, largest difference between strengths and twins"].value < 1e-12
    assert numbers["estimated error of the theory, largest"].value < 1e-2
    # The distance to the limit falls as N^(-1/2), to a half; the median of six is known to some 40 %.
    assert 0.25 < data["scatter"].values[1] / data["scatter"].values[0] < 0.9
    value = numbers["largest singular value of the change of W, theory against full N"]
    assert abs(value.value - value.expected) < 5 * value.error + 1 / 80
    # After A-B-A moments of order 0 are those after A again; the loss leaves no other sum of them.
    after_a, _, again = data["moments"].values[0]
    assert abs(again[0] / after_a[0] - 1) < 0.1
    assert np.all(data["full_loss"].values[:, -1] < data["full_loss"].values[:, 0])


def test_the_geometry_of_a_flip_flop_is_what_it_does():
    settings = geometry.Settings(
        n_trials=2, duration=8.0, dt=0.2, learning_rate=0.05, n_steps=200, save_every=50, learning_time=20.0,
        n_neurons=400,
    )  # fmt: skip
    result = geometry.figure_geometry(settings)
    numbers = {number.name: number.value for number in result.numbers}
    assert result.data["stable_points"].values[[0, -1]].tolist() == [1, 2]
    rest, theory, full = (numbers[f"flip-flop: {name}"] for name in (
        "output at the stable fixed points, size", "output long after a pulse, theory, size",
        "the same at full N = 400"))  # fmt: skip
    # After a pulse the output nears that of the fixed point, in some six time constants.
    assert abs(theory / rest - 1) < 0.1
    # Sums over N neurons of Gaussian vectors with the right overlaps: off by some N^(-1/2).
    assert abs(full / theory - 1) < 4 / np.sqrt(400)
    assert abs(numbers["filter: largest feasible s_mu, smallest eigenvalue of G there"]) < 1e-12
    assert abs(numbers["filter: loss there minus that after learning, over the first loss"]) < 1e-12
