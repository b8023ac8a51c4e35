"""History: twins, and decoders that tell which task came first."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.studies.memory.decoding import Noise
from overlap_learning.studies.memory.decoding import _held_out as held_out
from overlap_learning.studies.memory.decoding import _interval as interval

LAYOUT = ol.Layout()
NAMES = ("vv", "vz", "zz")


def test_decoder_finds_a_history_that_is_there():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(60, 3))
    found = ol.studies.decode_history(start + 3.0, start - 3.0, seed=1, n_folds=5, n_permutations=20)
    # Unit normals three standard deviations off the boundary on each of three features: errors beyond 5 sigma.
    assert found.accuracy == 1.0
    assert found.p_value == 1 / 21


def test_decoder_is_at_chance_without_a_history_even_if_twins_are_nearly_identical():
    """Twins that leak between training and test would be decoded below or above chance."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(200, 3))
    found = ol.studies.decode_history(
        start + 1e-3 * rng.normal(size=start.shape),
        start + 1e-3 * rng.normal(size=start.shape),
        seed=1,
        n_folds=5,
        n_permutations=20,
    )
    # 400 decisions: three standard errors of a fair coin.
    assert abs(found.accuracy - 0.5) < 3 * 0.5 / np.sqrt(400)
    assert found.p_value > 0.04


@pytest.mark.parametrize(
    ("n_pairs", "share", "together"), [(6, 0.5, 0.5), (12, 0.8, 0.0), (12, 0.8, 1.0), (50, 0.95, 0.5)]
)
def test_confidence_interval_covers_the_true_share_in_95_per_cent_of_experiments(n_pairs, share, together):
    """Twins of a pair are decoded together with some probability, else on their own."""
    rng, n_experiments = np.random.default_rng(0), 1000
    hits = 0
    for _ in range(n_experiments):
        first = rng.random(n_pairs) < share
        second = np.where(rng.random(n_pairs) < together, first, rng.random(n_pairs) < share)
        low, high = interval(np.stack([first, second], axis=1).astype(float))
        hits += low <= share <= high
    # At least 95 %, less what the estimated variance of six pairs costs (it was below by 1.4 %), less three standard
    # errors.
    assert hits / n_experiments > 0.95 - 0.015 - 3 * np.sqrt(0.05 * 0.95 / n_experiments)


def test_confidence_interval_shrinks_with_pairs_and_is_no_point_if_all_is_decoded():
    def width(correct):
        low, high = interval(correct)
        assert low <= correct.mean() <= high
        return high - low

    few, many = (np.tile([[1.0, 0.0], [1.0, 1.0]], (n, 1)) for n in (15, 150))
    # As the square root of ten, up to the correction for small numbers, which is of relative order 1 / sqrt(60).
    assert width(few) / width(many) == pytest.approx(np.sqrt(10), rel=1 / np.sqrt(60))
    # Clopper and Pearson: (0.05 / 2)^(1 / n).
    assert interval(np.ones((10, 2))) == pytest.approx((0.025**0.1, 1.0))
    assert interval(np.zeros((10, 2))) == pytest.approx((0.0, 1 - 0.025**0.1))


def test_decoders_are_scikit_learn_pipelines_fold_by_fold():
    pipeline = pytest.importorskip("sklearn.pipeline")
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(1)
    start = rng.normal(size=(13, 2))
    first, second = start + np.array([0.5, 0.0]), start - np.array([0.5, 0.3])
    folds = np.array_split(rng.permutation(13), 4)
    found = held_out(first, second, folds, Noise(), rng)
    for held in folds:
        kept = np.setdiff1d(np.arange(13), held)
        decoder = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
        decoder.fit(np.concatenate([first[kept], second[kept]]), np.repeat([0, 1], len(kept)))
        for label, twins in enumerate((first, second)):
            assert np.array_equal(found[held, label], decoder.predict(twins[held]) == label)
    assert 0 < found.mean() < 1


def test_a_decoder_has_seen_neither_a_network_nor_its_twin():
    """A feature that is a pair's own says all about a twin that was seen, and nothing about others."""
    rng = np.random.default_rng(0)
    own = 1e3 * np.eye(30)
    flips = np.where(rng.random(30) < 0.5, 1.0, -1.0)[:, None]
    first, second = own * flips, -own * flips
    found = held_out(first, second, np.array_split(rng.permutation(30), 5), Noise(), rng)
    # In training the feature of a held-out pair is 0 for all: its weight is 0, and both twins get the same label.
    assert np.array_equal(found.sum(axis=1), np.ones(30))


def test_training_noise_drowns_small_differences_in_the_decoder_and_not_in_the_test():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(100, 1))
    sure = {"seed": 1, "n_permutations": 1}
    clear = ol.studies.decode_history(start + 3, start - 3, training_noise=0.3, **sure)
    drowned = ol.studies.decode_history(start + 3, start - 3, training_noise=100.0, **sure)
    assert clear.accuracy > 0.98
    assert drowned.accuracy < 0.9


