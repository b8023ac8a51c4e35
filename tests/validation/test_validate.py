"""validate: the theory against full N."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.learning import descent
from overlap_learning.validation import finite_size as scaling

# Rounding over 2,000 steps; the bound that this package promises for linear networks. `Validation.tolerance`, derived
# in `ol.validate`, is tighter, and is asserted beside it.
PROMISED = 1e-10


def _task(n_in, n_out, n_steps=60, dt=0.1):
    """Damped oscillations, another one for each pair of input and output, after impulses at different times."""
    times = dt * np.arange(n_steps)
    inputs = np.zeros((n_in, n_steps, n_in))
    targets = np.zeros((n_in, n_steps, n_out))
    for i in range(n_in):
        inputs[i, 2 * i, i] = 1 / dt
        for o in range(n_out):
            targets[i, :, o] = np.exp(-0.3 * times) * np.cos((o + 0.5 * i) * times)
    return ol.Task(inputs, targets, np.full_like(targets, dt), dt)


SINGLE, DOUBLE = ol.Layout(1, 1, 1), ol.Layout(2, 2, 2)
FLIP_FLOP = ol.tasks.flip_flop(key=jax.random.key(3), n_trials=2, duration=5.0, dt=0.1, wait_range=(1.0, 2.0))


def test_linear_theory_is_full_n_to_rounding_over_2000_steps():
    """Of rank 2 with all settings that are numbers; a network of 500 without them is README's."""
    model = ol.Model(DOUBLE, ol.Linear())
    start = ol.Overlaps.random(DOUBLE, key=jax.random.key(0), scale=0.2)
    rule = ol.GradientDescent(5e-3, 2000, momentum=0.5, weight_decay=0.05, rates={"m": 0.0, "v2": 0.0})
    found = ol.validate(model, _task(2, 2), start, rule, n_neurons=(50,), n_seeds=1, key=jax.random.key(1))
    assert found.largest.max() < PROMISED
    assert found.verdict.passed, found.verdict.sentence
    # The networks did learn, so the agreement says something.
    assert found.theory.loss[-1] < 0.5 * found.theory.loss[0]
    assert np.abs(np.diff(np.asarray(found.theory.overlaps.gram), axis=0)).sum(0).max() > 0.1


def test_linear_theory_is_full_n_on_minibatches_with_label_noise():
    """From a network, of which the overlaps are taken; what asks for overlaps alone says where they are."""
    model = ol.Model(DOUBLE, ol.Linear())
    overlaps = ol.Overlaps.random(DOUBLE, key=jax.random.key(0), scale=0.2)
    start = ol.Network.sample(overlaps, 20, key=jax.random.key(2))
    for ask in (lambda: ol.rollout(model, start, _task(2, 2)), lambda: ol.metric(model, start)):
        with pytest.raises(ValueError, match=r"got Network; pass its \.overlaps"):
            ask()
    rule = ol.GradientDescent(learning_rate=5e-3, n_steps=100, batch_size=1, label_noise=0.3)
    found = ol.validate(model, _task(2, 2), start, rule, n_neurons=(50,), n_seeds=2, key=jax.random.key(1))
    assert found.verdict.passed, found.verdict.sentence


def test_flow_of_linear_network_agrees_within_the_solvers_tolerance():
    model = ol.Model(SINGLE, ol.Linear())
    start = ol.Overlaps.random(SINGLE, key=jax.random.key(0), scale=0.2)
    rule = ol.GradientFlow(3.0)
    found = ol.validate(model, _task(1, 1), start, rule, n_neurons=(20,), n_seeds=1, key=jax.random.key(1))
    assert found.verdict.passed, found.verdict.sentence


def test_verdict_condemns_a_theory_that_is_wrong(whole):
    """The check can fail: a deviation just beyond the tolerance is not confirmed."""
    found = whole[1]
    wrong = ol.Validation(
        theory=found.theory,
        n_neurons=found.n_neurons,
        deviation=found.deviation + 1.5 * found.tolerance,
        loss=found.loss,
        early=found.early,
        tolerance=found.tolerance,
    )
    assert found.verdict.passed
    assert not wrong.verdict.passed
    assert "BEYOND" in wrong.verdict.sentence


@pytest.fixture(scope="module")
def early_training():
    model = ol.Model(SINGLE, ol.Erf())
    # Near-orthonormal, so that fields stay small and the neurons Gaussian over these few steps.
    start = ol.Overlaps.random(SINGLE, key=jax.random.key(0), scale=0.1)
    rule = ol.GradientDescent(0.1, 10, save_every=5)
    return ol.validate(
        model, FLIP_FLOP, start, rule, n_neurons=(64, 2048), n_seeds=16, key=jax.random.key(1), early=0.5
    )


