"""The gallery: the figures of the papers, and what goes beyond them, each from one call.

Every module of a paper is one experiment: settings as published and a quick version of them, a function for each figure
that runs theory and full networks on the same trials and returns a `Reproduction`: the picture, its data, and its
numbers. A figure is imported when it is asked for.
"""

from overlap_learning.gallery.kit.registry import FIGURES, Sheet
from overlap_learning.gallery.kit.reproduction import Number, Reproduction

__all__ = ["FIGURES", "Number", "Reproduction", "Sheet"]
