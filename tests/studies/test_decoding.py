"""Decoding: which of two histories, from pairs of twins or from single networks; power, calibration, coverage."""

import jax
import numpy as np
import pytest
from scipy.stats import binom, kstwo, ttest_1samp

import overlap_learning as ol
from overlap_learning.studies.memory import decoding
from overlap_learning.studies.memory.decoding import Noise, decode_single_twins

KEY = jax.random.key(1)


def twins(rng, n_pairs, n_features, effect=(), start=3.0, spread=0.42):
    """Pairs whose starts vary by `start`, their differences by `spread`, about `effect` in the first features."""
    own = start * rng.normal(size=(n_pairs, n_features))
    first, second = own + spread / np.sqrt(2) * rng.normal(size=(2, n_pairs, n_features))
    first[:, : len(effect)] += np.asarray(effect)
    return first, second


# -- power -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_features", "with_effect"), [(1, 1), (6, 2), (6, 3)])
def test_a_history_that_a_paired_test_sees_is_found_however_much_starts_vary(n_features, with_effect):
    """Twelve pairs, starts that vary six times as much as the difference: found at 5 % in 38 of 40 data sets."""
    found = paired = 0
    for seed in range(40):
        first, second = twins(np.random.default_rng(seed), 12, n_features, [0.5] * with_effect)
        found += ol.studies.decode_history(first, second, key=jax.random.key(seed)).p_value <= 0.05
        paired += ttest_1samp((first - second)[:, 0], 0.0).pvalue <= 0.05
    assert found >= 38
    # The best test of one feature that knows which one, whose power is 0.96.
    assert paired >= 36


def test_decoders_of_single_twins_do_not_find_it():
    found = [
        decode_single_twins(
            *twins(np.random.default_rng(seed), 12, 6, [0.5, 0.5]), key=KEY, n_folds=4, n_permutations=19
        )
        for seed in range(12)
    ]
    # With the power of the test by pairs, .96, so few of twelve would be found once in 10^8 times.
    assert sum(one.p_value <= 0.05 for one in found) <= 4


def _power(effect, chaos, n_data=100):
    """The share of data sets of twelve pairs in which each measure, and their combination, has p <= .05."""
    rng = np.random.default_rng(0)
    signs = decoding._signs(12, 4096, rng)
    found = []
    for _ in range(n_data):
        difference = rng.normal(size=(12, len(effect))) @ np.linalg.cholesky(chaos).T + effect
        tails = decoding._tails(difference, signs)
        score = np.min(tails, axis=0)
        found.append([*(tail[0] <= 0.05 for tail in tails), np.mean(score <= score[0]) <= 0.05])
    return np.mean(found, axis=0)


def test_three_measures_together_are_never_far_from_the_best_of_them():
    """Each of them is blind to a history that another sees; a test of all is behind by at most .2 in power."""
    one, alike = np.eye(6), 0.9 * np.ones((6, 6)) + 0.1 * np.eye(6)
    powers = np.array([
        _power(1.1 * np.eye(6)[0], one),  # in one feature
        _power(np.full(6, 0.45), one),  # in all
        _power(np.array([0.46, -0.46, 0, 0, 0, 0]), alike),  # in a combination that hardly varies
    ])  # fmt: skip
    each, together = powers[:, :3], powers[:, 3]
    # Powers of 100 data sets, the same for all tests: standard errors of differences of about .04.
    assert np.argmax(each, axis=1).tolist() == [0, 1, 2]
    assert np.all(each.max(axis=0) - each.min(axis=0) > 0.15)
    assert np.all(together > each.max(axis=1) - 0.2)
    # One of the three alone would be behind by more.
    assert np.max(each.max(axis=1) - together) < np.min(np.max(each.max(axis=1)[:, None] - each, axis=0))


# -- calibration -----------------------------------------------------------------------------------------------------


