"""closure_error: the Gaussian theory against the limit of infinitely many neurons."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from validation_helpers import LAYOUT, RULE, erf_report, flip_flop, start

import overlap_learning as ol

LINEAR, ERF = (ol.Model(LAYOUT, phi) for phi in (ol.Linear(), ol.Erf()))
SHORT = ol.GradientDescent(5e-3, 50, save_every=5)
EPS = np.finfo(float).eps


@pytest.fixture(scope="module")
def linear():
    return ol.closure_error(
        LINEAR, flip_flop(), start(), SHORT, key=jax.random.key(0), n_neurons=20, n_seeds=2, progress=False
    )


@pytest.fixture(scope="module")
def erf():
    return erf_report()


def with_closure(report, closure):
    """The report with a made-up closure error of each overlap at each saved point, [S, p]."""
    rows, columns = LAYOUT.entry_indices
    gram = np.array(report.limit.overlaps.gram)
    gram[:, rows, columns] -= closure
    gram[:, columns, rows] = gram[:, rows, columns]
    return eqx.tree_at(lambda r: r.theory.overlaps.gram, report, jnp.asarray(gram))


def test_linear_theory_has_no_closure_error_and_networks_no_finite_size_part(linear):
    # Sums over 50 times and 20 neurons, and 50 steps that add up, as derived in `ol.validate`.
    path = np.abs(np.diff(np.asarray(linear.theory.overlaps.gram), axis=0)).sum(axis=0).max()
    allowed = 10 * EPS * ((50 + 20) * path + 50 * 2)
    assert path > 1e-3
    assert linear.largest.max() <= allowed
    assert np.abs(linear.networks.deviation).max() <= allowed
    assert np.abs(linear.loss_closure).max() <= allowed
    assert float(jnp.max(jnp.abs(linear.theory_output - linear.limit_output))) <= allowed
    np.testing.assert_array_equal(linear.limit.kurtosis, 0)
    np.testing.assert_allclose(linear.limit.linear_share, 1, rtol=0, atol=allowed)
    assert linear.until() == len(linear.largest) - 1
    assert "theory of a linear network is exact" in repr(linear)


def test_closure_error_is_limit_minus_theory(erf):
    for i, (row, column) in enumerate(zip(*LAYOUT.entry_indices, strict=True)):
        expected = erf.limit.overlaps.gram[:, row, column] - erf.theory.overlaps.gram[:, row, column]
        np.testing.assert_array_equal(erf.closure[:, i], expected)
    np.testing.assert_array_equal(erf.loss_closure, erf.limit.loss - erf.theory.loss)
    assert erf.resolved


def test_closure_error_grows_from_nothing_while_finite_size_does_not(erf):
    # At the start the overlaps are the same, and for Gaussian neurons so is their rate: the error begins later.
    change = np.abs(erf.closure).max(axis=1) / erf.change
    assert change[0] < 1e-12
    assert change[1] < 1e-4 < 1e-2 < change[-1]


def test_a_real_network_is_the_sum_of_the_parts(erf):
    """Network - theory = finite-N part + closure part, against a network trained here."""
    key = jax.random.split(jax.random.split(jax.random.fold_in(jax.random.key(2), 2**32 - 1), 2)[0], 12)[3]
    network = ol.train(ERF, flip_flop(), ol.Network.sample(start(), 32, key=key), RULE, progress=False)
    rows, columns = LAYOUT.entry_indices
    deviation = np.asarray(network.overlaps.gram - erf.theory.overlaps.gram)[:, rows, columns]
    # One network alone and one of twelve add up in another order; from near a saddle learning amplifies the rounding.
    np.testing.assert_allclose(deviation, erf.networks.deviation[0, 3] + erf.closure, rtol=0, atol=1e-9)
    assert np.abs(deviation).max() > 1e-3


def test_until_is_the_last_saved_point_within_the_tolerance(erf):
    n = len(erf.largest)
    closure = np.zeros((n, 10))
    closure[:, 4] = -0.001 * erf.change * np.arange(n)
    made = with_closure(erf, closure)
    np.testing.assert_allclose(made.largest, 0.001 * erf.change * np.arange(n), rtol=0, atol=1e-14)
    for tolerance, index in ((0.0035, 3), (0.0005, 0), (1.0, n - 1)):
        assert made.until(tolerance) == index
    # The report's own tolerance is 0.01: one point of eleven is beyond 0.0095 only.
    assert made.until() == n - 1 == 10
    assert made.until(0.0095) == 9


def test_a_closure_error_below_the_error_of_the_limit_is_not_claimed(erf):
    made = with_closure(erf, np.full((len(erf.largest), 10), 0.5 * erf.limit.error.max()))
    assert not made.resolved
    assert "The closure error is not resolved" in made.sentence
    assert "finer nodes would tell" in made.sentence


def test_an_error_as_large_as_what_is_learned_is_a_theory_that_fails_in_the_words_of_validate_too(erf):
    made = with_closure(erf, np.full((len(erf.largest), 10), 0.7 * erf.change))
    assert made.verdict == "the theory fails here"
    assert made.sentence.startswith("the theory fails here: the Gaussian theory ends")
    noise = np.random.default_rng(0).normal(size=(2, 2, *made.closure.shape))
    few = ol.Validation(
        theory=made.theory, n_neurons=(64, 65), deviation=made.closure + noise, loss=np.ones((2, 2, len(made.largest))),
        early=1, tolerance=np.zeros(2), closure=made,
    )  # fmt: skip
    assert few.verdict.sentence.startswith("The theory fails here: early in training")


def test_prints_theory_limit_and_the_split(erf):
    text = repr(erf)
    for expected in (
        "288 folded nodes (128 for the error)", "limit known to", "excess kurtosis: m ", "linear share: m ",
        "network minus limit", "512", "expected -1/2", "until step ",
    ):  # fmt: skip
        assert expected in text, expected
    # What is said is what is held.
    index = erf.until()
    assert f"until step {int(erf.theory.step[index])} " in text
    assert erf.largest[index] <= 0.01 * erf.change < erf.largest[index + 1]


def test_saves_with_labels(erf, tmp_path):
    import xarray

    erf.save(tmp_path / "closure.nc")
    with xarray.open_dataset(tmp_path / "closure.nc", engine="h5netcdf") as data:
        np.testing.assert_allclose(data["overlaps"] - data["theory_overlaps"], erf.closure, rtol=0, atol=1e-15)
        assert data["finite_size"].dims == ("n_neurons", "seed", "time", "overlap")
        np.testing.assert_array_equal(data["finite_size"], erf.networks.deviation)
        np.testing.assert_array_equal(data["limit_output"], erf.limit_output)
        assert data["theory_output"].attrs["long_name"] == "output of the theory"
        assert int(data.attrs["good_until_index"]) == erf.until()
    assert repr(ol.ClosureReport.load(tmp_path / "closure.nc")) == repr(erf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_neurons": 10}, r"networks are drawn at random and need a key: ol.closure_error\(..., key="),
        ({"n_neurons": (20, 10)}, "closure_error: n_neurons must be one or more increasing"),
        ({"n_neurons": 0}, "closure_error: n_neurons must be an integer of at least 1"),
        ({"n_seeds": 0}, "closure_error: n_seeds must be an integer of at least 1"),
        ({"tolerance": 0.0}, "closure_error: tolerance must be positive"),
        ({"rule": ol.DirectDescent(5e-3, 5)}, "closure_error: DirectDescent is no theory of a network"),
        ({"rule": ol.GradientDescent(5e-3, 5, stop_loss=1.0)}, "closure_error: the rule must not have a stop_loss"),
        ({"overlaps": ol.Overlaps(jnp.eye(6), ol.Layout(rank=2))}, "overlaps must be ol.Overlaps with Layout"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"model": ERF, "task": flip_flop(), "overlaps": start(), "rule": SHORT}
    with pytest.raises(ValueError, match=message):
        ol.closure_error(**(arguments | change))
