"""Decision making: its four periods, inputs, targets and loss."""

import functools
import inspect

import jax
import numpy as np
import pytest

import overlap_learning as ol

EPS = np.finfo(float).eps
N_TRIALS, DT = 600, 0.1
FIXATION, STIMULUS, DELAY, RESPONSE = slice(0, 10), slice(10, 100), slice(100, 110), slice(110, 200)
COHERENCES = (-16.0, -8.0, -2.0, 2.0, 8.0, 16.0)


@jax.jit
def published(noise, target_amplitude):
    return ol.tasks.decision_making(
        key=jax.random.key(0), n_trials=N_TRIALS, dt=DT, noise=noise, target_amplitude=target_amplitude
    )


@functools.cache
def categorical():
    """Another step and other coherences too."""
    return ol.tasks.decision_making(
        key=jax.random.key(0),
        n_trials=20,
        dt=0.05,
        coherences=(3.0, -5.0),
        noise=0.0,
        target_amplitude=1.5,
        categorical=True,
    )


def coherences(task):
    """Those of the trials, read off noiseless inputs in the middle of the stimulus."""
    return np.asarray(task.inputs)[:, round(5.0 / float(task.dt)), 0] / (3.2 / 100)


def test_the_stimulus_is_on_for_its_period_and_off_in_all_others():
    task = published(0.0, 1.0)
    inputs = np.asarray(task.inputs)[:, :, 0]
    assert inputs.shape == (N_TRIALS, 200)
    for period in (FIXATION, DELAY, RESPONSE):
        assert np.all(inputs[:, period] == 0)
    assert np.array_equal(inputs[:, STIMULUS], np.repeat(inputs[:, 50:51], 90, axis=1))
    assert {round(c, 12) for c in coherences(task)} == set(COHERENCES)


def test_the_target_is_the_coherence_in_units_of_sixteen_during_the_response():
    task = published(0.0, 1.5)
    targets = np.asarray(task.targets)[:, :, 0]
    assert np.all(targets[:, :110] == 0)
    expected = np.repeat(1.5 * coherences(task)[:, None] / 16, 90, axis=1)
    assert np.allclose(targets[:, RESPONSE], expected, rtol=8 * EPS, atol=0)


def test_the_categorical_target_is_the_sign_of_the_coherence():
    task = categorical()
    targets = np.asarray(task.targets)[:, :, 0]
    assert np.all(targets[:, :220] == 0)
    assert np.array_equal(targets[:, 220:], np.repeat(1.5 * np.sign(coherences(task))[:, None], 180, axis=1))


def test_other_coherences_are_the_only_ones_drawn():
    assert {round(c, 12) for c in coherences(categorical())} == {3.0, -5.0}


def test_periods_follow_the_step():
    task = categorical()
    assert np.flatnonzero(np.asarray(task.inputs)[0, :, 0]).tolist() == list(range(20, 200))
    assert np.flatnonzero(np.asarray(task.weights)[0, :, 0]).tolist() == list(range(220, 400))


def test_the_loss_is_the_mean_of_squares_over_the_response():
    task = published(0.0, 1.0)
    outputs = np.random.default_rng(0).normal(size=task.targets.shape)
    expected = np.mean(np.square(outputs - np.asarray(task.targets))[:, RESPONSE])
    # A mean of 54,000 positive terms.
    assert float(task.loss(outputs)) == pytest.approx(expected, rel=1e-11)


def test_noise_is_independent_and_of_the_given_size_at_every_step():
    silent, noisy = published(0.0, 1.0), published(0.3, 1.0)
    noise = np.asarray(noisy.inputs - silent.inputs)[:, :, 0]
    # The same coherences with and without noise; four standard errors of a mean, of a standard deviation, and of
    # correlations in time and between trials.
    n = noise.size
    assert np.array_equal(noisy.targets, silent.targets)
    assert abs(noise.mean()) <= 4 * 0.3 / np.sqrt(n)
    assert abs(noise.std() / 0.3 - 1) <= 4 / np.sqrt(2 * n)
    # Five for the extremes of 200 steps.
    assert np.all(np.abs(noise.std(axis=0) / 0.3 - 1) <= 5 / np.sqrt(2 * N_TRIALS))
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) <= 4 * 0.3**2 / np.sqrt(n)
    assert abs(np.mean(noise[1:] * noise[:-1])) <= 4 * 0.3**2 / np.sqrt(n)


def test_coherences_are_drawn_evenly():
    found = coherences(published(0.0, 1.0))
    counts = np.array([np.sum(np.isclose(found, c)) for c in COHERENCES])
    # A binomial count of mean 100 and variance 83; four standard errors.
    assert counts.sum() == N_TRIALS
    assert np.all(np.abs(counts - N_TRIALS / 6) <= 4 * np.sqrt(N_TRIALS * (1 / 6) * (5 / 6)))


def test_defaults_are_those_of_the_publication():
    parameters = inspect.signature(ol.tasks.decision_making).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert defaults == {
        "n_trials": 128,
        "dt": 0.05,
        "coherences": COHERENCES,
        "noise": 0.05,
        "target_amplitude": 1.0,
        "categorical": False,
    }


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"noise": -0.1}, "noise must be at least 0, got -0.1"),
        ({"noise": np.nan}, "noise must be at least 0, got nan"),
        ({"target_amplitude": np.inf}, "target_amplitude must be a finite number, got inf"),
        ({"coherences": ()}, "coherences must be one or more finite numbers, got ()"),
        ({"coherences": (1.0, np.nan)}, "coherences must be one or more finite numbers, got (1.0, nan)"),
        ({"n_trials": 0}, "n_trials must be an integer of at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changed, said):
    with pytest.raises(ValueError, match="decision_making: ") as caught:
        ol.tasks.decision_making(key=jax.random.key(0), **changed)
    assert said in str(caught.value)


def test_a_step_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"dt must be above 0 and below 2 .*got 2\."):
        ol.tasks.decision_making(key=jax.random.key(0), dt=2.0)
