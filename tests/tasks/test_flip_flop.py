"""Flip-flop: every statement about its timing, from pulses decoded out of the inputs."""

import functools
import inspect
import itertools

import jax
import numpy as np
import pytest

import overlap_learning as ol

INPUT, TARGET = 1.5, 0.4
# The published times with many trials; and waits of no spread with a step that divides none of the times.
RANDOM = (20.0, 0.05, (4.0, 10.0), 300)
REGULAR = (20.0, 0.07, (3.0, 3.0), 10)
SETTINGS = [RANDOM, REGULAR]


@functools.cache
def draw(duration, dt, wait_range, n_trials):
    @jax.jit
    def trials(key, input_amplitude, target_amplitude):
        return ol.tasks.flip_flop(
            key=key,
            n_trials=n_trials,
            duration=duration,
            dt=dt,
            wait_range=wait_range,
            input_amplitude=input_amplitude,
            target_amplitude=target_amplitude,
        )

    return trials(jax.random.key(0), INPUT, TARGET)


@functools.cache
def pulses(setting):
    """The first step and the sign of each pulse of each trial, read off the inputs alone."""
    found = []
    for trial in np.asarray(draw(*setting).inputs)[:, :, 0]:
        starts = [k for k in range(len(trial)) if trial[k] != 0 and (k == 0 or trial[k - 1] == 0)]
        found.append([(k, np.sign(trial[k])) for k in starts])
    return found


@pytest.mark.parametrize("setting", SETTINGS)
def test_inputs_targets_and_weights_follow_from_onsets_and_signs(setting):
    """An independent construction, step by step, from the pulses."""
    task = draw(*setting)
    duration, dt, _, n_trials = setting
    n = round(duration / dt)
    assert task.inputs.shape == task.targets.shape == task.weights.shape == (n_trials, n, 1)
    length, settled = round(0.5 / dt), round(2.5 / dt)
    inputs, targets, counted = (np.zeros((n_trials, n)) for _ in range(3))
    for trial, found in enumerate(pulses(setting)):
        for number, (onset, sign) in enumerate(found):
            is_last = number + 1 == len(found)
            following = n + 1 if is_last else found[number + 1][0]
            for k in range(onset, min(following, n)):
                targets[trial, k] = sign * TARGET
                if k < onset + length:
                    inputs[trial, k] = sign * INPUT
                if onset + settled <= k < following - 1:
                    counted[trial, k] = 1.0
        # A pulse right after the end of the trial can't be read off its inputs; the last reading then has no weight.
        if task.weights[trial, -1, 0] == 0:
            counted[trial, -1] = 0.0
    assert np.array_equal(task.inputs[:, :, 0], inputs)
    assert np.array_equal(task.targets[:, :, 0], targets)
    assert np.allclose(task.weights[:, :, 0], counted / counted.sum(), rtol=4 * np.finfo(float).eps, atol=0)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_first_pulse_comes_at_one_half_and_waits_lie_in_their_range(setting):
    _, dt, (shortest, longest), _ = setting
    gaps = []
    for found in pulses(setting):
        onsets = [onset for onset, _ in found]
        assert onsets[0] == round(0.5 / dt)
        gaps += [dt * (b - a) for a, b in itertools.pairwise(onsets)]
    # A pulse of 0.5 and a delay of 2.0 before each wait; the two onsets are rounded to half a step each.
    waits = np.array(gaps) - 2.5
    assert len(waits) >= 10
    assert np.all(waits >= shortest - dt - 1e-9)
    assert np.all(waits <= longest + dt + 1e-9)


def test_waits_are_uniform_and_signs_are_fair():
    """Trials long enough to hold two pulses whatever the first wait."""
    _, dt, (shortest, longest), n_trials = RANDOM
    found = pulses(RANDOM)
    waits = np.sort([dt * (trial[1][0] - trial[0][0]) - 2.5 for trial in found])
    uniform = np.clip((waits - shortest) / (longest - shortest), 0, 1)
    ranks = np.arange(n_trials + 1) / n_trials
    distance = max(np.max(ranks[1:] - uniform), np.max(uniform - ranks[:-1]))
    # Kolmogorov and Smirnov: exceeded once in 1e4 keys at sqrt(log(2/1e-4)/2)/sqrt(n); onsets are rounded to dt.
    assert distance <= np.sqrt(np.log(2e4) / 2 / n_trials) + dt / (longest - shortest)
    first = np.array([trial[0][1] for trial in found])
    second = np.array([trial[1][1] for trial in found])
    # Four standard errors of a mean of signs, and of the product of successive ones.
    assert abs(first.mean()) <= 4 / np.sqrt(n_trials)
    assert abs(second.mean()) <= 4 / np.sqrt(n_trials)
    assert abs((first * second).mean()) <= 4 / np.sqrt(n_trials)