def _randomised_p(first, second, noise, n_flips, rng):
    """The p-value with its ties broken at random: exactly uniform on (0, 1) if a test is exact, discrete or not."""
    noisy = decoding._noisy(np.stack([first, second]), noise, rng)
    scores = decoding._scores(noisy[0] - noisy[1], decoding._signs(len(first), n_flips, rng))
    return np.mean(scores < scores[0]) + rng.random() * np.mean(scores == scores[0])


NULLS = {
    "plain": (8, 3, Noise(), 10_000),
    "with noise on training features": (10, 3, Noise(training=0.3), 10_000),
    "with noise in units of features": (10, 3, Noise(measurement=0.3), 10_000),
    "few pairs and many features": (6, 20, Noise(), 10_000),
    "with flips drawn at random": (20, 4, Noise(), 99),
}


@pytest.mark.parametrize("name", NULLS)
def test_p_values_are_uniform_without_a_history(name):
    """Kolmogorov and Smirnov, over 400 data sets."""
    n_pairs, n_features, noise, n_flips = NULLS[name]
    rng = np.random.default_rng(0)
    values = np.sort([_randomised_p(*twins(rng, n_pairs, n_features), noise, n_flips, rng) for _ in range(400)])
    distance = np.max(np.abs(values - (np.arange(400) + 0.5) / 400)) + 0.5 / 400
    # The 99 % quantile of the distance, 0.081, in five settings with fixed seeds.
    assert distance < kstwo.ppf(0.99, 400)


@pytest.mark.parametrize("tails", ["heavy", "lopsided"])
def test_the_p_value_that_is_given_is_at_most_a_in_a_share_a_of_data_sets(tails):
    """It is discrete, and counts ties as extreme; pairs need neither be normal nor alike."""
    rng, n_data = np.random.default_rng(0), 400
    values = []
    for _ in range(n_data):
        first, second = twins(rng, 7, 2)
        if tails == "heavy":
            second = first + (first - second) * np.abs(rng.standard_cauchy(size=(7, 1)))
        else:
            # The first twin of a pair by chance: differences whose signs tell nothing, however lopsided.
            swap = np.where(rng.random((7, 1)) < 0.5, 1.0, -1.0)
            second = first + swap * rng.exponential(size=(7, 2))
        scores = decoding._scores(first - second, decoding._signs(7, 10_000, rng))
        values.append(np.mean(scores <= scores[0]))
    for a in (0.05, 0.1, 0.25, 0.5):
        # The binomial 99.9 % quantile; below it by no more than the ties hold, of 64 flips and three measures.
        assert binom.ppf(0.001, n_data, a - 3 / 64) <= np.sum(np.array(values) <= a) <= binom.ppf(0.999, n_data, a)


def test_p_values_count_all_flips_of_few_pairs_and_are_exact():
    """One feature: the p-value is the share of sums of `+-d_i` that are as far from 0."""
    difference = np.array([0.3, 1.1, 0.2, 0.9, -0.1, 0.7])
    sums = np.array([np.sum(difference * (1 - 2 * ((i >> np.arange(6)) & 1))) for i in range(64)])
    expected = np.mean(np.abs(sums) >= np.abs(sums[0]) - 1e-12)
    start = np.arange(6.0)
    found = ol.studies.decode_history((start + difference)[:, None], start[:, None], key=KEY, n_folds=3)
    assert found.p_value == expected == 4 / 64


def test_the_smallest_p_value_is_that_of_all_flips_or_of_those_drawn():
    start = np.random.default_rng(0).normal(size=(6, 1))
    for n_flips in (32, 10_000):
        assert ol.studies.decode_history(start + 1, start, key=KEY, n_flips=n_flips).p_value == 1 / 32
    # Drawn flips may be those that flip none or all, and are as extreme as the data.
    drawn = ol.studies.decode_history(start + 1, start, key=KEY, n_flips=31).p_value
    assert drawn * 32 == round(drawn * 32) >= 1
    many = np.random.default_rng(0).normal(size=(60, 1))
    assert ol.studies.decode_history(many + 1, many, key=KEY, n_flips=99).p_value == 1 / 100


