"""Learning rules: how what learns follows the gradient of the loss. One rule, one file; no driver knows one."""

from overlap_learning.learning.rules.direct_descent import DirectDescent
from overlap_learning.learning.rules.drift import Drift
from overlap_learning.learning.rules.gradient_descent import GradientDescent
from overlap_learning.learning.rules.gradient_flow import GradientFlow
from overlap_learning.learning.rules.optimiser import Optimiser
from overlap_learning.learning.rules.rule import AbstractDescent, AbstractRule, Motion

__all__ = [
    "AbstractDescent",
    "AbstractRule",
    "DirectDescent",
    "Drift",
    "GradientDescent",
    "GradientFlow",
    "Motion",
    "Optimiser",
]
