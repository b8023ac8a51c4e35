"""Theory of random full-rank connectivity: linear networks whose connectivity learns from a random start."""

from overlap_learning.random_connectivity.chain import Bases, Chain, krylov_chain
from overlap_learning.random_connectivity.learning import Depth
from overlap_learning.random_connectivity.mean_field import StationaryActivity, stationary_activity
from overlap_learning.random_connectivity.network import AbstractNetwork, FiniteNetwork, InfiniteNetwork
from overlap_learning.random_connectivity.spectrum import Spectrum

__all__ = [
    "AbstractNetwork",
    "Bases",
    "Chain",
    "Depth",
    "FiniteNetwork",
    "InfiniteNetwork",
    "Spectrum",
    "StationaryActivity",
    "krylov_chain",
    "stationary_activity",
]
