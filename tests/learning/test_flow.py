"""Gradient flow: against scipy, between solvers, as the limit of small steps, what it saves, and how it stops."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import (
    EPS,
    RANK_1,
    SAVE_EVERY,
    compilations,
    descent,
    largest,
    make_network,
    make_overlaps,
    make_task,
)
from scipy.integrate import solve_ivp

import overlap_learning as ol

TASK = make_task(RANK_1)
START = make_overlaps(RANK_1)
LINEAR, ERF = ol.Model(RANK_1, ol.Linear()), ol.Model(RANK_1, ol.Erf())
DURATION, RTOL, ATOL = 3.0, 1e-9, 1e-11


def flow(model=LINEAR, *, start=START, **settings):
    settings = {"rtol": RTOL, "atol": ATOL} | settings
    return ol.integrate(model, TASK, start, ol.GradientFlow(DURATION, **settings))


def tolerance(solution, growth=2.0):
    """How far the integrated overlaps may be from the exact ones.

    In each step the controller keeps the error of M's entries, in root mean square, below atol + rtol |M|. Later the
    flow carries the error along; `test_flow_amplifies_no_error_by_more_than_two` measures by how much. The
    overlaps `M^T G(0) M` move by 2 |G(0)| |M| |dM|.
    """
    norm = max(np.linalg.norm(M, 2) for M in np.asarray(solution.transfer))
    step_error = solution.model.layout.size * (ATOL + RTOL * largest(solution.transfer))
    start = np.linalg.norm(solution.overlaps.gram[0], 2)
    return growth * int(solution.stats["accepted"]) * 2 * start * norm * step_error


@functools.cache
def slope_of(model):
    return jax.jit(lambda gram: ol.loss_gradient(model, TASK, ol.Overlaps(gram, RANK_1))[1])


def referee(model, times, *, rates=None, decay=0.0, start=START):
    """The overlaps by scipy, from `dG/dtau = -(P S G + G S P) - lambda (P G + G P)`: neither M nor diffrax enter."""
    P, slope = np.diag(RANK_1.rates(rates)), slope_of(model)

    def velocity(_, y):
        gram = y.reshape(4, 4)
        half = P @ (np.asarray(slope(gram)) + decay * np.eye(4)) @ gram
        return -(half + half.T).ravel()

    # A tolerance that leaves the referee's error far below that of the flow.
    found = solve_ivp(velocity, (0, DURATION), np.asarray(start.gram).ravel(), "DOP853", times, rtol=1e-11, atol=1e-13)
    return found.y.T.reshape(-1, 4, 4)


def test_flow_amplifies_no_error_by_more_than_two():
    """The bound that the tolerance of this file takes."""
    disturbance = 1e-6 * np.diag([1.0, -1.0, 1.0, 1.0])
    for model in (LINEAR, ERF):
        times = np.linspace(0.1, DURATION, 30)
        moved = referee(model, times, start=ol.Overlaps(START.gram + disturbance, RANK_1)) - referee(model, times)
        assert largest(moved) < 2 * largest(disturbance)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (LINEAR, {}),
        (LINEAR, {"rates": {"m": 0.0, "u": 0.5, "v": 1.0, "z": 2.0}}),
        (LINEAR, {"weight_decay": 0.2, "rates": {"m": 1.0, "u": 1.0, "v": 0.5, "z": 1.0}}),
        (ERF, {}),
        (ERF, {"weight_decay": 0.1}),
    ],
    ids=["linear", "linear, rates", "linear, decay", "erf", "erf, decay"],
)
def test_flow_agrees_with_scipy_on_the_equation_of_the_overlaps(model, settings):
    solution = flow(model, **settings)
    points = [20, 100, 200]
    expected = referee(
        model, solution.time[jnp.array(points)], rates=settings.get("rates"), decay=settings.get("weight_decay", 0.0)
    )
    assert largest(solution.overlaps.gram[jnp.array(points)] - expected) <= tolerance(solution)
    assert largest(expected[-1] - START.gram) > 1e4 * tolerance(solution)


def test_an_implicit_solver_agrees_with_the_explicit_one():
    explicit = flow()
    implicit = flow(solver=diffrax.Kvaerno5(), rtol=1e-7, atol=1e-9)
    # The implicit one has a hundred times the tolerance of the explicit one, and its own number of steps.
    allowed = 100 * tolerance(implicit) + tolerance(explicit)
    assert largest(implicit.overlaps.gram - explicit.overlaps.gram) <= allowed
    assert largest(explicit.overlaps.gram[-1] - START.gram) > 1e2 * allowed


def test_descent_tends_to_the_flow_in_proportion_to_the_learning_rate():
    limit = flow().overlaps.gram[100]
    time, errors = DURATION / 2, []
    for n_steps in (60, 120, 240):
        solution = ol.integrate(LINEAR, TASK, START, descent(time / n_steps))
        point = n_steps // SAVE_EVERY
        assert float(solution.time[point]) == pytest.approx(time)
        errors.append(largest(solution.overlaps.gram[point] - limit))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    # The error is c eta + c' eta^2: what the order found lacks from 1 halves with eta.
    assert abs(orders[1] - 1) < 0.6 * abs(orders[0] - 1)
    assert abs(orders[1] - 1) < 0.05


def test_flow_of_all_neurons_is_the_flow_of_the_overlaps_and_their_transfer():
    network = make_network(START, 12)
    theory = flow()
    full = ol.train(LINEAR, TASK, network, ol.GradientFlow(DURATION, rtol=RTOL, atol=ATOL))
    # The controller bounds the root mean square over the neurons as it does over M; V(0) = sqrt(N) Q F carries M's
    # error.
    assert largest(full.overlaps.gram - theory.overlaps.gram) <= 2 * tolerance(theory)
    assert largest(full.final.vectors - network.vectors @ theory.transfer[-1]) <= 2 * tolerance(theory) * 12**0.5
    assert full.transfer is None
    assert np.array_equal(full.time, theory.time)


def test_overlaps_stay_positive_semi_definite_and_are_the_transfer_of_the_start():
    solution = flow()
    M, start = np.asarray(solution.transfer), np.asarray(START.gram)
    assert np.array_equal(M[0], np.eye(4))
    grams = np.asarray(solution.overlaps.gram)
    assert largest(grams - np.swapaxes(M, -1, -2) @ start @ M) <= 2 * 4**2 * EPS * largest(grams)
    assert np.linalg.eigvalsh(grams).min() > 0


class TestSavedPoints:
    def test_the_default_is_201_evenly_spaced_points_from_start_to_end(self):
        solution = flow()
        assert largest(solution.time - np.linspace(0, DURATION, 201)) <= 4 * EPS * DURATION
        assert solution.step is None
        assert largest(solution.overlaps.gram[0] - START.gram) <= 4 * EPS
        # The end is once the last step and once a saved time, by two orders of the same sums.
        assert largest(solution.final.gram - solution.overlaps.gram[-1]) <= 4 * 4 * EPS

    def test_losses_are_those_of_the_saved_overlaps(self):
        solution = flow()
        for point in (0, 77, -1):
            expected = float(ol.loss(LINEAR, TASK, ol.Overlaps(solution.overlaps.gram[point], RANK_1)))
            assert float(solution.loss[point]) == pytest.approx(expected, rel=1e-13)

    def test_chosen_times_and_the_interpolant_agree_with_the_default(self):
        usual = flow()
        dense = flow(save_at=[0.0, 0.75, 2.25], dense=True)
        assert dense.time.tolist() == [0.0, 0.75, 2.25]
        assert largest(dense.overlaps.gram - usual.overlaps.gram[jnp.array([0, 50, 150])]) <= tolerance(usual)
        # The run goes on to its end after the last point that it saves.
        assert largest(dense.final.gram - usual.final.gram) <= tolerance(usual)

        at = dense.at(usual.time[::20])
        assert at.gram.shape == (11, 4, 4)
        # The interpolant of Dopri8 is of lower order than the solver; diffrax saves through it too.
        assert largest(at.gram - usual.overlaps.gram[::20]) <= tolerance(usual)
        assert dense.at(1.0).gram.shape == (4, 4)
        for outside in (-0.1, DURATION + 0.1):
            with pytest.raises(ValueError, match=r"Solution\.at: time must be from 0 to 3, got"):
                dense.at(outside)

    def test_the_interpolant_does_not_need_the_start_among_the_saved_points(self):
        later = flow(save_at=[0.5, 0.75, 2.25], dense=True)
        assert largest(later.at(0.0).gram - START.gram) <= tolerance(later)

    def test_without_an_interpolant_at_says_how_to_get_one(self):
        with pytest.raises(ValueError, match=r"Solution\.at needs an interpolant: .*dense=True"):
            flow().at(1.0)


class TestStops:
    def test_stop_loss_ends_the_run_where_the_loss_is_low_enough_and_saves_that_point(self):
        free = flow()
        threshold = float(free.loss[60])
        stopped = flow(stop_loss=threshold)
        assert stopped.result == ol.RESULTS.loss_reached
        # The run ends with the solver's step in which the loss crossed the threshold, not before.
        end = float(stopped.time[-1])
        assert float(free.time[60]) - 1e-6 <= end < DURATION
        assert float(stopped.loss[-1]) <= threshold
        assert np.all(stopped.loss[:60] > threshold)
        assert np.all(np.diff(stopped.time) > 0)
        assert np.array_equal(stopped.final.gram, stopped.overlaps.gram[-1])
        assert largest(stopped.final.gram - referee(LINEAR, [end])[0]) <= tolerance(stopped)

    def test_a_loss_that_is_never_reached_changes_nothing(self):
        free, stopped = flow(), flow(stop_loss=1e-30)
        assert stopped.result == ol.RESULTS.successful
        assert largest(stopped.overlaps.gram - free.overlaps.gram) <= tolerance(free)

    def test_too_few_steps_raise_an_error_that_carries_what_there_is(self):
        with pytest.raises(ol.LearningError, match=r"used up max_steps.*Kvaerno5.*Ended at learning time") as caught:
            flow(max_steps=10)
        solution = caught.value.solution
        assert solution.result == ol.RESULTS.max_steps_reached
        end = float(solution.time[-1])
        assert 0 < end < DURATION
        assert np.all(np.isfinite(solution.overlaps.gram))
        assert largest(solution.final.gram - referee(LINEAR, [end])[0]) <= tolerance(solution)

    def test_too_few_steps_return_the_same_without_throw(self):
        rule = ol.GradientFlow(DURATION, rtol=RTOL, atol=ATOL, max_steps=10)
        solution = ol.integrate(LINEAR, TASK, START, rule, throw=False)
        assert solution.result == ol.RESULTS.max_steps_reached
        assert int(solution.stats["accepted"] + solution.stats["rejected"]) == 10


class TestBatches:
    def test_flow_under_vmap_over_starts_equals_a_loop_though_members_stop_at_different_times(self):
        starts = [make_overlaps(RANK_1, seed=seed) for seed in range(3)]
        threshold = float(flow().loss[60])
        rule = ol.GradientFlow(DURATION, rtol=RTOL, atol=ATOL, stop_loss=threshold)
        batch = jax.vmap(lambda overlaps: ol.integrate(LINEAR, TASK, overlaps, rule, throw=False))(
            ol.Overlaps(jnp.stack([start.gram for start in starts]), RANK_1)
        )
        ends = []
        for i, start in enumerate(starts):
            alone = flow(start=start, stop_loss=threshold)
            assert alone.result == ol.RESULTS.loss_reached
            assert bool((batch.result == ol.RESULTS.loss_reached)[i])
            # The same steps, up to rounding.
            assert largest(batch.final.gram[i] - alone.final.gram) <= tolerance(alone)
            n_saved = len(alone.time)
            # Error estimates of 1e-10 carry a rounding of 1e-16, and step lengths follow them.
            assert largest(batch.time[i][:n_saved] - alone.time) <= 1e-6
            assert largest(batch.overlaps.gram[i][:n_saved] - alone.overlaps.gram) <= tolerance(alone)
            assert np.all(np.isnan(batch.time[i][n_saved:]))
            ends.append(float(alone.time[-1]))
        assert len(set(ends)) == 3

    def test_a_second_flow_with_other_numbers_compiles_nothing(self):
        def run(scale):
            rates = dict.fromkeys("muvz", scale)
            rule = ol.GradientFlow(
                scale * DURATION, rtol=RTOL * scale, atol=ATOL, weight_decay=scale * 0.1, rates=rates
            )
            return ol.integrate(LINEAR, TASK, START, rule).final.gram

        run(1.0)
        with compilations() as compiled:
            run(0.9)
        assert compiled == []
