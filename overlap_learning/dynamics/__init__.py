"""Learning in overlap space: the loss gradient S, the metric, the rules, and the integration of learning."""

from overlap_learning.dynamics.checkpoint import Checkpoint
from overlap_learning.dynamics.gradient import loss, loss_gradient
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.invariants import invariants
from overlap_learning.dynamics.metric import metric
from overlap_learning.dynamics.results import RESULTS, LearningError, LearningInterrupted
from overlap_learning.dynamics.rules import DirectDescent, GradientDescent, GradientFlow, Optimiser
from overlap_learning.dynamics.schedule import LossSchedule
from overlap_learning.dynamics.solution import Solution
from overlap_learning.dynamics.storage import load

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
    "integrate",
    "invariants",
    "load",
    "loss",
    "loss_gradient",
    "metric",
]
