"""Validation: the theory held against full networks and against the limit of infinite N."""

from overlap_learning.validation.closure import ClosureReport, closure_error
from overlap_learning.validation.finite_size import FiniteSize
from overlap_learning.validation.limit import Limit, limit
from overlap_learning.validation.validate import Validation, Verdict, validate

__all__ = [
    "ClosureReport",
    "FiniteSize",
    "Limit",
    "Validation",
    "Verdict",
    "closure_error",
    "limit",
    "validate",
]
