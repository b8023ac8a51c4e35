"""What a network is: its vectors, its overlaps, and its activity."""

from overlap_learning.model.activations import AbstractActivation, Activation, Erf, Linear, ReLU, Tanh
from overlap_learning.model.activity import field_variance, rollout, simulate
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.quadrature import GaussHermite, Trapezoid

__all__ = [
    "AbstractActivation",
    "Activation",
    "Erf",
    "GaussHermite",
    "Layout",
    "Linear",
    "Model",
    "Network",
    "Overlaps",
    "ReLU",
    "Tanh",
    "Trapezoid",
    "field_variance",
    "rollout",
    "simulate",
]
