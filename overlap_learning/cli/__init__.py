"""The command-line program `overlap-learning`."""

from overlap_learning.cli.main import main

__all__ = ["main"]
