"""Learning in low-rank recurrent networks, in the space of overlaps."""

from importlib.metadata import version

from overlap_learning import model, plot, studies, tasks
from overlap_learning.dynamics import (
    RESULTS,
    DirectDescent,
    GradientDescent,
    GradientFlow,
    LearningError,
    LearningInterrupted,
    Optimiser,
    Solution,
    integrate,
    invariants,
    load,
    loss,
    loss_gradient,
    metric,
)
from overlap_learning.model import (
    Activation,
    Erf,
    Layout,
    Linear,
    Model,
    Network,
    Overlaps,
    ReLU,
    Tanh,
    rollout,
    simulate,
)
from overlap_learning.studies import Comparison, compare, equivalent, feasible, protocol
from overlap_learning.tasks import Task, TaskStream
from overlap_learning.validation import Validation, train, validate

__version__ = version("overlap_learning")

__all__ = [
    "RESULTS",
    "Activation",
    "Comparison",
    "DirectDescent",
    "Erf",
    "GradientDescent",
    "GradientFlow",
    "Layout",
    "LearningError",
    "LearningInterrupted",
    "Linear",
    "Model",
    "Network",
    "Optimiser",
    "Overlaps",
    "ReLU",
    "Solution",
    "Tanh",
    "Task",
    "TaskStream",
    "Validation",
    "compare",
    "equivalent",
    "feasible",
    "integrate",
    "invariants",
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
    "tasks",
    "train",
    "validate",
]
