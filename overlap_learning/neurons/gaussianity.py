"""Gaussianity at the start: what the output of a network owes to its neurons not being Gaussian."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp

from overlap_learning.checks import is_traced
from overlap_learning.guides import guide
from overlap_learning.model.activity import rollout, simulate
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: An output that is this part off is spoken of, if it is so many times as far off as that of Gaussian neurons.
SPOKEN_OF, TIMES_CHANCE = 0.05, 3.0


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


def gaussian_overlaps(
    model: Model, network: Network, task: Task | TaskStream, key: jax.Array | None, caller: str
) -> Overlaps:
    """The overlaps of a network, to which Gaussian neurons are given; a warning if its own do something else.

    Its output before learning is compared with that of its overlaps, and what separates them with the same of as many
    Gaussian neurons. Linear networks have nothing to compare.
    """
    overlaps = network.overlaps
    if model.is_linear or is_traced(network, task, key):
        return overlaps
    batch = task.sample(jax.random.key(0) if key is None else key) if isinstance(task, TaskStream) else task
    batch = batch.replace(state_noise=None)
    found = effective_mismatch(model, network, batch)
    chance = 0.0
    if network.n_neurons >= model.layout.size:
        chance = effective_mismatch(
            model, Network.sample(overlaps, network.n_neurons, key=jax.random.key(0)), batch
        ).rms
    if found.share > SPOKEN_OF and found.rms > TIMES_CHANCE * chance:
        warnings.warn(
            f"{caller}: the neurons of this network are not Gaussian, and its overlaps do not say what it does: before "
            f"learning its output has rms {found.rms / found.share:.3g}, and that of its overlaps is off by "
            f"{found.rms:.3g} ({chance:.2g} for as many Gaussian neurons). Go on with its own neurons, "
            "ol.integrate(model, task, network, rule) or ol.train, or with ol.Populations.from_network(network, ...)."
            f"{guide('neurons')}",
            stacklevel=3,
        )
    return overlaps
