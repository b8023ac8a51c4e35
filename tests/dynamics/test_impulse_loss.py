"""Geometric sums: the loss of linear networks in closed form, held against stepping through time."""

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

EPS = np.finfo(float).eps

#: n_in, rank, n_out, trials, terms, oscillates, readings, dt: written out and as matrices, odd and even numbers of
#: readings, one reading, no recurrence, a leak that overshoots (dt > 1).
CASES = [
    (1, 1, 1, 1, 1, False, 400, 0.05),
    (1, 2, 1, 1, 1, True, 400, 0.05),
    (1, 1, 1, 1, 1, True, 33, 0.1),
    (2, 1, 2, 2, 1, False, 33, 0.1),
    (2, 3, 2, 4, 2, True, 11, 0.1),
    (2, 4, 3, 2, 3, False, 110, 0.07),
    (1, 0, 1, 1, 1, False, 20, 0.1),
    (1, 1, 1, 1, 1, False, 1, 0.1),
    (1, 1, 1, 1, 1, False, 13, 1.5),
]


def response(n_in, rank, n_out, n_trials, n_terms, oscillates, n_readings, dt):
    rng = np.random.default_rng(0)
    shape = (n_trials, n_terms, n_out)
    turning = {"frequencies": rng.normal(size=n_terms), "sines": rng.normal(size=shape)} if oscillates else {}
    task = ol.tasks.impulse_response(
        rng.normal(size=shape),
        rng.uniform(0.1, 0.9, n_terms),
        impulses=rng.normal(size=(n_trials, n_in)),
        duration=n_readings * dt,
        dt=dt,
        **turning,
    )
    return ol.Model(ol.Layout(n_in, rank, n_out), ol.Linear()), task


def stepped(task):
    """The same task as arrays, whose loss is summed step by step."""
    return ol.Task(task.inputs, task.targets, task.weights, task.dt)


@eqx.filter_jit
def both(model, task, overlaps):
    """Loss and gradient in closed form, and step by step."""
    return [ol.loss_gradient(model, each, overlaps) for each in (task, stepped(task))]


def assert_same(model, task, overlaps):
    (value, slope), (expected, expected_slope) = jax.tree.map(np.asarray, both(model, task, overlaps))
    # Both are sums over T readings of products of states, whose powers up to T carry T roundings; each in relation to
    # the terms of which they are differences: outputs and targets of order 1 to 10.
    silent = float(np.sum(np.asarray(task.weights) * np.square(np.asarray(task.targets))))
    scale = silent + float(expected)
    assert float(value) == pytest.approx(float(expected), rel=0, abs=4 * task.n_steps * EPS * scale)
    size = max(float(np.max(np.abs(expected_slope))), scale)
    assert np.allclose(slope, expected_slope, rtol=0, atol=4 * task.n_steps * EPS * size)


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_equal_those_summed_step_by_step(case):
    model, task = response(*case)
    overlaps = ol.Overlaps.random(model.layout, key=jax.random.key(1), scale=0.3)
    assert_same(model, task, overlaps)


FILTER = ol.tasks.exponential_filter(decay=0.2, duration=5.0, dt=0.05)
LINEAR = ol.Model(ol.Layout(), ol.Linear())


