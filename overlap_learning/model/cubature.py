"""Cubature: the fewest weighted points with the moments of the normal distribution in several dimensions."""

import functools
import itertools
import math

import numpy as np
from scipy.special import ndtri

#: Unknowns per equation, how often more are tried, and the most steps of one try. Fewer unknowns leave points that
#: crowd together or have next to no weight.
SURPLUS, N_TRIES, MAX_STEPS = 1.4, 4, 100


@functools.cache
def moments(dimension: int, n_fields: int, degree: int, stretch: float) -> np.ndarray:
    """The exponents of the even moments that are to be right, shape [n, r].

    Odd ones vanish where a point stands for its mirror image, too. Of the exponents of a product of Hermite
    polynomials, those of the fields add up to a, the others to b, with a + b even and `0 < a + stretch b < degree`.
    """
    others = dimension - n_fields
    found = [
        x + y for a, b in _degrees(degree, stretch) for x in _exponents(n_fields, a) for y in _exponents(others, b)
    ]
    return np.array(found, dtype=int).reshape(-1, dimension)


def n_moments(dimension: int, n_fields: int, degree: int, stretch: float) -> int:
    """The number of `moments`, without listing them."""

    def n_exponents(n: int, total: int) -> int:
        return math.comb(total + n - 1, total) if n else int(total == 0)

    others = dimension - n_fields
    return sum(n_exponents(n_fields, a) * n_exponents(others, b) for a, b in _degrees(degree, stretch))


def n_points(dimension: int, n_fields: int, degree: int, stretch: float) -> int:
    """How many points are tried first: each has a place and a weight."""
    equations = n_moments(dimension, n_fields, degree, stretch) + 1
    return max(dimension, math.ceil(SURPLUS * equations / (dimension + 1)))


@functools.cache
def cubature(dimension: int, n_fields: int, degree: int, stretch: float) -> tuple[np.ndarray, np.ndarray]:
    """Points x [K, r] and weights w [K] that with their mirror images have the moments of the normal distribution.

    With normalised Hermite polynomials He_e the moments are the averages `sum_k w_k He_e(x_k)`, all of which are to be
    0. There are more unknowns than equations: Levenberg-Marquardt steps of least change of places and weights lead
    there from Sobol points of equal weight.

    Raises:
        RuntimeError: if no points are found.
    """
    exponents = moments(dimension, n_fields, degree, stretch)
    n = n_points(dimension, n_fields, degree, stretch)
    for _ in range(N_TRIES):
        found = _solve(exponents, sobol_points(n, dimension, (0,)), degree)
        if found is not None:
            for array in found:
                array.flags.writeable = False
            return found
        n = math.ceil(1.2 * n)
    raise RuntimeError(
        f"Cubature: no points of degree {degree} in {dimension} dimensions were found; use another degree, or "
        "ol.model.SobolNodes(1024)."
    )


def sobol_points(n: int, dimension: int, seed: tuple[int, ...]) -> np.ndarray:
    """Scrambled Sobol points through the quantile of the normal distribution, shape [n, r]."""
    # Loading it takes as long as half of this package.
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(seed))
    # Sobol points come in powers of 2.
    return ndtri(sequence.random_base2(math.ceil(math.log2(n)))[:n])


def whiten(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The points with second moments 1 that are nearest to these."""
    values, axes = np.linalg.eigh((points * weights[:, None]).T @ points)
    return points @ (axes / np.sqrt(values)) @ axes.T


def _degrees(degree: int, stretch: float) -> list[tuple[int, int]]:
    """The total degrees a in the fields and b in the others of the moments that are to be right."""
    pairs = itertools.product(range(degree), repeat=2)
    return [(a, b) for a, b in pairs if (a + b) % 2 == 0 and 0 < a + stretch * b < degree]


def _exponents(dimension: int, degree: int) -> list[tuple[int, ...]]:
    """All exponents of that total degree."""
    if dimension == 0:
        return [()] if degree == 0 else []
    return [
        tuple(np.bincount(chosen, minlength=dimension)) if degree else (0,) * dimension
        for chosen in itertools.combinations_with_replacement(range(dimension), degree)
    ]


def _solve(exponents: np.ndarray, points: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Points and weights from these points, or None if the steps get stuck."""
    n, dimension = points.shape
    points, logarithms = whiten(points, np.full(n, 1 / n)), np.zeros(n)
    weights, values, slopes = _hermite(exponents, points, logarithms, degree)
    residual = values @ weights
    damping = 1e-2
    for _ in range(MAX_STEPS):
        # The size of a step: the average of squared changes of place, and the plain sum of squared changes of log
        # weights, so that no point gives its weight away and leaves.
        root = np.sqrt(weights)
        by_place = (slopes * root[:, None]).reshape(len(exponents), -1) / np.sqrt(n)
        by_weight = (values - residual[:, None]) * weights
        normal = by_place @ by_place.T + by_weight @ by_weight.T
        ridge = np.trace(normal) / len(normal) * np.eye(len(normal))
        while True:
            dual = np.linalg.solve(normal + damping * ridge, residual)
            places = points - (dual @ by_place).reshape(n, dimension) / root[:, None] / np.sqrt(n)
            shifted = logarithms - dual @ by_weight
            trial = _hermite(exponents, places, shifted, degree)
            error = trial[1] @ trial[0]
            if error @ error < residual @ residual:
                break
            damping *= 4
            if damping > 1e6:
                return None
        points, logarithms, (weights, values, slopes), residual = places, shifted, trial, error
        damping = max(damping / 5, 1e-15)
        # Rounding of sums over n points.
        if np.max(np.abs(residual)) < 100 * np.finfo(float).eps:
            return whiten(points, weights), weights
    return None


def _hermite(
    exponents: np.ndarray, points: np.ndarray, logarithms: np.ndarray, degree: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [n], and the normalised Hermite polynomials at the points, [m, n], with their slopes, [m, n, r]."""
    weights = np.exp(logarithms - np.max(logarithms))
    one = np.ones_like(points)
    single = [one, points]
    for k in range(1, degree):
        single.append((points * single[k] - np.sqrt(k) * single[k - 1]) / np.sqrt(k + 1))
    # He_k' = k He_(k-1); normalised, the factor is sqrt(k).
    slope = [0 * one] + [np.sqrt(k) * single[k - 1] for k in range(1, degree + 1)]
    factors = np.stack([np.array(single)[exponents[:, j], :, j] for j in range(points.shape[1])])
    derivatives = np.stack([np.array(slope)[exponents[:, j], :, j] for j in range(points.shape[1])])
    slopes = [np.prod(np.delete(factors, j, axis=0), axis=0) * derivatives[j] for j in range(points.shape[1])]
    return weights / np.sum(weights), np.prod(factors, axis=0), np.stack(slopes, axis=-1)
