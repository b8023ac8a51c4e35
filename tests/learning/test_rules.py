"""Learning rules: the exact maps against plain loops, what is drawn at random, and the checks of their settings."""

import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics_helpers import (
    EPS,
    N_STEPS,
    N_TIMES,
    RANK_1,
    SAVE_EVERY,
    TWO_BY_TWO,
    descent,
    largest,
    make_overlaps,
    make_task,
)

import overlap_learning as ol

MODEL = ol.Model(RANK_1, ol.Linear())
TASK = make_task(RANK_1)
START = make_overlaps(RANK_1)

# Two programs that do the same sums in another order: each of n steps adds the rounding of a gradient, a chain of T
# steps forth and back, to overlaps of size 1. Learning here goes downhill towards a solution, which amplifies it by
# no more than ten.
LOOP_TOLERANCE = 10 * N_STEPS * 2 * N_TIMES * EPS


def slope(model, task, gram):
    return np.asarray(ol.loss_gradient(model, task, ol.Overlaps(gram, model.layout))[1])


def compiled_slope(model, task):
    function = jax.jit(lambda gram: ol.loss_gradient(model, task, ol.Overlaps(gram, model.layout))[1])
    return lambda gram: np.asarray(function(gram))


def test_the_tolerance_of_this_file_is_far_below_what_is_compared():
    assert LOOP_TOLERANCE < 1e-10


def test_clipping_has_a_derivative_where_there_is_nothing_to_learn():
    """Trials without an input: the gradient of the loss is 0, and its norm has no derivative."""
    silent = TASK.replace(inputs=0 * TASK.inputs)

    def last_loss(rate):
        rule = ol.GradientDescent(rate, 3, clip_norm=0.5, momentum=0.5, nesterov=True)
        return ol.integrate(MODEL, silent, START, rule).loss[-1]

    assert float(jax.grad(last_loss)(0.1)) == 0


# -- the exact map ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"weight_decay": 0.05}, {"rates": {"m": 0.0, "u": 0.5}}, {"rates": {"v": 0.0}, "weight_decay": 0.1}],
    ids=["plain", "decay", "rates", "rates and decay"],
)
def test_descent_is_the_exact_map_of_the_overlaps(settings):
    """`G <- (1 - eta (S + lambda) P)^T G (1 - eta (S + lambda) P)`, which is no Euler step of the flow."""
    eta = 0.02
    S = compiled_slope(MODEL, TASK)
    P = np.diag(RANK_1.rates(settings.get("rates")))
    decay = settings.get("weight_decay", 0.0) * np.eye(4)
    gram = euler = np.asarray(START.gram)
    grams = [gram]
    for _ in range(N_STEPS):
        A = np.eye(4) - eta * (S(gram) + decay) @ P
        gram = A.T @ gram @ A
        B = eta * (S(euler) + decay) @ P
        euler = euler - B.T @ euler - euler @ B
        grams.append(gram)
    solution = ol.integrate(MODEL, TASK, START, descent(eta, **settings))
    assert largest(solution.overlaps.gram - np.array(grams[::SAVE_EVERY])) <= LOOP_TOLERANCE
    assert largest(grams[-1] - grams[0]) > 0.1
    assert largest(euler - gram) > 1e6 * LOOP_TOLERANCE


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "nesterov"])
def test_momentum_clipping_and_decay_act_on_the_transfer_matrix_in_the_order_that_is_documented(nesterov):
    eta, mu, decay, clip = 0.02, 0.5, 0.05, 0.3
    rates = {"m": 0.0, "u": 0.5}
    S = compiled_slope(MODEL, TASK)
    P = np.asarray(RANK_1.rates(rates))
    start = np.asarray(START.gram)
    M, q, transfers, clipped = np.eye(4), np.zeros((4, 4)), [np.eye(4)], 0
    for _ in range(N_STEPS):
        gram = M.T @ start @ M
        g = M @ S(gram)
        trained = g * (P > 0)
        norm = np.sqrt(np.trace(trained.T @ start @ trained))
        clipped += norm > clip
        g = g * min(1.0, clip / norm) + decay * M
        q = mu * q + g
        M = M - eta * (g + mu * q if nesterov else q) * P
        transfers.append(M)
    rule = descent(eta, momentum=mu, nesterov=nesterov, weight_decay=decay, clip_norm=clip, rates=rates)
    solution = ol.integrate(MODEL, TASK, START, rule)
    # Momentum remembers 1 / (1 - mu) steps.
    assert largest(solution.transfer - np.array(transfers[::SAVE_EVERY])) <= LOOP_TOLERANCE / (1 - mu)
    assert 0 < clipped < N_STEPS


