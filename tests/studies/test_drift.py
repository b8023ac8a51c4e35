"""Drift: what moves the invariants of gradient flow, predicted and measured."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics_helpers import make_task

import overlap_learning as ol
from overlap_learning.dynamics.laws import Balance, Gauge, Spectrum

MODEL = ol.Model(ol.Layout(), ol.Linear())
DECAY, DT = 0.2, 0.25
START = ol.Overlaps.random(MODEL.layout, key=jax.random.key(3), scale=0.3)


def as_arrays(task, share=1.0):
    """Without what is known of an impulse: arrays of 31 times, so that all tasks here share their compiled programs."""
    return ol.Task(task.inputs, task.targets, share * task.weights, task.dt)


TASK = as_arrays(ol.tasks.exponential_filter(DECAY, duration=7.5, dt=DT))
# A nonlinear network, a task that it solves, and one of weight 0.
ERF = ol.Model(ol.Layout(), ol.Erf())
SHORT = as_arrays(ol.tasks.exponential_filter(DECAY, duration=3.0, dt=0.1))
SOLVED = ol.Task(SHORT.inputs, ol.rollout(ERF, START, SHORT), SHORT.weights, SHORT.dt)
SILENT = as_arrays(SHORT, 0.0)

# Runs of one length share their compiled programs.
N_STEPS, SAVE_EVERY = 1000, 5

MOMENTA = [{}, {"momentum": 0.5}, {"momentum": 0.9, "nesterov": True}]
NAMES = ["plain", "heavy ball", "Nesterov"]


def invariants(gram, rates=None):
    return np.asarray(ol.invariants(MODEL, ol.Overlaps(gram, MODEL.layout), rates))


def overlaps(gram):
    return ol.Overlaps(gram, MODEL.layout)


@pytest.fixture(scope="module")
def learned():
    """A network without any symmetry that solves the task, to rounding."""
    zm, product, vu = ol.studies.filter_solution(DECAY, DT)
    invisible = {"mm": 2.2, "uu": 1.2, "vv": 1.1, "zz": 1.4, "mu": -0.9, "vz": -0.5}
    return ol.Overlaps.from_entries(MODEL.layout, zm=zm, zu=-0.8, vm=-product / 0.8, vu=vu, **invisible)


@pytest.mark.parametrize("settings", MOMENTA[::2], ids=NAMES[::2])
def test_finite_steps_move_the_invariants_as_predicted_up_to_first_order_in_eta(settings):
    """Along the whole of learning; what is left out of the prediction halves with the learning rate."""
    off = []
    # 101 points each, of half the run at twice the rate, and of every second point of the whole.
    for effective, points in ((4e-4, slice(101)), (2e-4, slice(None, None, 2))):
        eta = effective * (1 - settings.get("momentum", 0.0))
        rule = ol.GradientDescent(eta, N_STEPS, save_every=SAVE_EVERY, **settings)
        run = ol.integrate(MODEL, TASK, START, rule)
        grams, times = np.asarray(run.overlaps.gram)[points], np.asarray(run.time)[points]
        steps = jax.vmap(lambda g, rule=rule: ol.studies.invariant_drift(MODEL, TASK, overlaps(g), rule).steps)
        predicted = np.trapezoid(np.asarray(steps(grams)), np.asarray(times), axis=0)
        off.append((invariants(grams[-1]) - invariants(grams[0])) / predicted - 1)
    # The remainder is c1 eta + c2 eta^2: the ratio of the two is 2 up to the second term, which is as large relative to
    # the first as the first is to 1; velocity starts at rest, which adds of the order of 1 / (1 - mu) steps of 500.
    worst = np.max(np.abs(off[0]))
    assert worst < 0.25
    assert np.all(np.abs(off[1]) < (0.5 + 0.5 * worst) * np.abs(off[0]) + 1e-3), off


def test_label_noise_moves_each_invariant_at_the_predicted_rate(learned):
    """With Nesterov, a frozen block and unequal rates, where fluctuations carry a share of the drift."""
    paths, n_steps, share, noise = 96, 400, 0.3, 0.02
    settings = {"momentum": 0.9, "nesterov": True, "rates": {"m": 0.0, "z": 0.5}}

    def rule_at(eta):
        return ol.GradientDescent(eta, n_steps, label_noise=noise, save_every=n_steps // 4, **settings)

    eta = float(share * 1e-3 / ol.studies.invariant_drift(MODEL, TASK, learned, rule_at(1e-3)).edge)
    predicted = jax.tree.map(np.asarray, ol.studies.invariant_drift(MODEL, TASK, learned, rule_at(eta)))
    np.testing.assert_allclose(predicted.edge, share, rtol=1e-9)
    assert np.max(np.abs(predicted.fluctuations)) > 0.1 * np.max(np.abs(predicted.label_noise))
    # From the first saved point on: by then the fluctuations have settled in all but flat directions.
    measured = ol.studies.measured_drift(MODEL, TASK, learned, rule_at(eta), jax.random.key(1), n_paths=paths)
    assert measured.shape == (paths, 4)
    error = measured.std(axis=0, ddof=1) / np.sqrt(paths)
    moving = np.abs(predicted.total) > 1e-9 * np.max(np.abs(predicted.total))
    # A frozen vector takes one invariant, which stays 0.
    assert moving.sum() == 3
    off = (measured.mean(axis=0) / predicted.total - 1)[moving]
    relative = (error / np.abs(predicted.total))[moving]
    assert np.all(relative < 0.05)
    # Three invariants: 4 standard errors are exceeded by chance once in five thousand runs. The
    # theory is first order in the covariance of the fluctuations: what is left out is that covariance relative to the
    # overlaps, times the curvature of the loss's own slope, some per cent at this noise.
    assert np.all(np.abs(off) < 4 * relative + 0.03), (off, relative)


def test_label_noise_drift_does_not_depend_on_momentum_at_equal_effective_learning_rate(learned):
    """Of the noise itself; the fluctuations depend on the distance to the edge alone."""
    plain = ol.studies.invariant_drift(MODEL, TASK, learned, ol.GradientDescent(1e-3, 10, label_noise=0.1))
    heavy = ol.studies.invariant_drift(
        MODEL, TASK, learned, ol.GradientDescent(1e-4, 10, label_noise=0.1, momentum=0.9)
    )
    # Per unit of learning time, of which a step takes eta: a tenth, in which it moves as far.
    np.testing.assert_allclose(heavy.label_noise, 10 * plain.label_noise, rtol=1e-9)
    same_edge = ol.GradientDescent(1e-3 * 1.9, 10, label_noise=0.1, momentum=0.9)
    heavy = ol.studies.invariant_drift(MODEL, TASK, learned, same_edge)
    np.testing.assert_allclose(heavy.edge, plain.edge, rtol=1e-9)
    np.testing.assert_allclose(
        heavy.fluctuations / heavy.label_noise, plain.fluctuations / plain.label_noise, rtol=1e-6
    )


def test_the_edge_is_where_descent_becomes_unstable(learned):
    """A small displacement from the solution shrinks below it and grows above, with and without momentum."""
    for settings in MOMENTA:
        unit = ol.studies.invariant_drift(MODEL, TASK, learned, ol.GradientDescent(1.0, 1, **settings)).edge
        nudge = np.eye(4) + 1e-7 * np.random.default_rng(0).normal(size=(4, 4))
        moved = overlaps(nudge.T @ np.asarray(learned.gram) @ nudge)
        below, above = (
            ol.integrate(
                MODEL, TASK, moved,
                ol.GradientDescent(float(share / unit), N_STEPS, save_every=SAVE_EVERY, **settings), throw=False,
            )
            for share in (0.97, 1.03)
        )  # fmt: skip
        assert below.result == ol.RESULTS.successful
        below, above = np.asarray(below.loss), np.asarray(above.loss)
        assert below[-1] < below[0]
        # It may grow until it is beyond learning.
        assert above[-1] > 100 * above[0]


def test_the_drift_on_an_impulse_is_that_on_its_arrays(learned):
    """Of the closed form of the loss, as of its sum over steps."""
    rule = ol.GradientDescent(1e-2, 1, label_noise=1e-2)
    impulse = ol.tasks.exponential_filter(DECAY, duration=7.5, dt=DT)
    found, expected = (ol.studies.invariant_drift(MODEL, task, learned, rule) for task in (impulse, TASK))
    # The inverse of the curvature, which is of order 1 to 100, of rounding.
    np.testing.assert_allclose(found.total, expected.total, rtol=1e-9, atol=1e-9 * np.max(np.abs(expected.total)))


@pytest.mark.parametrize("settings", MOMENTA, ids=NAMES)
def test_weight_decay_shrinks_them_at_twice_its_effective_rate(settings):
    decay = 0.05
    rule = ol.GradientDescent(1e-4, 10, weight_decay=decay, **settings)
    drift = ol.studies.invariant_drift(MODEL, TASK, START, rule)
    mu = settings.get("momentum", 0.0)
    np.testing.assert_allclose(drift.weight_decay, -2 * decay / (1 - mu) * ol.invariants(MODEL, START), rtol=1e-9)
    flow = ol.studies.invariant_drift(MODEL, TASK, START, ol.GradientFlow(1.0, weight_decay=decay))
    np.testing.assert_allclose(flow.total, -2 * decay * ol.invariants(MODEL, START), rtol=1e-9)


@pytest.mark.parametrize("rates", [{}, {"m": 0.0}, {"u": 0.5}], ids=["all", "frozen", "unequal"])
def test_parameter_noise_moves_them_as_its_variance_adds_to_the_overlaps(rates):
    """Without a gradient (a task of weight 0) the noise is all there is."""
    rates = {"m": 1.0, "u": 1.0} | rates
    rule = ol.GradientDescent(0.1, 1, parameter_noise=1e-6, rates=rates)
    drift = ol.studies.invariant_drift(MODEL, SILENT, START, rule)
    run = ol.integrate(MODEL, SILENT, START, rule)
    trained = np.array([rates.get(name, 1.0) > 0 for name in "muvz"])
    # Rounding of a factor of G and of its square.
    rounding = 8 * np.finfo(float).eps * float(jnp.max(START.gram))
    np.testing.assert_allclose(run.final.gram - START.gram, np.diag(2 * 1e-6 * 0.1 * trained), rtol=1e-7, atol=rounding)
    moved = (invariants(run.final.gram, rates) - invariants(START.gram, rates)) / 0.1
    # Second order: the change of G relative to its smallest eigenvalue; and rounding over the size of the change.
    smallest = float(jnp.linalg.eigvalsh(START.gram)[0])
    tolerance = 10 * 2e-7 / smallest + 20 * np.finfo(float).eps / 2e-7
    np.testing.assert_allclose(moved, drift.total, rtol=tolerance, atol=tolerance * 2e-6)
    assert drift.steps.tolist() == [0, 0, 0, 0]


def test_parameter_noise_at_full_n_is_the_theory_up_to_finite_n():
    n, diffusion, n_steps = 1000, 0.02, 30
    rule = ol.GradientDescent(5e-3, n_steps, parameter_noise=diffusion, rates={"z": 0.0}, save_every=n_steps)
    theory = ol.integrate(MODEL, TASK, START, rule)
    networks = [ol.Network.sample(START, n, key=jax.random.key(0))] * 2
    full = [
        ol.train(MODEL, TASK, network, rule, key=jax.random.key(seed)).final.overlaps.gram
        for seed, network in enumerate(networks)
    ]
    added = 2 * diffusion * 5e-3 * n_steps
    for gram in full:
        off = np.abs(np.asarray(gram - theory.final.gram))
        # An overlap of noise of variance `added` with a vector of norm |G_ii| N has standard deviation
        # sqrt(added G_ii / N); learning changes it by a factor of order 1 during so short a time.
        assert off.max() < 5 * np.sqrt(added * 2 * float(jnp.max(START.gram)) / n)
        assert off.max() > 0
    # Frozen vectors do not diffuse.
    assert full[0][3, 3] == pytest.approx(float(START.gram[3, 3]), abs=1e-13)
    assert jnp.any(full[0] != full[1])


TRIALS = make_task(MODEL.layout, n_trials=5, n_times=20)


def test_minibatches_move_the_gauge_at_full_n_as_predicted():
    """Fresh batches of one trial of five, over a tenfold range of the learning rate."""
    network, n_steps, n_paths = ol.Network.sample(START, 8, key=jax.random.key(0)), 30, 24

    @jax.jit
    @jax.vmap
    def path(eta, key):
        rule = ol.GradientDescent(eta, n_steps, batch_size=1, save_every=1)
        grams = ol.train(MODEL, TRIALS, network, rule, key=key).overlaps.gram
        drift = jax.vmap(lambda g: ol.studies.invariant_drift(MODEL, TRIALS, overlaps(g), rule, law=Gauge()))(
            grams[:-1]
        )
        # The average over batches of each step, given where the path was: what is left of its drift is a martingale.
        predicted, by_batches = eta * drift.total.sum(), eta * drift.minibatches.sum()
        return gauge(grams[-1]) - gauge(grams[0]) - predicted, predicted, by_batches

    keys = jax.random.split(jax.random.key(1), n_paths)
    for eta in (1e-2, 3e-3, 1e-3):
        off, predicted, by_batches = map(np.asarray, path(np.full(n_paths, eta), keys))
        error = off.std(ddof=1) / np.sqrt(n_paths)
        # 4 standard errors of three rates: by chance once in 5,000 runs.
        assert abs(off.mean()) < 4 * error, eta
        assert error < 0.15 * abs(predicted.mean())
        # Most of it is what batches differ by.
        assert abs(by_batches.sum()) > 0.5 * abs(predicted.sum())


def test_adam_at_full_n_moves_what_descent_keeps_however_small_its_steps():
    """K and u u - v v, over a tenfold range of step sizes and an equal distance."""
    network, moved = ol.Network.sample(START, 8, key=jax.random.key(0)), {}
    # As many steps of each, of which the larger ones have gone as far after a tenth.
    for eta, point in ((0.03, 1), (0.003, 10)):
        for name, rule in (
            ("adam", ol.Optimiser(optax.adam(eta), 200, save_every=20)),
            ("descent", ol.GradientDescent(eta / 10, 200, save_every=20)),
        ):
            gram = np.asarray(ol.train(MODEL, TRIALS, network, rule).overlaps.gram)[point]
            K = invariants(gram) - invariants(START.gram)
            moved[name, eta] = np.max(np.abs(K)), abs(gauge(gram) - gauge(np.asarray(START.gram)))
    for i in range(2):
        # Descent's drift falls in proportion to its steps.
        assert 7 < moved["descent", 0.03][i] / moved["descent", 0.003][i] < 14
        assert moved["adam", 0.003][i] > 0.5 * moved["adam", 0.03][i]
        assert moved["adam", 0.003][i] > 20 * moved["descent", 0.003][i]


def gauge(gram):
    """|u|^2 - |v|^2 over N."""
    return gram[..., 1, 1] - gram[..., 2, 2]


@pytest.mark.parametrize("settings", MOMENTA[2:], ids=NAMES[2:])
def test_finite_steps_move_the_gauge_of_a_nonlinear_network_as_predicted(settings):
    """Over a tenfold range of the learning rate, from the first step on."""
    remember = 1 / (1 - settings.get("momentum", 0.0))
    for effective in (1e-2, 3e-3, 1e-3):
        rule = ol.GradientDescent(effective / remember, N_STEPS, save_every=2, **settings)
        run = ol.integrate(ERF, SHORT, START, rule, trust=False)
        drift = jax.vmap(lambda g, rule=rule: ol.studies.invariant_drift(ERF, SHORT, overlaps(g), rule).steps[0])
        predicted = np.trapezoid(np.asarray(drift(run.overlaps.gram)), np.asarray(run.time))
        moved = gauge(np.asarray(run.overlaps.gram))
        measured = moved[-1] - moved[0]
        # Velocity starts at rest, so that of the steps some multiple of the memory is lost.
        assert abs(measured / predicted - 1) < 10 * remember / N_STEPS, effective


def test_a_step_moves_every_linear_law_by_eta_squared_tr_C_P_S_G_S_P():
    """Exactly: by one step of a nonlinear network, and of a linear one whose u does not learn."""
    for model, law, rates in ((ERF, Gauge(), {"v": 0.5, "m": 2.0}), (MODEL, Balance(1.0), {"u": 0.0, "m": 2.0})):
        rule = ol.GradientDescent(1e-2, 1, parameter_noise=0.0, rates=rates)
        run = ol.integrate(model, SHORT, START, rule, trust=False)
        P = np.asarray(model.layout.rates(rates))
        C = np.diag([0, 1, -1 / 0.5, 0]) if law == Gauge() else np.diag([-1 / 2, 0, 0, 1])
        S = np.asarray(ol.loss_gradient(model, SHORT, START)[1])
        expected = 1e-4 * np.trace(C @ (P[:, None] * S) @ START.gram @ (S * P))
        measured = np.trace(C @ np.asarray(run.final.gram - START.gram))
        assert abs(measured - expected) < 1e-13
        assert abs(expected) > 1e-9


SHARES = (0.03, 0.1, 0.3)


@pytest.fixture(scope="module")
def gauge_drifts():
    """Of 64 paths of noisy learning about a solution, at each share of the way to the edge; and the predictions."""

    @jax.jit
    @jax.vmap
    def found(eta, momentum):
        rule = ol.GradientDescent(eta, 400, label_noise=1e-3, save_every=100, momentum=momentum)

        def drift(key):
            run = ol.integrate(ERF, SOLVED, START, rule, key=key, throw=False, trust=False)
            moved = gauge(run.overlaps.gram)
            return (moved[4] - moved[1]) / (run.time[4] - run.time[1])

        drifts = jax.vmap(drift)(jax.random.split(jax.random.key(1), 64))
        return drifts, ol.studies.invariant_drift(ERF, SOLVED, START, rule).total[0]

    momenta = (0.0, 0.5)
    rules = [ol.GradientDescent(1.0, 1, momentum=momentum) for momentum in momenta]
    units = [float(ol.studies.invariant_drift(ERF, SOLVED, START, rule).edge) for rule in rules]
    drifts, predicted = found(np.ravel(np.outer(np.divide(1, units), SHARES)), np.repeat(momenta, len(SHARES)))
    return np.reshape(drifts, (2, len(SHARES), -1)), np.reshape(predicted, (2, len(SHARES)))


@pytest.mark.parametrize("number", [0, 1], ids=NAMES[:2])
def test_label_noise_moves_the_gauge_of_a_nonlinear_network_at_the_predicted_rate(gauge_drifts, number):
    """Over a tenfold range of the learning rate, up to a third of the way to the edge of stability."""
    for share, drifts, predicted in zip(SHARES, *(each[number] for each in gauge_drifts), strict=True):
        error = drifts.std(ddof=1) / np.sqrt(len(drifts)) / abs(predicted)
        assert error < 0.03
        # Six figures in all: 4 standard errors are exceeded by chance once in 2,600 runs. The theory is first order in
        # the variance of the noise; what it leaves out was 3 % at five times this noise, so 0.1 % here.
        assert abs(drifts.mean() / predicted - 1) < 4 * error + 2e-3, share


def test_decay_and_parameter_noise_move_the_gauge_of_a_nonlinear_network():
    rates = {"v": 0.5, "m": 0.0}
    rule = ol.GradientFlow(1.0, weight_decay=0.05, rates=rates)
    slow = ol.studies.invariant_drift(ERF, SHORT, START, rule).weight_decay
    # Each square shrinks at its own rate, |u|^2 - |v|^2 / 0.5 at rates 1 and 0.5.
    np.testing.assert_allclose(slow, [-2 * 0.05 * gauge(np.asarray(START.gram))], rtol=1e-9)
    # At a singular start too: the law is linear in the overlaps.
    kept = np.array([1.0, 1.0, 1.0, 0.0])
    thin = ol.Overlaps(np.asarray(START.gram) * np.outer(kept, kept), ERF.layout)
    noisy = ol.GradientDescent(0.1, 1, parameter_noise=1e-3, rates=rates)
    predicted = ol.studies.invariant_drift(ERF, SILENT, thin, noisy).total
    np.testing.assert_allclose(predicted, [2e-3 * (1 - 1 / 0.5)], rtol=1e-9)
    run = ol.integrate(ERF, SILENT, thin, noisy, trust=False)
    moved = ol.invariants(ERF, run.final, rates) - ol.invariants(ERF, thin, rates)
    np.testing.assert_allclose(moved / 0.1, predicted, rtol=1e-9)


def test_what_the_theory_does_not_cover_is_refused():
    with pytest.raises(ValueError, match=r"Erf\(\) does not conserve Spectrum\(\).*Gauge\(\)"):
        ol.studies.invariant_drift(ERF, TASK, START, ol.GradientFlow(1.0), law=Spectrum())
    with pytest.raises(ValueError, match="not covered"):
        ol.studies.invariant_drift(MODEL, TASK, START, ol.GradientDescent(1e-3, 1, clip_norm=1.0))
    with pytest.raises(ValueError, match=r"Optimiser has no theory of its drift.*ol\.train at full N"):
        ol.studies.invariant_drift(MODEL, TASK, START, ol.Optimiser(optax.adam(1e-3), 1))
    with pytest.raises(ValueError, match=r"parameter_noise with momentum.*ol\.train"):
        ol.integrate(MODEL, TASK, START, ol.GradientDescent(1e-3, 1, parameter_noise=0.1, momentum=0.5))
    with pytest.raises(ValueError, match="parameter_noise draws at random and needs a key"):
        ol.train(
            MODEL,
            TASK,
            ol.Network.sample(START, 10, key=jax.random.key(0)),
            ol.GradientDescent(1e-3, 1, parameter_noise=0.1),
        )