def test_early_deviation_of_nonlinear_network_falls_as_the_square_root_of_n(early_training):
    slope, error = early_training.exponent()
    # 16 networks give each rms to about 1/sqrt(2 * 16 * overlaps that vary independently) < 18 %; two N with a ratio of
    # 32 then fix the exponent to about 0.18 * sqrt(2) / log(32) = 0.07.
    assert error < 0.12
    assert abs(slope + 0.5) < 2.6 * error  # 1 % two-sided
    assert early_training.verdict.passed, early_training.verdict.sentence


def test_deviation_of_nonlinear_network_is_split_into_finite_size_and_closure(early_training):
    closure = early_training.closure
    np.testing.assert_array_equal(early_training.finite.deviation, early_training.deviation - closure.closure)
    np.testing.assert_array_equal(closure.theory.overlaps.gram, early_training.theory.overlaps.gram)
    # Ten steps from Gaussian neurons: the theory is good to far less than what networks of 2,048 are off by.
    assert closure.largest.max() < 0.07 * early_training.largest[-1].min()
    assert closure.until() == len(closure.largest) - 1


def test_exponent_is_that_of_the_finite_size_part_whatever_the_closure_error(early_training):
    n = np.array([100, 1000, 10000])
    finite = np.random.default_rng(0).normal(size=(3, 200, 3, 10)) * n[:, None, None, None] ** -0.5
    closure = early_training.closure
    gram = np.array(closure.theory.overlaps.gram)
    # A theory that is wrong by a hundred times the finite-size part, everywhere.
    wrong = ol.integrate(
        closure.model,
        FLIP_FLOP,
        ol.Overlaps(gram[0] + 3 * np.eye(4), SINGLE),
        ol.GradientDescent(0.1, 10, save_every=5),
    )
    report = eqx.tree_at(lambda c: c.theory, closure, wrong)
    made = ol.Validation(
        theory=wrong,
        n_neurons=tuple(n.tolist()),
        deviation=finite + report.closure,
        loss=np.ones(finite.shape[:-1]),
        early=1,
        tolerance=np.zeros(3),
        closure=report,
    )
    slope, error = made.exponent()
    assert abs(slope + 0.5) < 4 * error < 0.04
    assert made.verdict.passed
    # And the whole deviation does not fall.
    rms, _ = made.rms()
    assert rms[2] > 0.9 * rms[0] > 1
    assert f"{report.largest[-1]:.2g} away from the limit" in made.verdict.sentence


def test_linear_networks_have_no_closure_part(whole):
    found = whole[1]
    assert found.closure is None
    np.testing.assert_array_equal(found.finite.deviation, found.deviation)


def test_exponent_of_made_up_deviations_is_recovered(early_training):
    n = np.array([100, 1000, 10000])
    draws = np.random.default_rng(0).normal(size=(3, 200, 2, 10))
    for true in (-0.5, 0.0, -1.0):
        made = ol.Validation(
            theory=early_training.theory,
            n_neurons=tuple(n.tolist()),
            deviation=draws * n[:, None, None, None] ** true,
            loss=np.ones(draws.shape[:-1]),
            early=1,
            tolerance=np.zeros(3),
        )
        slope, error = made.exponent()
        # 200 networks of 10 overlaps: each rms to 1/sqrt(2 * 2000) = 1.6 %, the slope to
        # 0.016 sqrt(2) / log(100) = 0.005.
        assert error < 0.01
        assert abs(slope - true) < 4 * error
        assert made.verdict.passed == (true == -0.5)


def test_too_few_networks_leave_the_verdict_undecided(early_training):
    few = ol.Validation(
        theory=early_training.theory,
        n_neurons=(64, 65),
        deviation=early_training.deviation[:, :2],
        loss=early_training.loss[:, :2],
        early=1,
        tolerance=np.zeros(2),
    )
    assert not few.verdict.passed
    assert "Undecided" in few.verdict.sentence


