"""Sweeps: a function over a grid of its arguments, in process, batched or on a cluster."""

from overlap_learning.sweeps.batched import Batched
from overlap_learning.sweeps.sweep import sweep

__all__ = ["Batched", "sweep"]
