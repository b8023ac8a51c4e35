"""The truth at full N: training of every neuron, and its comparison with the theory."""

from overlap_learning.validation.train import train
from overlap_learning.validation.validate import Validation, Verdict, validate

__all__ = ["Validation", "Verdict", "train", "validate"]