def test_a_schedule_is_read_at_the_number_of_steps_done_and_time_is_the_sum_of_its_rates():
    schedule = optax.cosine_decay_schedule(0.05, decay_steps=N_STEPS)
    S = compiled_slope(MODEL, TASK)
    gram, grams, etas = np.asarray(START.gram), [START.gram], []
    for k in range(N_STEPS):
        etas.append(float(schedule(k)))
        A = np.eye(4) - etas[-1] * S(gram)
        gram = A.T @ gram @ A
        grams.append(gram)
    solution = ol.integrate(MODEL, TASK, START, descent(schedule))
    assert largest(solution.overlaps.gram - np.array(grams[::SAVE_EVERY])) <= LOOP_TOLERANCE
    times = np.concatenate([[0.0], np.cumsum(etas)])[::SAVE_EVERY]
    assert largest(solution.time - times) <= N_STEPS * EPS * times[-1]
    assert np.array_equal(solution.step, np.arange(0, N_STEPS + 1, SAVE_EVERY))


def test_frozen_vectors_do_not_move_at_all():
    solution = ol.integrate(MODEL, TASK, START, descent(0.02, rates={"m": 0.0, "z": 0.0}, weight_decay=0.1))
    moved = np.asarray(solution.transfer) - np.eye(4)
    frozen = [RANK_1.vector_names.index(name) for name in "mz"]
    assert not moved[:, :, frozen].any()
    assert np.abs(moved[-1][:, [1, 2]]).max() > 0.01


def test_direct_descent_is_a_loop_over_the_overlaps_themselves_and_invisible_ones_never_move():
    eta = 0.02
    S = compiled_slope(MODEL, TASK)
    gram, grams = np.asarray(START.gram), [START.gram]
    for _ in range(N_STEPS):
        # The derivative in an overlap as one number.
        gram = gram - eta * S(gram) * np.where(np.eye(4), 0.5, 1.0)
        grams.append(gram)
    solution = ol.integrate(MODEL, TASK, START, ol.DirectDescent(eta, N_STEPS, save_every=SAVE_EVERY))
    assert largest(solution.overlaps.gram - np.array(grams[::SAVE_EVERY])) <= LOOP_TOLERANCE
    assert solution.transfer is None
    for name, series in solution.invisible.items():
        assert np.all(np.asarray(series) == np.asarray(START.entries()[name])), name
    assert all(abs(series[-1] - series[0]) > 1e-3 for series in solution.visible.values())


def test_direct_descent_of_a_nonlinear_model_halves_the_slope_of_norms():
    model = ol.Model(RANK_1, ol.Erf())
    gram = np.asarray(START.gram)
    solution = ol.integrate(model, TASK, START, ol.DirectDescent(0.1, 1))
    expected = gram - 0.1 * slope(model, TASK, gram) * np.where(np.eye(4), 0.5, 1.0)
    assert largest(solution.final.gram - expected) <= 2 * N_TIMES * EPS
    assert abs(float(solution.final["u", "u"][0, 0]) - gram[1, 1]) > 1e-6


# -- saved points ----------------------------------------------------------------------------------------------------


