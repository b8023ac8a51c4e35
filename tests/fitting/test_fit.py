"""The fit: its network against a dense loop, its loss against differences, what it recovers, files, and bad input."""

import json
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.linalg import subspace_angles

import overlap_learning as ol
from benchmarks.survival import crafted
from overlap_learning import fitting
from overlap_learning.fitting.fit import learner_of
from overlap_learning.fitting.learner import starts
from overlap_learning.fitting.stopping import EarlyStopping
from overlap_learning.fitting.tensor_network import in_order
from overlap_learning.learning.driver import learn
from overlap_learning.learning.files import write
from overlap_learning.learning.learner import AbstractLearner

K, T, N, RANK, CONDITIONS, TAU, NOISE = 60, 10, 20, 2, 3, 0.3, 0.05
TIMES = np.linspace(0, 1, T)
RULE = ol.Optimiser(optax.adam(optax.cosine_decay_schedule(5e-2, 600), b2=0.99), 600, save_every=20)


def network(n_columns=0, n_steps=1):
    """A network whose two trial factors change, one in steps and one slowly."""
    rng = np.random.default_rng(0)
    columns, rows = (np.linalg.qr(rng.normal(size=(N, RANK + n_columns)))[0] for _ in range(2))
    rows = columns[:, :RANK] @ np.array([[1, 0.4], [-0.4, 1]]) + 0.3 * rows[:, :RANK]
    trials = np.column_stack([np.where(np.arange(K) // 20 == 1, 0.6, 1.6), 1.2 + 0.5 * np.sin(np.arange(K) / 10)])
    arrays = (columns[:, :RANK], rows / np.linalg.norm(rows, axis=0), trials, columns[:, RANK:])
    drive = 0.7 * rng.normal(size=(CONDITIONS, T, RANK + n_columns))
    start = rng.normal(size=(CONDITIONS, RANK + n_columns))
    readout = {
        "matrix": np.linalg.qr(rng.normal(size=(N, N)))[0],
        "log_gain": np.array(0.3),
        "offset": rng.normal(size=N),
    }
    return fitting.TensorNetwork(
        *map(jnp.asarray, (*arrays, drive, start)),
        readout=jax.tree.map(jnp.asarray, readout),
        times=jnp.asarray(TIMES),
        conditions=jnp.arange(K) % CONDITIONS,
        time_constant=jnp.asarray(TAU),
        activation=ol.Tanh(),
        decoder=fitting.Orthonormal(),
        solver=fitting.Euler(n_steps),
    )


TRUE = network()
CLEAN = np.asarray(TRUE.signal())
ACTIVITY = CLEAN + NOISE * np.random.default_rng(1).normal(size=CLEAN.shape)
EPOCHS = np.repeat(["baseline", "adaptation", "washout"], 20)


def recordings(**changed):
    given = {"activity": ACTIVITY, "times": TIMES, "conditions": np.arange(K) % CONDITIONS, "epochs": EPOCHS}
    return fitting.Recordings(**(given | changed))


MASKS = fitting.block_masks(recordings(), jax.random.key(0), half=(1, 1, 1), guard=(1, 1, 0))


@pytest.fixture(scope="module")
def fit():
    return fitting.fit_low_tensor_rank(
        recordings(), RANK, jax.random.key(0), masks=MASKS, n_seeds=2, time_constant=TAU, rule=RULE, progress=False
    )


def test_network_is_the_one_with_all_its_weights():
    each = network(n_columns=1, n_steps=2)
    columns, rows, trials, extra, drive, start = (
        np.asarray(getattr(each, name)) for name in ("columns", "rows", "trials", "extra", "inputs", "start")
    )
    directions = np.hstack([columns, extra]) * np.sqrt(N)
    D = np.exp(0.3) * np.asarray(each.readout["matrix"])
    expected = np.empty((K, T, N))
    for k in range(K):
        W = sum(trials[k, r] * np.outer(columns[:, r], rows[:, r]) for r in range(RANK))
        x = directions @ start[k % CONDITIONS]
        for t in range(T):
            expected[k, t] = D @ np.tanh(x) + np.asarray(each.readout["offset"])
            for half in range(2 if t < T - 1 else 0):
                u = (1 - half / 2) * drive[k % CONDITIONS, t] + half / 2 * drive[k % CONDITIONS, t + 1]
                x = x + (TIMES[t + 1] - TIMES[t]) / 2 / TAU * (-x + W @ np.tanh(x) + directions @ u)
    # Some 100 sums of 20 terms of size 1, each of which rounds.
    np.testing.assert_allclose(each.signal(), expected, rtol=0, atol=1e-12)


def test_diffrax_is_the_limit_of_small_steps():
    fine = eqx.tree_at(lambda n: n.solver, TRUE, fitting.Euler(32), is_leaf=lambda x: isinstance(x, fitting.Euler))
    exact = eqx.tree_at(
        lambda n: n.solver, TRUE, fitting.Diffrax(rtol=1e-8, atol=1e-8), is_leaf=lambda x: isinstance(x, fitting.Euler)
    )
    coarse, near, truth = (np.asarray(n.states()) for n in (TRUE, fine, exact))
    # Euler's error is of first order in its step.
    assert np.abs(near - truth).max() < 1.5 / 32 * np.abs(coarse - truth).max()


@pytest.mark.parametrize("likelihood", [fitting.Gaussian(), fitting.Poisson()])
def test_gradient_is_that_of_the_loss(likelihood):
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * CLEAN))
    given = recordings(activity=counts) if isinstance(likelihood, fitting.Poisson) else recordings()
    learner = learner_of(given, MASKS, TAU, fitting.Inputs(until=0.5, n_columns=1), None, likelihood, None, None, None)
    start = starts(learner, given, MASKS, (N, RANK), 0.5, jax.random.key(0), 1)
    flat, back = ravel_pytree(jax.tree.map(lambda a: a[0], start))
    rng = np.random.default_rng(0)
    flat, direction = flat + 0.1 * rng.normal(size=flat.shape), rng.normal(size=flat.shape)
    loss = jax.jit(lambda x: learner.loss(back(x), learner.task))
    slope = jnp.vdot(jax.jit(jax.grad(loss))(flat), direction)
    step = 1e-5
    numerical = (loss(flat + step * direction) - loss(flat - step * direction)) / (2 * step)
    # Central differences: the third derivative times step^2, and rounding over step.
    np.testing.assert_allclose(slope, numerical, rtol=1e-6, atol=1e-9)


def test_no_array_of_a_gradient_is_of_the_size_of_all_weights():
    learner = learner_of(recordings(), MASKS, TAU, None, None, None, None, None, None)
    start = starts(learner, recordings(), MASKS, (N, RANK), 0.5, jax.random.key(0), 1)
    program = str(jax.make_jaxpr(learner.gradient)(jax.tree.map(lambda a: a[0], start), learner.task))
    sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in re.findall(r"f64\[([\d,]+)\]", program)]
    assert max(sizes) == K * T * N < K * N * N


