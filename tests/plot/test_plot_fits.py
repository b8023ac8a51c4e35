"""Pictures of fits: what is drawn is what a network with all its weights does, or what was recorded."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from fit_helpers import CONDITIONS, EPOCHS, TAU, TIMES, K, N, T, invented_fit
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver
from scipy.spatial.distance import pdist

import overlap_learning as ol
from overlap_learning import fitting
from overlap_learning.plot.style import COLOURS


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def plane():
    return invented_fit(2)


@pytest.fixture(scope="module")
def space():
    return invented_fit(3)


def new_space():
    return plt.figure().add_subplot(projection="3d")


def points_of(line):
    return np.stack([np.asarray(values) for values in line.get_data_3d()], axis=1)


def test_vector_field_is_the_flow_of_all_weights_and_rests_at_its_fixed_points(plane):
    network = plane.network
    W = plane.weights[3]
    ax = ol.plot.vector_field(plane, 13.0)
    (arrows,) = [each for each in ax.collections if isinstance(each, Quiver)]
    first, second = np.asarray(network.columns).T
    second = second - first * (first @ second)
    axes = np.sqrt(N) * np.stack([first, second / np.linalg.norm(second)])
    states = np.asarray(arrows.get_offsets()) @ axes
    flow = (np.tanh(states) @ W.T - states) / TAU
    along = flow @ axes.T / N
    # The flow of a network of rank 2 stays in the plane of its columns.
    np.testing.assert_allclose(along @ axes, flow, rtol=0, atol=1e-12)
    speed = np.linalg.norm(along, axis=1)
    np.testing.assert_allclose(np.asarray(arrows.get_array()).ravel(), speed, rtol=1e-10)
    moving = speed > 1e-9
    drawn = np.stack([np.ravel(arrows.U), np.ravel(arrows.V)], axis=1)
    np.testing.assert_allclose(drawn[moving], along[moving] / speed[moving, None], rtol=0, atol=1e-10)

    for name, is_stable in (("stable", True), ("unstable", False)):
        (line,) = [each for each in ax.get_lines() if each.get_label() == f"{name} fixed point"]
        for point in line.get_xydata():
            x = point @ axes
            np.testing.assert_allclose(W @ np.tanh(x), x, rtol=0, atol=1e-9)
            growth = np.linalg.eigvals(W * (1 - np.tanh(x) ** 2) - np.eye(N)).real.max()
            assert bool(growth < 0) is is_stable
    # Odd networks rest at 0 and, with such weights, in pairs beside it.
    stable = next(line for line in ax.get_lines() if line.get_label() == "stable fixed point").get_xydata()
    assert len(stable) % 2 == 0
    assert len(stable) > 0


def test_initial_states_keep_the_distances_of_the_units(plane):
    ax = ol.plot.initial_states(plane)
    start = int(np.argmax(TIMES >= 0))
    x = np.asarray(plane.network.states())[:, start] @ np.asarray(plane.network.columns).T
    by_condition = [line.get_xydata() for line in ax.get_lines()]
    order = np.concatenate(
        [np.flatnonzero((c == CONDITIONS) & (np.arange(K) // (K // 2) == e)) for c in (0, 1) for e in (0, 1)]
    )
    np.testing.assert_allclose(pdist(np.concatenate(by_condition)), pdist(x[order]), rtol=0, atol=1e-12)
    assert [to_hex(line.get_color()).upper() for line in ax.get_lines()] == [COLOURS[0]] * 2 + [COLOURS[1]] * 2
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["left", "right", *EPOCHS]


def test_inputs_are_those_of_one_condition_and_shaded_where_they_act(plane):
    ax = ol.plot.inputs(plane, "right")
    drawn = np.stack([line.get_ydata() for line in ax.get_lines()], axis=1)
    np.testing.assert_array_equal(drawn, plane.network.inputs[1])
    assert ax.patches[0].get_x() == TIMES[0]
    assert ax.patches[0].get_x() + ax.patches[0].get_width() == pytest.approx(TIMES[TIMES < 0][-1])


def test_trajectories_in_space_are_means_of_groups_of_trials(space):
    ax = ol.plot.latent_trajectories(space, (3, 1, 2), ax=new_space())
    x = np.asarray(space.network.states()) @ np.asarray(space.network.columns).T
    along = (x @ np.asarray(space.network.columns))[..., [2, 0, 1]]
    chosen = (CONDITIONS == 1) & (np.arange(K) >= K // 2)
    # Of each group its shadow, its course, its dot.
    course = points_of(ax.get_lines()[3 * 3 + 1])
    np.testing.assert_allclose(course, along[chosen].mean(axis=0), rtol=0, atol=1e-12)
    shadow = points_of(ax.get_lines()[3 * 3])
    np.testing.assert_array_equal(shadow[:, :2], course[:, :2])
    assert shadow[0, 2] < min(points_of(line)[:, 2].min() for line in ax.get_lines()[1::3])

    dots = ol.plot.trial_factors_in_space(space, ax=new_space()).collections[0]
    np.testing.assert_array_equal(np.stack(dots._offsets3d, axis=1), space.network.trials)


def test_recorded_activity_is_drawn_as_it_was_recorded(space):
    rng = np.random.default_rng(0)
    mask = rng.random((K, T, N)) < 0.9
    flat = rng.normal(size=(K, T, 3)) @ np.linalg.qr(rng.normal(size=(N, 3)))[0].T
    given = fitting.Recordings(flat, times=TIMES, conditions=CONDITIONS)
    ax = ol.plot.activity_trajectories(given)
    drawn = np.concatenate([points_of(line) for line in ax.get_lines()[1::3]])
    means = np.concatenate([flat[number == CONDITIONS].mean(axis=0) for number in (0, 1)])
    # Three directions hold all of it, so that distances are kept.
    np.testing.assert_allclose(pdist(drawn), pdist(means), rtol=1e-8)

    given = fitting.Recordings(flat, times=TIMES, conditions=CONDITIONS, mask=mask)
    seen = np.where(mask, flat, np.nan)[..., 4]
    predicted = np.where(mask[..., 4], space.predictions[..., 4], np.nan)
    dots, line, *_ = ol.plot.neuron_activity(given, 4, fit=space).get_lines()
    np.testing.assert_allclose(dots.get_ydata(), np.nanmean(seen[CONDITIONS == 0], axis=0), rtol=1e-12)
    np.testing.assert_allclose(line.get_ydata(), np.nanmean(predicted[CONDITIONS == 0], axis=0), rtol=1e-12)


def test_bad_arguments_are_named(plane, space):
    for draw, message in (
        (lambda: ol.plot.vector_field(plane, 9.5), "there is no trial 9.5; trials are from 10 to 21"),
        (lambda: ol.plot.vector_field(plane, 10, (1, 1)), "2 different numbers from 1 to 2"),
        (lambda: ol.plot.latent_trajectories(plane), "at least 3 components"),
        (lambda: ol.plot.latent_trajectories(space, ax=plt.subplots()[1]), "must be three-dimensional"),
        (lambda: ol.plot.initial_states(plane, at=0.6), "from -0.2 to 0.5"),
        (lambda: ol.plot.inputs(plane, "up"), "no condition 'up'"),
        (lambda: ol.plot.activity_trajectories(space), "must be ol.fitting.Recordings"),
    ):
        with pytest.raises(ValueError, match=message):
            draw()
