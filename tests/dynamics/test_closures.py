"""Closures: what follows nonlinear neurons, how far each is said to be off, and which one is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import overlap_learning as ol
from overlap_learning.dynamics import departure
from overlap_learning.learning.record import Record
from overlap_learning.learning.trust import beside, compared
from overlap_learning.model.nodes import sized_nodes

LAYOUT = ol.Layout()
ERF = ol.Model(LAYOUT, ol.Erf())
START = ol.Overlaps.from_entries(LAYOUT, zm=0.3, zu=0.4, vm=0.4, vu=0.4)
TASK = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=2, duration=3.0, dt=0.2)
RULE = ol.GradientDescent(0.2, 20, save_every=5)


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
    task, rule = context(), ol.GradientDescent(0.02, 500, save_every=25)
    theory = ol.integrate(model, task, start, rule)
    network = ol.Network.sample(start, 500, key=jax.random.key(5))
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


def test_trust_is_the_closure_error_and_is_saved(tmp_path):
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
    drift = lambda at, kept: (jnp.sum(at), at, kept * x * at)  # noqa: E731
    ones, n_iterations = jnp.ones_like(x), 100
    step = departure._long_step(drift, 0 * x, ones, ones, jnp.ones(()), jnp.asarray(n_iterations))
    by, n_stages = step.departure, step.n_stages
    assert step.n_asked == 2 + n_iterations + n_stages - 1
    assert (step.loss_there, step.loss) == (0, 2001)
    # The curvature is found to a hundredth, from below, and taken a quarter larger.
    assert departure._n_stages(jnp.asarray(1.2 * reach)) <= n_stages <= departure._n_stages(jnp.asarray(1.25 * reach))
    at, slope = map(float, departure._shape(n_stages))
    polynomial = np.polynomial.Chebyshev.basis(int(n_stages))
    np.testing.assert_allclose(by, polynomial(at + slope * x) / polynomial(at), rtol=0, atol=1e-12)
    assert jnp.abs(by).max() <= 1
    # To first order a mode is multiplied as by the flow: what is left out is of second order in 0.04.
    assert by[1] - 1 == pytest.approx(float(x[1]), rel=0.5 * abs(float(x[1])))
    # Of as many as are needed for that reach, with a stage less it would not be: the number grows as a root.
    n_stages = departure._n_stages(jnp.asarray(reach))
    at, slope = map(float, departure._shape(n_stages - 1))
    assert (1 + at) / slope < reach < 2 * n_stages**2


_TIED = ol.Model(LAYOUT, ol.Erf(), tied={"v": "z"})


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (ERF, ol.GradientDescent(0.2, 60, save_every=6, weight_decay=0.01, rates={"m": 0.5})),
        (_TIED, ol.GradientDescent(0.2, 60, save_every=6, rates={"m": 0.5})),
        (ERF, ol.GradientDescent(optax.cosine_decay_schedule(0.3, 60), 60, save_every=6)),
        (ERF, ol.GradientFlow(12.0, save_every=1.2)),
        (ERF, ol.GradientFlow(12.0, save_at=np.linspace(3.0, 12.0, 10))),
    ],
    ids=["decay", "tied", "schedule", "flow", "late"],
)
def test_long_steps_estimate_what_all_steps_do(monkeypatch, model, rule):
    start = ol.Overlaps(START.gram[jnp.ix_(model.sources, model.sources)], LAYOUT) if model.tied else START
    quick = ol.integrate(model, TASK, start, rule).trust
    # With fewer saved points than long steps, all steps are taken.
    monkeypatch.setattr(departure, "N_CYCLES", 1000)
    slow = ol.integrate(model, TASK, start, rule).trust
    assert slow.largest > 0.01
    # The theory's own way in place of that of the few neurons, and long steps: of first order in a twelfth.
    np.testing.assert_allclose(quick.relative, slow.relative, rtol=0, atol=0.25 * slow.largest)
    # Of a loss that is nearly 0, which is of second order in what overlaps are off by: twice as far off; one of 0, of
    # which nothing is left to see, to a hundred thousandth of that of the start.
    assert quick.loss_beside[-1] - quick.loss[-1] == pytest.approx(
        slow.loss_beside[-1] - slow.loss[-1], rel=0.5, abs=1e-5 * float(quick.loss[0])
    )


@pytest.mark.parametrize(
    "rule",
    [ol.GradientDescent(0.2, 1000), ol.GradientDescent(1.0, 200), ol.GradientDescent(0.2, 200), ol.GradientFlow(60.0)],
    ids=["many steps", "large steps", "fewer steps", "flow"],
)
def test_long_steps_are_where_learning_moves_if_it_has_long_been_at_its_end(monkeypatch, rule):
    """Learning is over early in these runs; of long steps of one duration most would see none of it."""
    quick = ol.integrate(ERF, TASK, START, rule).trust.largest
    monkeypatch.setattr(departure, "N_CYCLES", 1000)
    slow = ol.integrate(ERF, TASK, START, rule).trust.largest
    # The bar of estimates is half of the error; on the safe side as much.
    assert 0.5 * slow < quick < 2 * slow


@pytest.mark.parametrize(
    ("rule", "task", "expected"),
    [
        (ol.GradientDescent(0.1, 20), TASK, True),
        (ol.GradientDescent(optax.cosine_decay_schedule(0.1, 20), 20, rates={"u": 0.0}), TASK, True),
        (ol.GradientFlow(1.0), TASK, True),
        (ol.GradientDescent(0.1, 20, momentum=0.5), TASK, False),
        (ol.GradientDescent(0.1, 20, clip_norm=0.5), TASK, False),
        (ol.GradientDescent(0.1, 20, label_noise=0.1), TASK, False),
        (ol.GradientDescent(0.1, 20), ol.tasks.stream(_trials), False),
    ],
)
def test_long_steps_are_those_of_a_rule_that_draws_nothing_and_remembers_nothing(rule, task, expected):
    record = Record(np.arange(20.0), np.arange(20), np.ones(20), {"transfer": np.zeros((20, 4, 4))})
    assert departure.can_be_long(rule, task, record) is expected
    few = Record(*(a[:5] for a in (record.time, record.step, record.loss)), {"transfer": np.zeros((5, 4, 4))})
    assert not departure.can_be_long(rule, task, few)
    ended = Record(np.where(record.time < 5, record.time, np.nan), record.step, record.loss, record.saved)
    assert not departure.can_be_long(rule, task, ended)


def test_in_many_dimensions_the_estimate_is_not_the_error_of_the_few_neurons(monkeypatch):
    """Fifteen vectors: 64 neurons are several times further off than the theory, which is chosen."""
    layout = ol.Layout(4, 5, 1)
    model, task = ol.Model(layout, ol.Erf()), context(8)
    lift = np.eye(15) + 0.2 * np.random.default_rng(0).normal(size=(15, 15)) / np.sqrt(15)
    lift[4:9, 9:14] += 0.5 * np.eye(5)
    lift[4:9, 14] += 0.2
    start, rule = ol.Overlaps(lift.T @ lift, layout), ol.GradientDescent(0.05, 20, save_every=5)
    chosen = ol.integrate(model, task, start, rule, closure=ol.Cheapest(0.05))
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
    flow = ol.integrate(ERF, TASK, START, ol.GradientFlow(4.0, save_every=1.0))
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