def test_single_precision_stays_single():
    given = recordings(activity=ACTIVITY.astype(np.float32))
    rule = ol.Optimiser(optax.adam(1e-2), 2)
    one = fitting.fit_low_tensor_rank(given, 1, jax.random.key(0), masks=MASKS, n_seeds=1, rule=rule, progress=False)
    assert {leaf.dtype for leaf in jax.tree.leaves(one.networks) if leaf.dtype.kind == "f"} == {np.dtype("float32")}


def test_fit_reaches_the_noise_and_finds_the_components(fit):
    noise = np.mean((ACTIVITY - CLEAN)[MASKS.report] ** 2)
    # Of some 1,000 parameters per 7,000 entries; the mean square noise of the report's 700 is known to 5 %.
    assert fit.score < 1.25 * noise
    assert np.degrees(subspace_angles(fit.network.neurons[0], TRUE.neurons[0])).max() < 10

    # The plane of the true trial factors, less their means, holds those of the fit.
    def centred(trials):
        return np.asarray(trials) - np.asarray(trials).mean(axis=0)

    truth = centred(TRUE.trials)
    rest = centred(fit.network.trials)
    away = rest - truth @ np.linalg.lstsq(truth, rest, rcond=None)[0]
    assert np.sum(away**2) < 0.1 * np.sum(rest**2)


def test_components_do_not_depend_on_their_order_and_signs(fit):
    network = fit.network
    order, columns, along = np.array([1, 0]), np.array([-1.0, 1.0]), np.array([1.0, -1.0])
    names = ("columns", "rows", "trials", "inputs", "start")
    signs = dict(zip(names, (columns, along, columns * along, columns, columns), strict=True))
    mixed = eqx.tree_at(
        lambda n: [getattr(n, name) for name in names], network,
        [(getattr(network, name) * signs[name])[..., order] for name in names],
    )  # fmt: skip
    # Sums in another order.
    np.testing.assert_allclose(mixed.signal(), network.signal(), rtol=0, atol=1e-12)
    for name in names:
        np.testing.assert_array_equal(getattr(in_order(mixed), name), getattr(network, name))
    assert np.allclose(np.linalg.norm(network.columns, axis=0), 1)
    assert (np.asarray(network.trials).sum(axis=0) > 0).all()


