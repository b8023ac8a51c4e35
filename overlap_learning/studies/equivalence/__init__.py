"""Functionally equivalent networks: the same behaviour, different invisible overlaps, told apart by learning."""

from overlap_learning.studies.equivalence.comparison import Comparison, compare
from overlap_learning.studies.equivalence.completion import Interval, equivalent, feasible
from overlap_learning.studies.equivalence.members import gauge, members
from overlap_learning.studies.equivalence.noise import output_noise

__all__ = ["Comparison", "Interval", "compare", "equivalent", "feasible", "gauge", "members", "output_noise"]
