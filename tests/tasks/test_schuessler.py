"""The tasks of Schuessler et al. 2020: what is shown, what is asked, and what counts, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

KEY, N = jax.random.key(3), 400


def parts(task):
    """Inputs as shown at step t, and target and weight of the reading after it."""
    inputs, targets, weights = (np.asarray(array) for array in (task.inputs, task.targets, task.weights))
    # Nothing is shown after the last reading, and the state before the first input does not count.
    assert not inputs[:, -1].any()
    assert not weights[:, 0].any()
    return inputs[:, :-1], targets[:, 1:], weights[:, 1:]


@pytest.fixture(scope="module", params=["zero", "hold"])
def flip_flop(request):
    return request.param, parts(ol.tasks.flip_flop_channels(key=KEY, n_trials=N, other_channel=request.param))


def test_channels_keep_what_the_last_pulse_said(flip_flop):
    other_channel, (inputs, targets, weights) = flip_flop
    assert inputs.shape == targets.shape == (N, 100, 2)
    assert set(np.unique(inputs)) == {-1.0, 0.0, 1.0}
    gaps = set()
    for shown, asked, counts in zip(inputs, targets, weights, strict=True):
        on = shown.any(axis=1)
        assert not shown.all(axis=1).any()
        onsets = np.flatnonzero(on & ~np.r_[False, on[:-1]])
        assert onsets[0] == 2
        gaps |= {*np.diff(onsets).tolist()}
        expected, window = np.zeros((100, 2)), np.zeros(100, bool)
        kept = np.zeros(2)
        for onset, following in zip(onsets, [*onsets[1:], 100], strict=True):
            np.testing.assert_array_equal(
                shown[onset : onset + 2], shown[onset : onset + 1].repeat(2, 0)[: 100 - onset]
            )
            kept = shown[onset] if other_channel == "zero" else np.where(shown[onset] == 0, kept, shown[onset])
            expected[onset + 10 : following], window[onset + 10 : following] = 0.5 * kept, True
        np.testing.assert_array_equal(counts > 0, window[:, None].repeat(2, 1))
        np.testing.assert_array_equal(asked, expected)
    # Waits of 5 to 25 and the delay of 5, in steps of a half.
    assert min(gaps) == 20
    assert 55 <= max(gaps) <= 59


def test_the_loss_of_silence_is_that_of_the_paper(flip_flop):
    other_channel, (_, targets, weights) = flip_flop
    if other_channel == "zero":
        # One of two channels is asked for 0.5: half of 0.125.
        assert abs(np.sum(weights * targets**2) - 0.0625) < 1e-12
    assert abs(weights.sum() - 0.5) < 1e-12


def test_the_context_says_which_signal_decides():
    inputs, targets, weights = parts(ol.tasks.mante(key=KEY, n_trials=N, noise=0.0))
    assert inputs.shape == (N, 96, 4)
    stimulus = slice(6, 46)
    assert not np.delete(inputs, np.arange(6, 46), axis=1).any()
    np.testing.assert_array_equal(inputs[:, stimulus], inputs[:, 6:7].repeat(40, axis=1))
    context, signals = inputs[:, 6, :2], inputs[:, 6, 2:]
    np.testing.assert_array_equal(context.sum(axis=1), np.ones(N))
    assert set(np.unique(np.abs(signals))) == {0.125, 0.25, 0.5, 1.0}
    decisive = np.sum(context * signals, axis=1)
    np.testing.assert_array_equal(targets[:, 56:, 0], 0.5 * np.sign(decisive)[:, None].repeat(40, axis=1))
    counts = weights[0, :, 0] > 0
    assert (counts[:46].all(), counts[46:56].any(), counts[56:].all()) == (True, False, True)
    # 40 of the 86 steps that count are asked for 0.5.
    assert abs(np.sum(weights * targets**2) - 0.5 * 0.25 * 40 / 86) < 1e-12
    # Contexts and signals of a trial are independent: four combinations of signs, and the other channel is no guide.
    agree = np.mean(np.sign(signals[:, 0]) == np.sign(signals[:, 1]))
    assert abs(agree - 0.5) < 4 * 0.5 / np.sqrt(N)


def test_noise_is_white_and_on_the_signals_alone():
    quiet, noisy = (parts(ol.tasks.mante(key=KEY, n_trials=N, noise=noise))[0] for noise in (0.0, 0.05))
    assert not (noisy - quiet)[..., :2].any()
    difference = (noisy - quiet)[..., 2:]
    # The standard deviation of n numbers has a relative error of 1 / sqrt(2 n).
    assert abs(difference.std() / (0.05 / np.sqrt(0.5)) - 1) < 4 / np.sqrt(2 * difference.size)


def test_the_higher_pulse_is_reported():
    inputs, targets, weights = parts(ol.tasks.romo(key=KEY, n_trials=N))
    assert inputs.shape == (N, 56, 1)
    delays, differences = set(), []
    for shown, asked, counts in zip(inputs[..., 0], targets, weights, strict=True):
        on = np.flatnonzero(shown)
        assert on.tolist() == [6, 7, on[2], on[2] + 1]
        delays.add(int(on[2]) - 8)
        heights = shown[on[[0, 2]]]
        differences.append(heights[0] - heights[1])
        end = on[3] + 1
        expected = np.zeros((56, 2))
        expected[end + 10 : end + 30, int(np.argmax(heights))] = 0.5
        np.testing.assert_array_equal(asked, expected)
        window = np.r_[np.ones(end, bool), np.zeros(10, bool), np.ones(20, bool), np.zeros(56 - end - 30, bool)]
        np.testing.assert_array_equal(counts > 0, window[:, None].repeat(2, 1))
    assert delays == {*range(4, 16)}
    differences = np.abs(differences)
    assert differences.min() >= 0.2
    # Two uniform heights, of which pairs nearer than 0.2 are drawn again: P(d > x) = ((1 - x) / 0.8)^2.
    assert abs(np.mean(differences > 0.5) - (0.5 / 0.8) ** 2) < 4 * 0.5 / np.sqrt(N)
    assert (inputs[inputs > 0].min() > 0.5, inputs.max() < 1.5) == (True, True)


def test_a_reading_follows_the_update_of_its_step():
    model = ol.Model(ol.Layout(n_in=2, rank=1, n_out=2), ol.Linear())
    task = ol.tasks.flip_flop_channels(key=KEY, n_trials=1, duration=10.0)
    overlaps = ol.Overlaps.from_entries(model.layout, zm=[[1.0, 0.0], [0.0, 1.0]])
    outputs = np.asarray(ol.rollout(model, overlaps, task))[0]
    state, by_hand = np.zeros(2), []
    for x in np.asarray(task.inputs)[0]:
        state = 0.5 * state + 0.5 * x
        by_hand.append(state)
    # The output of the published network at step t is that after the update by input t.
    np.testing.assert_allclose(outputs[1:], by_hand[:-1], atol=1e-15)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (ol.tasks.flip_flop_channels, {"other_channel": "both"}, '"zero" or "hold"'),
        (ol.tasks.flip_flop_channels, {"duration": 5.0}, "duration must be above 6.0"),
        (ol.tasks.flip_flop_channels, {"wait_range": (9.0, 3.0)}, "wait_range must be"),
        (ol.tasks.mante, {"coherences": ()}, "coherences must be"),
        (ol.tasks.mante, {"noise": -1.0}, "mante: noise must be at least 0"),
        (ol.tasks.romo, {"least_difference": 1.0}, "least_difference must be"),
        (ol.tasks.romo, {"delay_range": (0.0, 1.0)}, "delay_range must be"),
        (ol.tasks.romo, {"dt": 2.5}, "romo: d"),
    ],
)
def test_settings_without_a_trial_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(key=KEY, **settings)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (ol.tasks.flip_flop, {"wait_range": (4.0, 9.0)}),
        (ol.tasks.flip_flop_channels, {"wait_range": (1.0, 9.0), "target_amplitude": 0.5}),
        (ol.tasks.mante, {"noise": 0.3, "target_amplitude": 0.5}),
        (ol.tasks.romo, {"delay_range": (2.0, 8.0)}),
        (ol.tasks.decision_making, {"noise": 0.1}),
        (ol.tasks.teacher, {"white_noise": 0.5}),
    ],
)
def test_settings_in_jax_and_a_key_that_is_traced_give_the_same_trials(make, settings):
    expected = make(key=KEY, n_trials=3, dt=0.25, **settings)
    in_jax = jax.tree.map(jnp.asarray, settings)
    ranges = {name: jnp.stack(value) for name, value in in_jax.items() if name.endswith("range")}
    traced = jax.jit(lambda key: make(key=key, n_trials=3, dt=0.25, **settings))(KEY)
    for found in (make(key=KEY, n_trials=3, dt=jnp.asarray(0.25), **in_jax | ranges), traced):
        for name in ("inputs", "targets", "weights"):
            # Within one program XLA adds products without rounding them.
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("make", [ol.tasks.flip_flop_channels, ol.tasks.mante, ol.tasks.romo])
def test_streams_draw_them(make):
    trials = ol.tasks.stream(make, n_trials=3)
    one, other = trials.sample(jax.random.key(0)), trials.sample(jax.random.key(1))
    assert one.inputs.shape == other.inputs.shape
    assert not np.array_equal(one.inputs, other.inputs)
