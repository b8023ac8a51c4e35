"""Memory: what a network keeps of the tasks it learned before, and what writes and erases it."""

from importlib import import_module
from typing import TYPE_CHECKING

from overlap_learning.studies.memory.conserved import (
    accumulated,
    conserved_matrix,
    drift_along,
    invariants_along,
    measured_drift,
    trace_along,
    trace_drift,
)
from overlap_learning.studies.memory.course import joined, phase_edges
from overlap_learning.studies.memory.decoding import Decoding, decode_history, decode_single_twins
from overlap_learning.studies.memory.drift import Drift, invariant_drift
from overlap_learning.studies.memory.linearisation import relaxation_rates
from overlap_learning.studies.memory.manifold import SolutionManifold, solution_manifold
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.studies.memory.reachable import EquivalenceClass, equivalence_class, moved_within
from overlap_learning.studies.memory.savings import History, LearningSpeed, Savings, learning_speed, savings
from overlap_learning.studies.memory.twins import Phase, Twins, random_starts, train_twins

if TYPE_CHECKING:
    from overlap_learning.studies.memory.holonomy import connection, curvature, transport
    from overlap_learning.studies.memory.loops import Residue, stepped_loop, transported_loop
else:
    # Imported when they are asked for (PEP 562), with diffrax, which takes as long to import as all the rest. What is
    # named as its module is imported above, where the name then means the function.
    _LATER = {"connection": "holonomy", "curvature": "holonomy", "transport": "holonomy"}
    _LATER |= {"Residue": "loops", "stepped_loop": "loops", "transported_loop": "loops"}

    def __getattr__(name):
        if name in _LATER:
            globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_LATER})


__all__ = [
    "Decoding",
    "Drift",
    "EquivalenceClass",
    "History",
    "LearningSpeed",
    "Phase",
    "Residue",
    "Savings",
    "SolutionManifold",
    "Twins",
    "accumulated",
    "connection",
    "conserved_matrix",
    "curvature",
    "decode_history",
    "decode_single_twins",
    "drift_along",
    "equivalence_class",
    "invariant_drift",
    "invariants_along",
    "joined",
    "learning_speed",
    "measured_drift",
    "moved_within",
    "phase_edges",
    "protocol",
    "random_starts",
    "relaxation_rates",
    "savings",
    "solution_manifold",
    "stepped_loop",
    "trace_along",
    "trace_drift",
    "train_twins",
    "transport",
    "transported_loop",
]
