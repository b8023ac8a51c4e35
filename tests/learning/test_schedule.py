"""Learning rates that fall with the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import N_STEPS, RANK_1, SAVE_EVERY, compilations, largest, make_overlaps, make_task

import overlap_learning as ol

MODEL, TASK, START = ol.Model(RANK_1, ol.Linear()), make_task(RANK_1), make_overlaps(RANK_1)
PLAIN = ol.integrate(MODEL, TASK, START, ol.GradientDescent(0.02, N_STEPS, save_every=1))


def scheduled(**settings):
    settings = {"initial": 0.02, "below": 0.1, "factor": 0.2} | settings
    rate = ol.LossSchedule(settings.pop("initial"), **settings)
    return ol.GradientDescent(rate, N_STEPS, save_every=1)


def test_the_rate_falls_at_the_first_step_whose_loss_is_below_and_stays():
    below = float(PLAIN.loss[40]) * (1 + 1e-9)
    first = int(np.argmax(np.asarray(PLAIN.loss) <= below))
    assert 0 < first < N_STEPS
    found = ol.integrate(MODEL, TASK, START, scheduled(below=below))
    rates = np.diff(found.time)
    np.testing.assert_allclose(rates[:first], 0.02, rtol=1e-12)
    np.testing.assert_allclose(rates[first:], 0.004, rtol=1e-9)
    # Up to there the runs are one, and after it they are not.
    assert largest(found.overlaps.gram[: first + 1] - PLAIN.overlaps.gram[: first + 1]) <= 1e-12
    assert largest(found.overlaps.gram[-1] - PLAIN.overlaps.gram[-1]) > 1e-3


def test_the_rate_stays_low_if_the_loss_rises_again():
    # One trial a step, and next to no learning: the losses are those of the four trials, in random order.
    errors = TASK.weights * jnp.square(ol.rollout(MODEL, START, TASK) - TASK.targets)
    each = jnp.sort(TASK.n_trials * errors.sum(axis=(1, 2)))
    below = float((each[0] + each[1]) / 2)
    rate = ol.LossSchedule(1e-9, below=below, factor=0.5)
    rule = ol.GradientDescent(rate, N_STEPS, save_every=1, batch_size=1)
    found = ol.integrate(MODEL, TASK, START, rule, key=jax.random.key(0))
    low = np.diff(found.time) < 0.75e-9
    first = int(np.argmax(np.asarray(found.loss) <= below))
    assert float(found.loss[first]) <= below
    assert not low[:first].any()
    assert low[first:].all()
    assert (np.asarray(found.loss)[first + 1 : -1] > below).any()


def test_theory_and_full_n_agree_and_each_member_of_a_batch_has_its_own_rate():
    starts = [START, make_overlaps(RANK_1, seed=1)]
    networks = ol.Network.sample(ol.Overlaps(jnp.stack([s.gram for s in starts]), RANK_1), 12, key=jax.random.key(1))
    rule = ol.GradientDescent(ol.LossSchedule(0.02, below=0.05, factor=0.2), N_STEPS, save_every=SAVE_EVERY)
    full = ol.train(MODEL, TASK, networks, rule)
    theory = [ol.integrate(MODEL, TASK, start, rule) for start in starts]
    for i in (0, 1):
        # As in the tests of ol.train: the rounding of 300 gradients.
        assert largest(full.overlaps.gram[i] - theory[i].overlaps.gram) <= 1e-10
        np.testing.assert_allclose(full.time[i], theory[i].time, rtol=1e-12)
    assert largest(theory[0].time - theory[1].time) > 0.02


def test_a_schedule_of_steps_can_be_what_falls():
    rate = ol.LossSchedule(lambda step: 0.01 / (1.0 + step), below=0.5, factor=0.1)
    assert float(rate.at(1.0, 3)) == pytest.approx(0.0025)
    assert float(rate.at(0.5, 3)) == pytest.approx(0.00025)
    found = ol.integrate(MODEL, TASK, START, ol.GradientDescent(rate, N_STEPS, save_every=1))
    expected = 0.01 / (1 + np.arange(N_STEPS)) * np.where(np.asarray(found.loss[:-1]) <= 0.5, 0.1, 1.0)
    np.testing.assert_allclose(np.diff(found.time), expected, rtol=1e-6)


def test_other_numbers_compile_nothing():
    ol.integrate(MODEL, TASK, START, scheduled())
    with compilations() as compiled:
        ol.integrate(MODEL, TASK, START, scheduled(initial=0.03, below=0.2, factor=0.3))
    assert compiled == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial": 0.0}, "initial must be positive"),
        ({"below": -1.0}, "below must be positive"),
        ({"factor": 0.0}, "factor"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"LossSchedule: {message}"):
        scheduled(**settings)
