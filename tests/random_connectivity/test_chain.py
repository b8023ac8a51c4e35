"""The theory of random connectivity: spectrum, chain, flow, descent, series and closed form."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import overlap_learning as ol
from overlap_learning.random_connectivity import FiniteNetwork, InfiniteNetwork, Spectrum, krylov_chain, series

TIMES = jnp.array([0.0, 0.005, 0.01, 0.02])


@jax.jit
def asked(g):
    """What the tests ask of a spectrum, in one program."""
    spectrum = Spectrum(g)
    return spectrum.moments(8), spectrum.squares, spectrum.weights, spectrum.overlap(), spectrum.overlap(1.0)


change = jax.jit(series.change, static_argnums=3)


def exact_moments(g: Fraction, n: int) -> list[float]:
    """c_k of `m = h (1 + y m h)`, `h = 1 + g^2 m`, in rational numbers."""
    c = [1 / (1 - g**2)]
    for k in range(1, n):
        h = [1 + g**2 * c[0], *(g**2 * a for a in c[1:])]
        terms = (c[i] * h[j] * h[k - 1 - i - j] for i in range(k) for j in range(k - i))
        c.append(sum(terms, Fraction(0)) / (1 - g**2))
    return [float(a) for a in c]


@pytest.mark.parametrize("g", [Fraction(0), Fraction(3, 10), Fraction(3, 5), Fraction(99, 100)])
def test_the_spectrum_has_the_moments_of_free_probability(g):
    moments, squares, weights, overlap, along = map(np.asarray, asked(jnp.asarray(float(g))))
    # Rounding of g near 1 alone is 1e-14 of 1 - g^2, and the highest moment is its 22nd power.
    np.testing.assert_allclose(moments, exact_moments(g, 8), rtol=1e-12 if g < 0.9 else 1e-11)
    # tr B / N = 1: powers of W0 have no trace.
    mean = np.sum(weights * np.sqrt(squares) * overlap)
    np.testing.assert_allclose(mean, 1.0, rtol=1e-13)
    # Between singular vectors, (1 - W0)^-1 is the singular value.
    np.testing.assert_allclose(along, np.sqrt(squares), rtol=1e-14)


def test_the_flow_is_that_of_all_weights_and_keeps_what_it_must():
    network = FiniteNetwork.sample(0.5, 8, key=jax.random.key(0))
    w, m = np.asarray(network.w), np.asarray(network.m)
    learned = ol.studies.random_connectivity.fixed_point_learning(network, 1.0, [0.0, 0.2, 0.5, 1.0])

    def velocity(_, flat):
        inverse = np.linalg.inv(np.eye(8) - flat.reshape(8, 8))
        p, q = inverse.T @ w, inverse @ m
        return ((1 - w @ q) * np.outer(p, q)).ravel()

    tau = float(learned.time[-1] / network.beta**2)
    full = scipy.integrate.solve_ivp(
        velocity, (0, tau), np.ravel(network.bulk), method="DOP853", rtol=1e-12, atol=1e-12
    )
    # Two solvers at 1e-12 per step.
    np.testing.assert_allclose(learned.connectivity(), full.y[:, -1].reshape(8, 8), atol=1e-9)

    def kept(weights):
        matrix = np.eye(8) - weights
        off_w, off_m = np.eye(8) - np.outer(w, w), np.eye(8) - np.outer(m, m)
        p, q = np.linalg.solve(matrix.T, w), np.linalg.solve(matrix, m)
        return np.hstack(
            [off_w @ matrix.T @ matrix @ off_w, off_m @ matrix @ matrix.T @ off_m, np.eye(8) * (p @ p) / (q @ q)]
        )

    np.testing.assert_allclose(kept(learned.connectivity()), kept(network.bulk), atol=1e-10)


def test_the_change_is_the_series_to_each_order():
    learned = ol.studies.random_connectivity.fixed_point_learning(0.6, 2.0, TIMES)
    for order in (1, 2, 3):
        off = np.linalg.norm(learned.change - change(learned.chain, learned.target, TIMES, order), axis=(1, 2))
        # Doubling of time; the next order adds up to some 10 beta t zhat^2 of that.
        np.testing.assert_allclose(off[3] / off[2], 2.0 ** (order + 1), rtol=0.15)


def test_without_a_bulk_the_series_is_the_published_matrix():
    # Eq. 10. In the chain the left basis is (w, m) and the right one (m, w).
    target, t = 1.5, 0.1
    chain, _ = krylov_chain(InfiniteNetwork(0.0), 4)
    same = target**2 / 2 * (t**2 - t**3)
    opposite = target * (t - t**2 / 2 + t**3 / 6 * (1 + 2 * target**2))
    expected = [[target**3 * t**3 / 3, same], [same, opposite]]
    found = change(chain, jnp.asarray(target), jnp.asarray(t), 3)
    np.testing.assert_allclose(found[:2, :2], expected, atol=1e-14)
    assert not np.any(found[2:])
    exact = ol.studies.random_connectivity.without_bulk(target, [0.01, 0.02]).change
    x = exact[:, 0, 1] - target * (TIMES[2:] - TIMES[2:] ** 2 / 2 + TIMES[2:] ** 3 / 6 * (1 + 2 * target**2))
    np.testing.assert_allclose(x[1] / x[0], 16, rtol=0.1)
