"""Terms: which overlaps enter the metric of learning."""

import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.metric import metric
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps


def metric_terms(model: Model) -> np.ndarray:
    """How much of each overlap is in each entry of Gbar (`ol.metric`), which is linear in them.

    Args:
        model: the `Model`.

    Returns:
        Coefficients, shape [p, p, p], where entry [a, b, e] is that of overlap e in Gbar[a, b], all in the order of
        `layout.entry_names`.

    Source: Ger & Barak 2026, eq. 9 and Fig. 11.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> terms = ol.studies.metric_terms(model)
        >>> overlaps = ol.Overlaps.from_entries(model.layout, zu=0.3)
        >>> sigma = np.array([float(value) for value in overlaps.entries().values()])
        >>> bool(np.allclose(terms @ sigma, ol.metric(model, overlaps)))
        True
    """
    layout = model.layout
    base = Overlaps(jnp.eye(layout.size), layout)
    # A quarter off orthonormal is still positive definite, and a power of two rounds nothing.
    step = 0.25
    result = []
    for name in layout.entry_names:
        now = float(base.entries()[name])
        result.append((metric(model, base.replace(**{name: now + step})) - metric(model, base)) / step)
    return np.asarray(jnp.stack(result, axis=-1))
