"""Course: the phases of a protocol as one run."""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
import numpy as np

from overlap_learning.learning.solution import Solution
from overlap_learning.model.network import Network


def joined(phases: Sequence[Solution]) -> Solution:
    """Phases of learning as one solution: its time goes on from phase to phase, its transfer matrix is the product.

    The end of one phase and the start of the next are both kept: overlaps agree there, the loss jumps to that of the
    next task.

    Args:
        phases: what `ol.protocol` returned, of a single start.

    Returns:
        A `Solution` with all saved points, without numbers of steps and stats; how it ended is how the last phase did.

    Raises:
        ValueError: if there is no phase, or a phase has no overlaps.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> a, b = ol.tasks.exponential_filter(decay=0.2), ol.tasks.exponential_filter(decay=0.4)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.2)
        >>> course = ol.studies.joined(ol.protocol(model, [a, b], start, ol.GradientDescent(5e-3, 40)))
        >>> course.loss.shape, round(float(course.time[-1]), 6)
        ((82,), 0.4)
    """
    if not phases:
        raise ValueError("joined: give at least one phase, such as those that ol.protocol returns.")
    times, transfers = [], []
    offset, before = 0.0, None
    for phase in phases:
        times.append(offset + phase.time)
        offset += float(phase.time[-1])
        if phase.transfer is not None:
            transfers.append(phase.transfer if before is None else before @ phase.transfer)
            before = transfers[-1][-1]
    saved = {"gram": jnp.concatenate([phase.overlaps.gram for phase in phases])}
    if transfers:
        saved["transfer"] = jnp.concatenate(transfers)
    networks = [phase.networks for phase in phases]
    if all(network is not None for network in networks):
        saved["vectors"] = jnp.concatenate([cast(Network, network).vectors for network in networks])
    return Solution(
        model=phases[0].model,
        time=jnp.concatenate(times),
        step=None,
        loss=jnp.concatenate([phase.loss for phase in phases]),
        saved=saved,
        final=phases[-1].final,
        stats={},
        result=phases[-1].result,
    )


def phase_edges(phases: Sequence[Solution]) -> list[float]:
    """Learning times of the starts of the phases in `joined`, and of the end of the last."""
    return [0.0, *np.cumsum([float(phase.time[-1]) for phase in phases]).tolist()]