def test_prints_as_a_table_and_saves_with_labels(early_training, tmp_path):
    import xarray

    text = repr(early_training)
    for expected in ("2048", "rms at", "Finite N as expected", "network minus limit", "limit is known to", "zu"):
        assert expected in text
    early_training.save(tmp_path / "validation.nc")
    with xarray.open_dataset(tmp_path / "validation.nc", engine="h5netcdf") as data:
        assert data["deviation"].dims == ("n_neurons", "seed", "time", "overlap")
        np.testing.assert_array_equal(data["deviation"], early_training.deviation)
        assert list(data["n_neurons"]) == [64, 2048]
        assert "-1/2" in data.attrs["verdict"]
        np.testing.assert_array_equal(data["closure"], early_training.closure.closure)
        np.testing.assert_array_equal(data["limit_error"], early_training.closure.limit.error)
    # With all that it is made of: the report in it, the limit in that, and the neurons of the limit.
    assert repr(ol.Validation.load(tmp_path / "validation.nc")) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_neurons": ()}, "n_neurons must be one or more increasing"),
        ({"n_neurons": (100, 50)}, "n_neurons must be one or more increasing"),
        ({"n_neurons": (3,)}, "need at least 4 neurons"),
        ({"n_seeds": 0}, "n_seeds must be an integer of at least 1"),
        ({"early": 0.0}, "early must be a fraction"),
        ({"rule": ol.DirectDescent(5e-3, 5)}, "no theory of a network"),
        ({"rule": ol.GradientDescent(5e-3, 5, stop_loss=1.0)}, "must not have a stop_loss"),
    ],
)
def test_bad_input_is_named(change, message):
    model = ol.Model(SINGLE, ol.Linear())
    arguments = {
        "task": _task(1, 1),
        "overlaps": ol.Overlaps(jnp.eye(4), SINGLE),
        "rule": ol.GradientDescent(5e-3, 5),
        "n_neurons": (10,),
        "n_seeds": 1,
        "key": jax.random.key(0),
    }
    with pytest.raises(ValueError, match=message):
        ol.validate(model, **(arguments | change))


# -- checkpoints -----------------------------------------------------------------------------------------------------

START = ol.Overlaps.random(SINGLE, key=jax.random.key(0), scale=0.2)
# Each run has three compiled calls, and after each of them a checkpoint.
EVERY, N_CALLS = 20, 3
RULE = ol.GradientDescent(5e-3, N_CALLS * EVERY, save_every=EVERY)
LINEAR, KEY = ol.Model(SINGLE, ol.Linear()), jax.random.key(1)


def validated(folder, *, key=KEY):
    """Theory, a second theory that tells how learning amplifies rounding, and three networks one after another."""
    checkpoint = ol.Checkpoint(folder, every=EVERY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "NEURONS_AT_ONCE", 12)
        return ol.validate(LINEAR, _task(1, 1), START, RULE, (12,), 3, key=key, progress=False, checkpoint=checkpoint)


def split(folder):
    """Theory, two sets of nodes, and a network."""
    checkpoint, nodes = ol.Checkpoint(folder, every=EVERY), (ol.model.MinimalNodes(),) * 2
    return ol.closure_error(
        LINEAR, _task(1, 1), START, RULE, KEY, (12,), 1, nodes=nodes, progress=False, checkpoint=checkpoint
    )


def same(a, b):
    """Whether two results agree to the last bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the result of a call that nothing ended."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, validated(folder)


@pytest.fixture
def calls(monkeypatch):
    """Counts the compiled calls in which something was learned, and ends each one beyond `limit` by Ctrl-C."""

    class Calls:
        done, limit = 0, None

    real = descent._advance

    def advance(run, limits, state, where, *size):
        # The start is looked at by one that ends with step -1.
        if where[0] >= 0:
            if Calls.done == Calls.limit:
                raise KeyboardInterrupt
            Calls.done += 1
        return real(run, limits, state, where, *size)

    monkeypatch.setattr(descent, "_advance", advance)
    return Calls


def test_a_call_that_is_interrupted_again_and_again_ends_with_the_same_numbers_and_does_nothing_twice(calls, tmp_path):
    uninterrupted = split(tmp_path / "whole")
    n, found, n_interrupted = calls.done, None, 0
    assert n == 4 * N_CALLS
    while found is None:
        # Each run has one more: each is interrupted at another place.
        calls.limit = calls.done + N_CALLS - 1
        try:
            found = split(tmp_path / "cut")
        except ol.LearningInterrupted:
            n_interrupted += 1
    assert calls.done == 2 * n
    assert n_interrupted == n // (N_CALLS - 1) - 1
    assert same(found, uninterrupted)
    # Learning moved overlaps, so that the same numbers say something.
    assert found.change > 0.01


def test_a_finished_call_is_read_and_learns_nothing(whole, calls):
    assert same(validated(whole[0]), whole[1])
    assert calls.done == 0
    assert whole[1].verdict.passed, whole[1].verdict.sentence


def test_the_checkpoints_of_another_call_are_refused(whole):
    with pytest.raises(ValueError, match=r"the checkpoints in .*theory.* other arguments: key was .*another folder"):
        validated(whole[0], key=jax.random.key(2))


@pytest.mark.parametrize("function", [ol.validate, ol.closure_error, ol.limit], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("change", "message"),
    [({"checkpoint": "runs/a"}, "checkpoint must be ol.Checkpoint"), ({"rule": ol.GradientFlow(1.0)}, "a Gradient")],
    ids=["a path", "a flow"],
)
def test_what_can_not_be_written_down_is_refused_before_anything_is_learned(function, change, message, calls, tmp_path):
    arguments = {"rule": RULE, "checkpoint": ol.Checkpoint(tmp_path), "key": KEY}
    with pytest.raises(ValueError, match=f"{function.__name__}: {message}"):
        function(LINEAR, _task(1, 1), START, **(arguments | change))
    assert calls.done == 0
    assert not list(tmp_path.iterdir())


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
import jax
jax.config.update("jax_enable_x64", True)
import test_validate as test
test.validated(sys.argv[1])
"""