@hypothesis.given(
    s_vu=st.one_of(st.sampled_from([0.0, 1e-300, 1e-12, 0.8, 1.0]), st.floats(-1.0, 1.2)),
    s_vm=st.floats(-1.0, 1.0),
    s_zu=st.floats(-1.0, 1.0),
    s_zm=st.floats(-1.0, 1.0),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_equal_eigenvalues_do_no_harm(s_vu, s_vm, s_zu, s_zm):
    """s_vu = 0: the recurrence decays as the input does; s_vu near 1 - c: as the target does; 1: it does not decay."""
    overlaps = ol.Overlaps.from_entries(
        LINEAR.layout, vu=s_vu, vm=s_vm, zu=s_zu, zm=s_zm, vv=4.0, zz=4.0, uu=4.0, mm=4.0
    )
    assert_same(LINEAR, FILTER, overlaps)


@pytest.mark.parametrize("dt", [0.05, 0])
def test_the_gradient_is_that_of_finite_differences(dt):
    """In steps, and in continuous time."""
    task = ol.tasks.exponential_filter(decay=0.2, duration=5.0, dt=dt)
    overlaps = ol.Overlaps.from_entries(LINEAR.layout, vu=0.3, vm=0.5, zu=0.4, zm=0.2)
    _, slope = ol.loss_gradient(LINEAR, task, overlaps)

    @jax.jit
    def loss(gram):
        return ol.loss(LINEAR, task, ol.Overlaps(gram, LINEAR.layout))

    # The error of a central difference: h^2 from the third derivative, eps / h from rounding; h = eps^(1/3).
    h = EPS ** (1 / 3)
    gram = np.asarray(overlaps.gram)
    for i, j in ((2, 1), (2, 0), (3, 1), (3, 0)):
        step = np.zeros_like(gram)
        step[i, j] = step[j, i] = h
        up, down = (float(loss(gram + s * step)) for s in (1, -1))
        assert (up - down) / (2 * h) == pytest.approx(float(slope[i, j]), abs=100 * h**2)


def test_learning_is_that_of_the_stepped_task():
    start = ol.Overlaps.from_entries(LINEAR.layout, zu=0.1, vm=0.1)
    for rule in (
        ol.GradientDescent(3e-2, 20, save_every=20),
        ol.GradientFlow(0.5, save_at=[0.25, 0.5], rtol=1e-10, atol=1e-12),
    ):
        closed = ol.integrate(LINEAR, FILTER, start, rule)
        plain = ol.integrate(LINEAR, stepped(FILTER), start, rule)
        # Descent: 20 steps, each with rounding of some 100 operations. Flow: what its tolerance lets the two differ by.
        close = 20 * 100 * EPS if isinstance(rule, ol.GradientDescent) else 1e-9
        assert np.allclose(closed.overlaps.gram, plain.overlaps.gram, rtol=0, atol=close)
        assert np.allclose(closed.loss, plain.loss, rtol=0, atol=close)


def test_the_loss_of_a_perfect_network_is_not_negative():
    """The target itself as a network's answer: decay of Euler's steps, (1 - c dt)^k, written as exp(-c' t)."""
    dt, c = 0.05, 0.4
    task = ol.tasks.exponential_filter(decay=-np.log(1 - c * dt) / dt, duration=20.0, dt=dt)
    for zu in (0.5, 0.7, 0.9, 1.1):
        perfect = ol.Overlaps.from_entries(
            LINEAR.layout, zm=1.0, zu=zu, vm=(1 - c) / zu, vu=1 - c, vv=4.0, zz=4.0, uu=4.0, mm=4.0
        )
        value = float(ol.loss(LINEAR, task, perfect))
        # Rounding of the target's own sum of squares, 1 / (2 c).
        assert 0 <= value <= 400 * EPS


def test_label_noise_minibatches_and_new_targets_are_seen():
    """What changes the targets of a task makes it one of arrays: nothing of the old target is left in it."""
    task = FILTER.replace(targets=2 * FILTER.targets)
    assert task.trials.sums is None
    overlaps = ol.Overlaps.from_entries(LINEAR.layout, zm=0.5)
    outputs = ol.rollout(LINEAR, overlaps, task)
    expected = float(jnp.sum(FILTER.weights * (outputs - 2 * FILTER.targets) ** 2))
    assert float(ol.loss(LINEAR, task, overlaps)) == pytest.approx(expected, rel=100 * EPS)

    start = ol.Overlaps.from_entries(LINEAR.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(1e-2, 20, label_noise=0.5, save_every=20)
    noisy, plain = (ol.integrate(LINEAR, t, start, rule, key=jax.random.key(0)) for t in (FILTER, stepped(FILTER)))
    quiet = ol.integrate(LINEAR, FILTER, start, ol.GradientDescent(1e-2, 20, save_every=20))
    assert np.allclose(noisy.final.gram, plain.final.gram, rtol=0, atol=20 * 100 * EPS)
    assert float(jnp.max(jnp.abs(noisy.final.gram - quiet.final.gram))) > 1e-3


def test_a_sweep_over_the_decay_maps_the_closed_form():
    start = ol.Overlaps.from_entries(LINEAR.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(1e-2, 20, save_every=20)

    def learn(decay):
        task = ol.tasks.exponential_filter(decay=decay, duration=5.0, dt=0.05)
        return ol.integrate(LINEAR, task, start, rule).final.gram

    decays = jnp.array([0.2, 0.5])
    together = jax.vmap(learn)(decays)
    alone = jnp.stack([learn(decay) for decay in decays])
    assert np.allclose(together, alone, rtol=0, atol=20 * 100 * EPS)
    tasks = jax.vmap(lambda c: ol.tasks.exponential_filter(decay=c, duration=5.0, dt=0.05))(decays)
    assert tasks.targets.shape == tasks.weights.shape == tasks.inputs.shape == (2, 1, 101, 1)
    assert np.allclose(tasks.targets[1, 0, 1:, 0], np.exp(-0.5 * 0.05 * np.arange(100)), rtol=1e-14)


def test_the_curvature_at_a_perfect_network_is_that_of_the_stepped_loss():
    """Where the loss is 0, or rounds to less, only its value is cut off."""
    dt, c = 0.05, 0.4
    task = ol.tasks.exponential_filter(decay=-np.log(1 - c * dt) / dt, duration=5.0, dt=dt)

    @jax.jit
    def curvature(task, zu):
        perfect = ol.Overlaps.from_entries(
            LINEAR.layout, zm=1.0, zu=zu, vm=(1 - c) / zu, vu=1 - c, vv=4.0, zz=4.0, uu=4.0, mm=4.0
        )
        return jax.hessian(lambda gram: ol.loss(LINEAR, task, ol.Overlaps(gram, LINEAR.layout)))(perfect.gram)

    for zu in (0.5, 0.9):
        expected = curvature(stepped(task), zu)
        assert float(jnp.max(jnp.abs(expected))) > 0.1
        # Sums over 100 readings of products of numbers of order 1 to 10.
        assert np.allclose(curvature(task, zu), expected, rtol=0, atol=100 * 100 * EPS)


def test_the_published_time_axis_and_minibatches_are_summed_as_stepped():
    task = ol.tasks.damped_oscillation(duration=5.0, dt=0.05, published_time_axis=True)
    model = ol.Model(ol.Layout(rank=2), ol.Linear())
    assert_same(model, task, ol.Overlaps.random(model.layout, key=jax.random.key(1), scale=0.3))

    two = ol.tasks.impulse_response([[[1.0]], [[0.5]]], [0.2], impulses=[[1.0], [2.0]], duration=5.0, dt=0.05)
    start = ol.Overlaps.from_entries(LINEAR.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(1e-2, 10, batch_size=1, save_every=10)
    closed, plain = (
        ol.integrate(LINEAR, t, start, rule, key=jax.random.key(0)).final.gram for t in (two, stepped(two))
    )
    assert np.allclose(closed, plain, rtol=0, atol=10 * 100 * EPS)


def test_networks_without_recurrence_learn_alone_and_in_a_batch():
    layout = ol.Layout(n_in=1, rank=0, n_out=1)
    model, start = ol.Model(layout, ol.Linear()), ol.Overlaps.random(layout, key=jax.random.key(0))
    task = ol.tasks.exponential_filter(duration=3.0, dt=0.1)

    def learned(task, rate):
        return ol.integrate(model, task, start, ol.GradientDescent(rate, 20), throw=False).overlaps.gram

    rates = jnp.array([5e-3, 1e-2])
    batch = jax.vmap(lambda rate: learned(task, rate))(rates)
    for mine, rate in zip(batch, rates, strict=True):
        stepped = learned(task.replace(targets=task.targets), rate)
        # Some 20 steps of sums over 30 readings, of numbers near 1.
        np.testing.assert_allclose(mine, stepped, atol=20 * 30 * np.finfo(float).eps)


def test_what_is_0_by_structure_is_not_calculated():
    """One kernel holds all numbers of a rank-1 step: dense, they would be several times as many."""
    from overlap_learning.dynamics.impulse_loss import impulse_loss_gradient

    def count(jaxpr):
        inner = (p.jaxpr for e in jaxpr.eqns for p in e.params.values() if hasattr(p, "jaxpr"))
        return sum(e.primitive.name in ("mul", "add", "sub") for e in jaxpr.eqns) + sum(map(count, inner))

    gram = jnp.eye(4)
    jaxpr = jax.make_jaxpr(lambda gram: impulse_loss_gradient(LINEAR.layout, gram, FILTER.trials.sums))(gram)
    # Ten compositions (of 400 readings) of matrices of three signals. Dense, each takes six products of 27 terms.
    dense = 10 * 6 * 27 * 2
    assert 100 < count(jaxpr.jaxpr) < dense / 2
