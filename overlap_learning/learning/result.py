"""Results: what has labelled data, and can be kept in a file."""

import abc
import os
from typing import TYPE_CHECKING

import equinox as eqx

from overlap_learning.learning.files import write

if TYPE_CHECKING:
    import xarray


class AbstractResult(eqx.Module):
    """A result with labelled data."""

    @abc.abstractmethod
    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_xarray()` as a NetCDF-4 file, whole or not at all.

        Args:
            path: the file; an existing one is replaced once the new one is complete.
        """
        write(self.to_xarray(), path)
