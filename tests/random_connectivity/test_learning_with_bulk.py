import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.random_connectivity import learning
from overlap_learning.random_connectivity.learner import ReducedLearner
from overlap_learning.random_connectivity.words import FreeWords, GivenWords, reduce

LAYOUT = ol.Layout()
MODEL = ol.Model(LAYOUT, ol.Linear(), bulk=ol.RandomBulk(0.5))
START = ol.Overlaps.from_entries(LAYOUT, zu=0.1, vm=0.1, uu=1.5)
TASK = ol.tasks.exponential_filter(duration=4.0, dt=0.2)
N_NETWORKS = 24
SIZES = (48, FULL := 144)
#: What learns; all are one compiled program.
RATES = {
    "W": {"W": 1.0, "m": 0.0, "u": 0.0, "v": 0.0, "z": 0.0},
    "both": {"W": 1.0},
}


def rule(rates):
    # Gradients are longer than this at the start, and shorter at the end.
    return ol.GradientDescent(3e-2, 40, rates=rates, save_every=20, momentum=0.3, weight_decay=0.01, clip_norm=1.0)


@pytest.fixture(scope="module")
def theory():
    return {name: ol.integrate(MODEL, TASK, START, rule(rates)) for name, rates in RATES.items()}


@pytest.fixture(scope="module")
def networks():
    """Random networks with exact overlaps, drawn in numpy, which compiles nothing."""
    rng, root = np.random.default_rng(0), np.linalg.cholesky(np.asarray(START.gram))
    drawn = {}
    for n in SIZES:
        frames, _ = np.linalg.qr(rng.normal(size=(N_NETWORKS, n, 4)))
        bulks = 0.5 / n**0.5 * rng.normal(size=(N_NETWORKS, n, n))
        drawn[n] = ol.BulkNetwork(n**0.5 * frames @ root.T, LAYOUT, bulks)
    return drawn


@pytest.fixture(scope="module")
def trained(networks):
    return {
        (name, n): ol.train(MODEL, TASK, batch, rule(rates), progress=False)
        for name, rates in RATES.items()
        for n, batch in networks.items()
    }


def measured(solution):
    """Visible moments of order 0, 1 and 2, all overlaps, and the loss, of each network at the end."""
    vectors, bulk = np.asarray(solution.final.vectors), np.asarray(solution.final.bulk)
    fields, readers = vectors[..., :2], np.swapaxes(vectors[..., 2:], 1, 2) / vectors.shape[1]
    moments = np.stack([readers @ fields, readers @ bulk @ fields, readers @ bulk @ (bulk @ fields)], axis=1)
    overlaps = np.asarray(solution.overlaps.gram)[:, -1][:, *LAYOUT.entry_indices]
    return np.concatenate([moments.reshape(N_NETWORKS, -1), overlaps, np.asarray(solution.loss)[:, -1:]], 1)


@pytest.mark.parametrize("name", RATES)
def test_random_networks_agree_on_average_and_scatter_as_the_root_of_n(name, theory, trained):
    limit = theory[name]
    expected = np.concatenate([
        ol.model.visible_moments(limit.final, 2).ravel(),
        limit.overlaps.gram[-1][LAYOUT.entry_indices],
        limit.loss[-1:],
    ])  # fmt: skip
    scatter = {}
    for n in SIZES:
        apart = measured(trained[name, n]) - expected
        mean, error = apart.mean(0), apart.std(0, ddof=1) / N_NETWORKS**0.5
        scatter[n] = np.median(np.sqrt(np.mean(apart**2, axis=1)))
        # Of 23 numbers, 1 in 10^4 passes four standard errors by chance; means are off by 1 / N beside, in units of a
        # scatter of N^(-1/2); and the limit by its own error.
        allowed = 4 * error + error * N_NETWORKS**0.5 / n**0.5 + float(limit.stats["bulk_error"]) + 1e-12
        assert np.all(np.abs(mean) <= allowed), (n, mean / allowed)
    # The distance of the typical network falls as the root of N. Some networks of 48 neurons are far off, which a
    # mean would see most of; the median of 24 distances is known to some 15 %, a ratio of two to 20 %.
    root = (48 / FULL) ** 0.5
    assert root / 1.6 < scatter[FULL] / scatter[48] < root * 1.6


