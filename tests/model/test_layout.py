"""Layout: sizes, names, and the errors that say what is allowed."""

import itertools

import numpy as np
import pytest

import overlap_learning as ol

SHAPES = [(1, 0, 1), (1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2, 3), (1, 3, 2)]


@pytest.mark.parametrize(("n_in", "rank", "n_out"), SHAPES)
def test_sizes_follow_from_the_numbers_of_vectors(n_in, rank, n_out):
    layout = ol.Layout(n_in=n_in, rank=rank, n_out=n_out)
    assert layout.size == n_in + 2 * rank + n_out
    assert layout.n_overlaps == sum(range(1, layout.size + 1))
    assert layout.n_fields == n_in + rank
    assert layout.signature.tolist() == [-1.0] * (n_in + rank) + [1.0] * (rank + n_out)


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_divide_the_columns_in_the_order_m_u_v_z(shape):
    layout = ol.Layout(*shape)
    columns = [list(range(layout.size))[layout.block(name)] for name in "muvz"]
    assert [len(c) for c in columns] == [shape[0], shape[1], shape[1], shape[2]]
    assert list(itertools.chain(*columns)) == list(range(layout.size))


def test_names_of_the_smallest_layout_are_those_of_the_field():
    layout = ol.Layout()
    assert layout.vector_names == ("m", "u", "v", "z")
    assert layout.entry_names == ("mm", "mu", "vm", "zm", "uu", "vu", "zu", "vv", "vz", "zz")


def test_vectors_are_numbered_only_in_blocks_of_several():
    layout = ol.Layout(n_in=1, rank=2, n_out=1)
    assert layout.vector_names == ("m", "u1", "u2", "v1", "v2", "z")
    assert {"mm", "mu1", "v2u1", "zu2", "v1v2", "v2z"} <= set(layout.entry_names)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_entry_name_locates_its_own_entry(shape):
    layout = ol.Layout(*shape)
    assert len(set(layout.entry_names)) == len(layout.entry_names) == layout.n_overlaps
    for name, i, j in zip(layout.entry_names, *layout.entry_indices, strict=True):
        rows, columns = layout.locate(name)
        assert {(rows.start, rows.stop), (columns.start, columns.stop)} == {(i, i + 1), (j, j + 1)}


def test_a_name_in_the_other_order_locates_the_mirror_image():
    layout = ol.Layout(n_in=2, rank=3, n_out=2)
    for name, mirror in (("zu", "uz"), ("mv", "vm"), ("u1v3", "v3u1"), ("z2m1", "m1z2"), ("u2v", "vu2")):
        assert layout.locate(name) == layout.locate(mirror)[::-1]


def test_a_block_name_locates_the_whole_block():
    layout = ol.Layout(n_in=2, rank=3, n_out=2)
    assert layout.locate("zu") == (slice(8, 10), slice(2, 5))


@pytest.mark.parametrize("name", ["", "z", "zq", "zmm", "u0u1", "u3u1", "m2u1", "z m", "z1"])
def test_an_unknown_overlap_is_refused_with_the_list_of_all(name):
    layout = ol.Layout(n_in=1, rank=2, n_out=1)
    with pytest.raises(ValueError, match="There is no overlap") as caught:
        layout.locate(name)
    assert repr(name) in str(caught.value)
    assert str(caught.value).endswith(f"Its overlaps are: {', '.join(layout.entry_names)}.")


def test_an_unknown_block_is_refused_with_the_list_of_all():
    with pytest.raises(ValueError, match=r"there is no block 'w'\. The blocks are m, u, v, z"):
        ol.Layout().block("w")


@pytest.mark.parametrize(
    ("arguments", "name", "least"),
    [
        ({"n_in": 0}, "n_in", 1),
        ({"n_in": 1.5}, "n_in", 1),
        ({"rank": -1}, "rank", 0),
        ({"rank": "2"}, "rank", 0),
        ({"n_out": 0}, "n_out", 1),
        ({"n_out": True}, "n_out", 1),
    ],
)
def test_an_impossible_number_of_vectors_is_refused(arguments, name, least):
    with pytest.raises(ValueError, match=rf"{name} must be an integer of at least {least}, got") as caught:
        ol.Layout(**arguments)
    assert repr(arguments[name]) in str(caught.value)
    assert "ol.Layout(n_in=1, rank=1, n_out=1)" in str(caught.value)


def test_layouts_of_numpy_and_python_integers_are_the_same():
    layout = ol.Layout(n_in=np.int64(2), rank=np.int32(1), n_out=1)
    assert layout == ol.Layout(2, 1, 1)
    assert hash(layout) == hash(ol.Layout(2, 1, 1))
    assert type(layout.n_in) is int


# -- rates ----------------------------------------------------------------------------------------------------------

LAYOUT = ol.Layout(n_in=1, rank=2, n_out=1)


def test_rates_are_one_unless_given():
    assert LAYOUT.rates().tolist() == [1.0] * 6
    assert LAYOUT.rates({}).tolist() == [1.0] * 6


def test_rates_are_given_by_block_by_vector_or_all_at_once():
    assert LAYOUT.rates({"u": 0.5}).tolist() == [1, 0.5, 0.5, 1, 1, 1]
    assert LAYOUT.rates({"m": 0.0, "v2": 0.25}).tolist() == [0, 1, 1, 1, 0.25, 1]
    assert LAYOUT.rates([0, 1, 2, 3, 4, 5]).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("rates", [{"u": 0.5, "u1": 0.0}, {"u1": 0.0, "u": 0.5}])
def test_a_vector_named_beside_its_block_keeps_its_own_rate(rates):
    assert LAYOUT.rates(rates).tolist() == [1, 0, 0.5, 1, 1, 1]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"w": 1.0}, "got the key 'w'"),
        ({"u3": 1.0}, "got the key 'u3'"),
        ([1.0, 1.0], r"got an array of shape \[2\]"),
        ({"u": -0.5}, "each rate finite and not negative; got"),
        ([1, 1, 1, 1, 1, float("nan")], "each rate finite and not negative; got"),
    ],
)
def test_impossible_rates_are_refused_with_what_is_allowed(rates, said):
    with pytest.raises(ValueError, match=said) as caught:
        LAYOUT.rates(rates)
    message = str(caught.value)
    assert "keys from m, u, v, z, u1, u2, v1, v2, such as" in message
    assert "an array of shape [6]" in message