def test_weights_are_made_one_by_one_and_have_the_eigenvalues(fit):
    network, W = fit.network, fit.weights[7]
    # Post- and presynaptic sides are not exchanged.
    np.testing.assert_allclose(W, network.columns @ np.diag(network.trials[7]) @ network.rows.T, rtol=0, atol=1e-14)
    largest = np.sort(np.abs(np.linalg.eigvals(W)))[::-1][:RANK]
    np.testing.assert_allclose(np.abs(fit.network.eigenvalues[7]), largest, rtol=1e-8)


def test_widths_are_those_of_the_posterior_of_the_trial_factors(fit):
    network, step = fit.network, 1e-5

    def signal(trials):
        return np.asarray(eqx.tree_at(lambda n: n.trials, network, trials).signal())

    slopes = [
        (signal(network.trials.at[:, r].add(step)) - signal(network.trials.at[:, r].add(-step))) / (2 * step)
        for r in range(RANK)
    ]
    variance = fit.deviance["train"][fit.best]
    J = np.stack(slopes, axis=-1) * MASKS.train[..., None] / np.sqrt(variance)
    precision = np.zeros((K, RANK, K, RANK))
    precision[np.arange(K), :, np.arange(K), :] = np.einsum("ktnr,ktns->krs", J, J)
    # A flat prior of the means: a variance of 1e8 beside one of 1.
    prior = np.linalg.inv(fit.prior.covariance(fit.trial_ids) + 1e8)
    for r in range(RANK):
        precision[:, r, :, r] += prior
    expected = np.sqrt(np.diag(np.linalg.inv(precision.reshape(K * RANK, -1)))).reshape(K, RANK)
    np.testing.assert_allclose(fit.trial_widths, expected, rtol=1e-4)


def test_bootstrap_refits_what_the_network_would_have_been_recorded_as(fit):
    refits = fit.bootstrap(jax.random.key(1), 2, rule=RULE, n_seeds=2, progress=False)
    trials = np.asarray(fit.network.trials)
    assert refits.trials.shape == (2, K, RANK)
    for refit, found in zip(refits.fits, refits.trials, strict=True):
        # The noise is what the fit left, within the 1 % to which the mean square of 8,000 entries is known, and what
        # 1,000 parameters take of it.
        assert 0.8 < refit.deviance["train"][refit.best] / fit.deviance["train"][fit.best] < 1.05
        assert not np.allclose(refit.network.trials, trials)
        # Each component is that of the fit, at the size that is nearest to it.
        np.testing.assert_allclose(np.sum(found * trials, axis=0), np.sum(found**2, axis=0), rtol=1e-10)
        assert [np.abs(np.corrcoef(trials.T, found.T)[r, RANK:]).argmax() for r in range(RANK)] == list(range(RANK))
    expected = np.sqrt(((refits.trials - trials) ** 2).mean(axis=0))
    np.testing.assert_allclose(refits.trial_widths, expected, rtol=1e-12)
    # All else held fixed is a lower bound of the whole.
    assert np.mean(refits.trial_widths) > np.mean(fit.trial_widths)
    ax = ol.plot.trial_factors(fit, widths=refits.trial_widths)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((trials + 2 * refits.trial_widths)[:, 0].max())
    with pytest.raises(ValueError, match="n_refits must be an integer of at least 2"):
        fit.bootstrap(jax.random.key(1), 1)


def test_the_same_components_from_several_starts_are_similar(fit):
    assert fit.similarity.min() > 0.8
    # Of the other start the trial factors of a component backwards; signs of two of three vectors say nothing.
    other = 1 - fit.best
    networks = eqx.tree_at(
        lambda n: n.trials, fit.networks, fit.networks.trials.at[other, :, 0].set(fit.networks.trials[other, ::-1, 0])
    )
    changed = eqx.tree_at(lambda f: f.networks, fit, networks)
    parts = []
    for member in (changed.member(other), changed.member(fit.best)):
        trials = np.asarray(member.trials)
        parts.append([side / np.linalg.norm(side, axis=0) for side in (trials - trials.mean(axis=0), *member.neurons)])
    cosines = np.prod([one.T @ best for one, best in zip(*parts, strict=True)], axis=0)
    matched = [cosines[0, a] + cosines[1, 1 - a] for a in (0, 1)]
    assert changed.similarity[other] == pytest.approx(max(matched) / 2, rel=1e-10)
    assert changed.similarity[other] < 0.9 * fit.similarity[other]


