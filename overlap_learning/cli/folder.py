"""Folder: where results are written, and which were."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from overlap_learning.checks import as_path
from overlap_learning.cli.values import ConfigError
from overlap_learning.learning.files import replace
from overlap_learning.learning.outcomes import LearningError, LearningInterrupted
from overlap_learning.learning.solution import Solution
from overlap_learning.validation.validate import Validation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150


class Folder:
    """A folder of results. Files of an earlier run are replaced.

    Attributes:
        path: the folder.
        written: the files written so far.
    """

    def __init__(self):
        self.path = Path()
        self.written: list[Path] = []

    def open(self, path: Path) -> None:
        """Use this folder, made if need be.

        Raises:
            ConfigError: if there can't be such a folder.
        """
        path = as_path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"can't write to the folder {str(path)!r}: {error.strerror}.") from error
        self.path = path

    def run(self, name: str, learn: Callable[[], Solution]) -> Solution:
        """Learn, and save the solution as NAME.nc: also that of a run which ended badly or was interrupted."""
        try:
            solution = learn()
        except (LearningError, LearningInterrupted) as error:
            self.save(error.solution, name)
            raise
        self.save(solution, name)
        return solution

    def save(self, result: Solution | Validation, name: str) -> None:
        """Save a result as NAME.nc."""
        path = self.path / f"{name}.nc"
        result.save(path)
        self.written.append(path)

    def draw(self, figure: "Figure", name: str) -> None:
        """Save a figure as NAME.png."""
        path = self.path / f"{name}.png"
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DOTS_PER_INCH)
        replace(path, picture.getbuffer())
        self.written.append(path)

    def report(self) -> None:
        """Print what was written."""
        print("\nWritten:")
        for path in self.written:
            print(f"  {path}")
