"""Folder: the pieces of a sweep on disk, so that the same call goes on where it was cut off."""

import contextlib
import hashlib
import json
import os
import time
import warnings
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from overlap_learning.guides import guide
from overlap_learning.learning.files import path_of, read, replace, write
from overlap_learning.learning.fingerprint import changes, fingerprint
from overlap_learning.learning.lock import LOCK, held, is_left_over
from overlap_learning.sweeps.pieces import ERROR, Piece, join
from overlap_learning.sweeps.tables import FLAT, INDEX, Results, check

#: Version of the files' layout. A reader refuses any other.
SCHEMA = 2
#: Points that end within so many seconds of each other share a file.
SECONDS = 2.0
_ABOUT = "sweep.json"


class Folder:
    """The pieces of one sweep, held from when it is made until it is closed.

    Args:
        path: where; made if need be.
        version: what the person says of all in the arguments that can't be seen through.
        **arguments: what the sweep depends on, by the names that the person knows.

    Raises:
        ValueError: if an argument can't be seen through, or the folder is that of another sweep, or has something else
            in it, or can't be made, or another program holds it.
    """

    def __init__(self, path: str | os.PathLike[str], version: str | None, **arguments: Any):
        self.path = path_of(path, "sweep", "folder", "a folder, such as 'runs/rates'")
        self.waiting: list[Piece] = []
        self.written = time.monotonic()
        about = {"schema": str(SCHEMA), **fingerprint(arguments, "sweep", version)}
        self.sweep = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self._holds = contextlib.ExitStack()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Nothing is touched before the folder is known to be of a sweep.
            self._check()
            self._holds.enter_context(held(self.path, "sweep"))
        except OSError as error:
            raise ValueError(f"sweep: the folder {str(self.path)!r} can't be used ({error}).") from error
        try:
            self._check()
            self._claim(about)
            for draft in filter(is_left_over, self.path.iterdir()):
                if draft.name != LOCK:
                    draft.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other programs have the folder."""
        self._holds.close()

    def _check(self) -> None:
        """Refuse a folder of something else."""
        others = sorted(file.name for file in self.path.iterdir() if not is_left_over(file))
        if others and not (self.path / _ABOUT).is_file():
            raise ValueError(
                f"sweep: the folder {str(self.path)!r} has files in it and is no sweep's "
                f"({', '.join(map(repr, others[:3]))}); give an empty or a new one."
            )

    def _claim(self, about: Mapping[str, str]) -> None:
        """Check that the folder is this sweep's, and make a new one so."""
        file = self.path / _ABOUT
        if not file.is_file():
            with self._writing(_ABOUT):
                replace(file, json.dumps(about, indent=1).encode())
            return
        try:
            found = dict(json.loads(file.read_text()))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"sweep: {str(file)!r}, which says what sweep the folder is of, is damaged ({error}). Delete the "
                "folder to start anew."
            ) from error
        differs = changes(found, about)
        if differs:
            raise ValueError(
                f"sweep: the folder {str(self.path)!r} is that of another sweep: {differs}. Call it with the same "
                "arguments, and the same versions, to go on with that one; for another give another folder, or delete "
                f"this one.{guide('sweep')}"
            )

    def load(self, size: int) -> list[Piece]:
        """The pieces that are there and whole, of a sweep of `size` points. Damaged ones are computed again."""
        found, damaged = [], []
        for file in sorted(self.path.glob("*.nc")):
            try:
                found.append(self._read(file, size))
            # Whatever a broken file makes the layers below raise, it means one thing.
            except Exception as error:
                damaged.append(f"{file.name} ({type(error).__name__}: {error})")
        if damaged:
            warnings.warn(
                f"sweep: {len(damaged)} of the files in {str(self.path)!r} are damaged, and their points are computed "
                f"again: {'; '.join(damaged[:3])}.",
                stacklevel=3,
            )
        return found

    def keep(self, piece: Piece) -> None:
        """Write a piece, at once or with those of the next moments; failures that may pass are not written."""
        if not piece.passing:
            self.waiting.append(piece)
        if time.monotonic() - self.written >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write all pieces that wait.

        Raises:
            OSError: if one can't be written, as on a full disk. Those written before are intact.
        """

        def place(piece: Piece) -> tuple[str, int]:
            return repr(piece.kind), int(piece.index[0])

        for _, pieces in groupby(sorted(self.waiting, key=place), key=lambda piece: repr(piece.kind)):
            piece = join(list(pieces))
            name = f"{piece.index[0]:08d}.nc"
            with self._writing(name):
                write(self._dataset(piece), self.path / name)
        self.waiting, self.written = [], time.monotonic()

    def _writing(self, name: str) -> "_Writing":
        return _Writing(self.path, name)

    def _dataset(self, piece: Piece) -> Any:
        import xarray

        arrays = {} if piece.results is None else piece.results.arrays
        variables: dict[str, Any] = {INDEX: ((FLAT,), piece.index), ERROR: ((FLAT,), np.asarray(piece.errors, str))}
        dims = {} if piece.results is None else json.loads(piece.results.form)["variables"]
        variables |= {name: ((FLAT, *dims[name]["dims"]), array) for name, array in arrays.items()}
        data = xarray.Dataset(variables)
        for variable in data.variables.values():
            # What is written is what is read: no value stands for another.
            variable.encoding["_FillValue"] = None
        data.attrs = {
            "title": "Points of a sweep",
            "sweep": self.sweep,
            "form": "" if piece.results is None else piece.results.form,
            "attributes": "" if piece.results is None else piece.results.attributes,
            "partial": int(piece.partial),
        }
        return data

    def _read(self, file: Path, size: int) -> Piece:
        data = read(file, "sweep")
        attributes = dict(data.attrs)
        if attributes["sweep"] != self.sweep:
            raise ValueError("it belongs to another sweep")
        arrays = {str(name): _read_array(variable.values) for name, variable in data.variables.items()}
        index, errors = arrays.pop(INDEX), arrays.pop(ERROR)
        if index.dtype.kind != "i" or index.ndim != 1 or errors.shape != index.shape or errors.dtype.kind != "U":
            raise ValueError(f"{INDEX!r} and {ERROR!r} hold {index.dtype} and {errors.dtype}")
        if len(set(index.tolist())) < len(index) or index.min() < 0 or index.max() >= size:
            raise ValueError(f"it has the points {index[:5].tolist()}, of {size}")
        results = None
        if attributes["form"]:
            results = Results(arrays, attributes["form"], attributes["attributes"])
            check(results, {str(name): variable.dims for name, variable in data.variables.items()})
        return Piece(index, tuple(errors.tolist()), results, partial=bool(attributes["partial"]))


class _Writing:
    """Around the writing of a file: says what it means if that fails."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise OSError(
                f"sweep: {self.name} could not be written to {str(self.folder)!r} ({error}); the points written before "
                "are intact. Make room and run the same call again to go on from there."
            ) from error
        if isinstance(error, (TypeError, ValueError)):
            raise ValueError(
                f"sweep: the results can't be written to a NetCDF file ({error}); return real numbers or texts, under "
                "names without '/'."
            ) from error


def _read_array(array: np.ndarray) -> np.ndarray:
    return array.astype(str) if array.dtype.kind == "O" else array
