"""Gaussianity: how far the neurons of a network are from the Gaussian ones of the theory, and what that does."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from overlap_learning.model.activity import rollout, simulate
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.tasks.task import Task


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


class Mismatch(NamedTuple):
    """Output of a full network minus that of its effective one.

    Attributes:
        rms: root mean square over trials and time.
        share: the same as a share of the output's.
    """

    rms: float
    share: float


def effective_mismatch(model: Model, network: Network, task: Task) -> Mismatch:
    """How much the output of a network owes to all but its overlaps.

    The effective network has the overlaps of the full one and Gaussian neurons in infinite number: what it does
    otherwise is what the distribution of the neurons adds.

    Args:
        model: the `Model`.
        network: the full network.
        task: trials on which outputs are compared, which it need not have learned.

    Source: Ger & Barak 2026, eq. 4 and Fig. 8.

    Examples:
        >>> model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter()
        >>> overlaps = ol.Overlaps.from_entries(model.layout, zm=0.5)
        >>> network = ol.Network.sample(overlaps, 50, key=jax.random.key(0))
        >>> ol.validation.effective_mismatch(model, network, task).share < 1e-12  # overlaps say all of a linear one
        True
    """
    output = simulate(model, network, task)
    error = jnp.sqrt(jnp.mean(jnp.square(output - rollout(model, network.overlaps, task))))
    return Mismatch(float(error), float(error / jnp.sqrt(jnp.mean(jnp.square(output)))))
