"""Activations: values, Gaussian gains against adaptive integration, and the honesty of their stated error."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

import overlap_learning as ol

EPS = np.finfo(float).eps


def average(function, variance):
    """< function(sqrt(D) zeta) > by adaptive integration to about 1e-14, broken where sqrt(D) zeta is of order one."""
    deviation = np.sqrt(variance)

    def integrand(x):
        return function(deviation * x) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)

    # Beyond 12 the normal distribution holds 4e-33.
    points = sorted({min(12.0, width) for width in (1 / deviation, 4 / deviation, 1.0, 4.0, 12.0)})
    edges = [-p for p in reversed(points)] + [0.0] + points
    return sum(
        scipy.integrate.quad(integrand, low, high, epsabs=1e-15, epsrel=1e-13, limit=200)[0]
        for low, high in itertools.pairwise(edges)
    )


def tanh_slope(h):
    return 1 / np.cosh(h) ** 2


def shifted(h):
    """A smooth function without symmetry."""
    return jax.nn.softplus(h - 1)


def clipped(h):
    """A function with kinks away from zero."""
    return jnp.clip(h, -1.0, 1.0)


def test_values_are_those_of_the_named_functions():
    h = jnp.linspace(-6.0, 6.0, 49)
    x = np.asarray(h)
    assert np.array_equal(ol.Linear()(h), x)
    # Library functions are good to a few units in the last place.
    assert np.allclose(ol.Erf()(h), scipy.special.erf(np.sqrt(np.pi) / 2 * x), rtol=8 * EPS, atol=8 * EPS)
    assert np.allclose(ol.Tanh()(h), np.tanh(x), rtol=8 * EPS, atol=8 * EPS)
    assert np.array_equal(ol.ReLU()(h), np.maximum(x, 0))
    assert np.allclose(ol.Activation(jnp.sin)(h), np.sin(x), rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf(), ol.Tanh()])
def test_slope_at_zero_is_one(activation):
    assert jax.grad(activation)(0.0) == pytest.approx(1.0, abs=4 * EPS)
    assert float(activation.gain(jnp.array(0.0))) == pytest.approx(1.0, abs=4 * EPS)


@pytest.mark.parametrize("variance", [0.01, 0.5, 2.0, 10.0, 100.0])
def test_erf_gain_equals_the_average_slope(variance):
    expected = average(lambda h: np.exp(-np.pi / 4 * h**2), variance)
    assert float(ol.Erf().gain(jnp.array(variance))) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("variance", [0.01, 0.5, 2.0, 4.0])
def test_tanh_gain_equals_the_average_slope(variance):
    # Poles of tanh at i pi/2: the error of the trapezoidal rule falls as exp(-pi^2 order / (18 sqrt(D))), 6e-16 times
    # exp(pi^2 / (8 D)) at D = 4; 1e-12 allows for its prefactor.
    assert float(ol.Tanh().gain(jnp.array(variance))) == pytest.approx(average(tanh_slope, variance), abs=1e-12)


@pytest.mark.parametrize("variance", [0.01, 0.5, 2.0, 10.0, 100.0])
def test_relu_and_softplus_gains_are_one_half(variance):
    assert float(ol.ReLU().gain(jnp.array(variance))) == pytest.approx(0.5, abs=4 * EPS)
    assert average(lambda h: float(h > 0), variance) == pytest.approx(0.5, abs=1e-14)
    assert float(ol.Activation(jax.nn.softplus).gain(jnp.array(variance))) == pytest.approx(0.5, abs=128 * EPS)
    assert average(scipy.special.expit, variance) == pytest.approx(0.5, abs=1e-13)


def test_relu_gain_is_one_half_at_variance_zero_too():
    """The limit D to 0, where every trial starts."""
    assert float(ol.ReLU().gain(jnp.array(0.0))) == 0.5


@pytest.mark.parametrize("variance", [0.0, 0.5, 2.0, 4.0])
def test_gain_of_a_function_without_symmetry_equals_the_average_slope(variance):
    expected = average(lambda h: scipy.special.expit(h - 1), max(variance, 1e-30))
    # Poles at i pi: further away than those of tanh.
    assert float(ol.Activation(shifted).gain(jnp.array(variance))) == pytest.approx(expected, abs=1e-12)


def test_gain_of_a_sine_is_its_closed_form():
    variance = jnp.linspace(0.0, 20.0, 11)
    # The first alias of the trapezoidal rule with 128 nodes: exp(-(44.7 - sqrt(20))^2 / 2), far below rounding.
    assert np.allclose(ol.Activation(jnp.sin).gain(variance), np.exp(-np.asarray(variance) / 2), rtol=0, atol=128 * EPS)


@pytest.mark.parametrize("quadrature", [ol.model.GaussHermite(4), ol.model.Trapezoid(64)])
def test_gain_of_a_cubic_is_exact(quadrature):
    cubic = ol.Activation(lambda h: h + h**3 / 3, quadrature)
    variance = jnp.array([0.0, 0.5, 2.0, 10.0])
    assert np.allclose(cubic.gain(variance), 1 + variance, rtol=128 * EPS, atol=0)
    assert np.all(cubic.gain_error(variance) <= 128 * EPS * (1 + variance))


@pytest.mark.parametrize(
    ("quadrature", "largest"),
    [(ol.model.Trapezoid(), 300.0), (ol.model.Trapezoid(32), 20.0), (ol.model.GaussHermite(), 30.0)],
)
def test_gain_error_of_tanh_is_within_a_factor_two_of_the_error(quadrature, largest):
    """The estimate is the difference from the rule of twice the nodes: right to a factor two if that halves the error.

    It does where the nodes resolve the width 1/sqrt(D) of the slope, which sets the largest variance tested.
    """
    tanh = ol.Tanh(quadrature)
    for variance in np.geomspace(0.1, largest, 7):
        error = abs(float(tanh.gain(jnp.array(variance))) - average(tanh_slope, variance))
        estimate = float(tanh.gain_error(jnp.array(variance)))
        # Where both are rounding, they are sums of `order` terms.
        rounding = 2 * quadrature.order * EPS
        assert error <= 2 * estimate + rounding
        assert estimate <= 2 * error + rounding


def test_gain_error_of_a_function_with_kinks_covers_the_error_over_a_range_of_variances():
    """A kink's error swings with its place between two nodes, and so does the estimate: their largest are compared."""
    variances = np.geomspace(0.1, 10.0, 60)
    gain = ol.Activation(clipped)
    error = np.abs(np.asarray(gain.gain(jnp.asarray(variances))) - scipy.special.erf(1 / np.sqrt(2 * variances)))
    estimate = np.asarray(gain.gain_error(jnp.asarray(variances)))
    assert error.max() <= 2 * estimate.max()
    assert estimate.max() <= 4 * error.max()


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf()])
def test_gain_error_is_zero_in_closed_form(activation):
    assert np.array_equal(activation.gain_error(jnp.array([0.0, 1.0, 50.0])), np.zeros(3))