def test_the_change_of_w_is_that_of_random_networks(theory, trained, networks):
    name = "W"
    changes = np.asarray(trained[name, FULL].final.bulk) - 0.0
    decayed = np.asarray(networks[FULL].bulk) * float(theory[name].final.kept)
    values = np.linalg.svd(changes - decayed, compute_uv=False)[:, :2]
    # 4 standard errors of the mean, and 1 / N beside; the second value is an order smaller and pushed up by the rest.
    error = 4 * values[:, 0].std() / N_NETWORKS**0.5 + 1 / FULL
    assert abs(values[:, 0].mean() - float(theory[name].singular_values[-1, 0])) < error
    assert float(theory[name].change_norm[-1]) == pytest.approx(
        float(jnp.linalg.norm(theory[name].singular_values[-1])), rel=1e-6
    )


def test_the_estimated_error_bounds_the_distance_to_a_finer_run(theory):
    finer = ol.integrate(
        MODEL, TASK, START, rule(RATES["both"]), depth=ol.random_connectivity.Depth(1e-9, 38), throw=False
    )
    error = float(theory["both"].stats["bulk_error"])
    assert error < 1e-3
    assert np.max(np.abs(finer.overlaps.gram - theory["both"].overlaps.gram)) < error
    assert float(finer.stats["bulk_error"]) < error


def test_equivalent_networks_do_the_same_and_are_told_apart_as_full_networks_are(networks, trained):
    twin = ol.equivalent(START, MODEL, uu=2.5, mu=ol.feasible(START, MODEL, "mu").high / 2)
    found = ol.compare(MODEL, TASK, [START, twin], rule(RATES["both"]))
    # Sums over some tens of directions, of outputs and overlaps of order 1.
    assert jnp.max(jnp.abs(found.outputs[1] - found.outputs[0])) < 1e-13
    # At the start independent W0 are invisible, in how overlaps move too; but for words beyond the directions kept,
    # whose weight is far below the tolerance of 1e-3.
    alone = ol.compare(ol.Model(LAYOUT, ol.Linear()), TASK, [START, twin], ol.GradientDescent(3e-2, 1))
    np.testing.assert_allclose(found.velocity, alone.velocity, rtol=1e-4)

    n, roots = FULL, [np.linalg.cholesky(np.asarray(o.gram)) for o in (START, twin)]
    twins = np.asarray(networks[n].vectors) @ np.linalg.solve(roots[0], np.eye(4)).T @ roots[1].T
    full = ol.train(MODEL, TASK, ol.BulkNetwork(twins, LAYOUT, networks[n].bulk), rule(RATES["both"]), progress=False)
    apart = np.asarray(full.overlaps.gram - trained["both", n].overlaps.gram)[:, -1][:, MODEL.visible]
    error = apart.std(axis=0, ddof=1) / N_NETWORKS**0.5
    one, other = (np.asarray(s.overlaps.gram[-1])[MODEL.visible] for s in found.solutions)
    # As above, of four numbers; and more than a network without learning, of difference 0, would pass.
    allowed = 4 * error + error * N_NETWORKS**0.5 / n**0.5 + 2 * float(found.solutions[1].stats["bulk_error"])
    assert np.all(np.abs(apart.mean(axis=0) - (other - one)) < allowed)
    assert np.max(np.abs(other - one) / allowed) > 4


def test_without_strength_it_is_the_theory_of_overlaps():
    still = ol.Model(LAYOUT, ol.Linear(), bulk=ol.RandomBulk(0.0))
    plain = ol.GradientDescent(3e-2, 40, save_every=20, momentum=0.3, weight_decay=0.01)
    found, expected = (ol.integrate(model, TASK, START, plain) for model in (still, ol.Model(LAYOUT, ol.Linear())))
    # 40 steps of sums of some 20 terms of order 1 to 5.
    np.testing.assert_allclose(found.overlaps.gram, expected.overlaps.gram, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=0, atol=1e-13)


