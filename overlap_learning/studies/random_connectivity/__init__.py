"""Random connectivity: what a random bulk does to learning, and learning to it (Schuessler et al. 2020)."""

from overlap_learning.random_connectivity import FiniteNetwork, InfiniteNetwork
from overlap_learning.studies.random_connectivity.convergence import Convergence, convergence, shuffled_loss
from overlap_learning.studies.random_connectivity.learning import (
    FixedPointLearning,
    fixed_point_learning,
    gradient_descent,
    without_bulk,
)
from overlap_learning.studies.random_connectivity.strengths import StrengthLearning, strength_learning
from overlap_learning.studies.random_connectivity.trials import TrialLearning, trial_learning

__all__ = [
    "Convergence",
    "FiniteNetwork",
    "FixedPointLearning",
    "InfiniteNetwork",
    "StrengthLearning",
    "TrialLearning",
    "convergence",
    "fixed_point_learning",
    "gradient_descent",
    "shuffled_loss",
    "strength_learning",
    "trial_learning",
    "without_bulk",
]
