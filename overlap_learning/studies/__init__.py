"""Studies: the questions that people ask of networks that learn."""

from overlap_learning.studies.equivalence import (
    Comparison,
    Interval,
    compare,
    equivalent,
    feasible,
    gauge,
    members,
    output_noise,
)
from overlap_learning.studies.memory import (
    Drift,
    SolutionManifold,
    connection,
    curvature,
    label_noise_drift,
    protocol,
    solution_manifold,
    transport,
)

__all__ = [
    "Comparison",
    "Drift",
    "Interval",
    "SolutionManifold",
    "compare",
    "connection",
    "curvature",
    "equivalent",
    "feasible",
    "gauge",
    "label_noise_drift",
    "members",
    "output_noise",
    "protocol",
    "solution_manifold",
    "transport",
]