@pytest.mark.parametrize("variance", [0.05, 0.5, 2.0, 4.0])
def test_derivative_of_tanh_gain_is_half_the_average_third_derivative(variance):
    """Stein's lemma: dg/dD = < phi'''(sqrt(D) zeta) > / 2, for phi = tanh with phi''' = (6 tanh^2 - 2)(1 - tanh^2)."""
    derivative = jax.grad(ol.Tanh().gain)(variance)
    expected = average(lambda h: (6 * np.tanh(h) ** 2 - 2) * tanh_slope(h), variance) / 2
    # As for the gain itself; the derivative carries two more powers of the distance to the poles.
    assert float(derivative) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("activation", [ol.Erf(), ol.Tanh(), ol.Activation(shifted)])
@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_derivative_of_the_gain_equals_finite_differences(activation, variance):
    step = 1e-3

    def difference(h):
        return (float(activation.gain(jnp.array(variance + h))) - float(activation.gain(jnp.array(variance - h)))) / (
            2 * h
        )

    # Extrapolated from two steps: left are h^4 g^(5)/30, with g^(5) = < phi^(11) >/32 below 1e3, and rounding eps/h.
    expected = (4 * difference(step) - difference(2 * step)) / 3
    assert float(jax.grad(activation.gain)(variance)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("activation", [ol.Tanh(), ol.ReLU(), ol.Activation(shifted)])
def test_derivative_of_the_gain_is_finite_where_trials_start(activation):
    assert np.isfinite(jax.grad(activation.gain)(0.0))
    assert np.isfinite(float(jax.grad(lambda k: activation.gain(k * k))(0.0)))


def test_derivative_of_erf_gain_at_zero_variance():
    assert float(jax.grad(ol.Erf().gain)(0.0)) == pytest.approx(-np.pi / 4, abs=4 * EPS)


@pytest.mark.parametrize("activation", [ol.Linear(), ol.Erf(), ol.Tanh(), ol.ReLU(), ol.Activation(jnp.sin)])
def test_gains_keep_shape_and_dtype_and_vmap(activation):
    variance = jnp.arange(6.0).reshape(2, 3).astype(jnp.float32)
    gain = activation.gain(variance)
    assert gain.shape == (2, 3)
    assert gain.dtype == jnp.float32
    assert activation(variance).dtype == jnp.float32
    assert np.allclose(jax.vmap(jax.vmap(activation.gain))(variance), gain, rtol=0, atol=64 * np.finfo(np.float32).eps)


def test_only_linear_is_linear():
    assert ol.Linear().is_linear
    for activation in (ol.Erf(), ol.Tanh(), ol.ReLU(), ol.Activation(lambda h: h)):
        assert not activation.is_linear


def test_activations_of_equal_settings_are_equal():
    """So that a model built anew does not compile anew."""
    assert ol.Tanh() == ol.Tanh()
    assert ol.Tanh(ol.model.Trapezoid(32)) != ol.Tanh()
    assert hash(ol.Activation(shifted)) == hash(ol.Activation(shifted))


def test_what_is_no_function_of_arrays_is_refused():
    with pytest.raises(ValueError, match=r"phi must be a function of jax arrays, such as jnp.tanh, got 'tanh'"):
        ol.Activation("tanh")
    with pytest.raises(ValueError, match="phi must map an array to a real array of the same shape"):
        ol.Activation(jnp.sum)
    with pytest.raises(ValueError, match="phi must map an array to a real array of the same shape"):
        ol.Activation(lambda h: h > 0)
    for phi in (np.tanh, math.tanh, lambda h: h.tolist(), lambda h: h if h[0] > 0 else 0 * h):
        with pytest.raises(ValueError, match="phi must be made of jax operations"):
            ol.Activation(phi)


@pytest.mark.parametrize(
    ("phi", "kink"),
    [
        (ol.ReLU(), True),
        (ol.Activation(lambda h: jnp.where(h > 0, h, 0.1 * h)), True),
        (ol.Erf(), False),
        (ol.Tanh(), False),
        (ol.Linear(), False),
        (ol.Activation(jax.nn.softplus), False),
        (ol.Activation(lambda h: jax.nn.softplus(20 * h) / 20), False),
        # Away from 0, also between two points of any grid.
        (ol.Activation(lambda h: jnp.clip(h - 0.5, 0, 1)), True),
        (ol.Activation(lambda h: jnp.clip(h, -np.pi / 2, np.pi / 2)), True),
        (ol.Activation(lambda h: h + 0.05 * jnp.maximum(h - 1.00053, 0)), True),
        (ol.Activation(lambda h: jnp.tanh(8 * h)), False),
        # Steep far out, where few fields are: a jump of 1 at 0 is no less one.
        (ol.Activation(lambda h: h**3 + jax.nn.relu(h)), True),
        (ol.Activation(lambda h: h**3), False),
    ],
)
def test_a_kink_is_seen_wherever_it_is(phi, kink):
    assert phi.has_kink is kink