def test_one_given_w0_learns_as_all_its_neurons_do(networks, trained):
    one = jax.tree.map(lambda array: array[0], networks[48])
    reduced = ol.integrate(MODEL, TASK, one, rule(RATES["both"]))
    full = trained["both", 48]
    # All 48 directions: rounding, of which those kept are above 1e-7.
    np.testing.assert_allclose(reduced.overlaps.gram, full.overlaps.gram[0], rtol=0, atol=1e-9)
    first = jax.tree.map(lambda array: array[0], full.final)
    moments = [ol.model.visible_moments(network, 4) for network in (reduced.final, first)]
    np.testing.assert_allclose(*moments, rtol=0, atol=1e-9)
    assert reduced.stats["bulk_error"] <= 1e-7
    outputs = [ol.rollout(MODEL, reduced.final, TASK), ol.simulate(MODEL, first, TASK)]
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-9)


def test_a_penalty_on_activity_is_that_of_all_neurons(networks, trained):
    one = jax.tree.map(lambda array: array[0], networks[48])
    task, brief = TASK.replace(activity_penalty=0.3), ol.GradientDescent(3e-2, 5, rates={"W": 1.0})
    reduced, full = ol.integrate(MODEL, task, one, brief), ol.train(MODEL, task, one, brief, progress=False)
    # As above.
    np.testing.assert_allclose(reduced.loss, full.loss, rtol=0, atol=1e-9)
    np.testing.assert_allclose(reduced.overlaps.gram, full.overlaps.gram, rtol=0, atol=1e-9)
    assert float(reduced.loss[0] - trained["both", 48].loss[0, 0]) > 1e-3


def test_learning_goes_on_from_what_was_learned_and_from_a_file(theory, tmp_path):
    checkpoint = ol.Checkpoint(tmp_path / "runs", every=20)
    learned, again = (ol.integrate(MODEL, TASK, START, rule(RATES["both"]), checkpoint=checkpoint) for _ in range(2))
    np.testing.assert_array_equal(learned.overlaps.gram, again.overlaps.gram)
    np.testing.assert_allclose(learned.overlaps.gram, theory["both"].overlaps.gram, atol=1e-12)
    learned.save(tmp_path / "learned.nc")
    read = ol.load(tmp_path / "learned.nc")
    later = [ol.integrate(MODEL, TASK, start.final, rule(RATES["both"])) for start in (learned, read)]
    np.testing.assert_array_equal(later[0].overlaps.gram, later[1].overlaps.gram)
    np.testing.assert_allclose(later[0].loss[0], learned.loss[-1], rtol=1e-12)
    assert later[0].loss[-1] < learned.loss[-1]
    assert later[0].stats["bulk_error"] > 0


def test_a_step_of_learning_has_derivatives_by_the_start(theory):
    network = theory["both"].final
    learner = ReducedLearner({"vectors": jnp.ones(4), "change": jnp.ones(()), "kept": jnp.ones(())}, network)

    @jax.jit
    def loss(zu):
        # One step by hand from overlaps whose factor has equal eigenvalues, and a W that has not learned.
        factor = learning._factor(START.replace(zu=zu).gram)
        vectors = jnp.zeros_like(network.vectors).at[:4].set(factor)
        position = {"vectors": vectors, "change": jnp.zeros_like(network.change), "kept": jnp.ones(())}
        _, slope = learner.gradient(position, TASK)
        position = jax.tree.map(lambda x, s: x - 0.03 * s, position, slope)
        return learner.loss(position, TASK) + learner.observe(position)["change_norm"]

    # Central differences of steps h = 1e-3 are off by h^2 times a third derivative, of the size of the slope.
    slope = (loss(0.101) - loss(0.099)) / 2e-3
    assert float(jax.jit(jax.grad(loss))(0.1)) == pytest.approx(float(slope), rel=1e-4)


