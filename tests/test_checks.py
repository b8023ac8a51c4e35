"""Precision: theory refuses 32-bit mode and says which line to add; messages that stay short and show numbers."""

import jax
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning import checks as precision


def test_theory_in_32_bit_mode_is_refused_with_the_line_to_add():
    precision.require_float64("integrate")
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="integrate computes in float64") as caught:
        precision.require_float64("integrate")
    assert 'jax.config.update("jax_enable_x64", True)' in str(caught.value)


def test_integers_become_floats_and_other_kinds_are_refused():
    assert precision.floating([1, 2], "x").dtype == float
    for value in ([1j], [True], "one", [[1.0], [1.0, 2.0]], None):
        with pytest.raises(ValueError, match=r"x must (hold real numbers|be an array of real numbers)"):
            precision.floating(value, "x")


def test_a_count_is_an_integer_in_range():
    assert precision.count(3, "n") == 3
    for value in (0, -1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="n must be an integer of at least 1, got"):
            precision.count(value, "n")


@pytest.mark.parametrize("value", [-1.0, 0.0, 2.5, float("nan"), float("inf")])
def test_a_number_out_of_range_is_refused_with_the_range(value):
    with pytest.raises(ValueError, match=r"x must be in \(0, 2\], got"):
        precision.scalar(value, "x", "in (0, 2]", 0, 2)


def test_several_numbers_where_one_is_meant_are_refused():
    with pytest.raises(ValueError, match=r"x must be one number, positive, got shape \[2\]; use jax.vmap"):
        precision.scalar([1.0, 2.0], "x", "positive", 0)


def test_what_is_printed_shows_numbers_and_stays_short():
    assert repr(ol.RandomBulk(0.9)) == "RandomBulk(g=0.9, symmetry=0.0)"
    assert "learning_rate=0.005" in repr(ol.GradientDescent(5e-3, 10))
    large = ol.Layout(2, 1, 200)
    task = ol.Task(np.zeros((1, 3, 2)), np.zeros((1, 3, 200)), np.ones((1, 3, 200)), 0.1)
    for found in (ol.Model(large, ol.Linear(), ol.RandomBulk(0.9)), task):
        assert len(repr(found)) < 600
    # A table of some rows, not of all 204.
    assert len(repr(ol.Overlaps(np.eye(large.size), large)).splitlines()) < 40
    with pytest.raises(ValueError, match=r"m1m1.*\.\.\. \(20,910 in all\)") as caught:
        large.locate("qq")
    assert len(str(caught.value)) < 500
    for name in ("bulk", "w"):
        with pytest.raises(ValueError, match=rf'\("W" is that of a bulk.*got the key .{name}'):
            ol.Layout().rates({name: 1.0})


def test_objects_made_before_64_bit_mode_are_named():
    with jax.enable_x64(False):
        overlaps = ol.Overlaps.from_entries(ol.Layout())
    with pytest.warns(UserWarning, match=r"ol\.metric: overlaps\.gram is float32: it was made before jax_enable_x64"):
        ol.metric(ol.Model(ol.Layout(), ol.Linear()), overlaps)
