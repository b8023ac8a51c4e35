"""Studies: the questions that people ask of networks that learn."""

from importlib import import_module
from typing import TYPE_CHECKING

from overlap_learning.studies import memory
from overlap_learning.studies.connectivity import (
    ConnectivityChange,
    RankOfChange,
    Spectra,
    connectivity_change,
    convergence_step,
    rank_of_change,
    shuffled_bulk_loss,
    spectra,
)
from overlap_learning.studies.equivalence import (
    Comparison,
    Interval,
    compare,
    equivalent,
    feasible,
    gauge,
    members,
    output_noise,
)
from overlap_learning.studies.gates import GateRanks, rank_of_gates
from overlap_learning.studies.memory import (
    Decoding,
    Drift,
    EquivalenceClass,
    History,
    LearningSpeed,
    Phase,
    Savings,
    SolutionManifold,
    Twins,
    accumulated,
    conserved_matrix,
    decode_history,
    decode_single_twins,
    drift_along,
    equivalence_class,
    invariant_drift,
    invariants_along,
    joined,
    learning_speed,
    measured_drift,
    moved_within,
    phase_edges,
    protocol,
    random_starts,
    relaxation_rates,
    savings,
    solution_manifold,
    trace_along,
    trace_drift,
    train_twins,
)
from overlap_learning.studies.modes import Mode, filter_solution, slowest_mode
from overlap_learning.studies.tensor import (
    Components,
    Lifted,
    MultilinearRank,
    RankBounds,
    Tucker,
    WeightTensor,
    factor_bounds,
    gradient_bounds,
    matrices_tensor,
    networks_tensor,
    span_bounds,
    weight_tensor,
)
from overlap_learning.studies.terms import metric_terms

if TYPE_CHECKING:
    from overlap_learning.studies import random_connectivity as random_connectivity
    from overlap_learning.studies.memory import (
        Residue,
        connection,
        curvature,
        stepped_loop,
        transport,
        transported_loop,
    )
else:
    # Imported when they are asked for, as in `memory`.
    _LATER = ("Residue", "connection", "curvature", "stepped_loop", "transport", "transported_loop")

    def __getattr__(name):
        if name in _LATER:
            return getattr(memory, name)
        if name == "random_connectivity":
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_LATER, "random_connectivity"})


__all__ = [
    "Comparison",
    "Components",
    "ConnectivityChange",
    "Decoding",
    "Drift",
    "EquivalenceClass",
    "GateRanks",
    "History",
    "Interval",
    "LearningSpeed",
    "Lifted",
    "Mode",
    "MultilinearRank",
    "Phase",
    "RankBounds",
    "RankOfChange",
    "Residue",
    "Savings",
    "SolutionManifold",
    "Spectra",
    "Tucker",
    "Twins",
    "WeightTensor",
    "accumulated",
    "compare",
    "connection",
    "connectivity_change",
    "conserved_matrix",
    "convergence_step",
    "curvature",
    "decode_history",
    "decode_single_twins",
    "drift_along",
    "equivalence_class",
    "equivalent",
    "factor_bounds",
    "feasible",
    "filter_solution",
    "gauge",
    "gradient_bounds",
    "invariant_drift",
    "invariants_along",
    "joined",
    "learning_speed",
    "matrices_tensor",
    "measured_drift",
    "members",
    "metric_terms",
    "moved_within",
    "networks_tensor",
    "output_noise",
    "phase_edges",
    "protocol",
    "random_connectivity",
    "random_starts",
    "rank_of_change",
    "rank_of_gates",
    "relaxation_rates",
    "savings",
    "shuffled_bulk_loss",
    "slowest_mode",
    "solution_manifold",
    "span_bounds",
    "spectra",
    "stepped_loop",
    "trace_along",
    "trace_drift",
    "train_twins",
    "transport",
    "transported_loop",
    "weight_tensor",
]
