"""Learning: rules, and the engine that moves anything that has a gradient. It knows no overlaps."""

from overlap_learning.learning.checkpoint import Checkpoint
from overlap_learning.learning.loading import load
from overlap_learning.learning.outcomes import RESULTS, LearningError, LearningInterrupted
from overlap_learning.learning.rules import DirectDescent, GradientDescent, GradientFlow, Optimiser
from overlap_learning.learning.schedule import LossSchedule
from overlap_learning.learning.solution import Solution

__all__ = [
    "RESULTS",
    "Checkpoint",
    "DirectDescent",
    "GradientDescent",
    "GradientFlow",
    "LearningError",
    "LearningInterrupted",
    "LossSchedule",
    "Optimiser",
    "Solution",
    "load",
]
