"""The linear task of Schuessler et al. 2020: exact curves, their series, finite networks, and descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.learning.outcomes import is_one_of

study = ol.studies.random_connectivity
TIMES = jnp.array([0.0, 0.005, 0.01, 0.02])
LATE = jnp.array([0.0, 0.3, 1.0, 30.0])


@pytest.mark.parametrize(("g", "target"), [(0.0, 0.5), (0.6, 0.5), (0.6, 2.0), (0.9, -1.0)])
def test_the_published_series_is_right_to_its_order(g, target):
    exact = study.fixed_point_learning(g, target, TIMES)
    for order in (1, 2, 3):
        series = study.fixed_point_learning(g, target, TIMES, order=order)
        for name, lost in (("output", 0), ("gradient_norm", 1), ("loss", 0)):
            off = np.abs(getattr(exact, name) - getattr(series, name))
            # The next orders at t = 0.02 change the ratio by up to some 20 t zhat^2 beta.
            np.testing.assert_allclose(off[3] / off[2], 2.0 ** (order + 1 - lost), rtol=0.25)
    for i in range(2):
        off = np.abs(exact.singular_values[:, i] - series.singular_values[:, i])
        np.testing.assert_allclose(off[3] / off[2], 16, rtol=0.25)
    off = np.abs(exact.eigenvalues - series.eigenvalues)[:, 0]
    np.testing.assert_allclose(off[3] / off[2], 16, rtol=0.25)


@pytest.mark.parametrize(
    ("target", "expected"),
    # 5 % time, singular values, norm, outlier, curvature: by integration of the 2 x 2 system, to the digits given.
    [
        (0.5, (1.18050, 0.42970, 0.00648, 0.42975, 0.191, 2.20)),
        (1.0, (0.75873, 0.66084, 0.02287, 0.66124, 0.426, 8.04)),
        (4.0, (0.16543, 0.97004, 0.06726, 0.97237, 0.820, 703.0)),
    ],
)
def test_without_a_bulk_all_is_known_in_closed_form(target, expected):
    closed = study.without_bulk(target, LATE)
    chain = study.fixed_point_learning(0.0, target, LATE)
    end = study.convergence(0.0, target)
    # Solver: 1e-13 per step, and errors of time are multiplied by speeds of up to some hundred.
    np.testing.assert_allclose(chain.output, closed.output, atol=1e-10)
    np.testing.assert_allclose(chain.singular_values[:, :2], closed.singular_values, atol=1e-10)
    np.testing.assert_allclose(chain.curvature, closed.curvature, rtol=1e-9)
    np.testing.assert_allclose(chain.outlier[1:], closed.outlier[1:], atol=1e-10)
    # At the start it is a root of 0, which is 0 to rounding.
    assert abs(chain.outlier[0]) <= np.sqrt(np.finfo(float).eps)
    np.testing.assert_allclose(chain.eigenvalues, closed.eigenvalues, atol=1e-10)
    np.testing.assert_allclose(end.time, closed.convergence_time, rtol=1e-10)
    found = (end.time, *closed.singular_values[-1], end.norm, closed.outlier[-1], end.curvature)
    for value, digits in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, digits, rtol=2e-3 if digits in expected[4:] else 1e-3, atol=5e-6)


def test_convergence_is_that_of_the_curve_and_tends_to_the_first_order():
    end = study.convergence(0.6, 2.0)
    curve = study.fixed_point_learning(0.6, 2.0, [0.0, float(end.time), 50.0, 100.0])
    np.testing.assert_allclose(curve.loss[1] / curve.loss[0], 0.05, rtol=1e-9)
    np.testing.assert_allclose(end.norm, curve.norm[-1], rtol=1e-10)
    np.testing.assert_allclose(end.curvature, curve.curvature[-1], rtol=1e-9)
    np.testing.assert_allclose(curve.convergence_time, end.time, rtol=1e-12)
    assert curve.chain_length == 16
    assert curve.error < 1e-10
    # Learning is linear for small targets, with relative corrections of order zhat^2: the error falls as exp(-t).
    small, first = study.convergence(0.6, 1e-4), study.convergence(0.6, 1e-4, order=1)
    np.testing.assert_allclose(small.time, np.log(np.sqrt(20)), rtol=1e-6)
    np.testing.assert_allclose([small.norm, small.shuffled_loss], [first.norm, first.shuffled_loss], rtol=1e-6)
    # Of a gradient that falls as exp(-t), until t: (1 - exp(-t)) / t.
    np.testing.assert_allclose(small.gradient, first.gradient * (1 - np.sqrt(0.05)) / small.time, rtol=1e-6)


def test_finite_networks_scatter_about_the_limit_as_one_over_the_root_of_n():
    g, target = 0.6, 1.0
    limit = study.fixed_point_learning(g, target, LATE)
    shuffled = study.convergence(g, target).shuffled_loss

    def measured(learned):
        output, singular, eigen = map(np.asarray, (learned.output, learned.singular_values, learned.eigenvalues))
        return [output[1], singular[-1, 0], eigen[-1, 0].real]

    expected = np.array([*measured(limit), shuffled, limit.outlier[-1]])
    spread = []
    for n_neurons, n_seeds in ((60, 10), (240, 6)):
        found = []
        for seed in range(n_seeds):
            keys = jax.random.split(jax.random.key(seed))
            network = study.FiniteNetwork.sample(g, n_neurons, key=keys[0], exact=True)
            learned = study.fixed_point_learning(network, target, LATE)
            losses = [study.shuffled_loss(learned, key) for key in jax.random.split(keys[1], 2)]
            outlier = np.linalg.eigvals(np.asarray(learned.connectivity())).real.max()
            found.append([*measured(learned), np.mean(losses), outlier])
        off, scatter = np.mean(found, axis=0) - expected, np.std(found, axis=0, ddof=1)
        # Five quantities, two sizes: 4 standard errors, and a bias of order 1/N with a coefficient of up to some 10.
        assert np.all(np.abs(off) < 4 * scatter / np.sqrt(n_seeds) + 10 / n_neurons * np.abs(expected)), (off, scatter)
        spread.append(scatter)
    # Twice, known to some 40 % from 10 and 6 draws.
    assert 1.0 < np.median(spread[0] / spread[1]) < 4.0


def test_descent_of_a_network_is_that_of_all_its_weights():
    network = study.FiniteNetwork.sample(0.6, 40, key=jax.random.key(1))
    learned = study.gradient_descent(network, 2.0, 0.003 * 0.64**2, 200)
    weights, w, m = (np.array(a) for a in (network.bulk, network.w, network.m))
    output = []
    for _ in range(201):
        inverse = np.linalg.inv(np.eye(40) - weights)
        output.append(w @ inverse @ m)
        weights += 0.003 * 0.64**2 * (2 - output[-1]) * np.outer(inverse.T @ w, inverse @ m)
    # Rounding of 200 inverses; the chain's own error is below it.
    np.testing.assert_allclose(learned.output, output, atol=1e-11)
    assert learned.error < 1e-10


def test_descent_is_stable_below_the_limit_and_stops_where_an_eigenvalue_would_pass_1():
    limit = float(study.convergence(0.5, 0.5).learning_rate_limit)
    # The error is multiplied by 1 - 1.8 in a step.
    assert study.gradient_descent(0.5, 0.5, 0.9 * limit, 200).loss[-1] < 1e-15
    # Beyond, errors grow by 1.2 in a step. From here descent finds a solution of less curvature.
    assert 1.1 * limit * study.gradient_descent(0.5, 0.5, 1.1 * limit, 200).curvature[-1] < 2
    network = study.FiniteNetwork.sample(0.3, 20, key=jax.random.key(0))
    trained = study.fixed_point_learning(network, 0.5, LATE)
    again = study.FiniteNetwork(trained.connectivity(), network.w, network.m, g=0.3)
    first = study.gradient_descent(again, float(trained.output[-1]) + 1e-6, 2.2 / trained.curvature[-1], 100)
    # A step of 1e-6 has relative corrections of some 1e-5.
    np.testing.assert_allclose(jnp.sqrt(first.loss[1] / first.loss[0]), 1.2, rtol=1e-4)
    with pytest.raises(ol.LearningError, match="eigenvalue of W") as caught:
        study.gradient_descent(0.5, 20.0, 0.5, 200)
    solution = caught.value.solution
    assert is_one_of(solution.result, ol.RESULTS.diverged)
    assert np.all(np.isfinite(solution.output))
    assert np.all(solution.outlier < 1)


def test_trials_of_finite_length_learn_as_the_fixed_point_does():
    network = study.FiniteNetwork.sample(0.3, 20, key=jax.random.key(0))
    rate = 0.05
    trials = study.trial_learning(network, 0.5, rate, 100, duration=11.0)
    fixed = study.gradient_descent(network, 0.5, rate, 100)
    # What is left of the transient: the slowest of 20 steps of 0.5 at an eigenvalue of some 0.5, 0.75^20.
    np.testing.assert_allclose(trials.output, fixed.output, atol=5e-3)
    np.testing.assert_allclose(trials.gradient_norm, fixed.gradient_norm, atol=1e-2)
    np.testing.assert_allclose(trials.time, fixed.time, rtol=1e-12)
    with pytest.raises(ol.LearningError) as caught:
        study.trial_learning(network, 0.5, 1e200, 100, duration=11.0)
    assert np.all(np.isfinite(caught.value.solution.change))


def test_curves_work_under_vmap_and_compile_once():
    def curve(g, target):
        return study.fixed_point_learning(g, target, LATE)

    many = jax.jit(jax.vmap(curve))(jnp.array([0.2, 0.6]), jnp.array([0.5, 2.0]))
    for i, (g, target) in enumerate(((0.2, 0.5), (0.6, 2.0))):
        np.testing.assert_allclose(many.singular_values[i], curve(g, target).singular_values, atol=1e-10)
        assert many.error[i] < 1e-10
    # What is known when a program is made is as good as what is traced.
    np.testing.assert_allclose(jax.jit(lambda g: curve(g, 2.0).output)(0.6), many.output[1], atol=1e-10)
    known = jax.jit(lambda target: study.fixed_point_learning(0.6, target, [0.0, 0.3, 1.0, 30.0]).output)
    np.testing.assert_allclose(known(2.0), many.output[1], atol=1e-10)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr("jax._src.compiler.compile_or_get_cached", lambda *a, **k: compiled.append(a))
        curve(0.61, 1.9)
    assert not compiled


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1.0, 0.5, LATE), "g must be the strength"),
        ((-0.1, 0.5, LATE), "0 <= g < 1"),
        ((float("nan"), 0.5, LATE), "g must be"),
        ((0.5, float("nan"), LATE), "target must be a finite number"),
        ((0.5, [0.5, 1.0], LATE), "use jax.vmap"),
        ((0.5, 0.5, LATE[::-1]), "increasing"),
        ((0.5, 0.5, 1.0), r"shape \[S\]"),
        ((0.5, 0.5, [0.0, float("nan")]), "finite"),
        ((0.5, 0.5, LATE, 4), "order must be 1, 2 or 3"),
        ((study.FiniteNetwork(np.zeros((2, 2)), [1.0, 0], [0, 1.0]), 0.5, LATE, 3), "infinitely many"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        study.fixed_point_learning(*arguments)


def test_wrong_networks_are_named():
    with pytest.raises(ValueError, match=r"\[N, N\], \[N\] and \[N\]"):
        study.FiniteNetwork(np.zeros((3, 2)), np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="bulk must be finite"):
        study.FiniteNetwork(np.full((2, 2), np.nan), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="not 0"):
        study.FiniteNetwork(np.zeros((2, 2)), np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match=r"below 1 in real part.*the largest is 3"):
        study.FiniteNetwork(3 * np.eye(4), np.ones(4), np.ones(4), g=0.5)
    # Not the symmetric part: this one is stable, however large it is.
    study.FiniteNetwork(np.triu(np.full((4, 4), 9.0), 1), np.ones(4), np.ones(4), g=0.5)
    with pytest.raises(ValueError, match="onset"):
        study.trial_learning(study.FiniteNetwork(np.zeros((2, 2)), [1.0, 0], [0, 1.0]), 0.5, 0.1, 1, onset=200.0)
    # A target that double precision can't reach: the last good points, with a result code.
    far = study.fixed_point_learning(0.6, 1e6, LATE, throw=False)
    assert not is_one_of(far.result, ol.RESULTS.successful)
    assert np.all(np.isfinite(far.singular_values))
