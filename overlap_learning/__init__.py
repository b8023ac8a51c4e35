"""Learning in low-rank recurrent networks, in the space of overlaps."""

from importlib.metadata import version

from overlap_learning import model, tasks
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
from overlap_learning.tasks import Task, TaskStream
from overlap_learning.validation import Validation, train, validate

__version__ = version("overlap_learning")
