"""Closures: what follows nonlinear neurons, how far each is said to be off, and which one is chosen."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import overlap_learning as ol
from overlap_learning.dynamics import departure, long_step
from overlap_learning.learning.record import Record, taken
from overlap_learning.learning.trials import Trials
from overlap_learning.learning.trust import beside, compared
from overlap_learning.model.nodes import sized_nodes

# Its function has its name.
integrating = importlib.import_module("overlap_learning.dynamics.integrate")
LAYOUT = ol.Layout()
ERF = ol.Model(LAYOUT, ol.Erf())
START = ol.Overlaps.from_entries(LAYOUT, zm=0.3, zu=0.4, vm=0.4, vu=0.4)
TASK = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=2, duration=3.0, dt=0.2)
RULE = ol.GradientDescent(0.2, 20, save_every=5)
KEY = jax.random.key(3)
#: From 0 to 1, where most flows are saved, and a loss at which none stops, so that they share their programs.
POINTS, NO_LOSS = np.linspace(0.0, 1.0, 200), 1e-300


def _trials(key):
    return ol.tasks.flip_flop(key=key, n_trials=2, duration=3.0, dt=0.2)


def context(n_trials=16, n_steps=20):
    """Integrate the cued one of two noisy inputs: a task on which neurons do not stay Gaussian."""
    random = np.random.default_rng(1)
    on, off, read = n_steps // 8, 5 * n_steps // 8, 3 * n_steps // 4
    cue, trial = np.arange(n_trials) % 2, np.arange(n_trials)
    coherence = random.choice([-0.5, 0.5], (n_trials, 2))
    inputs, targets = np.zeros((n_trials, n_steps, 4)), np.zeros((n_trials, n_steps, 1))
    inputs[:, on:off, :2] = coherence[:, None] + 0.1 * random.normal(size=(n_trials, off - on, 2))
    inputs[trial, :, 2 + cue] = 0.5
    targets[:, read:, 0] = np.sign(coherence[trial, cue])[:, None]
    weights = np.zeros_like(targets)
    weights[:, read:] = 1 / (n_trials * (n_steps - read))
    return ol.Task(inputs, targets, weights, 0.4)


def test_where_the_gaussian_theory_fails_it_is_said_and_the_chosen_closure_learns_as_networks_do():
    """Nine vectors, for which cubatures have too many moments."""
    layout = ol.Layout(4, 2, 1)
    model = ol.Model(layout, ol.Tanh(ol.model.Trapezoid(32)))
    start = ol.Overlaps.random(layout, key=jax.random.key(0), scale=0.3)
    task, rule = context(), ol.GradientDescent(0.025, 400, save_every=20)
    theory = ol.integrate(model, task, start, rule)
    network = ol.Network.sample(start, 300, key=jax.random.key(5))
    full = np.asarray(ol.train(model, task, network, rule, progress=False).loss)
    assert theory.loss[-1] > 100 * full[-1]
    assert theory.trust.verdict == "the theory fails here"
    assert "the theory fails here: overlaps are off" in repr(theory)
    chosen = ol.integrate(model, task, start, rule, closure=ol.Cheapest(0.15))
    assert chosen.trust.verdict != "the theory fails here"
    assert max(chosen.trust.largest, chosen.trust.loss_error) <= 0.15
    # What it says it is off by, and as much again for one network, which is off infinitely many by what others are.
    assert np.abs(np.asarray(chosen.loss) - full).max() <= 2 * 0.15 * full.max()
    assert chosen.loss[-1] == pytest.approx(full[-1], rel=0.3)


def test_trust_is_the_closure_error_and_is_saved(tmp_path, monkeypatch):
    _take_all_steps(monkeypatch)
    solution = ol.integrate(ERF, TASK, START, RULE)
    report = ol.closure_error(ERF, TASK, START, RULE)
    # Of the limit and of a fifth as many neurons in three runs: each known to 3 %, of the largest of ten overlaps.
    expected = report.largest / report.change
    np.testing.assert_allclose(solution.trust.relative, expected, rtol=0.1, atol=1e-5)
    assert solution.trust.verdict == "trust"
    solution.save(tmp_path / "run.nc")
    assert repr(ol.load(tmp_path / "run.nc")) == repr(solution)
    both = jnp.stack([START.gram, 1.5 * START.gram])
    batch = jax.vmap(lambda gram: ol.integrate(ERF, TASK, ol.Overlaps(gram, LAYOUT), RULE))(both)
    # Neurons are simulated in single precision: a part in 1e7 of what learning moves, more after 20 steps.
    np.testing.assert_allclose(batch.trust.relative[0], solution.trust.relative, rtol=0, atol=1e-5)
    assert batch.trust.verdict.tolist() == ["trust", "trust"]


def test_a_long_step_is_a_chebyshev_polynomial_that_is_stable_up_to_its_reach():
    reach = 80.0
    # Velocities that are -1 to -80 times where something is, in a step of duration 1 without a pull of the theory.
    x = jnp.linspace(0, -reach, 2001)
    ones, n_iterations = jnp.ones_like(x), 100

    def asked(at, offset, is_first):
        velocity = jnp.where(is_first, 0.0, x * at)
        return long_step.Answer(jnp.sum(at), at, velocity, velocity, offset)

    step = long_step.long_step(asked, 0 * x, ones, None, ones, jnp.ones(()), jnp.asarray(n_iterations))
    by, n_stages = step.departure, step.n_stages
    assert step.n_asked == 2 + n_iterations + n_stages - 1
    assert (step.loss_there, step.loss) == (0, 2001)
    # The curvature is found to a hundredth, from below, and taken a quarter larger.
    low, high = (long_step.n_stages_of(jnp.asarray(factor * reach)) for factor in (1.2, 1.25))
    assert low <= n_stages <= high
    at, slope = map(float, long_step.shape(n_stages))
    polynomial = np.polynomial.Chebyshev.basis(int(n_stages))
    np.testing.assert_allclose(by, polynomial(at + slope * x) / polynomial(at), rtol=0, atol=1e-12)
    assert jnp.abs(by).max() <= 1
    # To first order a mode is multiplied as by the flow: what is left out is of second order in 0.04.
    assert by[1] - 1 == pytest.approx(float(x[1]), rel=0.5 * abs(float(x[1])))
    # Of as many as are needed for that reach, with a stage less it would not be: the number grows as a root.
    n_stages = long_step.n_stages_of(jnp.asarray(reach))
    at, slope = map(float, long_step.shape(n_stages - 1))
    assert (1 + at) / slope < reach < 2 * n_stages**2


def _take_all_steps(monkeypatch):
    for module in (departure, integrating):
        monkeypatch.setattr(module, "can_drift", lambda rule, task: False)


_TIED = ol.Model(LAYOUT, ol.Erf(), tied={"v": "z"})


#: Settings with an effect and without one, so that rules that differ in numbers share their programs.
_ALL = {"momentum": 0.5, "clip_norm": 1e3, "weight_decay": 0.0, "rates": {"m": 1.0}, "save_every": 2}


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (ERF, ol.GradientDescent(0.1, 60, **_ALL | {"weight_decay": 0.01, "rates": {"m": 0.5}})),
        (_TIED, ol.GradientDescent(0.2, 60, save_every=2, rates={"m": 0.5})),
        (ERF, ol.GradientDescent(optax.cosine_decay_schedule(0.3, 60), 60, save_every=2)),
        (ERF, ol.GradientDescent(0.015, 60, **_ALL | {"momentum": 0.9})),
        (ERF, ol.GradientDescent(0.1, 60, **_ALL | {"clip_norm": 0.3}, nesterov=True)),
        (ERF, ol.GradientDescent(0.1, 60, **_ALL | {"clip_norm": 0.15})),
        (ERF, ol.GradientFlow(12.0, save_at=12.0 * POINTS, stop_loss=NO_LOSS)),
        (ERF, ol.GradientFlow(12.0, save_at=3.0 + 9.0 * POINTS, stop_loss=NO_LOSS)),
    ],
    ids=["decay", "tied", "schedule", "momentum", "Nesterov", "clipped", "flow", "late"],
)
def test_long_steps_estimate_what_all_steps_do(monkeypatch, model, rule):
    start = ol.Overlaps(START.gram[jnp.ix_(model.sources, model.sources)], LAYOUT) if model.tied else START
    quick = ol.integrate(model, TASK, start, rule, KEY).trust
    _take_all_steps(monkeypatch)
    slow = ol.integrate(model, TASK, start, rule, KEY).trust
    assert slow.largest > 0.01
    # The theory's own way in place of that of the few neurons, and long steps: of first order in a twelfth.
    np.testing.assert_allclose(quick.relative, slow.relative, rtol=0, atol=0.25 * slow.largest)
    # Of a loss that is nearly 0, which is of second order in what overlaps are off by: twice as far off; one of 0, of
    # which nothing is left to see, to a hundred thousandth of that of the start.
    assert quick.loss_beside[-1] - quick.loss[-1] == pytest.approx(
        slow.loss_beside[-1] - slow.loss[-1], rel=0.5, abs=1e-5 * float(quick.loss[0])
    )


def test_long_steps_take_minibatches_for_all_trials(monkeypatch):
    task = ol.tasks.decision_making(key=jax.random.key(1), n_trials=16, dt=0.2)
    rule = ol.GradientDescent(0.02, 200, batch_size=4)
    quick = ol.integrate(ERF, task, START, rule, KEY).trust.relative
    _take_all_steps(monkeypatch)
    slow = ol.integrate(ERF, task, START, rule, KEY).trust.relative
    # As above, and what a sum over some hundred draws of four trials is off by: a twentieth.
    np.testing.assert_allclose(quick, slow, rtol=0, atol=0.3 * slow.max())


def test_what_minibatches_draw_of_trials_that_conflict_does_not_pull_on_neurons(monkeypatch):
    """The same input with other targets: the theory's way follows each draw, and long steps its mean."""
    random = np.random.default_rng(0)
    inputs = np.zeros((8, 15, 1))
    inputs[:, 0] = 5.0
    targets = np.sin(0.2 * np.arange(15))[None, :, None] + 0.5 * random.standard_normal((8, 1, 1))
    task = ol.Task(inputs, targets, np.full_like(inputs, 1 / 120), 0.2)
    rule = ol.GradientDescent(0.1, 400, batch_size=1)
    quick = ol.integrate(ERF, task, START, rule, KEY).trust.largest
    _take_all_steps(monkeypatch)
    slow = ol.integrate(ERF, task, START, rule, KEY).trust.largest
    # The bar of estimates is half of the error; on the safe side as much.
    assert 0.5 * slow < quick < 2 * slow


