"""The gallery: the figures of the papers, and what goes beyond them, each from one call.

Every module is one experiment: settings as published and a quick version of them, a function for each figure that runs
theory and full networks on the same trials and returns a `Reproduction`: the picture, its data, and its numbers.
"""

from overlap_learning.gallery.registry import FIGURES, Sheet
from overlap_learning.gallery.reproduction import Number, Reproduction

__all__ = ["FIGURES", "Number", "Reproduction", "Sheet"]
