"""The truth beyond the theory: training at full N, the limit of infinite N, and their comparison with the theory."""

from overlap_learning.validation.backpropagation import memory_traffic
from overlap_learning.validation.closure import ClosureReport, closure_error
from overlap_learning.validation.limit import Limit, limit
from overlap_learning.validation.scaling import FiniteSize
from overlap_learning.validation.train import train
from overlap_learning.validation.validate import Validation, Verdict, validate

__all__ = [
    "ClosureReport",
    "FiniteSize",
    "Limit",
    "Validation",
    "Verdict",
    "closure_error",
    "limit",
    "memory_traffic",
    "train",
    "validate",
]
