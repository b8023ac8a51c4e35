"""What a network is: its vectors, its overlaps, and its activity."""

from overlap_learning.model.activations import AbstractActivation, Activation, Erf, Linear, ReLU, Tanh
from overlap_learning.model.activity import field_variance, rollout, simulate
from overlap_learning.model.bulk import AbstractBulk, DaleBulk, RandomBulk, SparseBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.fixed_points import FixedPoints, fixed_points
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.moments import visible_moments
from overlap_learning.model.network import Network
from overlap_learning.model.nodes import (
    AbstractNodes,
    Cubature,
    HermiteGrid,
    MinimalNodes,
    SobolNodes,
    WhitenedNodes,
)
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.model.quadrature import GaussHermite, Trapezoid
from overlap_learning.model.reduced_network import ReducedNetwork

__all__ = [
    "AbstractActivation",
    "AbstractBulk",
    "AbstractNodes",
    "Activation",
    "BulkNetwork",
    "Cubature",
    "DaleBulk",
    "Erf",
    "FixedPoints",
    "GaussHermite",
    "HermiteGrid",
    "Layout",
    "Linear",
    "MinimalNodes",
    "Model",
    "Network",
    "Overlaps",
    "Populations",
    "RandomBulk",
    "ReLU",
    "ReducedNetwork",
    "SobolNodes",
    "SparseBulk",
    "Tanh",
    "Trapezoid",
    "WhitenedNodes",
    "field_variance",
    "fixed_points",
    "rollout",
    "simulate",
    "visible_moments",
]
