"""Overlaps: which Gram matrices are accepted, how entries are named, and what the errors say."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import scipy.optimize
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import overlap_learning as ol
from overlap_learning.model.overlaps import interval

EPS = np.finfo(float).eps
RANK_ONE = ol.Layout()
RANK_TWO = ol.Layout(n_in=1, rank=2, n_out=1)
LAYOUTS = [ol.Layout(1, 0, 1), RANK_ONE, RANK_TWO, ol.Layout(2, 1, 2)]


def random_gram(layout, seed=0, n_neurons=None):
    """The Gram matrix of Gaussian vectors, well conditioned unless there are few neurons."""
    n = n_neurons or 3 * layout.size
    vectors = np.random.default_rng(seed).normal(size=(n, layout.size))
    return vectors.T @ vectors / n


def feasible_by_bisection(gram, i, j):
    """The values of entry (i, j) with a smallest eigenvalue of at least zero, and the uncertainty of the two ends.

    The smallest eigenvalue is concave in the entry, so that its zeros lie on the two sides of its maximum.
    """
    d = len(gram)

    def smallest(value):
        changed = gram.copy()
        changed[i, j] = changed[j, i] = value
        return np.linalg.eigvalsh(changed)[0]

    def root(inside, outside):
        found = scipy.optimize.brentq(smallest, inside, outside, xtol=1e-15, rtol=4 * EPS)
        changed = gram.copy()
        changed[i, j] = changed[j, i] = found
        vector = np.linalg.eigh(changed)[1][:, 0]
        slope = abs(vector[i] * vector[j]) * (1 if i == j else 2)
        # Eigenvalues come with an error of d eps times the largest; the slope turns it into one of the entry.
        return found, 10 * d * EPS * np.abs(np.linalg.eigvalsh(changed)).max() / slope

    if i == j:
        return root(gram[i, i] + 10 * np.trace(gram), -1.0), (np.inf, 0.0)
    reach = 2 * np.sqrt(gram[i, i] * gram[j, j])
    best = scipy.optimize.minimize_scalar(lambda x: -smallest(x), bounds=(-reach, reach), method="bounded").x
    return root(best, -reach), root(best, reach)


# -- what is accepted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gram_matrix_is_kept_as_given(layout):
    gram = random_gram(layout)
    overlaps = ol.Overlaps(gram, layout)
    assert np.array_equal(overlaps.gram, gram)
    assert jax.tree.leaves(overlaps)[0] is overlaps.gram


def test_single_precision_is_kept_and_integers_become_floats():
    assert ol.Overlaps(np.eye(4, dtype=np.float32), RANK_ONE).gram.dtype == np.float32
    assert ol.Overlaps(np.eye(4, dtype=int), RANK_ONE).gram.dtype == np.float64


@given(
    layout=st.sampled_from(LAYOUTS),
    data=st.data(),
    n_neurons=st.integers(1, 8),
    exponent=st.integers(-6, 6),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=25, deadline=None)
def test_the_gram_of_any_vectors_is_accepted(layout, data, n_neurons, exponent, dtype):
    """Singular ones too: fewer neurons than vectors, equal vectors, zero vectors."""
    elements = st.integers(-8, 8).map(lambda k: k / 3)
    vectors = data.draw(arrays.arrays(float, (n_neurons, layout.size), elements=elements))
    vectors = (10.0**exponent * vectors).astype(dtype)
    gram = vectors.T @ vectors / dtype(n_neurons)
    assert np.array_equal(ol.Overlaps(gram, layout).gram, gram)


def test_singular_grams_are_accepted():
    equal = np.ones((4, 4))
    absent = np.diag([1.0, 1.0, 0.0, 0.0])
    for gram in (equal, absent, np.zeros((4, 4)), random_gram(RANK_ONE, n_neurons=2)):
        assert np.array_equal(ol.Overlaps(gram, RANK_ONE).gram, gram)
    # u and v the same vector: the boundary of what is feasible, reached by name.
    assert ol.Overlaps.from_entries(RANK_ONE, vu=1.0)["v", "u"] == 1.0


@pytest.mark.parametrize(("factor", "is_accepted"), [(0.2, True), (2.0, False)])
def test_negative_eigenvalues_are_accepted_to_rounding_and_no_further(factor, is_accepted):
    """The tolerance is 100 d eps of the largest eigenvalue, 1 here, or of the largest entry, at least 1/d of that."""
    d = RANK_ONE.size
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(d, d)))[0]
    gram = axes @ np.diag([-factor * 100 * d * EPS, 0.3, 0.6, 1.0]) @ axes.T
    gram = (gram + gram.T) / 2
    if is_accepted:
        assert np.array_equal(ol.Overlaps(gram, RANK_ONE).gram, gram)
    else:
        with pytest.raises(ValueError, match="positive semi-definite"):
            ol.Overlaps(gram, RANK_ONE)


@given(seed=st.integers(0, 1000), order=st.permutations(range(3)))
@settings(max_examples=15, deadline=None)
def test_a_permutation_of_ranks_permutes_the_overlaps(seed, order):
    layout = ol.Layout(n_in=1, rank=3, n_out=1)
    vectors = np.random.default_rng(seed).normal(size=(10, layout.size))
    columns = [0, *(1 + k for k in order), *(4 + k for k in order), 7]
    before = {name: float(x) for name, x in ol.Network(vectors, layout).overlaps.entries().items()}
    after = {name: float(x) for name, x in ol.Network(vectors[:, columns], layout).overlaps.entries().items()}
    # The same products of ten terms, perhaps in another order.
    rounding = 2 * 10 * EPS * max(before.values())
    for a in range(3):
        assert after[f"zu{a + 1}"] == pytest.approx(before[f"zu{order[a] + 1}"], abs=rounding)
        for b in range(3):
            assert after[f"v{a + 1}u{b + 1}"] == pytest.approx(before[f"v{order[a] + 1}u{order[b] + 1}"], abs=rounding)
    assert after["zm"] == pytest.approx(before["zm"], abs=rounding)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_rotation_of_neurons_leaves_the_overlaps(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, RANK_TWO.size))
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    before = ol.Overlaps.from_network(ol.Network(vectors, RANK_TWO)).gram
    after = ol.Overlaps.from_network(ol.Network(rotation @ vectors, RANK_TWO)).gram
    # Two products of 12 terms each, on both sides, relative to the longest vector.
    assert np.allclose(before, after, rtol=0, atol=4 * 12 * EPS * 2 * np.max(np.diag(before)))


# -- entries by name ------------------------------------------------------------------------------------------------


def test_entries_that_are_not_named_are_those_of_orthonormal_vectors():
    gram = np.asarray(ol.Overlaps.from_entries(RANK_ONE, zm=0.5, uu=2.0).gram)
    expected = np.eye(4)
    expected[0, 3] = expected[3, 0] = 0.5
    expected[1, 1] = 2.0
    assert np.array_equal(gram, expected)
    assert np.array_equal(ol.Overlaps.from_entries(RANK_TWO).gram, np.eye(6))


@pytest.mark.parametrize("name", [n for n in RANK_ONE.entry_names if n[0] != n[1]])
def test_names_mean_the_same_in_either_order(name):
    first = ol.Overlaps.from_entries(RANK_ONE, **{name: 0.3})
    second = ol.Overlaps.from_entries(RANK_ONE, **{name[::-1]: 0.3})
    assert np.array_equal(first.gram, second.gram)
    assert np.array_equal(first.gram, first.gram.T)
    assert first.entries()[name] == 0.3
    assert first[(name[0], name[1])] == first[(name[1], name[0])] == 0.3


def test_blocks_and_single_entries_set_the_same_numbers():
    layout = ol.Layout(n_in=2, rank=2, n_out=1)
    block = ol.Overlaps.from_entries(layout, mu=[[0.1, 0.2], [0.3, 0.4]], zu=[[0.1, -0.2]])
    turned = ol.Overlaps.from_entries(layout, um=[[0.1, 0.3], [0.2, 0.4]], uz=[[0.1], [-0.2]])
    single = ol.Overlaps.from_entries(layout, m1u1=0.1, u2m1=0.2, m2u1=0.3, m2u2=0.4, zu1=0.1, u2z=-0.2)
    assert np.array_equal(block.gram, turned.gram)
    assert np.array_equal(block.gram, single.gram)
    assert np.array_equal(block["m", "u"], [[0.1, 0.2], [0.3, 0.4]])
    assert np.array_equal(block["u", "m"], [[0.1, 0.3], [0.2, 0.4]])
    assert float(block.entries()["m2u1"]) == 0.3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_entries_lists_every_overlap_in_the_order_of_the_layout(layout):
    gram = random_gram(layout)
    entries = ol.Overlaps(gram, layout).entries()
    assert tuple(entries) == layout.entry_names
    for name, value in entries.items():
        assert float(value) == gram[layout.locate(name)].item()


def test_entries_of_a_batch_keep_its_axes():
    grams = np.stack([random_gram(RANK_ONE, seed) for seed in range(3)])
    overlaps = ol.Overlaps(grams, RANK_ONE)
    assert np.array_equal(overlaps.entries()["zu"], grams[:, 3, 1])
    assert overlaps["z", "u"].shape == (3, 1, 1)


def test_replace_sets_the_named_overlaps_and_keeps_all_others():
    gram = random_gram(RANK_TWO)
    before = ol.Overlaps(gram, RANK_TWO)
    after = before.replace(u1u1=9.0, u2m=0.1)
    assert np.array_equal(before.gram, gram)
    expected = gram.copy()
    expected[1, 1] = 9.0
    expected[0, 2] = expected[2, 0] = 0.1
    assert np.array_equal(after.gram, expected)


def test_replace_reaches_every_member_of_a_batch():
    grams = np.stack([random_gram(RANK_ONE, seed) for seed in range(2)])
    changed = ol.Overlaps(grams, RANK_ONE).replace(uu=9.0)
    assert changed.entries()["uu"].tolist() == [9.0, 9.0]
    assert np.array_equal(changed.entries()["zm"], grams[:, 3, 0])


def test_replace_maps_over_values():
    values = jnp.array([0.1, 0.2, 0.3])
    base = ol.Overlaps(random_gram(RANK_ONE), RANK_ONE)
    grams = jax.vmap(lambda x: base.replace(mu=x).gram)(values)
    for value, gram in zip(values, grams, strict=True):
        assert np.array_equal(gram, base.replace(mu=value).gram)


# -- random ---------------------------------------------------------------------------------------------------------


def test_random_overlaps_are_those_of_the_key():
    first = ol.Overlaps.random(RANK_ONE, key=jax.random.key(0))
    assert np.array_equal(first.gram, ol.Overlaps.random(RANK_ONE, key=jax.random.key(0)).gram)
    assert not np.array_equal(first.gram, ol.Overlaps.random(RANK_ONE, key=jax.random.key(1)).gram)


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_random_overlaps_have_the_statistics_of_gaussian_vectors_in_the_stated_dimensions(scale):
    n_draws, dimension = 400, RANK_ONE.size + round(scale**-2)
    keys = jax.random.split(jax.random.key(5), n_draws)
    draw = jax.jit(jax.vmap(lambda key: ol.Overlaps.random(RANK_ONE, key=key, scale=scale).gram))
    grams = np.asarray(draw(keys))
    crossed = grams[:, *np.triu_indices(4, 1)]
    norms = grams[:, *np.diag_indices(4)]
    # Means and mean squares over draws, against four standard errors; the six overlaps (four norms) of a draw are
    # uncorrelated, and the square of a sum of products has a relative variance of at most 2 + 6/dimension.
    assert abs(crossed.mean()) <= 4 / np.sqrt(dimension * crossed.size)
    assert abs(norms.mean() - 1) <= 4 * np.sqrt(2 / (dimension * norms.size))
    squares = dimension * np.mean(crossed**2)
    assert abs(squares - 1) <= 4 * np.sqrt((2 + 6 / dimension) / n_draws)


@pytest.mark.parametrize("scale", [0.0, -0.1, 1.5, float("nan")])
def test_a_scale_out_of_range_is_refused(scale):
    with pytest.raises(ValueError, match=rf"Overlaps.random: scale must be in \(0, 1\], got {scale:g}"):
        ol.Overlaps.random(RANK_ONE, key=jax.random.key(0), scale=scale)


# -- what is feasible -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [RANK_ONE, RANK_TWO])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_feasible_interval_of_every_entry_is_that_of_the_smallest_eigenvalue(layout, seed):
    gram = random_gram(layout, seed)
    for i, j in zip(*layout.entry_indices, strict=True):
        low, high = interval(gram, i, j)
        (low_found, low_error), (high_found, high_error) = feasible_by_bisection(gram, i, j)
        # The interval is computed through the inverse of the other overlaps: rounding times their condition number.
        rounding = 10 * layout.size * EPS * np.linalg.cond(gram) * np.abs(gram).max()
        assert abs(low - low_found) <= low_error + rounding
        assert high == high_found == np.inf or abs(high - high_found) <= high_error + rounding
        assert low <= gram[i, j] <= high


def test_the_interval_of_a_singular_gram_is_the_value_itself():
    gram = random_gram(RANK_ONE, n_neurons=2)
    # v and z span the two neurons, so the overlap of m and u with each other follows from theirs.
    low, high = interval(gram, 0, 1)
    tolerance = 100 * EPS * np.linalg.cond(gram[2:, 2:]) * np.abs(gram).max()
    assert low <= high
    assert abs(low - gram[0, 1]) <= tolerance
    assert abs(high - gram[0, 1]) <= tolerance


def test_no_value_is_feasible_where_the_other_overlaps_contradict_each_other():
    contradiction = np.eye(4)
    contradiction[2, 3] = contradiction[3, 2] = 1.5
    assert interval(contradiction, 0, 1) is None
    assert interval(contradiction, 0, 2) is None
    # An absent vector has no overlap with any other.
    absent = np.diag([1.0, 1.0, 1.0, 0.0])
    absent[0, 3] = absent[3, 0] = 0.5
    assert interval(absent, 1, 2) is None
    # The entry at fault has a feasible value.
    assert interval(contradiction, 2, 3) == (-1.0, 1.0)


def test_without_other_vectors_the_interval_is_that_of_cauchy_and_schwarz():
    low, high = interval(np.array([[4.0, 7.0], [7.0, 9.0]]), 0, 1)
    assert (low, high) == (-6.0, 6.0)


NUMBER = r"(-?[\d.]+(?:e[+-]\d+)?|inf)"


def intervals_in(message):
    found = re.findall(rf"(\w+) = {NUMBER} \(feasible with the others as given: {NUMBER} to {NUMBER}\)", message)
    return {name: tuple(float(x) for x in numbers) for name, *numbers in found}


@pytest.mark.parametrize("name", ["mu", "zm", "vu", "vz", "uu", "zz"])
@pytest.mark.parametrize("side", ["below", "above"])
def test_an_infeasible_overlap_is_refused_with_the_feasible_interval(name, side):
    gram = random_gram(RANK_ONE, seed=2)
    overlaps = ol.Overlaps(gram, RANK_ONE)
    i, j = (s.start for s in RANK_ONE.locate(name))
    (low, _), (high, _) = feasible_by_bisection(gram, i, j)
    if side == "above" and i == j:
        # A longer vector is always feasible.
        assert overlaps.replace(**{name: 1e6}).entries()[name] == 1e6
        return
    end, inwards = (low, 1e-6) if side == "below" else (high, -1e-6)
    assert overlaps.replace(**{name: end + inwards}).entries()[name] == end + inwards
    value = end - 100 * inwards
    with pytest.raises(ValueError, match=r"must be positive semi-definite \(no network has these overlaps\)") as caught:
        overlaps.replace(**{name: value})
    said = intervals_in(str(caught.value))
    # Six digits are printed.
    assert said == {name: pytest.approx((value, low, high), rel=5e-6)}


def test_the_smallest_eigenvalue_is_in_the_message():
    with pytest.raises(ValueError, match=r"its smallest eigenvalue is -0\.5\.") as caught:
        ol.Overlaps.from_entries(RANK_ONE, zm=1.5)
    assert intervals_in(str(caught.value)) == {"zm": (1.5, -1.0, 1.0)}
    # A whole matrix has no entry that is to blame.
    gram = np.eye(4)
    gram[0, 3] = gram[3, 0] = 1.5
    with pytest.raises(ValueError, match=r"its smallest eigenvalue is -0\.5\.\nSee docs: "):
        ol.Overlaps(gram, RANK_ONE)


def test_of_several_infeasible_overlaps_each_gets_its_interval():
    with pytest.raises(ValueError, match="positive semi-definite") as caught:
        ol.Overlaps.from_entries(RANK_TWO, zm=0.9, zu=[[0.9, 0.1]])
    message = str(caught.value)
    # |zm|^2 + |zu1|^2 + |zu2|^2 <= 1 for orthonormal m, u1, u2 and a z of length 1.
    end = np.sqrt(1 - 0.9**2 - 0.1**2)
    assert intervals_in(message) == {
        "zm": pytest.approx((0.9, -end, end), rel=5e-6),
        "zu1": pytest.approx((0.9, -end, end), rel=5e-6),
    }
    assert "zu2 = 0.1 (no value is feasible with the others as given)" in message


def test_an_infeasible_member_of_a_batch_is_refused():
    grams = np.stack([np.eye(4), np.eye(4)])
    grams[1, 0, 3] = grams[1, 3, 0] = 1.5
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -0\.5"):
        ol.Overlaps(grams, RANK_ONE)


# -- other errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (4,), (4, 3), (2, 5, 5)])
def test_a_wrong_shape_is_refused_with_the_right_one(shape):
    with pytest.raises(
        ValueError, match=r"gram must have shape \[..., 4, 4\] for Layout\(n_in=1, rank=1, n_out=1\)"
    ) as caught:
        ol.Overlaps(np.zeros(shape), RANK_ONE)
    assert str(caught.value).endswith(f"got {list(shape)}.")


def test_a_layout_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"layout must be an ol.Layout, got \(1, 1, 1\)"):
        ol.Overlaps(np.eye(4), (1, 1, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(bad):
    gram = np.eye(4)
    gram[1, 3] = gram[3, 1] = gram[2, 2] = bad
    with pytest.raises(ValueError, match="gram must be finite; these overlaps are not: zu, vv"):
        ol.Overlaps(gram, RANK_ONE)
    with pytest.raises(ValueError, match="gram must be finite; these overlaps are not: zm"):
        ol.Overlaps.from_entries(RANK_ONE, zm=bad)


def test_an_asymmetric_gram_is_refused_with_the_entry_and_the_cure():
    gram = np.eye(6)
    gram[1, 4] = 0.25
    with pytest.raises(ValueError, match="gram must be symmetric") as caught:
        ol.Overlaps(gram, RANK_TWO)
    message = str(caught.value)
    assert "its entries u1-v2 and v2-u1 differ by 0.25" in message
    assert "(gram + gram.T) / 2" in message
    # Rounding is no asymmetry.
    gram[1, 4] = EPS
    ol.Overlaps(gram, RANK_TWO)


def test_an_asymmetric_block_is_refused():
    with pytest.raises(ValueError, match=r"Overlap 'uu' must be a symmetric block, got \[\[1.0, 0.2\], \[0.1, 1.0\]\]"):
        ol.Overlaps.from_entries(RANK_TWO, uu=[[1.0, 0.2], [0.1, 1.0]])


def test_a_block_of_wrong_shape_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match=r"Overlap 'zu' must have shape \[1, 2\]") as caught:
        ol.Overlaps.from_entries(RANK_TWO, zu=0.5)
    assert str(caught.value).endswith(f"is set by its own name: {', '.join(RANK_TWO.entry_names)}.")
    with pytest.raises(ValueError, match=r"Overlap 'uz' must have shape \[2, 1\] .* got \[1, 2\]"):
        ol.Overlaps.from_entries(RANK_TWO, uz=[[0.5, 0.5]])


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"There is no overlap 'wm' .*mm, mu, vm, zm"):
        ol.Overlaps.from_entries(RANK_ONE, wm=0.5)
    with pytest.raises(ValueError, match="There is no overlap 'u2u2'"):
        ol.Overlaps.from_entries(RANK_ONE).replace(u2u2=2.0)


def test_an_index_that_is_no_pair_of_blocks_is_refused():
    overlaps = ol.Overlaps.from_entries(RANK_ONE)
    for index in ("zu", ("z",), 0):
        with pytest.raises(ValueError, match=r'indexed by two blocks, as in overlaps\["z", "u"\], got'):
            overlaps[index]
    with pytest.raises(ValueError, match="there is no block 'w'"):
        overlaps["z", "w"]


NAMES, GRAM = list(RANK_ONE.vector_names), random_gram(RANK_ONE)


class TestLabels:
    @pytest.mark.parametrize(
        "labelled",
        [
            lambda gram, names: pandas.DataFrame(gram, names, names).iloc[[2, 0, 3, 1], [1, 3, 0, 2]],
            lambda gram, names: xarray.DataArray(gram, [("a", names), ("b", names)])[[2, 0, 3, 1], [1, 3, 0, 2]],
            lambda gram, names: pandas.DataFrame(gram),
            lambda gram, names: xarray.DataArray(gram, dims=("a", "b")),
        ],
        ids=["pandas", "xarray", "pandas without labels", "xarray without labels"],
    )
    def test_a_labelled_gram_matrix_is_read_by_its_labels(self, labelled):
        overlaps = ol.Overlaps(labelled(GRAM, NAMES), RANK_ONE)
        assert np.array_equal(overlaps.gram, GRAM)

    def test_blocks_vectors_and_rates_too(self):
        block = pandas.DataFrame([[2.0, 0.5], [0.5, 3.0]], ["u2", "u1"], ["u2", "u1"])
        assert ol.Overlaps.from_entries(RANK_TWO, uu=block)["u", "u"].tolist() == [[3.0, 0.5], [0.5, 2.0]]
        vectors = np.random.default_rng(0).normal(size=(5, 4))
        turned = pandas.DataFrame(vectors, columns=NAMES)[["z", "u", "m", "v"]]
        assert np.array_equal(ol.Network(turned, RANK_ONE).vectors, vectors)
        assert RANK_ONE.rates(pandas.Series([0.0, 1.0, 2.0, 3.0], ["z", "u", "m", "v"])).tolist() == [
            2.0,
            1.0,
            3.0,
            0.0,
        ]

    def test_other_labels_and_masked_values_are_refused(self):
        with pytest.raises(ValueError, match=r"gram has an axis with the labels \['a', .*\]; they must be m, u"):
            ol.Overlaps(pandas.DataFrame(GRAM, list("abcd"), NAMES), RANK_ONE)
        with pytest.raises(ValueError, match=r"gram has 4 masked values, .* gram\.filled"):
            ol.Overlaps(np.ma.array(GRAM, mask=np.eye(4)), RANK_ONE)