def test_a_fit_read_back_is_the_same(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    same = fitting.load(tmp_path / "fit.nc")
    assert jax.tree.structure(same) == jax.tree.structure(fit)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(fit), strict=True):
        np.testing.assert_array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
    assert repr(same) == repr(fit)
    with pytest.raises(ValueError, match=r"none that Solution\.save wrote"):
        ol.load(tmp_path / "fit.nc")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data, about: data.rows.values.__setitem__((1, 0, 0), np.nan), "'rows' is not finite"),
        (lambda data, about: data.condition.values.__setitem__(0, 2), r"'condition' holds what no fit does: \[2, 1"),
        (lambda data, about: data.block_sizes.values.__setitem__(0, 0), "'block_sizes' holds what no fit does"),
        (lambda data, about: about.update(best=2), "'best' is 2, of 2 starts"),
        (lambda data, about: about.update(results=["successful", "lucky"]), "'results' holds 'lucky', none of succ"),
        (lambda data, about: about.update(condition_names=["a"]), "'condition_names' must be 2 texts"),
        (lambda data, about: about["objects"].update(prior={"kind": "Erf"}), "its prior is Erf"),
        (lambda data, about: about["objects"].update(solver={"diffrax": "Solution"}), "'Solution' is no solver"),
    ],
    ids=["not finite", "unknown condition", "empty block", "best", "result", "names", "another kind", "another class"],
)  # fmt: skip
def test_a_file_that_is_no_fit_is_refused_with_what_is_wrong(change, words, tmp_path):
    data = crafted.a_fit().to_xarray().copy(deep=True)
    about = json.loads(data.attrs["about"])
    change(data, about)
    data.attrs["about"] = json.dumps(about)
    write(data, tmp_path / "fit.nc")
    with pytest.raises(ValueError, match=rf"^fitting\.load: '.*fit\.nc' has .* but is no fit .* wrote: {words}"):
        fitting.load(tmp_path / "fit.nc")


def test_a_fit_by_diffrax_is_read_back(tmp_path):
    saved = crafted.a_fit()
    saved.save(tmp_path / "fit.nc")
    assert jax.tree.structure(fitting.load(tmp_path / "fit.nc")) == jax.tree.structure(saved)


def test_more_ranks_are_compared_block_by_block(fit):
    def shifted(rank, by):
        columns = jnp.zeros((2, N, rank))
        return eqx.tree_at(
            lambda f: (f.networks.columns, f.block_deviance), fit, (columns, fit.block_deviance + np.asarray(by))
        )

    n = len(fit.block_deviance)
    noise = np.where(np.arange(n) % 2, 1e-4, -1e-4)
    comparison = fitting.RankComparison(
        (shifted(1, 1e-3), shifted(2, noise), shifted(3, 0.0), shifted(4, 1e-3 + noise))
    )
    assert comparison.chosen == 2
    assert comparison.fit.rank == 2