@pytest.mark.parametrize(("g", "tau"), [(0.6, 0.0), (0.45, 1.0), (0.6, -0.5)])
def test_words_have_the_inner_products_of_free_elliptic_elements(g, tau):
    bulk = reduce(FreeWords(g, tau), 40).bulk
    start = np.eye(len(bulk), 1)[:, 0]
    once, back = bulk @ start, bulk.T @ start
    twice = bulk @ once
    # Pairings without crossings, each of weight g^2 (W with W^T) or tau g^2 (W with W). 40 directions leave out 1e-3.
    found = [once @ once, back @ once, twice @ twice, (bulk.T @ once) @ (bulk.T @ once), start @ bulk @ bulk @ twice]
    expected = [g**2, tau * g**2, (1 + tau**2) * g**4, 2 * g**4, 2 * tau**2 * g**4]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("g", "allowed"), [(0.5, 1e-3), (0.7, 2e-2)])
def test_reduced_w0_has_the_resolvent_that_fixed_points_are_learned_by(g, allowed):
    bulk = reduce(FreeWords(g, 0.0), 36).bulk
    start = np.eye(len(bulk), 1)[:, 0]
    resolvent = np.linalg.inv(np.eye(len(bulk)) - bulk)
    found = [start @ np.linalg.matrix_power(resolvent @ resolvent.T, k) @ start for k in (1, 2)]
    # Moments of B B^T, B = (1 - W0)^-1: beta and beta^4. Longer words are cut off, which counts more near g = 1.
    beta = 1 / (1 - g**2)
    np.testing.assert_allclose(found, [beta, beta**4], rtol=allowed)
    np.testing.assert_allclose(start @ resolvent @ start, 1.0, rtol=allowed)


def test_a_given_matrix_is_reduced_to_all_that_its_words_reach():
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(30, 6)))
    # A matrix that acts on 6 directions of 30, two of them start vectors.
    matrix = axes @ rng.normal(size=(6, 6)) @ axes.T / 4
    bulk, is_whole = reduce(GivenWords(matrix, axes[:, :2]), 20)
    assert is_whole
    assert len(bulk) == 6
    expected = [np.trace(np.linalg.matrix_power(matrix, k)) for k in (1, 2, 3)]
    np.testing.assert_allclose([np.trace(np.linalg.matrix_power(bulk, k)) for k in (1, 2, 3)], expected, atol=1e-10)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (ol.Model(LAYOUT, ol.Linear(), bulk=ol.RandomBulk(1.0)), {}, r"reach to g \(1 \+ tau\) = 1"),
        (ol.Model(LAYOUT, ol.Linear(), bulk=ol.RandomBulk(0.5, symmetry=1.0)), {}, "grows without bound"),
        (ol.Model(LAYOUT, ol.Tanh(), bulk=ol.RandomBulk(0.5)), {}, "at full N"),
        (ol.Model(LAYOUT, ol.Linear(), bulk=ol.model.DaleBulk(0.5)), {}, "no deterministic limit"),
        (MODEL, {"rule": ol.DirectDescent(0.1, 10)}, "GradientFlow and GradientDescent"),
        (MODEL, {"depth": 1e-3}, "Depth"),
        (ol.Model(LAYOUT, ol.Linear()), {"rule": ol.GradientDescent(0.1, 10, rates={"W": 1.0})}, "W"),
        (ol.Model(LAYOUT, ol.Linear()), {"depth": ol.random_connectivity.Depth()}, "this model has none"),
    ],
)
def test_what_has_no_such_theory_is_refused_with_a_way(model, change, message):
    with pytest.raises(ValueError, match=message):
        ol.integrate(**{"model": model, "task": TASK, "overlaps": START, "rule": rule(None)} | change)


def test_an_error_above_the_tolerance_is_said():
    with pytest.raises(ol.LearningError, match="Depth") as caught:
        ol.integrate(MODEL, TASK, START, rule(RATES["both"]), depth=ol.random_connectivity.Depth(1e-12, 25))
    assert caught.value.solution.stats["bulk_error"] > 1e-12
