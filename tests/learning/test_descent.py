"""Learning in steps: divergence, batches of runs, and compilation."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import (
    EPS,
    N_STEPS,
    N_TIMES,
    RANK_1,
    SAVE_EVERY,
    compilations,
    descent,
    largest,
    make_overlaps,
    make_task,
)

import overlap_learning as ol

MODEL = ol.Model(RANK_1, ol.Linear())
TASK = make_task(RANK_1)
START = make_overlaps(RANK_1)

# As in test_rules: the rounding of two programs for the same sums.
TOLERANCE = 10 * N_STEPS * 2 * N_TIMES * EPS


class TestDivergence:
    def test_a_huge_learning_rate_raises_an_error_that_carries_the_run_up_to_the_last_good_state(self):
        with pytest.raises(
            ol.LearningError, match=r"diverged.*smaller learning rate.*Ended at step \d+.*throw=False"
        ) as caught:
            ol.integrate(MODEL, TASK, START, descent(20.0))
        solution = caught.value.solution
        assert solution.result == ol.RESULTS.diverged
        n_steps = int(solution.stats["n_steps"])
        assert 0 < n_steps < N_STEPS
        assert int(solution.step[-1]) == n_steps
        assert all(np.all(np.isfinite(a)) for a in (solution.time, solution.loss, solution.overlaps.gram))
        # The same position: products of matrices of a batch of saved points, and of one.
        assert largest(solution.final.gram - solution.overlaps.gram[-1]) <= 8 * EPS * largest(solution.final.gram)

    def test_a_gradient_that_is_not_finite_is_named_and_not_taken_for_a_step_that_is_too_large(self):
        # Its derivative at 0, where every trial begins, is infinite, and times 0.
        root = ol.Model(MODEL.layout, ol.Activation(lambda h: jnp.where(h > 0, jnp.sqrt(h), 0.0)))
        with pytest.raises(ol.LearningError, match=r"gradient of the loss is not finite.*Ended at step 0") as caught:
            ol.integrate(root, TASK, START, descent(1e-12))
        assert caught.value.solution.result == ol.RESULTS.gradient_not_finite
        assert np.isfinite(caught.value.solution.loss).all()

    def test_without_throw_the_same_solution_is_returned(self):
        with pytest.raises(ol.LearningError) as caught:
            ol.integrate(MODEL, TASK, START, descent(20.0))
        returned = ol.integrate(MODEL, TASK, START, descent(20.0), throw=False)
        raised = caught.value.solution
        assert returned.result == ol.RESULTS.diverged
        assert np.array_equal(returned.overlaps.gram, raised.overlaps.gram)
        assert np.array_equal(returned.step, raised.step)

    def test_the_kept_state_is_the_one_before_the_step_that_would_leave_the_allowed_range(self):
        solution = ol.integrate(MODEL, TASK, START, descent(20.0), throw=False)
        gram = np.asarray(START.gram)
        limit = 1e8 * np.abs(gram).max()
        done = 0
        while True:
            A = np.eye(4) - 20.0 * np.asarray(ol.loss_gradient(MODEL, TASK, ol.Overlaps(gram, RANK_1))[1])
            following = A.T @ gram @ A
            if not np.abs(following).max() <= limit:
                break
            gram, done = following, done + 1
        assert int(solution.stats["n_steps"]) == done
        # Products of matrices as large as the learning rate times S cancel.
        assert largest(solution.final.gram - gram) <= TOLERANCE * 20.0 * largest(gram)

    def test_a_start_whose_loss_is_not_finite_is_given_back(self):
        # A recurrence this strong overflows within the trial.
        huge = ol.Overlaps.from_entries(RANK_1, vm=1.0, vu=1e12, uu=1e13, vv=1e13)
        solution = ol.integrate(MODEL, TASK, huge, descent(), throw=False)
        assert solution.result == ol.RESULTS.diverged
        assert int(solution.stats["n_steps"]) == 0
        assert np.array_equal(solution.final.gram, huge.gram)

    def test_direct_descent_diverges_alike(self):
        rule = ol.DirectDescent(50.0, N_STEPS, save_every=SAVE_EVERY)
        with pytest.raises(ol.LearningError, match="diverged") as caught:
            ol.integrate(MODEL, TASK, START, rule)
        assert np.all(np.isfinite(caught.value.solution.overlaps.gram))


def batch_of(starts):
    return ol.Overlaps(jnp.stack([start.gram for start in starts]), RANK_1)


class TestBatches:
    # The last one's gradients are a hundred times those of the others, too large for the learning rate.
    starts = (make_overlaps(RANK_1, seed=0), make_overlaps(RANK_1, seed=1), ol.Overlaps(100 * START.gram, RANK_1))

    def run(self, overlaps):
        return ol.integrate(MODEL, TASK, overlaps, descent(), throw=False)

    def test_members_equal_a_loop_and_good_ones_survive_beside_one_that_diverged(self):
        batch = jax.vmap(self.run)(batch_of(self.starts))
        assert (batch.result == ol.RESULTS.diverged).tolist() == [False, False, True]
        assert (batch.result == ol.RESULTS.successful).tolist() == [True, True, False]
        for i, start in enumerate(self.starts):
            alone = self.run(start)
            n_saved = len(alone.time)
            assert largest(batch.time[i][:n_saved] - alone.time) <= N_STEPS * EPS
            scale = max(1.0, largest(alone.overlaps.gram))
            assert largest(batch.overlaps.gram[i][:n_saved] - alone.overlaps.gram) <= TOLERANCE * scale
            assert largest(batch.final.gram[i] - alone.final.gram) <= TOLERANCE * scale
            # Points that a member did not reach are marked.
            assert np.all(np.isnan(batch.time[i][n_saved:]))

    def test_with_throw_one_bad_member_is_an_error(self):
        def run(overlaps):
            return ol.integrate(MODEL, TASK, overlaps, descent()).final.gram

        # Which class the runtime raises differs between versions of equinox and jax.
        with pytest.raises(Exception, match="at least one member; pass throw=False"):
            jax.block_until_ready(jax.vmap(run)(batch_of(self.starts)))

    def test_a_batch_prints_without_its_numbers(self):
        text = repr(jax.vmap(self.run)(batch_of(self.starts)))
        assert "(3, 31)" in text
        assert "batch" in text


class TestCompilation:
    def test_a_second_call_with_other_numbers_compiles_nothing(self):
        def run(seed, eta, **numbers):
            task, start = make_task(RANK_1, seed=seed), make_overlaps(RANK_1, seed=seed)
            rule = descent(eta, weight_decay=numbers["decay"], rates=numbers["rates"], label_noise=numbers["noise"])
            return ol.integrate(MODEL, task, start, rule, key=jax.random.key(seed)).final.gram

        first = run(0, 0.02, decay=0.1, rates={"m": 0.5}, noise=0.1)
        with compilations() as compiled:
            second = run(1, 0.03, decay=0.2, rates={"m": 0.7}, noise=0.2)
        assert compiled == []
        assert largest(second - first) > 1e-3

    def test_momentum_and_clipping_are_numbers_too(self):
        ol.integrate(MODEL, TASK, START, descent(momentum=0.5, clip_norm=1.0))
        with compilations() as compiled:
            ol.integrate(MODEL, TASK, START, descent(momentum=0.6, clip_norm=2.0))
        assert compiled == []

    def test_a_short_run_of_the_theory_is_one_program(self):
        ol.integrate(MODEL, TASK, START, descent())
        with compilations() as compiled:
            ol.integrate(MODEL, TASK, START, ol.GradientDescent(0.02, N_STEPS + 1))
        assert len(compiled) == 1
        assert "_run" in compiled[0]

    def test_the_listener_hears_a_compilation(self):
        with compilations() as compiled:
            jax.jit(lambda x: x * 3.25 + 1)(jnp.ones(3))
        assert compiled

    def test_learning_rates_under_vmap_equal_a_loop_and_others_compile_nothing(self):
        sweep = jax.vmap(lambda eta: ol.integrate(MODEL, TASK, START, descent(eta), throw=False).overlaps.gram)
        etas = (0.005, 0.01, 0.02)
        found = sweep(jnp.array(etas))
        others = jnp.array(etas) / 3.0
        with compilations() as compiled:
            sweep(others)
        assert compiled == []
        for i, eta in enumerate(etas):
            assert largest(found[i] - ol.integrate(MODEL, TASK, START, descent(eta)).overlaps.gram) <= TOLERANCE

    def test_a_run_whose_rule_is_made_inside_jit_needs_no_key_that_it_would_not_need_outside(self):
        inside = jax.jit(lambda eta: ol.integrate(MODEL, TASK, START, descent(eta), throw=False).overlaps.gram)
        outside = ol.integrate(MODEL, TASK, START, descent(0.02)).overlaps.gram
        assert largest(inside(0.02) - outside) <= TOLERANCE

    def test_a_stream_made_again_with_the_same_settings_compiles_nothing(self):
        def run(seed):
            trials = ol.tasks.stream(ol.tasks.decision_making, n_trials=4, dt=0.25)
            return ol.integrate(MODEL, trials, START, descent(), key=jax.random.key(seed))

        first = run(0)
        with compilations() as compiled:
            second = run(1)
        assert compiled == []
        assert largest(first.final.gram - second.final.gram) > 1e-6


@pytest.mark.parametrize(("learning_rate", "stop_loss"), [(5e-3, 0.2), (5.0, 1e-300)], ids=["loss reached", "diverged"])
def test_where_a_run_ended_early_is_saved_though_saved_points_are_far_apart(learning_rate, stop_loss, monkeypatch):
    """Compiled calls shorter than the steps between saved points: the one in which the run ends saves nothing."""
    module = importlib.import_module("overlap_learning.dynamics.integrate")
    model = ol.Model(ol.Layout(), ol.Linear())
    task, start = ol.tasks.exponential_filter(duration=5.0), ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(learning_rate, 400, save_every=200, stop_loss=stop_loss)

    def run():
        return ol.integrate(model, task, start, rule, throw=False)

    whole = run()
    monkeypatch.setattr(module, "_steps_per_call", lambda model: 50)
    pieces = run()
    assert 0 < int(whole.step[-1]) < 200
    assert pieces.step.tolist() == whole.step.tolist()
    # Other programs of the same numbers.
    assert largest(pieces.overlaps.gram - whole.overlaps.gram) <= TOLERANCE
    assert pieces.result == whole.result != ol.RESULTS.successful
