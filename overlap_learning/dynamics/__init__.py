"""The theory: learning in overlap space."""

from overlap_learning.dynamics.gradient import loss, loss_gradient
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.invariants import invariants
from overlap_learning.dynamics.metric import metric

__all__ = ["integrate", "invariants", "loss", "loss_gradient", "metric"]