@pytest.mark.parametrize("noise", ["training_noise", "measurement_noise"])
def test_what_is_decoded_is_without_noise(noise):
    rng = np.random.default_rng(0)
    start = 0.01 * rng.normal(size=(200, 1))
    found = ol.studies.decode_history(start + 1, start - 1, seed=1, n_permutations=1, **{noise: 3.0})
    # With noise three times the signal on what is decoded too, one in three would be wrong: 1 - Phi(1/3) = 0.37.
    assert found.accuracy > 0.9


def test_measurement_noise_is_in_the_units_of_the_features():
    """The same features a thousand times smaller: standardised they are the same, to a measurement they are not."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(100, 1))
    found = {
        (scale, noise): ol.studies.decode_history(
            scale * (start + 3), scale * (start - 3), seed=1, n_permutations=1, **{noise: 0.3}
        ).accuracy
        for scale in (1.0, 1e-3)
        for noise in ("training_noise", "measurement_noise")
    }
    assert found[1.0, "training_noise"] == found[1e-3, "training_noise"] > 0.98
    assert found[1.0, "measurement_noise"] > 0.98
    assert found[1e-3, "measurement_noise"] < 0.9


def test_permutations_of_nothing_give_any_p_value_alike():
    """Twins without a history: the p-value is uniform, which a test on its mean sees."""
    values = []
    for seed in range(24):
        start = np.random.default_rng(seed).normal(size=(2, 15, 2))
        values.append(ol.studies.decode_history(*start, seed=seed, n_folds=3, n_permutations=9).p_value)
    # Mean 1/2 (and above, because ties count), standard error sqrt(1/12/24); three of them.
    assert 0.5 - 3 * np.sqrt(1 / 12 / 24) < np.mean(values) < 0.65 + 3 * np.sqrt(1 / 12 / 24)
    assert min(values) < 0.3


def test_random_starts_are_networks_drawn_as_published():
    gram = np.asarray(ol.studies.random_starts(LAYOUT, 200, key=jax.random.key(0)).gram)
    assert np.linalg.eigvalsh(gram).min() > 0
    diagonal = gram[:, np.arange(4), np.arange(4)]
    assert diagonal.min() >= 0.5
    assert diagonal.max() <= 2.0
    assert gram.min() >= 0


MODEL = ol.Model(LAYOUT, ol.Erf())
# Fixed batches of one shape, so that all phases share a program.
A, B, C = (
    ol.tasks.flip_flop(
        key=jax.random.key(i), n_trials=2, duration=6.0, dt=0.2, wait_range=(1.0, 2.0), target_amplitude=0.5 + 0.2 * i
    )
    for i in range(3)
)
RULES = (
    ol.GradientDescent(ol.LossSchedule(0.05, below=1.0, factor=0.5), 10),
    ol.GradientDescent(ol.LossSchedule(0.02, below=1e-9, factor=0.5), 10),
)
STARTS = ol.studies.random_starts(LAYOUT, 3, key=jax.random.key(0))
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def theory():
    return ol.studies.train_twins(MODEL, (A, B), C, STARTS, RULES, key=KEY)


@pytest.fixture(scope="module")
def neurons():
    return ol.Network.sample(STARTS, 8, key=jax.random.key(2))


@pytest.fixture(scope="module")
def full(neurons):
    return ol.studies.train_twins(MODEL, (A, B), C, neurons, RULES, key=KEY, progress=False)


def test_twins_learn_as_they_would_alone(theory):
    assert bool(jnp.all(theory.good))
    keys = jax.random.split(KEY, 3)
    one = ol.Overlaps(STARTS.gram[2], LAYOUT)
    first = ol.integrate(MODEL, B, one, RULES[0], keys[1])
    second = ol.integrate(MODEL, C, first.final, RULES[1], keys[2])
    # The same sums in another order of vectorised operations, over 20 steps.
    np.testing.assert_allclose(theory.after_first.gram[1, 2], first.final.gram, atol=1e-13)
    np.testing.assert_allclose(theory.after_common.gram[1, 2], second.final.gram, atol=1e-13)
    np.testing.assert_allclose(theory.first.overlaps.gram[1, 2], first.overlaps.gram, atol=1e-13)
    np.testing.assert_allclose(theory.losses[1, 1, 2], second.loss[-1], atol=1e-13)
    features = theory.features(NAMES)
    np.testing.assert_array_equal(features[1][2], [theory.after_common.entries()[name][1, 2] for name in NAMES])


def test_twins_at_full_n_start_as_the_same_neurons_and_learn_as_they_would_alone(full, neurons):
    keys = jax.random.split(KEY, 3)
    one = ol.Network(neurons.vectors[2], LAYOUT)
    first = ol.train(MODEL, A, one, RULES[0], keys[0])
    second = ol.train(MODEL, C, first.final, RULES[1], keys[2])
    np.testing.assert_allclose(full.after_first.gram[0, 2], first.final.overlaps.gram, atol=1e-12)
    np.testing.assert_allclose(full.after_common.gram[0, 2], second.final.overlaps.gram, atol=1e-12)
    np.testing.assert_allclose(full.first.overlaps.gram[0, :, 0], full.first.overlaps.gram[1, :, 0], atol=1e-14)
    np.testing.assert_allclose(full.losses[0, 0, 2], first.loss[-1], atol=1e-12)
    assert full.n_neurons == 8


def test_theory_and_full_n_have_the_same_starts_and_trials_and_part_as_neurons_are_few(theory, full):
    np.testing.assert_allclose(theory.start.gram, full.start.gram, atol=1e-12)
    np.testing.assert_allclose(theory.first.time, full.first.time, atol=1e-12)
    assert 1e-4 < float(jnp.max(jnp.abs(theory.after_first.gram - full.after_first.gram))) < 1.0


def test_a_pair_of_which_one_twin_ended_badly_is_left_out(full):
    twins = eqx.tree_at(lambda t: t.common.good, full, full.common.good.at[0, 1].set(False))
    assert twins.good.tolist() == [True, False, True]
    kept, every = twins.features(("uu", "vz")), full.features(("uu", "vz"))
    for mine, others in zip(kept, every, strict=True):
        assert np.array_equal(mine, others[[0, 2]])


def test_an_expensive_run_is_kept_as_data_and_resumed_from_its_checkpoints(full, neurons, tmp_path):
    import xarray

    for _ in range(2):
        kept = ol.studies.train_twins(
            MODEL,
            (A, B),
            C,
            neurons,
            RULES,
            key=KEY,
            progress=False,
            checkpoint=ol.Checkpoint(tmp_path / "a", every=10),
        )
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["common", "first-a", "first-b"]
    # The same steps in compiled calls of other lengths.
    np.testing.assert_allclose(kept.after_common.gram, full.after_common.gram, atol=1e-13)
    kept.save(tmp_path / "twins.nc")
    with xarray.open_dataset(tmp_path / "twins.nc", engine="h5netcdf") as data:
        assert data.sizes["pair"] == 3
        assert data.attrs["n_neurons"] == 8
        values = data["common_final"].sel(overlap="vz").values
        np.testing.assert_array_equal(values, kept.after_common.entries()["vz"])
        assert data["first_overlaps"].dims == ("history", "pair", "first_point", "overlap")


def test_theory_is_resumed_from_its_checkpoints_too(theory, tmp_path):
    checkpoint = ol.Checkpoint(tmp_path, every=10)
    for _ in range(2):
        kept = ol.studies.train_twins(MODEL, (A, B), C, STARTS, RULES, key=KEY, checkpoint=checkpoint)
        np.testing.assert_allclose(kept.after_common.gram, theory.after_common.gram, atol=1e-13)
    with pytest.raises(ValueError, match=r"train_twins: the checkpoints in .*first-a.*key was"):
        ol.studies.train_twins(MODEL, (A, B), C, STARTS, RULES, key=jax.random.key(2), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"starts": STARTS.gram}, r"starts must be ol\.Overlaps \(theory\) or an ol\.Network"),
        ({"starts": ol.Overlaps(STARTS.gram[0], LAYOUT)}, r"starts must have gram \[n_pairs, d, d\], got \[4, 4\]"),
        ({"starts": ol.studies.random_starts(ol.Layout(rank=2), 2, key=KEY)}, r"starts have .*rank=2"),
        ({"first": (A,)}, r"give two first tasks and two rules"),
        ({"rules": (RULES[0], ol.DirectDescent(0.1, 5))}, r"the theory follows ol\.GradientDescent.*got DirectDescent"),
        (
            {"first": (ol.tasks.stream(ol.tasks.flip_flop, n_trials=2), B), "rules": (ol.GradientFlow(1.0), RULES[1])},
            r"GradientFlow needs a fixed batch",
        ),
    ],
)
def test_twins_that_do_not_fit_together_are_refused(changed, message):
    arguments = {"first": (A, B), "common": C, "starts": STARTS, "rules": RULES} | changed
    with pytest.raises(ValueError, match=f"train_twins: {message}"):
        ol.studies.train_twins(MODEL, key=KEY, **arguments)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((4, 2)), np.zeros((3, 2)), "must both have shape"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "two or more pairs"),
        (np.full((4, 2), np.nan), np.zeros((4, 2)), "must be finite"),
    ],
)
def test_bad_features_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        ol.studies.decode_history(first, second, seed=0)


@pytest.mark.parametrize(
    "settings", [{"training_noise": -0.1}, {"measurement_noise": -1.0}, {"n_permutations": 0}, {"n_folds": 1}]
)
def test_bad_settings_of_a_decoder_are_refused(settings):
    with pytest.raises(ValueError, match=f"decode_history: {next(iter(settings))} must be"):
        ol.studies.decode_history(np.zeros((4, 2)), np.ones((4, 2)), seed=0, **settings)
