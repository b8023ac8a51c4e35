"""Pictures. Each function draws on the Axes `ax` (a new figure if None) and returns it; no global style is changed."""

from overlap_learning.plot.closure import closure
from overlap_learning.plot.deviation import deviation
from overlap_learning.plot.final_overlaps import final_overlaps
from overlap_learning.plot.loss import loss
from overlap_learning.plot.output import output
from overlap_learning.plot.overlaps import overlaps
from overlap_learning.plot.quantiles import quantiles
from overlap_learning.plot.validation import validation

__all__ = ["closure", "deviation", "final_overlaps", "loss", "output", "overlaps", "quantiles", "validation"]