def test_the_last_step_is_saved_even_if_the_stride_does_not_divide_the_number_of_steps():
    shared = ol.integrate(MODEL, TASK, START, descent())
    some = ol.integrate(MODEL, TASK, START, ol.GradientDescent(0.02, N_STEPS, save_every=70))
    assert some.step.tolist() == [0, 70, 140, 210, 280, 300]
    assert largest(some.overlaps.gram - shared.overlaps.gram[some.step // SAVE_EVERY]) <= LOOP_TOLERANCE
    assert np.array_equal(some.final.gram, some.overlaps.gram[-1])
    assert int(some.stats["n_steps"]) == N_STEPS


def test_stop_loss_ends_descent_at_the_first_step_whose_loss_is_low_enough():
    loss_and_slope = jax.jit(lambda gram: ol.loss_gradient(MODEL, TASK, ol.Overlaps(gram, RANK_1)))
    gram, grams, losses = np.asarray(START.gram), [], []
    for _ in range(30):
        value, S = loss_and_slope(gram)
        grams.append(gram)
        losses.append(float(value))
        A = np.eye(4) - 0.02 * np.asarray(S)
        gram = A.T @ gram @ A
    for target in (14, 20):
        # Between the losses of two steps, so that rounding can't decide.
        threshold = (losses[target - 1] + losses[target]) / 2
        assert min(losses[:target]) > threshold > losses[target]
        stopped = ol.integrate(MODEL, TASK, START, descent(stop_loss=threshold))
        assert stopped.result == ol.RESULTS.loss_reached
        assert int(stopped.stats["n_steps"]) == target
        # A run that stops at a saved point does not save it twice.
        assert stopped.step.tolist() == ([0, 10, 14] if target == 14 else [0, 10, 20])
        assert largest(stopped.final.gram - grams[target]) <= LOOP_TOLERANCE


# -- what is drawn at random -----------------------------------------------------------------------------------------


# With a learning rate this small the overlaps stay where they are, and each step adds `-eta S` of what it drew to M.
TINY = 1e-8


def drawn_slopes(rule, seed):
    """The sums of S over the steps between saved points."""
    solution = ol.integrate(MODEL, TASK, START, rule, key=jax.random.key(seed))
    return -np.diff(np.asarray(solution.transfer), axis=0) / TINY


def drawing_error(n_steps, S):
    """What rounding of M = 1 + O(eta), and the motion of M and G by n steps of size eta S, do to such an S."""
    return 2 * EPS / TINY + n_steps * TINY * 10 * largest(S) ** 2


def test_a_minibatch_is_some_of_the_trials_without_replacement_weighted_to_the_mean_of_all():
    found = drawn_slopes(ol.GradientDescent(TINY, 100, batch_size=2, save_every=1), seed=3)
    pairs = list(itertools.combinations(range(TASK.n_trials), 2))
    S = jax.jit(lambda task: ol.loss_gradient(MODEL, task, START)[1])
    parts = (TASK.inputs, TASK.targets, 2 * TASK.weights)
    possible = np.array([S(ol.Task(*(part[np.array(pair)] for part in parts), TASK.dt)) for pair in pairs])
    distances = np.abs(found[:, None] - possible[None]).max((2, 3))
    assert distances.min(1).max() <= drawing_error(100, possible)
    # The chance that one of the six pairs is missing from 100 draws is 6 (5/6)^100 < 1e-7.
    assert set(distances.argmin(1)) == set(range(len(pairs)))
    assert largest(possible.mean(0) - slope(MODEL, TASK, START.gram)) <= 2 * N_TIMES * EPS * largest(possible)


def test_label_noise_is_on_the_targets_fresh_in_each_step_and_of_this_standard_deviation():
    noise = 0.3
    # Sums over 10 steps each. Noise that stayed the same would make them vary 10 times as much as fresh noise.
    runs = jax.vmap(
        lambda seed: (
            ol.integrate(
                MODEL, TASK, START, descent(TINY, label_noise=noise), key=jax.random.key(seed), throw=False
            ).transfer
        )
    )
    sums = np.concatenate(-np.diff(np.asarray(runs(np.arange(40))), axis=1) / TINY)

    def with_targets(targets):
        return ol.loss_gradient(MODEL, ol.Task(TASK.inputs, targets, TASK.weights, TASK.dt), START)[1]

    # S is linear in the targets: its covariance follows from its derivative.
    J = np.asarray(jax.jit(jax.jacobian(with_targets))(TASK.targets)).reshape(4, 4, -1)
    deviation = noise * np.sqrt(SAVE_EVERY * (J**2).sum(-1))
    expected = SAVE_EVERY * slope(MODEL, TASK, START.gram)
    visible, n = MODEL.visible, len(sums)
    # Five standard errors of a mean and of a standard deviation.
    assert np.all(np.abs(sums.mean(0) - expected) <= 5 * deviation / np.sqrt(n) + drawing_error(N_STEPS, expected))
    assert np.all(np.abs(sums.std(0)[visible] / deviation[visible] - 1) <= 5 / np.sqrt(2 * n))


def test_label_noise_is_not_part_of_the_saved_loss():
    rule = descent(0.02, label_noise=0.5)
    solution = ol.integrate(MODEL, TASK, START, rule, key=jax.random.key(4))
    for point in (0, 10, -1):
        clean = ol.loss(MODEL, TASK, ol.Overlaps(solution.overlaps.gram[point], RANK_1))
        assert float(solution.loss[point]) == pytest.approx(float(clean), rel=N_TIMES * EPS)


def test_the_same_key_gives_the_same_run_and_another_key_another():
    rule = descent(0.02, label_noise=0.5)
    runs = [ol.integrate(MODEL, TASK, START, rule, key=jax.random.key(seed)).final.gram for seed in (4, 4, 5)]
    assert np.array_equal(runs[0], runs[1])
    assert largest(runs[0] - runs[2]) > 1e-6


# -- settings --------------------------------------------------------------------------------------------------------


def test_times_saved_by_a_flow_cover_its_duration():
    assert np.allclose(ol.GradientFlow(3.0).save_at, np.linspace(0, 3, 201), rtol=0, atol=4 * EPS)
    assert ol.GradientFlow(1.0, save_every=0.4).save_at.tolist() == pytest.approx([0.0, 0.4, 0.8, 1.0], abs=4 * EPS)
    # 0.3 / 0.1 rounds to just below 3.
    thirds = ol.GradientFlow(0.3, save_every=0.1).save_at
    assert thirds.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=4 * EPS)
    assert float(thirds[-1]) == pytest.approx(0.3, abs=EPS)
    assert ol.GradientFlow(1.0, save_at=[0.25, 0.5]).save_at.tolist() == [0.25, 0.5]


def test_descent_saves_about_200_points_unless_told():
    assert ol.GradientDescent(0.1, 2000).save_every == 10
    assert ol.GradientDescent(0.1, 50).save_every == 1
    assert ol.GradientDescent(0.1, 50, save_every=70).save_every == 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ol.GradientDescent(0.0, 10), r"GradientDescent: learning_rate must be positive.*got 0"),
        (lambda: ol.GradientDescent(-0.1, 10), r"GradientDescent: learning_rate must be positive.*got -0\.1"),
        (lambda: ol.GradientDescent(np.inf, 10), r"GradientDescent: learning_rate must be positive.*got inf"),
        (lambda: ol.GradientDescent(np.nan, 10), r"GradientDescent: learning_rate must be positive.*got nan"),
        (lambda: ol.GradientDescent([0.1, 0.2], 10), r"learning_rate must be one number.*\[2\]; use jax\.vmap"),
        (lambda: ol.GradientDescent("fast", 10), r"learning_rate must be an array of real numbers, got 'fast'"),
        (lambda: ol.GradientDescent(0.1, 0), r"n_steps must be an integer of at least 1, got 0"),
        (lambda: ol.GradientDescent(0.1, 10.0), r"n_steps must be an integer of at least 1, got 10\.0"),
        (lambda: ol.GradientDescent(0.1, 10, momentum=1.0), r"momentum must be in \[0, 1\), got 1"),
        (lambda: ol.GradientDescent(0.1, 10, momentum=-0.1), r"momentum must be in \[0, 1\), got -0\.1"),
        (lambda: ol.GradientDescent(0.1, 10, weight_decay=-1.0), r"weight_decay must be at least 0, got -1"),
        (lambda: ol.GradientDescent(0.1, 10, label_noise=-1.0), r"label_noise must be at least 0, got -1"),
        (lambda: ol.GradientDescent(0.1, 10, clip_norm=0.0), r"clip_norm must be positive, or None, got 0"),
        (lambda: ol.GradientDescent(0.1, 10, batch_size=0), r"batch_size must be an integer of at least 1, got 0"),
        (lambda: ol.GradientDescent(0.1, 10, save_every=0), r"save_every must be an integer of at least 1, got 0"),
        (lambda: ol.GradientDescent(0.1, 10, stop_loss=0.0), r"stop_loss must be positive, or None, got 0"),
        (lambda: ol.DirectDescent(0.0, 10), r"DirectDescent: learning_rate must be positive"),
        (lambda: ol.Optimiser("adam", 10), r"Optimiser: transformation must be an optax optimiser.*got 'adam'"),
        (lambda: ol.Optimiser(optax.lbfgs(), 10), r"line searches.*optax.lbfgs\(rate, linesearch=None\)"),
        (
            lambda: ol.Optimiser(optax.chain(optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5)), 10),
            r"line searches.*value_fn",
        ),
        (lambda: ol.Optimiser(optax.adam(0.1), -1), r"Optimiser: n_steps must be an integer of at least 1, got -1"),
        (lambda: ol.GradientFlow(0.0), r"GradientFlow: duration must be positive, got 0"),
        (lambda: ol.GradientFlow(1.0, solver="Dopri8"), r"solver must be a diffrax solver.*got 'Dopri8'"),
        (lambda: ol.GradientFlow(1.0, solver=diffrax.Dopri8), r"solver must be a diffrax solver"),
        (lambda: ol.GradientFlow(1.0, rtol=0.0), r"rtol must be positive, got 0"),
        (lambda: ol.GradientFlow(1.0, atol=-1e-3), r"atol must be positive, got -0\.001"),
        (lambda: ol.GradientFlow(1.0, weight_decay=-0.1), r"weight_decay must be at least 0, got -0\.1"),
        (lambda: ol.GradientFlow(1.0, save_every=2.0), r"save_every must be in \(0, duration=1\], got 2"),
        (lambda: ol.GradientFlow(1.0, save_every=0.1, save_at=[1.0]), r"give save_every or save_at, not both"),
        (lambda: ol.GradientFlow(1.0, save_at=[0.5, 0.2]), r"save_at must be increasing.*got \[0\.5, 0\.2\]"),
        (lambda: ol.GradientFlow(1.0, save_at=[0.5, 1.5]), r"save_at must be increasing.*duration=1\.0.*1\.5"),
        (lambda: ol.GradientFlow(1.0, save_at=[]), r"save_at must be increasing.*got shape \[0\]"),
        (lambda: ol.GradientFlow(1.0, stop_loss=-1.0), r"stop_loss must be positive, or None, got -1"),
        (lambda: ol.GradientFlow(1.0, max_steps=0), r"max_steps must be an integer of at least 1, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"w": 1.0}, r"rates must be a mapping with keys from m, u, v, z.*got the key 'w'"),
        ([1.0, 1.0], r"rates must be .*an array of shape \[4\]; got an array of shape \[2\]"),
        ({"m": -1.0}, r"each rate finite and not negative; got \[-1\.0, 1\.0, 1\.0, 1\.0\]"),
    ],
)
def test_rates_that_do_not_fit_the_layout_are_refused_when_learning_starts(rates, message):
    with pytest.raises(ValueError, match=message):
        ol.integrate(MODEL, TASK, START, descent(rates=rates))


def test_rates_name_blocks_or_vectors():
    by_block = TWO_BY_TWO.rates({"u": 0.5, "u2": 0.0})
    assert by_block.tolist() == [1, 1, 0.5, 0, 1, 1, 1, 1]
    assert jnp.array_equal(by_block, TWO_BY_TWO.rates(np.array([1, 1, 0.5, 0, 1, 1, 1, 1])))