def _sums(key, n_trials):
    inputs = jax.random.normal(key, (n_trials, 20, 1))
    return ol.Task(inputs, 0.3 * jnp.cumsum(inputs, 1), jnp.full_like(inputs, 1 / (20 * n_trials)), 0.2)


@pytest.mark.parametrize(
    ("n_trials", "rule"),
    [(1, ol.GradientDescent(0.1, 400, save_every=10)), (2, ol.GradientDescent(0.01, 300, momentum=0.9, save_every=10))],
)
def test_long_steps_see_the_trials_of_some_steps_of_a_stream(monkeypatch, n_trials, rule):
    trials = ol.tasks.stream(_sums, n_trials=n_trials)
    quick = ol.integrate(ERF, trials, START, rule, KEY).trust.largest
    _take_all_steps(monkeypatch)
    slow = ol.integrate(ERF, trials, START, rule, KEY).trust.largest
    # The bar of estimates is half of the error; on the safe side as much.
    assert 0.5 * slow < quick < 2 * slow


def _rare(key):
    """One trial in ten has a large input."""
    is_large = jax.random.bernoulli(key, 0.1, (4, 1, 1))
    inputs = jnp.where(is_large, 5.0, 0.3) * jax.random.normal(jax.random.fold_in(key, 1), (4, 16, 1))
    return ol.Task(inputs, 0.3 * jnp.cumsum(inputs, 1), jnp.full_like(inputs, 1 / 64), 0.2)