def test_nothing_depends_on_the_units_of_a_feature_and_the_order_of_histories():
    first, second = twins(np.random.default_rng(0), 9, 3, [0.5])
    found = ol.studies.decode_history(first, second, key=KEY)
    units = np.array([1e-6, 1.0, 1e3])
    assert ol.studies.decode_history(first * units, second * units, key=KEY) == found
    assert ol.studies.decode_history(second, first, key=KEY) == found


def test_twins_that_are_equal_are_a_tie():
    start = np.random.default_rng(0).normal(size=(5, 2))
    found = ol.studies.decode_history(start, start, key=KEY)
    assert (found.accuracy, found.p_value, found.n_pairs) == (0.5, 1.0, 5)


# -- accuracy and its interval ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_pairs", "n_features", "effect", "noise"),
    [(6, 1, 0.0, 0.0), (10, 1, 0.2, 0.0), (10, 4, 0.0, 0.0), (12, 4, 0.5, 0.0), (12, 3, 0.3, 0.3), (24, 1, 0.0, 0.0)],
)
def test_intervals_cover_the_expected_accuracy_in_95_per_cent_of_experiments(n_pairs, n_features, effect, noise):
    """Decisions about left-out pairs depend on each other; most where there is no history."""
    rng, n_data = np.random.default_rng(0), 100
    found = np.array([
        ol.studies.decode_history(
            *twins(rng, n_pairs, n_features, [effect]), key=jax.random.key(i), training_noise=noise, n_flips=1
        )
        for i in range(n_data)
    ])  # fmt: skip
    accuracy, low, high = found.T[:3]
    # The mean over experiments has a standard error of at most .025, of intervals that are wider than .35.
    expected = 0.5 if effect == 0 else accuracy.mean()
    assert abs(accuracy.mean() - expected) < 3 * accuracy.std() / np.sqrt(n_data)
    covered = np.sum((low <= expected) & (expected <= high))
    assert covered >= binom.ppf(0.01, n_data, 0.95)


def test_a_binomial_interval_would_be_too_narrow():
    """Why there are fewer decisions than pairs: without a history their mean varies more than that of coins."""
    rng = np.random.default_rng(0)
    accuracy = []
    for _ in range(200):
        folds = np.array_split(rng.permutation(10), 5)
        accuracy.append(decoding._left_out_pairs(*twins(rng, 10, 1), folds, Noise(), rng).mean())
    variance = np.var(accuracy) / (0.25 / 10)
    # Twice that of coins at most, 1.7 measured over 600; the standard error of a variance is sqrt(2 / 200) of it.
    assert 1.3 < variance < 2.25


