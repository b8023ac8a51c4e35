"""Continuous time: the limit dt -> 0 of impulse tasks, held against formulas and steps that it does not use."""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammainc

import overlap_learning as ol
from overlap_learning.tasks.impulse import FASTEST
from overlap_learning.tasks.stream import TaskStream

EPS = np.finfo(float).eps
LINEAR = ol.Model(ol.Layout(), ol.Linear())
FILTER = ol.tasks.exponential_filter(decay=0.2, duration=5.0, dt=0)
START = ol.Overlaps.from_entries(LINEAR.layout, zu=0.1, vm=0.1)


def descent(learning_rate):
    """Of one length and with the same saved points, so that the same task is learned by one program."""
    return ol.GradientDescent(learning_rate, 20, save_every=10)


#: n_in, rank, n_out, trials, terms, oscillates, duration: written out and as matrices, no recurrence, an interval
#: shorter than the first one.
CASES = [
    (1, 1, 1, 1, 1, False, 20.0),
    (1, 2, 1, 1, 1, True, 20.0),
    (2, 3, 2, 3, 2, True, 7.3),
    (1, 0, 1, 1, 1, False, 3.0),
    (2, 2, 1, 2, 3, False, 1e-5),
]


def response(n_in, rank, n_out, n_trials, n_terms, oscillates, duration):
    """A task, and its numbers by name."""
    rng = np.random.default_rng(0)
    shape = (n_trials, n_terms, n_out)
    turning = {"frequencies": rng.normal(size=n_terms), "sines": rng.normal(size=shape)} if oscillates else {}
    parts = {
        "cosines": rng.normal(size=shape),
        "decays": rng.uniform(0.1, 0.9, n_terms),
        "impulses": rng.normal(size=(n_trials, n_in)),
        "duration": duration,
        **turning,
    }
    return ol.Model(ol.Layout(n_in, rank, n_out), ol.Linear()), ol.tasks.impulse_response(**parts, dt=0), parts


def loss_by_eigenvalues(layout, gram, parts):
    """The loss as integrals of products of exponentials, and a bound of its rounding."""
    gram, decays = np.asarray(gram), parts["decays"]
    n_in, rank, n_fields = layout.n_in, layout.rank, layout.n_fields
    readers = gram[n_fields:, :n_fields]
    # The state is (inputs that leak, recurrent vectors).
    moving = np.zeros((n_fields, n_fields))
    moving[n_in:] = readers[:rank]
    moving -= np.eye(n_fields)
    rates, modes = np.linalg.eig(moving)
    turns = 1j * parts.get("frequencies", 0 * decays)
    cosines = parts["cosines"]
    sines = parts.get("sines", np.zeros_like(cosines))
    value = size = 0.0
    for b, areas in enumerate(parts["impulses"]):
        begin = np.linalg.solve(modes, np.concatenate([areas, np.zeros(rank)]))
        for o, reader in enumerate(readers[rank:]):
            # y - y* = sum_k amplitude_k exp(exponent_k t)
            exponents = np.concatenate([rates, -decays + turns, -decays - turns])
            halves = [-(cosines[b, :, o] + sign * sines[b, :, o] / 1j) / 2 for sign in (1, -1)]
            amplitudes = np.concatenate([(reader @ modes) * begin, *halves])
            sums = exponents[:, None] + exponents
            integrals = np.expm1(sums * parts["duration"]) / sums
            terms = amplitudes[:, None] * amplitudes * integrals
            value += terms.sum().real
            size += np.abs(terms).sum()
    # Each term carries the rounding of some ten operations, and of the eigenvectors.
    return value, 10 * np.linalg.cond(modes) * EPS * size


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_integral_of_exponentials(case):
    model, task, parts = response(*case)
    overlaps = ol.Overlaps.random(model.layout, key=jax.random.key(1), scale=0.3)
    expected, rounding = loss_by_eigenvalues(model.layout, overlaps.gram, parts)
    # Some ten doublings, each with a few roundings of what it adds up.
    rounding += 100 * EPS * expected
    assert rounding < 1e-11 * max(expected, 1)
    found = jax.jit(lambda overlaps: ol.loss(model, task, overlaps))(overlaps)
    assert float(found) == pytest.approx(expected, rel=0, abs=rounding)


@jax.jit
def filter_loss(overlaps, decay):
    return ol.loss(LINEAR, ol.tasks.exponential_filter(decay=decay, duration=5.0, dt=0), overlaps)