def test_losses_of_other_trials_of_a_stream_are_not_taken_for_those_of_the_run(monkeypatch):
    """Some of its losses are a hundred times as large as others; nothing falls back on all steps here."""
    monkeypatch.setattr(integrating, "_beside", None)
    rule = ol.GradientDescent(0.03, 240, save_every=10)
    solution = ol.integrate(ERF, ol.tasks.stream(_rare), START, rule, KEY)
    assert solution.loss.max() > 100 * solution.loss.min()
    # The theory's overlaps are off by a tenth: so its losses are not off by a half.
    assert solution.trust.loss_parted < 0.5


def test_steps_whose_trials_long_steps_see_are_those_of_the_stream():
    trials, ends = ol.tasks.stream(_sums, n_trials=8), np.linspace(0.0, 96.0, departure.N_CYCLES + 1)
    steps = departure._drawn(trials, ol.GradientDescent(0.1, 96), ends)
    # Long steps of eight steps; four times eight trials.
    assert steps.tolist() == [[0] * 4, *([i + 1, i + 3, i + 5, i + 7] for i in range(0, 96, 8)), [96] * 4]
    assert departure._drawn(trials, ol.GradientDescent(0.1, 960), ends).shape[1] == 8
    assert departure._drawn(TASK, ol.GradientDescent(0.1, 96), ends).shape == (departure.N_CYCLES + 2, 1)
    drawn, rule = Trials(trials, KEY), ol.GradientDescent(0.1, 96)
    for step in (0, 7):
        same, _ = drawn.draw(rule, jnp.asarray(step), float)
        np.testing.assert_array_equal(drawn.sample(jnp.asarray(step)).inputs, same.inputs)


