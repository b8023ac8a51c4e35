"""The theory: learning in overlap space."""

from overlap_learning.dynamics.closures import Cheapest, Gaussian, WeightedNeurons
from overlap_learning.dynamics.conserved import Conserved, conserved
from overlap_learning.dynamics.gradient import loss, loss_gradient
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.invariants import invariants
from overlap_learning.dynamics.metric import metric
from overlap_learning.dynamics.symmetry import Symmetries, symmetries

__all__ = [
    "Cheapest",
    "Conserved",
    "Gaussian",
    "Symmetries",
    "WeightedNeurons",
    "conserved",
    "integrate",
    "invariants",
    "loss",
    "loss_gradient",
    "metric",
    "symmetries",
]
