"""Impulse tasks: their stated facts, and the networks that solve them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

EPS = np.finfo(float).eps
DECAY, FREQUENCY = 0.3, 2.0
DURATION, DT = 4.0, 0.1
N_READINGS = 40


def filter_task(**changed):
    return ol.tasks.exponential_filter(**({"decay": DECAY, "duration": DURATION, "dt": DT} | changed))


def oscillation_task(**changed):
    given = {"decay": DECAY, "frequency": FREQUENCY, "duration": DURATION, "dt": DT}
    return ol.tasks.damped_oscillation(**(given | changed))


def filter_solution():
    """The solution in continuous time, with selection and readout vectors long enough for these overlaps."""
    c = DECAY
    return ol.Overlaps.from_entries(ol.Layout(), zm=1.0, zu=1.0, vm=1 - c, vu=1 - c, vv=4.0, zz=4.0)


def oscillation_solution():
    """A rotating and shrinking pair k_u(t) = exp(A t) a - exp(-t) a, A = [[-c, -omega], [omega, -c]], a = (1, 0).

    It solves dk_u/dt = A k_u + s_vm exp(-t) with s_vm = (A + 1) a = (1 - c, omega), and s_vu = A + 1; read as
    s_zu = (1, 0) and s_zm = 1 it gives exp(-c t) cos(omega t).
    """
    c, omega = DECAY, FREQUENCY
    return ol.Overlaps.from_entries(
        ol.Layout(rank=2),
        zm=1.0,
        zu=[[1.0, 0.0]],
        vm=[[1 - c], [omega]],
        vu=[[1 - c, -omega], [omega, 1 - c]],
        vv=40.0 * np.eye(2),
        zz=6.0,
    )


TASKS = pytest.mark.parametrize("make", [filter_task, oscillation_task])


@TASKS
def test_input_is_one_impulse_of_unit_area_at_step_zero(make):
    task = make()
    assert task.inputs.shape == task.targets.shape == task.weights.shape == (1, N_READINGS + 1, 1)
    expected = np.zeros(N_READINGS + 1)
    expected[0] = 1 / DT
    assert np.array_equal(task.inputs[0, :, 0], expected)
    assert float(task.dt) == DT


@TASKS
def test_loss_is_the_time_integral_over_readings_after_the_impulse(make):
    weights = np.asarray(make().weights)[0, :, 0]
    assert weights[0] == 0
    assert np.array_equal(weights[1:], np.full(N_READINGS, DT))


def test_targets_are_read_at_the_times_of_the_states():
    times = DT * np.arange(N_READINGS)
    # The exponential function is good to a few eps, its argument to eps times itself.
    close = {"rtol": 8 * EPS, "atol": 8 * EPS}
    assert np.allclose(filter_task().targets[0, 1:, 0], np.exp(-DECAY * times), **close)
    expected = np.exp(-DECAY * times) * np.cos(FREQUENCY * times)
    assert np.allclose(oscillation_task().targets[0, 1:, 0], expected, **close)


@TASKS
def test_the_published_time_axis_holds_both_ends(make):
    """linspace(0, T, T) dt: T readings from 0 to T dt inclusive, spaced by T/(T - 1) dt."""
    own, published = make(), make(published_time_axis=True)
    times = np.linspace(0, N_READINGS, N_READINGS) * DT
    assert np.diff(times) == pytest.approx(N_READINGS / (N_READINGS - 1) * DT)
    expected = np.exp(-DECAY * times) * (np.cos(FREQUENCY * times) if make is oscillation_task else 1.0)
    assert np.allclose(published.targets[0, 1:, 0], expected, rtol=8 * EPS, atol=8 * EPS)
    # Nothing else changes.
    assert np.array_equal(own.inputs, published.inputs)
    assert np.array_equal(own.weights, published.weights)
    assert not np.allclose(own.targets, published.targets, rtol=1e-3)


def test_defaults_are_those_of_the_publication():
    own = {"dt": 0.05, "duration": 20.0, "published_time_axis": False}
    for make, settings in (
        (ol.tasks.exponential_filter, {"decay": 0.2}),
        (ol.tasks.damped_oscillation, {"decay": 0.3, "frequency": 2.0}),
    ):
        defaults = {name: p.default for name, p in inspect.signature(make).parameters.items()}
        assert defaults == own | settings


def test_the_first_reading_after_the_impulse_is_the_input_vector():
    task = filter_task()
    overlaps = ol.Overlaps.from_entries(ol.Layout(), zm=0.6, zu=0.3)
    outputs = ol.rollout(ol.Model(ol.Layout(), ol.Linear()), overlaps, task)[0, :, 0]
    assert float(outputs[0]) == 0.0
    assert float(outputs[1]) == pytest.approx(0.6, rel=4 * EPS)


def test_at_its_solution_the_filter_is_euler_s_exponential():
    """y[k + 1] = (1 - c dt)^k exactly: the modes 1 - dt and 1 - c dt, the first cancelled by s_zm = 1."""
    task = filter_task()
    outputs = ol.rollout(ol.Model(ol.Layout(), ol.Linear()), filter_solution(), task)[0, 1:, 0]
    # A few roundings in each of the steps.
    assert np.allclose(outputs, (1 - DECAY * DT) ** np.arange(N_READINGS), rtol=0, atol=8 * N_READINGS * EPS)


@pytest.mark.parametrize(("make", "solve"), [(filter_task, filter_solution), (oscillation_task, oscillation_solution)])
def test_at_the_solution_the_loss_falls_as_the_square_of_the_step(make, solve):
    overlaps = solve()
    model = ol.Model(overlaps.layout, ol.Linear())

    def loss(dt):
        task = make(dt=dt, duration=2.0)
        return float(task.loss(ol.rollout(model, overlaps, task)))

    coarse, fine = loss(0.02), loss(0.01)
    assert 0 < fine < 1e-2
    # Outputs err by C dt (1 + a dt), a of the order of the fastest rate, |A| = sqrt(c^2 + omega^2) < 2.1; squares
    # double it.
    assert np.log2(coarse / fine) == pytest.approx(2.0, abs=2 * 2.1 * 0.02 / np.log(2))


def test_the_solution_is_a_minimum_of_the_loss_only_with_all_four_overlaps():
    """Each visible overlap moved away raises the loss; the product of s_zu and s_vm kept, it stays."""
    model, task = ol.Model(ol.Layout(), ol.Linear()), filter_task(dt=0.02, duration=2.0)
    solution = filter_solution()

    def loss(overlaps):
        return float(task.loss(ol.rollout(model, overlaps, task)))

    best = loss(solution)
    for name in ("zm", "zu", "vm", "vu"):
        assert loss(solution.replace(**{name: float(solution.entries()[name]) + 0.1})) > 2 * best
    # Outputs that round to 1e-15, and that Euler's steps put 1e-3 off.
    assert loss(solution.replace(zu=0.5, vm=2 * (1 - DECAY))) == pytest.approx(best, rel=1e-11)


def test_decay_and_frequency_map_and_differentiate():
    targets = jax.vmap(lambda c: filter_task(decay=c).targets)(jnp.array([0.1, 0.5]))
    for decay, target in zip((0.1, 0.5), targets, strict=True):
        assert np.allclose(target, filter_task(decay=decay).targets, rtol=8 * EPS, atol=0)
    slope = jax.grad(lambda omega: oscillation_task(frequency=omega).targets[0, 11, 0])(FREQUENCY)
    # d/d omega of exp(-c) cos(omega), at t = 1.
    assert float(slope) == pytest.approx(-np.exp(-DECAY) * np.sin(FREQUENCY), rel=1e-13)


# -- errors ---------------------------------------------------------------------------------------------------------


@TASKS
@pytest.mark.parametrize(("decay", "dt"), [(20.0, 0.1), (2.5, 0.8), (1e3, 0.05)])
def test_a_decay_that_euler_can_not_follow_is_refused_with_the_step_that_can(make, decay, dt):
    with pytest.raises(ValueError, match=r"decay \* dt must be below 2") as caught:
        make(decay=decay, dt=dt)
    assert f"decay={decay:g} with dt={dt:g}; use dt < {2 / decay:.3g}." in str(caught.value)


@TASKS
@pytest.mark.parametrize("decay", [0.0, -0.2, np.nan, np.inf])
def test_a_decay_that_is_not_positive_is_refused(make, decay):
    with pytest.raises(ValueError, match=rf": decay must be positive, got {decay:g}\."):
        make(decay=decay)


@TASKS
@pytest.mark.parametrize("dt", [-0.1, 2.0])
def test_a_step_out_of_range_is_refused(make, dt):
    with pytest.raises(ValueError, match=f"dt must be 0 .*, or above 0 and below 2 .*got {dt:g}"):
        make(dt=dt)


@TASKS
@pytest.mark.parametrize("duration", [0.0, -1.0, 0.04, np.nan, np.inf])
def test_a_duration_out_of_range_is_refused(make, duration):
    with pytest.raises(ValueError, match=f"duration must be positive and at least one step dt=0.1, got {duration:g}"):
        make(duration=duration)


def test_a_frequency_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="damped_oscillation: frequency must be a finite number, got inf"):
        oscillation_task(frequency=np.inf)


def test_a_sum_of_terms_is_the_sum_of_their_targets():
    rng = np.random.default_rng(0)
    cosines, sines, impulses = rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 2))
    task = ol.tasks.impulse_response(cosines, [0.3, 0.7], [1.0, 2.0], sines, impulses=impulses, duration=1.0, dt=DT)
    t = DT * np.arange(10)
    expected = np.zeros((3, 10, 2))
    for j, (c, omega) in enumerate([(0.3, 1.0), (0.7, 2.0)]):
        turning = cosines[:, None, j] * np.cos(omega * t)[:, None] + sines[:, None, j] * np.sin(omega * t)[:, None]
        expected += np.exp(-c * t)[:, None] * turning
    # Sums of four products of numbers of order 1.
    assert np.allclose(task.targets[:, 1:], expected, rtol=0, atol=64 * EPS)
    assert np.allclose(task.inputs[:, 0], impulses / DT, rtol=EPS)
    assert not np.any(task.inputs[:, 1:])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cosines": [[1.0]]}, "cosines must have shape"),
        ({"cosines": np.ones((2, 1, 1))}, "same trials"),
        ({"decays": [0.1, 0.2]}, "same terms"),
        ({"decays": [0.0]}, "positive"),
        ({"decays": [50.0]}, "decay \\* dt must be below 2"),
        ({"sines": [[[1.0]]]}, "sines need frequencies"),
        ({"frequencies": [1.0, 2.0]}, r"must both be \[J\]"),
        ({"frequencies": [1.0], "sines": np.ones((1, 2, 1))}, "must both be"),
        ({"impulses": [1.0]}, "impulses must have shape"),
        ({"impulses": [[np.nan]]}, "impulses must be finite"),
        ({"cosines": [[[np.inf]]]}, "cosines must be finite"),
    ],
)
def test_wrong_terms_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        ol.tasks.impulse_response(**({"cosines": [[[1.0]]], "decays": [0.2], "dt": DT} | changed))


def test_replace_refuses_what_a_task_does_not_have():
    with pytest.raises(ValueError, match=r"Task.replace: a task has inputs, .*, not target"):
        filter_task().replace(target=1.0)