def test_intervals_are_those_of_clopper_and_pearson():
    # All right: (0.05 / 2)^(1 / n).
    assert decoding._clopper_pearson(1.0, 10) == pytest.approx((0.025**0.1, 1.0))
    assert decoding._clopper_pearson(0.0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    low, high = decoding._clopper_pearson(0.7, 10)
    assert binom.sf(6, 10, low) == pytest.approx(0.025)
    assert binom.cdf(7, 10, high) == pytest.approx(0.025)
    start = np.random.default_rng(0).normal(size=(10, 2))
    found = ol.studies.decode_history(start + 1, start, key=KEY)
    assert found[:3] == pytest.approx((1.0, 0.025 ** (2.25 / 10), 1.0))


def test_decoders_of_pairs_are_scikit_learns_fold_by_fold():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    first, second = twins(rng, 13, 2, [0.3, -0.2])
    folds = np.array_split(rng.permutation(13), 4)
    found = decoding._left_out_pairs(first, second, folds, Noise(), rng)
    for held in folds:
        kept = np.setdiff1d(np.arange(13), held)
        rows = np.concatenate([(first - second)[kept], (second - first)[kept]])
        # Rows in both orders have the mean 0.
        scale = rows.std(axis=0)
        decoder = linear_model.LogisticRegression(fit_intercept=False).fit(rows / scale, np.repeat([1, 0], len(kept)))
        assert np.array_equal(found[held], decoder.predict((first - second)[held] / scale))
    assert 0 < found.mean() < 1


def test_a_decoder_has_not_seen_the_pair_that_it_is_tested_on():
    """A feature that is a pair's own says all about a pair that was seen, and nothing about others."""
    difference = np.diag(np.where(np.random.default_rng(0).random(20) < 0.5, 1.0, -1.0))
    found = ol.studies.decode_history(difference, np.zeros((20, 20)), key=KEY, n_flips=1)
    assert found.accuracy == 0.5


@pytest.mark.parametrize("noise", ["training_noise", "measurement_noise"])
def test_what_is_decoded_is_without_noise(noise):
    start = 0.01 * np.random.default_rng(0).normal(size=(200, 1))
    found = ol.studies.decode_history(start + 1, start - 1, key=KEY, **{noise: 3.0})
    # With noise 1.5 times the difference on what is decoded too, one in six would be wrong: 1 - Phi(2 / (3 sqrt 2)).
    assert found.accuracy == 1.0


def test_noise_hides_from_the_p_value_what_is_smaller_than_it():
    rng = np.random.default_rng(0)
    first, second = twins(rng, 12, 2, [0.1, 0.1], spread=0.01)
    clear = ol.studies.decode_history(first, second, key=KEY)
    assert clear.p_value == 1 / 2048
    hidden = [
        ol.studies.decode_history(first, second, key=jax.random.key(i), measurement_noise=3.0).p_value
        for i in range(20)
    ]
    assert np.mean(np.array(hidden) <= 0.05) < 0.3
    # In units of the spread of starts, 3, noise of .01 is smaller than the difference and noise of 1 larger.
    assert ol.studies.decode_history(first, second, key=KEY, training_noise=0.01).p_value < 0.05
    assert ol.studies.decode_history(first, second, key=KEY, training_noise=1.0).p_value > 0.05


@pytest.mark.parametrize("decode", [ol.studies.decode_history, decode_single_twins])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((4, 2)), np.zeros((3, 2)), "must both have shape"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "two or more pairs"),
        (np.zeros((4, 0)), np.zeros((4, 0)), "and a feature"),
        (np.full((4, 2), np.nan), np.zeros((4, 2)), "must be finite"),
    ],
)
def test_bad_features_are_refused(decode, first, second, message):
    with pytest.raises(ValueError, match=f"{decode.__name__}: .*{message}"):
        decode(first, second, key=KEY)


@pytest.mark.parametrize(
    ("decode", "settings"),
    [
        (ol.studies.decode_history, {"training_noise": -0.1}),
        (ol.studies.decode_history, {"measurement_noise": -1.0}),
        (ol.studies.decode_history, {"n_flips": 0}),
        (ol.studies.decode_history, {"n_folds": 1}),
        (ol.studies.decode_history, {"key": 0}),
        (decode_single_twins, {"training_noise": np.inf}),
        (decode_single_twins, {"n_permutations": 0}),
        (decode_single_twins, {"n_folds": 1}),
    ],
)
def test_bad_settings_of_a_decoder_are_refused(decode, settings):
    with pytest.raises(ValueError, match=f"{decode.__name__}: {next(iter(settings))} must be"):
        decode(np.zeros((4, 2)), np.ones((4, 2)), **{"key": KEY, **settings})


# -- single twins ----------------------------------------------------------------------------------------------------


def test_decoder_of_single_twins_finds_a_history_that_is_there():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(60, 3))
    found = decode_single_twins(start + 3.0, start - 3.0, key=KEY, n_folds=5, n_permutations=20)
    # Unit normals three standard deviations off the boundary on each of three features: errors beyond 5 sigma.
    assert found.accuracy == 1.0
    assert found.p_value == 1 / 21


