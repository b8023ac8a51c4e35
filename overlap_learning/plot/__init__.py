"""Pictures. Each function draws on the Axes `ax` (a new figure if None) and returns it; no global style is changed."""

from overlap_learning.plot.activity_trajectories import activity_trajectories
from overlap_learning.plot.closure import closure
from overlap_learning.plot.deviation import deviation
from overlap_learning.plot.feasible_region import feasible_region
from overlap_learning.plot.feasible_region_in_space import feasible_region_in_space
from overlap_learning.plot.final_overlaps import final_overlaps
from overlap_learning.plot.fit_course import fit_course
from overlap_learning.plot.gram import gram
from overlap_learning.plot.initial_states import initial_states
from overlap_learning.plot.inputs import inputs
from overlap_learning.plot.latent_trajectories import latent_trajectories
from overlap_learning.plot.learning_animation import learning_animation
from overlap_learning.plot.learning_plane import learning_plane
from overlap_learning.plot.loss import loss
from overlap_learning.plot.neuron_activity import neuron_activity
from overlap_learning.plot.output import output
from overlap_learning.plot.overlaps import overlaps
from overlap_learning.plot.phase_portrait import phase_portrait
from overlap_learning.plot.phase_portraits import phase_portraits
from overlap_learning.plot.projections import projections
from overlap_learning.plot.quantiles import quantiles
from overlap_learning.plot.rank_scores import rank_scores
from overlap_learning.plot.sorted_activity import sorted_activity
from overlap_learning.plot.trial_factors import trial_factors
from overlap_learning.plot.trial_factors_in_space import trial_factors_in_space
from overlap_learning.plot.trials import trials
from overlap_learning.plot.validation import validation
from overlap_learning.plot.vector_field import vector_field
from overlap_learning.plot.weight_eigenvalues import weight_eigenvalues

__all__ = [
    "activity_trajectories",
    "closure",
    "deviation",
    "feasible_region",
    "feasible_region_in_space",
    "final_overlaps",
    "fit_course",
    "gram",
    "initial_states",
    "inputs",
    "latent_trajectories",
    "learning_animation",
    "learning_plane",
    "loss",
    "neuron_activity",
    "output",
    "overlaps",
    "phase_portrait",
    "phase_portraits",
    "projections",
    "quantiles",
    "rank_scores",
    "sorted_activity",
    "trial_factors",
    "trial_factors_in_space",
    "trials",
    "validation",
    "vector_field",
    "weight_eigenvalues",
]