def test_each_wait_is_drawn_anew():
    """Two successive waits are hardly ever the same."""
    pairs = [np.diff([onset for onset, _ in found])[:2] for found in pulses(RANDOM) if len(found) > 2]
    equal = np.mean([abs(first - second) <= 2 for first, second in pairs])
    # Both waits fit into a trial if their sum is at most 14.5: 58 % of the square (4, 10)^2. Waits within two steps of
    # each other take up 1.8 % of it, hence 3.1 % of the trials that count; four standard errors above.
    assert len(pairs) > 100
    assert equal <= 0.031 + 4 * np.sqrt(0.031 / len(pairs))


def test_the_loss_is_the_mean_of_squares_where_it_counts():
    task = draw(*REGULAR)
    outputs = np.random.default_rng(0).normal(size=task.targets.shape)
    counts = np.asarray(task.weights) > 0
    expected = np.mean(np.square(outputs - np.asarray(task.targets))[counts])
    # A mean of some thousand positive terms.
    assert float(task.loss(outputs)) == pytest.approx(expected, rel=1e-12)
    assert float(task.loss(task.targets)) == 0.0


def test_nothing_is_asked_before_the_first_pulse_has_been_decided():
    task = draw(*RANDOM)
    inputs, targets, weights = (np.asarray(x) for x in (task.inputs, task.targets, task.weights))
    assert np.all(inputs[:, :10] == 0)
    assert np.all(targets[:, :10] == 0)
    assert np.all(np.abs(targets[:, 10]) == TARGET)
    assert np.all(weights[:, :60] == 0)
    assert np.all(weights[:, 60] > 0)


def test_defaults_are_those_of_the_publication():
    parameters = inspect.signature(ol.tasks.flip_flop).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert defaults == {
        "n_trials": 10,
        "duration": 20.0,
        "dt": 0.05,
        "wait_range": (4.0, 10.0),
        "input_amplitude": 1.0,
        "target_amplitude": 0.5,
    }


# -- errors ---------------------------------------------------------------------------------------------------------


def test_a_trial_without_a_reading_that_counts_is_refused():
    with pytest.raises(ValueError, match=r"flip_flop: duration must be above 3\.0 .*got 3\.0"):
        ol.tasks.flip_flop(key=jax.random.key(0), duration=3.0)
    # One step longer is enough.
    shapes = jax.eval_shape(lambda key: ol.tasks.flip_flop(key=key, duration=3.05), jax.random.key(0))
    assert shapes.n_steps == 61


@pytest.mark.parametrize("wait_range", [(0.0, 0.0), (0.05, 0.05)])
def test_waits_too_short_for_a_reading_that_counts_are_refused(wait_range):
    with pytest.raises(ValueError, match="flip_flop: wait_range"):
        ol.tasks.flip_flop(key=jax.random.key(0), wait_range=wait_range, dt=0.05)


@pytest.mark.parametrize("wait_range", [(5.0, 4.0), (-1.0, 2.0), (1.0, np.inf), (np.nan, 1.0)])
def test_an_impossible_range_of_waits_is_refused(wait_range):
    with pytest.raises(
        ValueError,
        match=r"flip_flop: wait_range must be .shortest, longest., with a shortest wait of at least two steps",
    ) as caught:
        ol.tasks.flip_flop(key=jax.random.key(0), wait_range=wait_range)
    assert str(wait_range) in str(caught.value)


@pytest.mark.parametrize("n_trials", [0, 2.0])
def test_an_impossible_number_of_trials_is_refused(n_trials):
    with pytest.raises(ValueError, match=f"flip_flop: n_trials must be an integer of at least 1, got {n_trials}"):
        ol.tasks.flip_flop(key=jax.random.key(0), n_trials=n_trials)


def test_amplitudes_and_steps_out_of_range_are_refused():
    with pytest.raises(ValueError, match="flip_flop: input_amplitude must be a finite number, got nan"):
        ol.tasks.flip_flop(key=jax.random.key(0), input_amplitude=np.nan)
    with pytest.raises(ValueError, match="flip_flop: target_amplitude must be a finite number, got inf"):
        ol.tasks.flip_flop(key=jax.random.key(0), target_amplitude=np.inf)
    with pytest.raises(ValueError, match=r"dt must be above 0 and below 2 .*got 2\.5"):
        ol.tasks.flip_flop(key=jax.random.key(0), dt=2.5)
