"""The truth at full N: training of every neuron, and its comparison with the theory."""

from overlap_learning.validation.train import train

__all__ = ["train"]