def test_early_stopping_returns_the_best_saved_point():
    class Overfitting(AbstractLearner):
        rates: jax.Array

        def loss(self, position, task):
            return jnp.sum((position - 3.0) ** 2)

        def gradient(self, position, task):
            return jax.value_and_grad(self.loss)(position, task)

        def held_out(self, position, task):
            return jnp.sum((position - 1.0) ** 2)

    task = ol.Task(jnp.zeros((1, 2, 1)), jnp.ones((1, 2, 1)), jnp.ones((1, 2, 1)), 0.1)
    rule = EarlyStopping(ol.GradientDescent(0.02, 200, save_every=2), patience=3)
    solution = learn(Overfitting(jnp.ones(())), task, jnp.zeros(1), rule, progress=False)
    path = np.asarray(solution.saved)[:, 0]
    assert solution.result == ol.RESULTS.stalled
    assert float(solution.final[0]) == path[np.abs(path[1:] - 1).argmin() + 1]
    assert len(path) == np.abs(path[1:] - 1).argmin() + 1 + 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"activity": np.where(np.arange(N) == 3, np.nan, ACTIVITY)},
            r"600 of 12,000 values are NaN.*mask=np.isfinite",
        ),
        ({"activity": ACTIVITY[0]}, r"must have shape \[trials, times, neurons\]"),
        ({"times": TIMES[::-1]}, "times must increase"),
        ({"conditions": [0] * (K - 1)}, "one entry for each of the 60 trials, got 59"),
        ({"epochs": [None, *EPOCHS[1:]]}, "the first of trial 0"),
        ({"mask": (EPOCHS != "washout")[:, None, None]}, "no trial of epoch 'washout' has data"),
        ({"activity": np.where(np.arange(N) == 3, 1.0, ACTIVITY)}, "1 of 20 neurons have no data or never change"),
        ({"mask": np.ones((K, T, N))}, "mask must be True where there are data"),
    ],
)
def test_bad_recordings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        recordings(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": 0}, "rank must be an integer of at least 1"),
        ({"rank": 21}, "rank must be at most 20, got 21: there are 20 units, 20 neurons, 60 trials"),
        ({"likelihood": fitting.Poisson()}, "is for spike counts"),
        ({"time_constant": 0.05}, r"an Euler step of 0.111111 is too long.*Euler\(n_steps\)"),
        ({"masks": MASKS._replace(stop=MASKS.train)}, "an entry is in two parts"),
        ({"masks": MASKS._replace(stop=1.0 * MASKS.stop)}, "masks.stop must hold True and False, got dtype float64"),
        ({"rule": ol.GradientFlow(1.0)}, "rule must be one in steps"),
        ({"decoder": fitting.OneToOne(), "n_units": 5}, "one unit for each of 20 neurons"),
    ],
)
def test_bad_arguments_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        fitting.fit_low_tensor_rank(recordings(), **({"rank": 2, "key": jax.random.key(0), "masks": MASKS} | changed))


def test_counts_with_gaussian_noise_are_warned_of():
    counts = recordings(activity=np.random.default_rng(0).poisson(3.0, ACTIVITY.shape))
    # Warnings are errors in these tests.
    with pytest.raises(UserWarning, match=r"likelihood=ol\.fitting\.Poisson"):
        fitting.fit_low_tensor_rank(counts, 1, jax.random.key(0))


def test_masked_values_are_never_read():
    hidden = np.random.default_rng(2).random(ACTIVITY.shape) < 0.2
    losses = []
    for filler in (np.nan, 1e3):
        given = recordings(activity=np.where(hidden, filler, ACTIVITY), mask=~hidden)
        masks = fitting.block_masks(given, jax.random.key(0), half=(1, 1, 1), guard=(1, 1, 0))
        learner = learner_of(given, masks, TAU, None, None, None, None, None, None)
        start = starts(learner, given, masks, (N, RANK), 0.5, jax.random.key(0), 1)
        losses.append(float(learner.loss(jax.tree.map(lambda a: a[0], start), learner.task)))
    assert losses[0] == losses[1]


def test_what_is_reported_and_its_guard_are_seen_by_nothing_else(fit):
    unseen = ~(MASKS.train | MASKS.stop)
    given = recordings(activity=np.where(unseen, 50 + ACTIVITY, ACTIVITY))
    again = fitting.fit_low_tensor_rank(
        given, RANK, jax.random.key(0), masks=MASKS, n_seeds=2, time_constant=TAU, rule=RULE, progress=False
    )
    assert eqx.tree_equal(again.networks, fit.networks)
    assert again.score > 1000 * fit.score


def test_pictures_are_drawn(fit):
    import matplotlib.pyplot as plt

    comparison = fitting.RankComparison((fit,))
    for draw, what in (
        ("trial_factors", fit), ("weight_eigenvalues", fit), ("fit_course", fit), ("projections", fit),
        ("rank_scores", comparison),
    ):  # fmt: skip
        assert getattr(ol.plot, draw)(what).has_data()
    assert ol.plot.sorted_activity(fit.predictions[10], TIMES, order_of=ACTIVITY[10]).has_data()
    plt.close("all")


def test_the_course_of_a_fit_is_held_against_principal_components(fit):
    import matplotlib.pyplot as plt
    from sklearn.decomposition import PCA

    flat = ACTIVITY.reshape(-1, ACTIVITY.shape[-1])
    model = PCA(fit.rank).fit(flat)
    left = np.mean((flat - model.inverse_transform(model.transform(flat))) ** 2)
    dashed = [line for line in ol.plot.fit_course(fit, recordings=recordings()).lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed[0].get_ydata(), left, rtol=1e-10)
    plt.close("all")
