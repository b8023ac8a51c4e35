"""Validation: the theory held against full networks and against the limit of infinite N."""

from overlap_learning.neurons.gaussianity import Mismatch, effective_mismatch
from overlap_learning.validation.closure import ClosureReport, closure_error
from overlap_learning.validation.costs import Closure, Sizes, compare_closures
from overlap_learning.validation.finite_size import FiniteSize
from overlap_learning.validation.gaussianity import excess_kurtosis, kurtosis_error
from overlap_learning.validation.limit import Limit, limit
from overlap_learning.validation.validate import Validation, Verdict, validate

__all__ = [
    "Closure",
    "ClosureReport",
    "FiniteSize",
    "Limit",
    "Mismatch",
    "Sizes",
    "Validation",
    "Verdict",
    "closure_error",
    "compare_closures",
    "effective_mismatch",
    "excess_kurtosis",
    "kurtosis_error",
    "limit",
    "validate",
]
