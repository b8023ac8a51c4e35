"""Gaussianity: how far the neurons of a network are from the Gaussian ones of the theory."""

import numpy as np

from overlap_learning.model.network import Network


def excess_kurtosis(network: Network) -> dict[str, float]:
    """The excess kurtosis over neurons of each vector about 0, by name; 0 for Gaussian neurons.

    Args:
        network: neurons of one weight.

    Examples:
        >>> signs = jnp.tile(jnp.array([[1.0], [-1.0]]), (10, 4))
        >>> ol.validation.excess_kurtosis(ol.Network(signs, ol.Layout()))
        {'m': -2.0, 'u': -2.0, 'v': -2.0, 'z': -2.0}
    """
    vectors = np.asarray(network.vectors, dtype=float)
    ratio = (vectors**4).mean(axis=0) / (vectors**2).mean(axis=0) ** 2 - 3
    return dict(zip(network.layout.vector_names, ratio.tolist(), strict=True))


def kurtosis_error(n_neurons: int) -> float:
    """The standard deviation of the excess kurtosis of N Gaussian neurons about 0, `sqrt(24 / N)`.

    Of `m4 / m2^2` with both moments about the known mean 0; the delta method gives 96 - 2 * 6 * 12 + 36 * 2 = 24.
    """
    return float(np.sqrt(24 / n_neurons))
