"""History: twins, and decoders that tell which task came first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

LAYOUT = ol.Layout()
NAMES = ("vv", "vz", "zz")


def test_decoder_finds_a_history_that_is_there():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(60, 3))
    found = ol.studies.decode_history(start + 3.0, start - 3.0, seed=1, n_permutations=50)
    # Unit normals three standard deviations off the boundary on each of three features: errors beyond 5 sigma.
    assert found.accuracy == 1.0
    assert found.p_value == 1 / 51


def test_decoder_is_at_chance_without_a_history_even_if_twins_are_nearly_identical():
    """Twins that leak between training and test would be decoded below or above chance."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(200, 3))
    found = ol.studies.decode_history(
        start + 1e-3 * rng.normal(size=start.shape),
        start + 1e-3 * rng.normal(size=start.shape),
        seed=1,
        n_permutations=50,
    )
    # 400 decisions: three standard errors of a fair coin.
    assert abs(found.accuracy - 0.5) < 3 * 0.5 / np.sqrt(400)
    assert found.p_value > 0.02


def test_confidence_interval_covers_the_accuracy_and_shrinks_with_pairs():
    rng = np.random.default_rng(0)
    widths = []
    for n in (30, 300):
        start = rng.normal(size=(n, 1))
        found = ol.studies.decode_history(start + 0.5, start - 0.5, seed=1, n_permutations=1)
        assert found.low <= found.accuracy <= found.high
        widths.append(found.high - found.low)
    # As the square root of ten, up to the 1/sqrt(2 * 30) = 13 % by which the width from 30 pairs is uncertain.
    assert 0.6 * np.sqrt(10) < widths[0] / widths[1] < 1.6 * np.sqrt(10)


def test_random_starts_are_networks_drawn_as_published():
    gram = np.asarray(ol.studies.random_starts(LAYOUT, 200, key=jax.random.key(0)).gram)
    assert np.linalg.eigvalsh(gram).min() > 0
    diagonal = gram[:, np.arange(4), np.arange(4)]
    assert diagonal.min() >= 0.5
    assert diagonal.max() <= 2.0
    assert gram.min() >= 0


def test_twins_learn_as_they_would_alone():
    model = ol.Model(LAYOUT, ol.Erf())
    trials = {"n_trials": 2, "duration": 6.0, "dt": 0.2, "wait_range": (1.0, 2.0)}
    a = ol.tasks.stream(ol.tasks.flip_flop, **trials)
    b = ol.tasks.stream(ol.tasks.flip_flop, **trials, target_amplitude=1.0)
    common = ol.tasks.stream(ol.tasks.flip_flop, **trials, target_amplitude=0.8)
    rules = (ol.GradientDescent(0.05, 10), ol.GradientDescent(0.02, 10))
    starts = ol.studies.random_starts(LAYOUT, 3, key=jax.random.key(0))
    key = jax.random.key(1)
    twins = ol.studies.train_twins(model, (a, b), common, starts, rules, key=key)
    assert bool(jnp.all(twins.good))

    keys = jax.random.split(key, 3)
    one = ol.Overlaps(starts.gram[2], LAYOUT)
    first = ol.integrate(model, b, one, rules[0], keys[1])
    second = ol.integrate(model, common, first.final, rules[1], keys[2])
    # The same sums in another order of vectorised operations, over 20 steps.
    np.testing.assert_allclose(twins.after_first.gram[1, 2], first.final.gram, atol=1e-13)
    np.testing.assert_allclose(twins.after_common.gram[1, 2], second.final.gram, atol=1e-13)
    np.testing.assert_allclose(twins.losses[1, 1, 2], second.loss[-1], atol=1e-13)
    features = twins.features(NAMES)
    np.testing.assert_array_equal(features[1][2], [twins.after_common.entries()[name][1, 2] for name in NAMES])


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