@hypothesis.given(
    s_vm=st.floats(-1.0, 1.0), s_zu=st.floats(-1.0, 1.0), s_zm=st.floats(-1.0, 1.0), decay=st.floats(0.05, 3.0)
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_equal_eigenvalues_do_no_harm(s_vm, s_zu, s_zm, decay):
    """s_vu = 0: the recurrence decays as the input does, `y = (s_zm + s_zu s_vm t) exp(-t)`."""
    duration = 5.0

    def moment(n, rate):
        """The integral of `t^n exp(-rate t)`."""
        return math.gamma(n + 1) / rate ** (n + 1) * gammainc(n + 1, rate * duration)

    a, b = s_zm, s_zu * s_vm
    parts = [
        a * a * moment(0, 2),
        2 * a * b * moment(1, 2),
        b * b * moment(2, 2),
        -2 * a * moment(0, 1 + decay),
        -2 * b * moment(1, 1 + decay),
        moment(0, 2 * decay),
    ]
    overlaps = ol.Overlaps.from_entries(LINEAR.layout, vm=s_vm, zu=s_zu, zm=s_zm, mm=4.0, uu=4.0, vv=4.0, zz=4.0)
    # Thirteen doublings, each with a few roundings of what it adds up.
    close = 100 * EPS * sum(map(abs, parts))
    found = float(filter_loss(overlaps, decay))
    assert found == pytest.approx(max(0.0, sum(parts)), rel=0, abs=close)


@pytest.mark.parametrize("zu", [0.5, 0.8, 1.1])
def test_the_solution_of_the_filter_task_has_no_loss(zu):
    perfect = ol.Overlaps.from_entries(LINEAR.layout, zm=1.0, zu=zu, vm=0.8 / zu, vu=0.8, vv=4.0, zz=4.0, uu=4.0)
    task = ol.tasks.exponential_filter(decay=0.2, dt=0)
    value, slope = ol.loss_gradient(LINEAR, task, perfect)
    # Fourteen doublings of sums near the target's own, 1 / (2 c) = 2.5.
    assert 0 <= float(value) <= 100 * EPS * 2.5
    assert float(jnp.max(jnp.abs(slope))) <= 100 * EPS * 2.5


def test_tasks_of_small_steps_come_to_it():
    """Loss and gradient: steps of Euler, extrapolated to dt = 0 by Romberg's table."""
    overlaps = ol.Overlaps.from_entries(LINEAR.layout, vu=0.3, vm=0.5, zu=0.4, zm=0.2)

    def numbers(dt):
        value, slope = ol.loss_gradient(LINEAR, ol.tasks.exponential_filter(0.2, duration=2.0, dt=dt), overlaps)
        return np.append(np.asarray(slope), float(value))

    table = [numbers(0.1 / 2**k) for k in range(4)]
    for order in range(1, 4):
        before = table
        table = [(2**order * fine - coarse) / (2**order - 1) for coarse, fine in itertools.pairwise(before)]
    # The last column differs from the one before by the error of that one, which is the larger.
    error = np.max(np.abs(table[0] - before[-1]))
    assert error < 1e-5
    assert np.max(np.abs(numbers(0) - table[0])) < error


def test_learning_is_the_limit_of_that_in_small_steps():
    rule = descent(2.5e-2)
    limit = ol.integrate(LINEAR, FILTER, START, rule).overlaps.gram
    errors = []
    for dt in (0.02, 0.01):
        task = ol.tasks.exponential_filter(decay=0.2, duration=5.0, dt=dt)
        errors.append(float(jnp.max(jnp.abs(ol.integrate(LINEAR, task, START, rule).overlaps.gram - limit))))
    # An error c dt + d dt^2 with c and d of the same size halves up to dt itself, some per cent.
    assert errors[0] > 1e-4
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


def test_a_batch_learns_as_each_of_its_members():
    rule = descent(1e-2)

    def learned(decay):
        task = ol.tasks.exponential_filter(decay=decay, duration=5.0, dt=0)
        return ol.integrate(LINEAR, task, START, rule, throw=False).overlaps.gram

    decays = jnp.array([0.2, 0.5])
    # Twenty steps, each with rounding of some 100 operations.
    np.testing.assert_allclose(
        jax.vmap(learned)(decays), jnp.stack([learned(decay) for decay in decays]), rtol=0, atol=20 * 100 * EPS
    )


def fast(rate):
    """A network that decays at this rate, and is driven as strongly."""
    size = {"mm": 1e3, "uu": 1e3, "vv": 1e3, "zz": 1e3}
    return ol.Overlaps.from_entries(LINEAR.layout, vu=1 - rate, vm=rate, zu=0.5, zm=0.2, **size)


@pytest.mark.parametrize("duration", [4.0, 5.0])
def test_fast_targets_are_exact(duration):
    """A duration of 4 is made of first intervals of the greatest length."""
    task = ol.tasks.exponential_filter(decay=127.0, duration=duration, dt=0)
    silent = ol.Overlaps.from_entries(LINEAR.layout, mm=1.0, uu=1.0, vv=1.0, zz=1.0)
    # Fourteen doublings, each with a rounding of what it adds up.
    assert float(ol.loss(LINEAR, task, silent)) == pytest.approx(-math.expm1(-254 * duration) / 254, rel=14 * EPS)


@pytest.mark.parametrize(("decay", "frequency"), [(200.0, 0.0), (0.2, -129.0)])
def test_targets_that_are_too_fast_have_no_loss_where_they_can_not_be_refused(decay, frequency):
    def loss(decay, frequency):
        task = ol.tasks.damped_oscillation(decay, frequency, duration=1.0, dt=0)
        return ol.loss(LINEAR, task, START)

    assert jnp.isnan(jax.jit(loss)(decay, frequency))
    assert jnp.isfinite(jax.jit(loss)(decay / 2, frequency / 2))


def test_networks_of_rank_two_learn():
    """A case too large to be written out."""
    model = ol.Model(ol.Layout(rank=2), ol.Linear())
    start = ol.Overlaps.random(model.layout, key=jax.random.key(1), scale=0.3)
    solution = ol.integrate(model, FILTER, start, descent(2.5e-2))
    assert float(solution.loss[-1]) < 0.5 * float(solution.loss[0])


def test_fast_networks_are_exact_or_refused():
    overlaps = fast(0.99 * FASTEST)
    parts = {"cosines": np.ones((1, 1, 1)), "decays": np.array([0.2]), "impulses": np.ones((1, 1)), "duration": 5.0}
    expected, rounding = loss_by_eigenvalues(LINEAR.layout, overlaps.gram, parts)
    assert rounding < 1e-13
    # Thirteen doublings, each with a few roundings.
    assert float(ol.loss(LINEAR, FILTER, overlaps)) == pytest.approx(expected, rel=0, abs=rounding + 100 * EPS)

    faster = fast(1.01 * FASTEST)
    value, slope = ol.loss_gradient(LINEAR, FILTER, faster)
    assert jnp.isnan(value)
    assert jnp.isnan(slope[2, 1])
    with pytest.raises(ol.LearningError, match="diverged"):
        ol.integrate(LINEAR, FILTER, faster, descent(1e-3))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"duration": 0.0}, "duration must be positive"),
        ({"duration": np.nan}, "duration must be positive"),
        ({"decays": [-0.2]}, "decay must be positive"),
        ({"decays": [200.0]}, "at most 128"),
        ({"frequencies": [-128.0]}, "at most 128"),
        ({"frequencies": [np.nan]}, "frequencies must be finite"),
        ({"impulses": [[np.inf]]}, "impulses must be finite"),
        ({"published_time_axis": True}, "published_time_axis is about steps"),
        ({"dt": -0.0, "duration": -1.0}, "duration must be positive"),
        ({"dt": -0.1}, "dt must be 0"),
        ({"dt": None}, "dt must be an array of real numbers"),
        ({"dt": "0"}, "dt must"),
        ({"dt": False}, "dt must hold real numbers"),
        ({"dt": [0.0, 0.1]}, "dt must be one number"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        ol.tasks.impulse_response(**({"cosines": [[[1.0]]], "decays": [0.2], "dt": 0} | arguments))


@pytest.mark.parametrize(
    "use",
    [
        lambda: ol.rollout(LINEAR, START, FILTER),
        lambda: ol.train(
            LINEAR, FILTER, ol.Network.sample(START, 8, key=jax.random.key(0)), ol.GradientDescent(1e-3, 2)
        ),
        lambda: ol.loss(ol.Model(ol.Layout(), ol.Erf()), FILTER, START),
        lambda: ol.integrate(
            LINEAR, FILTER, START, ol.GradientDescent(1e-3, 2, label_noise=0.1), key=jax.random.key(0)
        ),
        lambda: ol.integrate(LINEAR, FILTER, START, ol.GradientDescent(1e-3, 2, batch_size=1), key=jax.random.key(0)),
        lambda: ol.integrate(LINEAR, FILTER, ol.Populations.from_overlaps(START), ol.GradientDescent(1e-3, 2)),
        lambda: FILTER.replace(dt=0.1),
        lambda: FILTER.loss(jnp.zeros((1, 1, 1))),
    ],
)
def test_what_needs_steps_says_so(use):
    with pytest.raises(ValueError, match="in continuous time"):
        use()


def test_a_stream_draws_tasks_in_continuous_time():
    rule = descent(1e-3)
    stream = ol.integrate(LINEAR, TaskStream(lambda key: FILTER), START, rule, jax.random.key(0))
    fixed = ol.integrate(LINEAR, FILTER, START, rule)
    assert float(jnp.max(jnp.abs(stream.overlaps.gram - fixed.overlaps.gram))) <= 20 * EPS
