"""Memory: what a network keeps of the tasks it learned before, and what writes and erases it."""

from overlap_learning.studies.memory.decoding import Decoding, decode_history
from overlap_learning.studies.memory.drift import Drift, invariant_drift
from overlap_learning.studies.memory.holonomy import connection, curvature, transport
from overlap_learning.studies.memory.manifold import SolutionManifold, solution_manifold
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.studies.memory.savings import History, LearningSpeed, Savings, learning_speed, savings
from overlap_learning.studies.memory.twins import Phase, Twins, random_starts, train_twins

__all__ = [
    "Decoding",
    "Drift",
    "History",
    "LearningSpeed",
    "Phase",
    "Savings",
    "SolutionManifold",
    "Twins",
    "connection",
    "curvature",
    "decode_history",
    "invariant_drift",
    "learning_speed",
    "protocol",
    "random_starts",
    "savings",
    "solution_manifold",
    "train_twins",
    "transport",
]
