"""integrate: what it refuses, and the numbers it reports about a nonlinear theory."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics_helpers import N_STEPS, RANK_1, RANK_2, descent, largest, make_overlaps, make_task

import overlap_learning as ol

MODEL = ol.Model(RANK_1, ol.Linear())
TASK = make_task(RANK_1)
START = make_overlaps(RANK_1)
STREAM = ol.tasks.stream(ol.tasks.decision_making, n_trials=4, dt=0.25)


def refuses(message, *, model=MODEL, task=TASK, overlaps=START, rule=None, **arguments):
    with pytest.raises(ValueError, match=message):
        ol.integrate(model, task, overlaps, descent() if rule is None else rule, **arguments)


class TestBadInput:
    def test_overlaps_of_another_layout(self):
        refuses(
            r"integrate: overlaps must be ol\.Overlaps with .*rank=1, .*got Overlaps of Layout\(n_in=1, rank=2",
            overlaps=make_overlaps(RANK_2),
        )

    def test_a_gram_matrix_that_is_not_overlaps(self):
        refuses(r"integrate: overlaps must be ol\.Overlaps with .*rank=1", overlaps=jnp.eye(4))

    def test_a_batch_of_overlaps(self):
        batch = ol.Overlaps(jnp.stack([START.gram] * 3), RANK_1)
        refuses(r"integrate: overlaps are a batch of shape \[3\].*jax\.vmap", overlaps=batch)

    def test_a_task_with_other_inputs(self):
        refuses(r"integrate: the task has 2 input channels, the model has n_in=1", task=make_task(ol.Layout(n_in=2)))

    def test_a_task_with_other_outputs(self):
        refuses(r"integrate: the task has 3 output channels, the model has n_out=1", task=make_task(ol.Layout(n_out=3)))

    def test_a_stream_with_other_channels(self):
        model = ol.Model(ol.Layout(n_out=2), ol.Linear())
        start = make_overlaps(model.layout)
        refuses(
            r"integrate: the task has 1 output channels, the model has n_out=2",
            model=model, task=STREAM, overlaps=start, key=jax.random.key(0),
        )  # fmt: skip

    def test_a_task_that_is_none(self):
        refuses(r"integrate: task must be an ol\.Task or an ol\.tasks\.stream\(\.\.\.\), got function", task=make_task)

    def test_a_model_that_is_none(self):
        refuses(r"integrate: model must be an ol\.Model, got Linear\(\)", model=ol.Linear())

    @pytest.mark.parametrize("rule", ["descent", 0.1, ol.GradientDescent, optax.sgd(0.1)])
    def test_a_rule_that_is_none(self, rule):
        refuses(r"integrate: rule must be ol\.GradientFlow, .*For example: ol\.GradientDescent\(", rule=rule)

    def test_an_optimiser_because_its_learning_does_not_close(self):
        rule = ol.Optimiser(optax.adam(1e-3), N_STEPS)
        refuses(r"element by element.*does not close in overlap space.*full N: ol\.train\(", rule=rule)

    def test_a_stream_for_a_flow(self):
        refuses(
            r"integrate: GradientFlow needs a fixed batch.*stream\.sample\(key\)",
            task=STREAM, rule=ol.GradientFlow(1.0), key=jax.random.key(0),
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("task", "settings", "why"),
        [
            (STREAM, {}, "a task stream"),
            (TASK, {"batch_size": 2}, "batch_size"),
            (TASK, {"label_noise": 0.1}, "label_noise"),
        ],
        ids=["stream", "minibatch", "noise"],
    )
    def test_random_draws_without_a_key(self, task, settings, why):
        message = rf"integrate: {why} draws at random and needs a key: .*key=jax\.random\.key\(0\)"
        refuses(message, task=task, rule=descent(**settings))

    def test_a_batch_size_above_the_number_of_trials(self):
        refuses(
            r"integrate: batch_size=5 is larger than the task's 4 trials",
            rule=descent(batch_size=5), key=jax.random.key(0),
        )  # fmt: skip


SINGLE_PRECISION = """
import jax.numpy as jnp, numpy as np, overlap_learning as ol

model = ol.Model(ol.Layout(), ol.Linear())
start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
task = ol.tasks.exponential_filter(duration=2.0, dt=0.1)
calls = {
    "ol.integrate": lambda: ol.integrate(model, task, start, ol.GradientDescent(0.01, 5)),
    "ol.metric": lambda: ol.metric(model, start),
    "ol.invariants": lambda: ol.invariants(model, start),
}
for name, call in calls.items():
    try:
        call()
    except RuntimeError as error:
        assert name in str(error) and 'jax.config.update("jax_enable_x64", True)' in str(error), error
    else:
        raise AssertionError(name + " ran in single precision")

network = ol.Network(np.random.default_rng(0).standard_normal((12, 4)), model.layout)
trained = ol.train(model, task, network, ol.GradientDescent(0.01, 5))
assert trained.loss.dtype == jnp.float32 and trained.final.vectors.dtype == jnp.float32
assert trained.loss[-1] < trained.loss[0]
print("done")
"""


def test_in_32_bit_mode_theory_is_refused_with_the_line_to_add_and_training_runs():
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", SINGLE_PRECISION], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "done\n"


class TestReport:
    def test_linear_theory_reports_no_gain_error(self):
        assert set(ol.integrate(MODEL, TASK, START, descent()).stats) == {"n_steps"}

    def test_nonlinear_theory_reports_the_largest_field_variance_at_start_and_end_and_the_gain_error_there(self):
        model = ol.Model(RANK_1, ol.Tanh())
        solution = ol.integrate(model, TASK, START, descent(), trust=False)
        variances = [ol.model.field_variance(model, overlaps, TASK).max() for overlaps in (START, solution.final)]
        assert float(solution.stats["field_variance"]) == pytest.approx(float(max(variances)), rel=1e-13)
        # The gain that the theory used, against the average of the slope over many more nodes.
        nodes, weights = ol.model.Trapezoid(order=1024).nodes()
        exact = np.sum(weights / np.cosh(np.sqrt(float(max(variances))) * nodes) ** 2)
        used = float(model.activation.gain(jnp.asarray(max(variances))))
        assert abs(used - exact) <= 2 * float(solution.stats["gain_error"]) + 1e-14

    def test_what_was_passed_in_is_not_changed(self):
        before = np.array(START.gram)
        ol.integrate(MODEL, TASK, START, descent())
        assert np.array_equal(START.gram, before)


def test_single_precision_overlaps_are_integrated_in_double_precision():
    """Those of a network that was trained in single precision are a usual start; that they have 7 digits is said."""
    start = ol.Overlaps(np.asarray(START.gram, np.float32), RANK_1)
    with pytest.warns(
        UserWarning, match=r"ol\.integrate: overlaps\.gram is float32: it was made before jax_enable_x64"
    ):
        solution = ol.integrate(MODEL, TASK, start, descent())
    with pytest.warns(UserWarning, match=r"ol\.integrate: task\.dt is float32.* task = jax\.tree\.map"):
        ol.integrate(MODEL, TASK.astype(np.float32), START, descent())
    assert solution.overlaps.gram.dtype == jnp.float64
    expected = ol.integrate(MODEL, TASK, ol.Overlaps(np.asarray(start.gram, float), RANK_1), descent())
    assert largest(solution.final.gram - expected.final.gram) <= 1e-12
