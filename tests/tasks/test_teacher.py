"""Teacher: inputs of noise and pulses, and targets that are a network's outputs."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

EPS = np.finfo(float).eps
N_TRIALS, DURATION, DT = 16, 12.0, 0.1
N_STEPS = 120
PUBLISHED = {"zm": 0.5, "zu": 2.3, "vm": 2.0, "vu": 1.5, "mu": 1.6, "mm": 1.8, "uu": 2.2}


@jax.jit
def compiled(white_noise, pulses, values):
    return ol.tasks.teacher(
        key=jax.random.key(0),
        n_trials=N_TRIALS,
        duration=DURATION,
        dt=DT,
        white_noise=white_noise,
        pulses=pulses,
        visible=tuple(zip(PUBLISHED, values, strict=True)),
    )


def draw(white_noise=1.5, pulses=2.0, visible=PUBLISHED):
    return compiled(white_noise, pulses, jnp.array(list(visible.values())))


def outputs_by_hand(task, zm, zu, vm, vu, mu, mm, uu):
    """Equation (4) for one rank, written out."""
    inputs = np.asarray(task.inputs)[:, :, 0]
    k_m, k_u = np.zeros(len(inputs)), np.zeros(len(inputs))
    readings = []
    for x in inputs.T:
        gain = (1 + np.pi / 2 * (mm * k_m**2 + 2 * mu * k_m * k_u + uu * k_u**2)) ** -0.5
        readings.append(gain * (zm * k_m + zu * k_u))
        change_m, change_u = -k_m + x, -k_u + gain * (vm * k_m + vu * k_u)
        k_m, k_u = k_m + DT * change_m, k_u + DT * change_u
    return np.transpose(readings)


# Some ten roundings of numbers of order one in each of 120 steps are 3e-13 in all. The saturating gain keeps the state
# from running away with them: a factor ten is allowed for the growth from the small states of the beginning.
ROUNDING = 10 * 10 * N_STEPS * EPS


@pytest.mark.parametrize("visible", [PUBLISHED, PUBLISHED | {"zm": -1.0, "vu": 0.3}])
def test_targets_are_the_outputs_of_the_network_of_these_overlaps(visible):
    task = draw(visible=visible)
    assert task.inputs.shape == task.targets.shape == (N_TRIALS, N_STEPS, 1)
    assert np.std(np.asarray(task.targets)) > 0.1
    expected = outputs_by_hand(task, **visible)
    assert np.max(np.abs(np.asarray(task.targets)[:, :, 0] - expected)) <= ROUNDING * np.max(np.abs(expected))


def test_a_network_with_the_teacher_s_visible_overlaps_solves_the_task():
    """With selection and readout vectors long enough for them; their length is invisible."""
    task = draw()
    overlaps = ol.Overlaps.from_entries(ol.Layout(), **PUBLISHED, vv=20.0, zz=20.0)
    outputs = ol.rollout(ol.Model(ol.Layout(), ol.Erf()), overlaps, task)
    error = ROUNDING * float(jnp.max(jnp.abs(outputs)))
    assert np.max(np.abs(outputs - task.targets)) <= error
    assert float(task.loss(outputs)) <= DURATION * error**2


def test_the_input_is_noise_plus_pulses():
    pulses = np.asarray(draw(white_noise=0.0).inputs)[:, :, 0]
    both = np.asarray(draw().inputs)[:, :, 0]
    assert set(np.unique(pulses)) == {-2.0, 0.0, 2.0}
    # First pulse from 0.5 to 1.0 in every trial, the next 3.5 to 4.5 (0.5 + 2.0 + wait of 1 to 2) after its onset.
    assert np.all(pulses[:, :5] == 0)
    assert np.all(pulses[:, 5:10] != 0)
    for trial in pulses:
        following = np.flatnonzero(trial[10:])[0] + 10
        assert 5 + 35 - 1 <= following <= 5 + 45 + 1
    noise = both - pulses
    # The same pulses with and without noise: four standard errors of a mean, a standard deviation and a correlation.
    assert abs(noise.mean()) <= 4 * 1.5 / np.sqrt(noise.size)
    assert abs(noise.std() / 1.5 - 1) <= 4 / np.sqrt(2 * noise.size)
    assert abs(np.mean(noise * pulses)) <= 4 * 1.5 * 2 / np.sqrt(noise.size)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) <= 4 * 1.5**2 / np.sqrt(noise.size)


def test_the_loss_is_the_mean_square_difference_times_the_duration():
    task = draw()
    outputs = np.random.default_rng(0).normal(size=task.targets.shape)
    expected = np.mean(np.square(outputs - np.asarray(task.targets))) * DURATION
    # A mean of 1,920 positive terms.
    assert float(task.loss(outputs)) == pytest.approx(expected, rel=1e-12)


def test_defaults_are_those_of_the_publication():
    parameters = inspect.signature(ol.tasks.teacher).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert dict(defaults.pop("visible")) == PUBLISHED
    assert defaults == {
        "n_trials": 128,
        "duration": 20.0,
        "dt": 0.05,
        "white_noise": 1.5,
        "pulses": 2.0,
        "wait_range": (1.0, 2.0),
    }


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"white_noise": -1.0}, "teacher: white_noise must be at least 0, got -1"),
        ({"n_trials": 0}, "teacher: n_trials must be an integer of at least 1, got 0"),
        (
            {"wait_range": (2.0, 1.0)},
            "wait_range must be .shortest, longest., with a shortest wait of at least two steps",
        ),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changed, said):
    with pytest.raises(ValueError, match=said):
        ol.tasks.teacher(key=jax.random.key(0), **changed)


def test_an_unknown_overlap_is_refused_by_name():
    # Only shapes are traced: names are known without drawing.
    with pytest.raises(ValueError, match="There is no overlap 'wm'"):
        jax.eval_shape(lambda key: ol.tasks.teacher(key=key, visible=(("wm", 1.0),)), jax.random.key(0))
