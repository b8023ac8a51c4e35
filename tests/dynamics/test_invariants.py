"""Invariants: the spectrum of linear networks under the flow, with decay, in steps, and what breaks it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import (
    EPS,
    RANK_1,
    RANK_2,
    TWO_BY_TWO,
    descent,
    largest,
    make_network,
    make_overlaps,
    make_task,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol

RTOL, ATOL = 1e-9, 1e-11
DURATION = 3.0


def flow_of(layout, activation=None, **settings):
    model = ol.Model(layout, activation or ol.Linear())
    # Rates as an array, so that runs that differ in numbers share one program.
    settings["rates"] = layout.rates(settings.get("rates"))
    rule = ol.GradientFlow(DURATION, rtol=RTOL, atol=ATOL, **settings)
    return ol.integrate(model, make_task(layout), make_overlaps(layout), rule, trust=False)


def integration_error(solution):
    """A bound of what the solver's errors do to K = V Sign P^-1 V^T / N, and so, by Weyl, to its eigenvalues.

    K is conserved by the exact flow, so an error made in a step is neither amplified nor damped later: errors add
    up. The controller keeps the root mean square over M's entries of error / (atol + rtol |M|) below 1 in each step;
    an error dM moves K by 2 |V(0)|^2 / N |M| |dM| to first order.
    """
    largest_entry = largest(solution.transfer)
    norm = max(np.linalg.norm(M, 2) for M in np.asarray(solution.transfer))
    step_error = solution.model.layout.size * (ATOL + RTOL * largest_entry)
    start = np.linalg.norm(solution.overlaps.gram[0], 2)
    return int(solution.stats["accepted"]) * 2 * start * norm * step_error


def invariants_at(solution, point, rates=None):
    return ol.invariants(solution.model, ol.Overlaps(solution.overlaps.gram[point], solution.model.layout), rates)


@pytest.mark.parametrize("layout", [RANK_1, TWO_BY_TWO], ids=repr)
def test_flow_conserves_them_to_integration_tolerance(layout):
    solution = flow_of(layout)
    first = invariants_at(solution, 0)
    for point in (50, 120, -1):
        assert largest(invariants_at(solution, point) - first) <= integration_error(solution)
    # The overlaps themselves moved a great deal.
    assert largest(solution.overlaps.gram[-1] - solution.overlaps.gram[0]) > 1e5 * integration_error(solution)


@pytest.mark.parametrize("rates", [{"m": 0.5, "u": 2.0}, {"v": 0.25}, {"m": 1.5, "u": 0.5, "v": 3.0, "z": 0.75}])
def test_flow_with_unequal_positive_rates_conserves_those_of_these_rates_only(rates):
    solution = flow_of(RANK_1, rates=rates)
    # Eigenvalues carry a factor 1 / rate, as does the error.
    tolerance = integration_error(solution) / min(rates.values())
    moved = invariants_at(solution, -1, rates) - invariants_at(solution, 0, rates)
    assert largest(moved) <= tolerance
    assert largest(invariants_at(solution, -1) - invariants_at(solution, 0)) > 1e3 * tolerance


@pytest.mark.parametrize("rates", [{"m": 0.0}, {"u": 0.0, "z": 0.0, "v": 2.0}])
def test_flow_with_frozen_vectors_conserves_what_is_orthogonal_to_them(rates):
    solution = flow_of(RANK_1, rates=rates)
    first = invariants_at(solution, 0, rates)
    # The Schur complement is a projection of K, which shrinks errors.
    assert largest(invariants_at(solution, -1, rates) - first) <= integration_error(solution)
    frozen = sum(rate == 0 for rate in rates.values())
    assert np.sum(np.abs(first) < 1e-12) == frozen
    assert largest(invariants_at(solution, -1) - invariants_at(solution, 0)) > 1e3 * integration_error(solution)


def test_invariants_with_frozen_vectors_are_those_of_the_projected_neurons():
    """Against K of the trained vectors of all neurons, projected off the frozen ones by least squares."""
    layout, rates = RANK_2, {"m": 0.0, "v2": 0.0, "z": 0.5}
    P = np.asarray(layout.rates(rates))
    V = np.random.default_rng(3).standard_normal((20, layout.size))
    frozen, trained = V[:, P == 0], V[:, P > 0]
    residual = trained - frozen @ np.linalg.lstsq(frozen, trained, rcond=None)[0]
    K = (residual * (layout.signature / np.where(P > 0, P, 1.0))[P > 0]) @ residual.T / 20
    expected = np.sort(np.linalg.eigvalsh(K)[np.argsort(-np.abs(np.linalg.eigvalsh(K)))][: layout.size])
    found = ol.invariants(ol.Model(layout, ol.Linear()), ol.Overlaps(V.T @ V / 20, layout), rates)
    assert largest(found - expected) <= 20 * layout.size * EPS * largest(expected) * np.linalg.cond(V) ** 2


@pytest.mark.parametrize("decay", [0.05, 0.3])
def test_weight_decay_shrinks_them_as_exp_minus_2_lambda_tau(decay):
    solution = flow_of(RANK_1, weight_decay=decay)
    first = invariants_at(solution, 0)
    for point in (50, 120, -1):
        expected = first * np.exp(-2 * decay * float(solution.time[point]))
        assert largest(invariants_at(solution, point) - expected) <= integration_error(solution)
    assert largest(first) * (1 - np.exp(-2 * decay * DURATION)) > 1e3 * integration_error(solution)


def signed(solution, point):
    """M Sign M^T - Sign."""
    M, sign = np.asarray(solution.transfer[point]), np.diag(solution.model.layout.signature)
    return M @ sign @ M.T - sign


def test_flow_keeps_M_Sign_M_transposed():
    solution = flow_of(RANK_1)
    # As for K, without the Gram matrix of the start.
    tolerance = integration_error(solution) / np.linalg.norm(solution.overlaps.gram[0], 2)
    for point in (50, 120, -1):
        assert largest(signed(solution, point)) <= tolerance
    assert largest(solution.transfer[-1] - jnp.eye(4)) > 1e5 * tolerance


@pytest.mark.parametrize("broken_by", [{"rates": {"m": 0.0}}, {"weight_decay": 0.1}], ids=["frozen", "decay"])
def test_frozen_vectors_and_weight_decay_break_M_Sign_M_transposed(broken_by):
    assert largest(signed(flow_of(RANK_1, **broken_by), -1)) > 1e-2


def test_nonlinear_flow_conserves_neither_but_the_gauge():
    solution = flow_of(RANK_1, ol.Erf())
    assert largest(signed(solution, -1)) > 1e-2
    linear, start = ol.Model(RANK_1, ol.Linear()), ol.Overlaps(solution.overlaps.gram[0], RANK_1)
    assert largest(ol.invariants(linear, solution.final) - ol.invariants(linear, start)) > 1e-2
    # What the function returns of a nonlinear model is |u|^2 - |v|^2 over N.
    first, last = (ol.invariants(solution.model, overlaps) for overlaps in (start, solution.final))
    # They are those of a square root of G, whose square is G to d^2 roundings of its norm.
    rounding = 4**2 * EPS * np.linalg.norm(start.gram, 2)
    np.testing.assert_allclose(first, start.gram[1, 1] - start.gram[2, 2], rtol=0, atol=rounding)
    assert largest(last - first) <= integration_error(solution)


def test_each_step_of_descent_moves_the_trace_by_eta_squared_tr_S_Sign_S_G():
    model, task, eta = ol.Model(RANK_1, ol.Linear()), make_task(RANK_1), 0.02
    solution = ol.integrate(model, task, make_overlaps(RANK_1), ol.GradientDescent(eta, 20, save_every=1))
    sign = np.diag(RANK_1.signature)
    grams = np.asarray(solution.overlaps.gram)
    for gram, following in itertools.pairwise(grams):
        S = np.asarray(ol.loss_gradient(model, task, ol.Overlaps(gram, RANK_1))[1])
        predicted = eta**2 * np.trace(S @ sign @ S @ gram)
        # G is a product M^T G(0) M of d x d matrices: 3 d^2 roundings of an entry at most, and d entries in the trace.
        rounding = 3 * RANK_1.size**3 * EPS * largest(following)
        assert abs(np.trace(sign @ (following - gram)) - predicted) <= rounding
    first = np.asarray(ol.loss_gradient(model, task, ol.Overlaps(grams[0], RANK_1))[1])
    assert abs(eta**2 * np.trace(first @ sign @ first @ grams[0])) > 1e6 * rounding


def test_a_step_of_all_neurons_moves_K_by_eta_squared_V_S_Sign_S_V_transposed():
    model, task, eta, n_neurons = ol.Model(RANK_1, ol.Linear()), make_task(RANK_1), 0.02, 12
    network = make_network(make_overlaps(RANK_1), n_neurons)
    trained = ol.train(model, task, network, ol.GradientDescent(eta, 1))
    S = ol.loss_gradient(model, task, network.overlaps)[1]
    sign = np.diag(RANK_1.signature)
    V, after = np.asarray(network.vectors), np.asarray(trained.final.vectors)
    found = after @ sign @ after.T - V @ sign @ V.T
    predicted = eta**2 * V @ S @ sign @ S @ V.T
    # Differences of products of d terms each; S itself carries the roundings of T steps, times eta.
    rounding = (
        (RANK_1.size + eta * task.n_steps * float(jnp.abs(S).max())) * 4 * EPS * largest(after) ** 2 * RANK_1.size
    )
    assert largest(found - predicted) <= rounding
    assert largest(predicted) > 1e6 * rounding


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rates=st.sampled_from([None, {"u": 0.5, "z": 2.0}]))
def test_they_are_the_non_zero_eigenvalues_of_K_over_all_neurons(seed, rates):
    n_neurons, layout = 20, RANK_2
    V = np.random.default_rng(seed).standard_normal((n_neurons, layout.size))
    P = np.asarray(layout.rates(rates))
    K = (V * (layout.signature / P)) @ V.T / n_neurons
    eigenvalues = np.linalg.eigvalsh(K)
    d, n_negative = layout.size, layout.n_fields
    expected = np.concatenate([eigenvalues[:n_negative], eigenvalues[n_negative - d :]])
    found = ol.invariants(ol.Model(layout, ol.Linear()), ol.Overlaps(V.T @ V / n_neurons, layout), rates)
    # Weyl: eigenvalues of symmetric matrices move by no more than the norm of the rounding of their entries.
    tolerance = n_neurons * d * EPS * largest(eigenvalues)
    assert largest(found - expected) <= tolerance
    assert largest(eigenvalues[n_negative : n_negative - d]) <= tolerance


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_their_sum_is_the_trace_of_Sign_G_and_their_signs_those_of_the_blocks(seed):
    overlaps = make_overlaps(TWO_BY_TWO, seed=seed, scale=0.4)
    found = np.asarray(ol.invariants(ol.Model(TWO_BY_TWO, ol.Linear()), overlaps))
    trace = np.sum(TWO_BY_TWO.signature * np.diag(overlaps.gram))
    d = TWO_BY_TWO.size
    assert abs(found.sum() - trace) <= d**2 * EPS * np.trace(overlaps.gram)
    assert np.all(np.diff(found) >= 0)
    assert np.all(found[: TWO_BY_TWO.n_fields] < 0)
    assert np.all(found[TWO_BY_TWO.n_fields :] > 0)


def test_more_vectors_than_neurons_leave_zeros():
    """Rank-deficient overlaps, whose Gram matrix may have eigenvalues that round to below zero."""
    V = np.random.default_rng(0).standard_normal((2, RANK_1.size))
    found = np.asarray(ol.invariants(ol.Model(RANK_1, ol.Linear()), ol.Overlaps(V.T @ V / 2, RANK_1)))
    expected = np.sort(np.append(np.linalg.eigvalsh((V * RANK_1.signature) @ V.T / 2), [0.0, 0.0]))
    # Zero eigenvalues of G round to d eps, and their square roots enter.
    assert largest(found - expected) <= np.sqrt(RANK_1.size * EPS) * largest(expected)


def test_descent_drifts_in_proportion_to_the_learning_rate():
    """Total drift: of order eta after the same learning time."""
    model, task, start = ol.Model(RANK_1, ol.Linear()), make_task(RANK_1), make_overlaps(RANK_1)
    drift = []
    for eta, point in ((0.02, 5), (0.01, 10), (0.005, 20)):
        solution = ol.integrate(model, task, start, descent(eta))
        assert float(solution.time[point]) == pytest.approx(1.0)
        drift.append(float(jnp.sum(invariants_at(solution, point) - invariants_at(solution, 0))))
    ratios = np.array(drift[:-1]) / drift[1:]
    # Two, up to terms of higher order, which halve from one pair to the next.
    assert abs(ratios[1] - 2) < 0.7 * abs(ratios[0] - 2)
    assert abs(ratios[1] - 2) < 0.1


# -- bad input -------------------------------------------------------------------------------------------------------


def test_overlaps_of_another_layout_are_refused():
    with pytest.raises(ValueError, match=r"invariants: overlaps must be ol\.Overlaps with .*rank=1"):
        ol.invariants(ol.Model(RANK_1, ol.Linear()), make_overlaps(RANK_2))


def test_a_batch_is_refused_and_vmap_named_and_works():
    model = ol.Model(RANK_1, ol.Linear())
    grams = jnp.stack([make_overlaps(RANK_1, seed=seed).gram for seed in range(2)])
    batch = ol.Overlaps(grams, RANK_1)
    with pytest.raises(ValueError, match=r"invariants: overlaps are a batch of shape \[2\].*jax\.vmap"):
        ol.invariants(model, batch)
    found = jax.vmap(lambda overlaps: ol.invariants(model, overlaps))(batch)
    loop = jnp.stack([ol.invariants(model, ol.Overlaps(gram, RANK_1)) for gram in grams])
    assert largest(found - loop) <= RANK_1.size**2 * EPS * largest(loop)