@pytest.mark.parametrize(
    "rule",
    [
        *(ol.GradientDescent(learning_rate, 1000) for learning_rate in (0.2, 1.0, 0.04)),
        ol.GradientFlow(60.0, save_at=60.0 * POINTS, stop_loss=NO_LOSS),
    ],
    ids=["many steps", "large steps", "small steps", "flow"],
)
def test_long_steps_are_where_learning_moves_if_it_has_long_been_at_its_end(monkeypatch, rule):
    """Learning is over early in these runs; of long steps of one duration most would see none of it."""
    quick = ol.integrate(ERF, TASK, START, rule).trust.largest
    _take_all_steps(monkeypatch)
    slow = ol.integrate(ERF, TASK, START, rule).trust.largest
    # The bar of estimates is half of the error; on the safe side as much.
    assert 0.5 * slow < quick < 2 * slow


@pytest.mark.parametrize(
    ("rule", "task", "expected"),
    [
        (ol.GradientDescent(0.1, 20), TASK, True),
        (ol.GradientDescent(optax.cosine_decay_schedule(0.1, 20), 20, rates={"u": 0.0}), TASK, True),
        (ol.GradientFlow(1.0), TASK, True),
        (ol.GradientDescent(0.1, 20, momentum=0.5, clip_norm=0.5, batch_size=2), TASK, True),
        (ol.GradientDescent(0.1, 20, label_noise=0.1), TASK, False),
        (ol.GradientDescent(0.1, 20, parameter_noise=0.1), TASK, False),
        (ol.GradientDescent(0.1, 20), TASK.replace(state_noise=0.1), False),
        (ol.GradientDescent(0.1, 40), ol.tasks.stream(_trials), False),
        (ol.GradientDescent(0.1, 50), ol.tasks.stream(_trials), True),
        (ol.GradientDescent(0.1, 50, clip_norm=0.5), ol.tasks.stream(_trials), False),
        (ol.GradientDescent(0.1, 50, label_noise=0.1), ol.tasks.stream(_trials), False),
        (ol.Optimiser(optax.adam(0.1), 20), TASK, False),
    ],
)
def test_long_steps_are_those_of_a_rule_that_drifts_without_noise(rule, task, expected):
    assert departure.can_drift(rule, task) is expected


def test_long_steps_go_along_a_way_that_is_known():
    record = Record(np.arange(20.0), np.arange(20), np.ones(20), {"transfer": np.zeros((20, 4, 4))})
    assert departure.is_known(record)
    few = Record(*(a[:5] for a in (record.time, record.step, record.loss)), {"transfer": np.zeros((5, 4, 4))})
    assert not departure.is_known(few)
    ended = Record(np.where(record.time < 5, record.time, np.nan), record.step, record.loss, record.saved)
    assert not departure.is_known(ended)


