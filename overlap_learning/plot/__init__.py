"""Pictures. Each function draws on the Axes `ax` (a new figure if None) and returns it; no global style is changed."""

from overlap_learning.plot.closure import closure
from overlap_learning.plot.deviation import deviation
from overlap_learning.plot.final_overlaps import final_overlaps
from overlap_learning.plot.fit_course import fit_course
from overlap_learning.plot.loss import loss
from overlap_learning.plot.output import output
from overlap_learning.plot.overlaps import overlaps
from overlap_learning.plot.projections import projections
from overlap_learning.plot.quantiles import quantiles
from overlap_learning.plot.rank_scores import rank_scores
from overlap_learning.plot.sorted_activity import sorted_activity
from overlap_learning.plot.trial_factors import trial_factors
from overlap_learning.plot.validation import validation
from overlap_learning.plot.weight_eigenvalues import weight_eigenvalues

__all__ = [
    "closure",
    "deviation",
    "final_overlaps",
    "fit_course",
    "loss",
    "output",
    "overlaps",
    "projections",
    "quantiles",
    "rank_scores",
    "sorted_activity",
    "trial_factors",
    "validation",
    "weight_eigenvalues",
]