def test_a_program_that_is_killed_ends_with_the_same_numbers_to_the_last_bit(whole, calls, tmp_path):
    # It finds both theories, as if it had been killed before.
    for name in ("theory", "nudged"):
        shutil.copytree(whole[0] / name, tmp_path / name)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), str(Path(__file__).parent)])
    reached, deadline = tmp_path / "networks" / "0-1" / str(2 * EVERY), time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not reached.exists():
        time.sleep(0.002)
    assert process.poll() is None, "ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert same(validated(tmp_path), whole[1])
    # What was left of the three networks.
    assert 0 < calls.done <= 3 * N_CALLS - 2


def test_networks_side_by_side_are_filled_up_where_that_is_cheap():
    sizes = np.array([10, 10, 50, 50])
    assert list(scaling._side_by_side(sizes, 79)) == [(0, 2), (2, 4)]
    # Two networks of 10 are filled up to 50: 80 neurons more; the batch has 200.
    assert list(scaling._side_by_side(sizes, 80)) == [(0, 4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "NEURONS_AT_ONCE", 199)
        assert list(scaling._side_by_side(sizes, 80)) == [(0, 3), (3, 4)]


def test_a_network_that_is_filled_up_learns_as_it_would_alone():
    both = ol.validate(LINEAR, _task(1, 1), START, RULE, (12, 30), 2, key=KEY, progress=False)
    # The rounding of sums over 12 neurons and over 30, of which 18 weigh nothing.
    alone = [
        ol.train(LINEAR, _task(1, 1), ol.Network.sample(START, 12, key=key), RULE)
        for key in jax.random.split(jax.random.split(jax.random.split(KEY)[1], 2)[0], 2)
    ]
    for k, solution in enumerate(alone):
        found = both.deviation[0, k] + scaling.entries(both.theory)
        np.testing.assert_allclose(found, scaling.entries(solution), atol=both.tolerance[0], rtol=0)
        np.testing.assert_allclose(both.loss[0, k], solution.loss, atol=both.tolerance[0], rtol=0)


def test_a_task_without_steps_is_named():
    task = ol.tasks.impulse_response([[[1.0]]], [0.2], dt=0)
    with pytest.raises(ValueError, match="continuous time"):
        ol.validate(LINEAR, task, START, RULE, (12,), 1, key=KEY, progress=False)


def test_networks_with_a_bulk_approach_the_theory_without_a_bias():
    layout = ol.Layout()
    model = ol.Model(layout, ol.Linear(), bulk=ol.RandomBulk(0.3))
    start = ol.Overlaps.from_entries(layout, zu=0.3, vm=0.3, vu=0.2)
    task = ol.tasks.exponential_filter(decay=0.3, duration=2.5, dt=0.5)
    rule = ol.GradientDescent(0.02, 10, save_every=5, rates={"W": 1.0})
    found = ol.validate(model, task, start, rule, (16, 128), 24, key=jax.random.key(1), progress=False)
    slope, error = found.exponent()
    # Three standard errors; with no more than 0.125 of them -1/2 is told from 0.
    assert error < 0.15
    assert abs(slope + 0.5) < 3 * error
    assert found._bias.passed
    # A theory that is off by as much as the smallest networks are.
    off = eqx.tree_at(lambda v: v.deviation, found, found.deviation + found.rms()[0][0])
    assert not off.verdict.passed
    assert "A BIAS" in off.verdict.sentence


def test_a_nonlinear_model_with_a_bulk_is_refused():
    model = ol.Model(ol.Layout(), ol.Tanh(), bulk=ol.RandomBulk(0.4))
    start = ol.Overlaps.from_entries(model.layout, zu=0.3)
    with pytest.raises(ValueError, match="the theory of a bulk is that of linear networks"):
        ol.validate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(1e-2, 2), key=jax.random.key(0))