@pytest.mark.parametrize(
    "rule",
    [
        ol.GradientDescent(0.2, 60, save_every=60),
        ol.GradientDescent(0.2, 60, save_every=25),
        ol.GradientFlow(12.0, save_at=[0.0, 12.0]),
        ol.GradientFlow(12.0, save_at=[5.0, 12.0]),
        ol.GradientDescent(0.2, 60, save_every=25, stop_loss=0.1),
        ol.GradientFlow(12.0, save_at=[0.0, 12.0], stop_loss=0.1),
    ],
    ids=["end", "descent", "flow", "late", "stopped", "stopped flow"],
)
def test_of_few_saved_points_the_same_is_estimated_in_long_steps(monkeypatch, rule):
    every = {"save_every": 1}
    if isinstance(rule, ol.GradientFlow):
        # Closest at the start, and not where points are taken by themselves.
        every = {"save_at": 12.0 * POINTS**1.5, "stop_loss": rule.stop_loss or NO_LOSS}
    all_points = ol.integrate(ERF, TASK, START, type(rule)(**_settings(rule) | every))
    monkeypatch.setattr(integrating, "_beside", None)
    found, alone = (ol.integrate(ERF, TASK, START, rule, trust=trust) for trust in (True, False))
    # What is saved, and where the run stopped, is what it is without an estimate.
    for name in ("time", "loss", "transfer", "step"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    assert found.trust.end == len(found.time) - 1
    # Between points of the theory, which is interpolated, a departure is off by the second order of their distance, of
    # which there are twenty-five at least. Where the first point is not the start, what learning moves is less.
    deviation = np.interp(found.time, all_points.time, all_points.trust.deviation)
    np.testing.assert_allclose(found.trust.deviation, deviation, rtol=0, atol=0.05 * deviation.max())


def _settings(rule):
    names = ("duration", "save_at") if isinstance(rule, ol.GradientFlow) else ("learning_rate", "n_steps", "save_every")
    return {name: getattr(rule, name) for name in (*names, "stop_loss")}


@given(st.integers(1, 300), st.integers(1, 300), st.integers(2, 40))
def test_a_finer_descent_saves_what_was_to_be_saved_too(n_steps, save_every, n_points):
    rule = ol.GradientDescent(0.1, n_steps, save_every=save_every)
    finer, own = rule.finer(n_points)

    def steps(rule):
        return np.unique([*range(0, n_steps, rule.save_every), n_steps])

    assert finer.n_steps == n_steps
    assert len(steps(finer)) <= max(20 * n_points + 2, len(steps(rule)))
    if own is None:
        # Enough, each step, or a stride that no number divides into few parts.
        assert finer is rule
    else:
        assert len(steps(rule)) < n_points
        assert len(steps(finer)) >= min(n_points, n_steps + 1)
        np.testing.assert_array_equal(steps(finer)[own], steps(rule))


def _record(n_steps, end):
    """Of a run that ended at a step."""
    steps = np.minimum(np.arange(n_steps + 1.0), end)
    return Record(np.where(np.arange(n_steps + 1) <= end, steps, np.nan), steps, steps, {"a": steps})


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_what_is_taken_of_a_finer_record_is_what_a_coarse_one_has(n_steps, stride, end):
    """Of a run that ended at a step its end is the last point; of one that was interrupted, what was saved."""
    end = min(end, n_steps)
    own = np.unique([*range(0, n_steps, stride), n_steps])
    record = _record(n_steps, end)
    expected = np.append(own[own < end], end)
    found, ended = taken(record, own), taken(jax.tree.map(lambda a: a[: end + 1], record), own)
    assert len(found.time) == len(own)
    np.testing.assert_array_equal(found.time[: len(expected)], expected)
    assert np.isnan(found.time[len(expected) :]).all()
    np.testing.assert_array_equal(ended.time, expected)


def test_the_same_is_taken_inside_jit():
    own = np.asarray([0, 3, 6, 7])
    traced = jax.jit(lambda record: taken(record, own))
    for end in range(8):
        expected, found = taken(_record(7, end), own), traced(_record(7, end))
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_inside_jit_and_vmap_the_same_is_estimated_in_long_steps(monkeypatch):
    """Of few saved points, for which more are followed."""
    monkeypatch.setattr(integrating, "_beside", None)

    def relative(scale, momentum):
        rule = ol.GradientDescent(0.02, 60, **_ALL | {"momentum": momentum, "save_every": 20})
        return ol.integrate(ERF, TASK, ol.Overlaps(scale * START.gram, LAYOUT), rule).trust.relative

    # Nothing is an argument of the program but what the rule remembers; or all is.
    closed_over = jax.jit(lambda momentum: relative(1.0, momentum))(0.9)
    batch = jax.jit(jax.vmap(relative, in_axes=(0, None)))(jnp.asarray([1.0, 1.5]), 0.9)
    first, second = relative(1.0, 0.9), relative(1.5, 0.9)
    for found, expected in zip((closed_over, *batch), (first, first, second), strict=True):
        # Neurons are simulated in single precision.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_beside_a_rank_2_network_that_has_learned_neurons_stay_where_they_are(monkeypatch):
    """Few neurons have other outputs than the theory, by which they would be pulled on when learning is over."""
    layout = ol.Layout(1, 2, 1)
    model, start = ol.Model(layout, ol.Erf()), ol.Overlaps.random(layout, key=jax.random.key(0), scale=0.5)
    rule = ol.GradientDescent(0.2, 200, clip_norm=0.1)
    quick = ol.integrate(model, TASK, start, rule).trust.largest
    monkeypatch.setattr("overlap_learning.dynamics.closures.N_BESIDE", 1024)
    _take_all_steps(monkeypatch)
    slow = ol.integrate(model, TASK, start, rule).trust.largest
    assert 0.5 * slow < quick < 2 * slow


def test_in_many_dimensions_the_estimate_is_not_the_error_of_the_few_neurons(monkeypatch):
    """Fifteen vectors: 64 neurons are several times further off than the theory, which is chosen."""
    layout = ol.Layout(4, 5, 1)
    model, task = ol.Model(layout, ol.Erf()), context(8)
    lift = np.eye(15) + 0.2 * np.random.default_rng(0).normal(size=(15, 15)) / np.sqrt(15)
    lift[4:9, 9:14] += 0.5 * np.eye(5)
    lift[4:9, 14] += 0.2
    start, rule = ol.Overlaps(lift.T @ lift, layout), ol.GradientDescent(0.05, 20, save_every=5)
    # The theory is off by 0.045 in the loss.
    chosen = ol.integrate(model, task, start, rule, closure=ol.Cheapest(0.06))
    assert isinstance(chosen.final, ol.Overlaps)
    few = ol.integrate(model, task, start, rule, closure=ol.WeightedNeurons(), trust=False).overlaps.gram
    off = float(jnp.max(jnp.abs(few - chosen.overlaps.gram)) / chosen.trust.change)
    monkeypatch.setattr("overlap_learning.dynamics.closures.N_BESIDE", 1024)
    error = ol.integrate(model, task, start, rule).trust.largest
    # The bar of estimates is half of the error; on the safe side as much.
    assert 0.5 * error < chosen.trust.largest < 2 * error
    assert off > 3 * error


def test_inside_jit_the_same_is_estimated():
    """Six vectors, whose nodes are drawn."""
    layout = ol.Layout(1, 2, 1)
    model, start = ol.Model(layout, ol.Erf()), ol.Overlaps.random(layout, key=jax.random.key(0), scale=0.3)

    def trust(gram):
        rule = ol.GradientDescent(0.2, 4, save_every=2)
        return ol.integrate(model, TASK, ol.Overlaps(gram, layout), rule, closure=ol.WeightedNeurons()).trust.relative

    # Another order of the same sums.
    np.testing.assert_allclose(jax.jit(trust)(start.gram), trust(start.gram), rtol=0, atol=1e-10)


def test_a_resumed_run_and_a_flow_are_estimated_too(tmp_path):
    where = ol.Checkpoint(tmp_path, every=10)
    first, again = (ol.integrate(ERF, TASK, START, RULE, checkpoint=where) for _ in range(2))
    assert np.all(np.isfinite(first.trust.relative))
    np.testing.assert_array_equal(first.trust.relative, again.trust.relative)
    flow = ol.integrate(ERF, TASK, START, ol.GradientFlow(4.0, save_at=np.linspace(0.0, 4.0, 5)))
    # The same learning in the limit of small steps: the estimate differs by the first order of the step.
    np.testing.assert_allclose(flow.trust.relative, first.trust.relative, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("failed", "infinite"), [((False, True), [False, False, True]), ((True, False), [False, True])]
)
def test_neurons_that_diverge_where_the_theory_does_not_are_a_theory_that_fails(failed, infinite):
    """And the other way round; and a run that stopped, of which nothing is said."""

    def record(n):
        gram = np.eye(4) * np.arange(1.0, n + 1)[:, None, None]
        return Record(np.arange(n) * 1.0, np.arange(n), np.ones(n), {"gram": gram})

    own, other = record(len(infinite)), record(2)
    for wrong, expected in ((failed, "the theory fails here"), ((False, False), "trust")):
        saved = beside(own, other, *map(np.asarray, wrong))
        trust = compared(own.time, own.loss, own.saved | saved)
        assert trust.verdict == expected
        if any(wrong):
            assert np.isinf(trust.relative).tolist() == infinite
            assert "diverged" in trust.sentence


def test_what_is_exact_says_so_and_what_was_not_estimated_too():
    linear = ol.integrate(ol.Model(LAYOUT, ol.Linear()), TASK, START, RULE)
    assert "beside_gram" not in linear.saved
    assert linear.trust.verdict == "trust"
    assert linear.trust.largest == 0
    network = ol.Network.sample(START, 20, key=jax.random.key(0))
    own = ol.integrate(ERF, TASK, network, RULE)
    assert float(own.loss[0]) == pytest.approx(float(TASK.loss(ol.simulate(ERF, network, TASK))), rel=1e-12)
    assert own.trust.sentence.startswith("Exact")
    assert ol.integrate(ERF, TASK, START, RULE, trust=False).trust.verdict == "not known"


def test_overlaps_of_neurons_that_are_not_gaussian_are_spoken_of_before_learning():
    vectors = 0.7 * np.abs(np.random.default_rng(0).normal(size=(400, 4)))
    network, relu = ol.Network(vectors, LAYOUT), ol.Model(LAYOUT, ol.ReLU())
    off = np.sqrt(np.mean((ol.simulate(relu, network, TASK) - ol.rollout(relu, network.overlaps, TASK)) ** 2))
    with pytest.warns(UserWarning, match=rf"not Gaussian.*is off by {off:.3g}.*Populations\.from_network"):
        ol.integrate(relu, TASK, network, RULE, closure=ol.Gaussian(), trust=False)


def test_nodes_of_a_given_number_exist_in_any_dimension():
    size = 64
    for dimension in (1, 4, 9, 40):
        points, weights = sized_nodes(size, dimension, dimension // 2, folded=True, smooth=True).standard(
            dimension, dimension // 2
        )
        assert len(points) <= max(1.25 * size, 2 * dimension)
        np.testing.assert_allclose(points.T @ (weights[:, None] * points), np.eye(dimension), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("start", "closure", "message"),
    [
        (START, "gaussian", r"integrate: closure must be ol\.Gaussian\(\)"),
        (
            START,
            ol.WeightedNeurons(ol.model.HermiteGrid(4, folded=True)),
            "stands for mirror images, too, which is wrong for ReLU",
        ),
        (
            ol.Network.sample(START, 20, key=jax.random.key(0)),
            ol.WeightedNeurons(ol.model.HermiteGrid(4)),
            "has neurons of its own",
        ),
    ],
)
def test_a_closure_that_does_not_fit_is_refused(start, closure, message):
    with pytest.raises(ValueError, match=message):
        ol.integrate(ol.Model(LAYOUT, ol.ReLU()), TASK, start, RULE, closure=closure)


def test_nothing_is_chosen_where_numbers_are_not_known():
    with pytest.raises(ValueError, match="the numbers must be known"):
        jax.vmap(lambda g: ol.integrate(ERF, TASK, ol.Overlaps(g, LAYOUT), RULE, closure=ol.Cheapest()))(
            START.gram[None]
        )
