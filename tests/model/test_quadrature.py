"""Quadrature: exactness where it is promised, and the size of the error where it is not."""

import math

import numpy as np
import pytest

import overlap_learning as ol

EPS = np.finfo(float).eps
RULES = [ol.model.GaussHermite, ol.model.Trapezoid]


def moment(degree):
    """< zeta^degree > of a standard normal variable: (degree - 1)!! for even degrees."""
    return 0.0 if degree % 2 else float(math.prod(range(degree - 1, 0, -2)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [2, 8, 64])
def test_nodes_are_symmetric_avoid_zero_and_weights_sum_to_one(rule, order):
    nodes, weights = rule(order).nodes()
    assert nodes.shape == weights.shape == (order,)
    # Roots and weights of the Hermite polynomials are found to some eps of the largest.
    assert np.allclose(nodes, -nodes[::-1], rtol=0, atol=16 * EPS * np.abs(nodes).max())
    assert np.allclose(weights, weights[::-1], rtol=1e-12, atol=0)
    assert np.all(weights > 0)
    assert abs(weights.sum() - 1) <= order * EPS
    assert np.min(np.abs(nodes)) > 0.1


@pytest.mark.parametrize("order", [2, 4, 8])
def test_gauss_hermite_is_exact_below_twice_its_order_and_not_at_it(order):
    nodes, weights = ol.model.GaussHermite(order).nodes()
    for degree in range(2 * order):
        # The sum rounds like the sum of the magnitudes of its terms; the nodes' own rounding is raised to the degree.
        rounding = 16 * (degree + order) * EPS * np.sum(weights * np.abs(nodes) ** degree)
        assert abs(np.sum(weights * nodes**degree) - moment(degree)) <= rounding
    # At degree 2n the error of a Gauss rule is the squared norm of the n-th monic polynomial, here n!.
    missing = moment(2 * order) - np.sum(weights * nodes ** (2 * order))
    assert missing == pytest.approx(math.factorial(order), rel=1e-10)


def test_trapezoid_nodes_are_even_over_the_range():
    nodes, _ = ol.model.Trapezoid(36).nodes()
    assert np.allclose(np.diff(nodes), 0.5, rtol=0, atol=32 * EPS)
    assert nodes[0] == -8.75


def test_trapezoid_gives_moments_to_rounding():
    nodes, weights = ol.model.Trapezoid(128).nodes()
    for degree in range(9):
        # What lies beyond 9: 2 int_9^inf x^degree exp(-x^2/2)/sqrt(2 pi), about 2.3e-19 times 9^degree.
        rounding = 128 * EPS * np.sum(weights * np.abs(nodes) ** degree)
        assert abs(np.sum(weights * nodes**degree) - moment(degree)) <= rounding + 4e-19 * 9.0**degree


@pytest.mark.parametrize("frequency", [5.0, 6.0, 7.0])
def test_trapezoid_error_is_that_of_the_first_alias(frequency):
    """For cos(k x) the rule of spacing h errs by exp(-(2 pi/h - k)^2 / 2): exponentially small in the order.

    The next alias, at 2 pi/h + k, is smaller by exp(-2 k 2 pi/h), below 1e-40 here.
    """
    order = 32
    nodes, weights = ol.model.Trapezoid(order).nodes()
    error = np.sum(weights * np.cos(frequency * nodes)) - np.exp(-(frequency**2) / 2)
    # Nodes at half-integer multiples of h: the alias enters with the sign -1.
    expected = -np.exp(-((2 * np.pi * order / 18 - frequency) ** 2) / 2)
    assert error == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_refined_has_twice_the_nodes(rule):
    assert rule(10).refined() == rule(20)
    assert rule().order == rule().refined().order // 2


@pytest.mark.parametrize("rule", RULES)
def test_an_odd_order_is_refused_with_the_next_even_one(rule):
    with pytest.raises(ValueError, match=f"{rule.__name__}: order must be even .* got 7; use order=8"):
        rule(7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [0, -2, 8.0, True])
def test_an_impossible_order_is_refused(rule, order):
    with pytest.raises(ValueError, match=f"{rule.__name__}: order must be an integer of at least 2, got {order}"):
        rule(order)
