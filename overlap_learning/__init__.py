"""Learning in low-rank recurrent networks, in the space of overlaps."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from overlap_learning import model, tasks
from overlap_learning.dynamics import (
    Cheapest,
    Gaussian,
    WeightedNeurons,
    conserved,
    integrate,
    invariants,
    loss,
    loss_gradient,
    metric,
    symmetries,
)
from overlap_learning.learning import (
    RESULTS,
    Checkpoint,
    DirectDescent,
    GradientDescent,
    GradientFlow,
    LearningError,
    LearningInterrupted,
    LossSchedule,
    Optimiser,
    Solution,
    load,
)
from overlap_learning.model import (
    Activation,
    BulkNetwork,
    Erf,
    Layout,
    Linear,
    Model,
    Network,
    Overlaps,
    Populations,
    RandomBulk,
    ReLU,
    Tanh,
    rollout,
    simulate,
)
from overlap_learning.sweeps import Batched, sweep
from overlap_learning.tasks import Task, TaskStream
from overlap_learning.training import train
from overlap_learning.validation import ClosureReport, Limit, Validation, closure_error, limit, validate

if TYPE_CHECKING:
    from overlap_learning import fitting, plot, studies
    from overlap_learning import gallery as gallery
    from overlap_learning.studies import Comparison, compare, equivalent, feasible, protocol
else:
    # What few programs need is imported when it is asked for (PEP 562).
    _MODULES = ("fitting", "gallery", "plot", "studies")
    _STUDIES = ("Comparison", "compare", "equivalent", "feasible", "protocol")

    def __getattr__(name):
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name in _STUDIES:
            globals()[name] = getattr(import_module(f"{__name__}.studies"), name)
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_MODULES, *_STUDIES})


__version__ = version("overlap_learning")

__all__ = [
    "RESULTS",
    "Activation",
    "Batched",
    "BulkNetwork",
    "Cheapest",
    "Checkpoint",
    "ClosureReport",
    "Comparison",
    "DirectDescent",
    "Erf",
    "Gaussian",
    "GradientDescent",
    "GradientFlow",
    "Layout",
    "LearningError",
    "LearningInterrupted",
    "Limit",
    "Linear",
    "LossSchedule",
    "Model",
    "Network",
    "Optimiser",
    "Overlaps",
    "Populations",
    "RandomBulk",
    "ReLU",
    "Solution",
    "Tanh",
    "Task",
    "TaskStream",
    "Validation",
    "WeightedNeurons",
    "closure_error",
    "compare",
    "conserved",
    "equivalent",
    "feasible",
    "fitting",
    "integrate",
    "invariants",
    "limit",
    "load",
    "loss",
    "loss_gradient",
    "metric",
    "model",
    "plot",
    "protocol",
    "rollout",
    "simulate",
    "studies",
    "sweep",
    "symmetries",
    "tasks",
    "train",
    "validate",
]