def test_decoder_is_at_chance_without_a_history_even_if_twins_are_nearly_identical():
    """Twins that leak between training and test would be decoded below or above chance."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(200, 3))
    found = decode_single_twins(
        start + 1e-3 * rng.normal(size=start.shape),
        start + 1e-3 * rng.normal(size=start.shape),
        key=KEY,
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
        low, high = decoding._interval(np.stack([first, second], axis=1).astype(float))
        hits += low <= share <= high
    # At least 95 %, less what the estimated variance of six pairs costs (it was below by 1.4 %), less three standard
    # errors.
    assert hits / n_experiments > 0.95 - 0.015 - 3 * np.sqrt(0.05 * 0.95 / n_experiments)


def test_confidence_interval_shrinks_with_pairs_and_is_no_point_if_all_is_decoded():
    def width(correct):
        low, high = decoding._interval(correct)
        assert low <= correct.mean() <= high
        return high - low

    few, many = (np.tile([[1.0, 0.0], [1.0, 1.0]], (n, 1)) for n in (15, 150))
    # As the square root of ten, up to the correction for small numbers, which is of relative order 1 / sqrt(60).
    assert width(few) / width(many) == pytest.approx(np.sqrt(10), rel=1 / np.sqrt(60))
    # Clopper and Pearson: (0.05 / 2)^(1 / n).
    assert decoding._interval(np.ones((10, 2))) == pytest.approx((0.025**0.1, 1.0))
    assert decoding._interval(np.zeros((10, 2))) == pytest.approx((0.0, 1 - 0.025**0.1))


def test_decoders_of_single_twins_are_scikit_learn_pipelines_fold_by_fold():
    pipeline = pytest.importorskip("sklearn.pipeline")
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(1)
    start = rng.normal(size=(13, 2))
    first, second = start + np.array([0.5, 0.0]), start - np.array([0.5, 0.3])
    folds = np.array_split(rng.permutation(13), 4)
    found = decoding._held_out(first, second, folds, Noise(), rng)
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
    found = decoding._held_out(first, second, np.array_split(rng.permutation(30), 5), Noise(), rng)
    # In training the feature of a held-out pair is 0 for all: its weight is 0, and both twins get the same label.
    assert np.array_equal(found.sum(axis=1), np.ones(30))


def test_training_noise_drowns_small_differences_in_the_decoder_and_not_in_the_test():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(100, 1))
    sure = {"key": KEY, "n_permutations": 1}
    clear = decode_single_twins(start + 3, start - 3, training_noise=0.3, **sure)
    drowned = decode_single_twins(start + 3, start - 3, training_noise=100.0, **sure)
    assert clear.accuracy > 0.98
    assert drowned.accuracy < 0.9


@pytest.mark.parametrize("noise", ["training_noise", "measurement_noise"])
def test_what_a_decoder_of_single_twins_is_tested_on_is_without_noise(noise):
    rng = np.random.default_rng(0)
    start = 0.01 * rng.normal(size=(200, 1))
    found = decode_single_twins(start + 1, start - 1, key=KEY, n_permutations=1, **{noise: 3.0})
    # With noise three times the signal on what is decoded too, one in three would be wrong: 1 - Phi(1/3) = 0.37.
    assert found.accuracy > 0.9


def test_measurement_noise_is_in_the_units_of_the_features():
    """The same features a thousand times smaller: standardised they are the same, to a measurement they are not."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(100, 1))
    found = {
        (scale, noise): decode_single_twins(
            scale * (start + 3), scale * (start - 3), key=KEY, n_permutations=1, **{noise: 0.3}
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
        values.append(decode_single_twins(*start, key=jax.random.key(seed), n_folds=3, n_permutations=9).p_value)
    # Mean 1/2 (and above, because ties count), standard error sqrt(1/12/24); three of them.
    assert 0.5 - 3 * np.sqrt(1 / 12 / 24) < np.mean(values) < 0.65 + 3 * np.sqrt(1 / 12 / 24)
    assert min(values) < 0.3
