"""Memory: what a network keeps of the tasks it learned before, and what writes and erases it."""

from overlap_learning.studies.memory.drift import Drift, label_noise_drift
from overlap_learning.studies.memory.holonomy import connection, curvature, transport
from overlap_learning.studies.memory.manifold import SolutionManifold, solution_manifold
from overlap_learning.studies.memory.protocol import protocol

__all__ = [
    "Drift",
    "SolutionManifold",
    "connection",
    "curvature",
    "label_noise_drift",
    "protocol",
    "solution_manifold",
    "transport",
]
