"""Files: results on disk, whole or not at all, each with a checksum of itself at its end."""

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlap_learning.checks import as_path

if TYPE_CHECKING:
    import xarray

#: Stands at the end of every written file, before the checksum of all that comes before.
SEAL = b"\noverlap_learning sha256 "


def write(dataset: "xarray.Dataset", path: str | os.PathLike[str]) -> None:
    """Write a dataset as a NetCDF-4 file that ends with a checksum of itself, whole or not at all.

    Readers of NetCDF pass over what stands behind its end.

    Raises:
        ValueError: if there is no such folder.
        OSError: if it can't be written, as on a full disk. An older file of this name is intact.
    """
    # In memory: HDF5 itself can't go on after a write to a full disk, and may take the program down with it.
    with _without_cluster():
        content = bytes(dataset.to_netcdf(engine="h5netcdf"))
    replace(path, content + SEAL + hashlib.sha256(content).hexdigest().encode())


def _without_cluster() -> contextlib.AbstractContextManager[Any]:
    """With a client of Dask about, xarray would ask its cluster for the lock of a file that this process alone has."""
    if "distributed" not in sys.modules:
        return contextlib.nullcontext()
    from dask import config

    return config.set(scheduler="synchronous")


def replace(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file, whole or not at all: a killed program leaves the old file, or none.

    Raises:
        ValueError: if there is no such folder.
        OSError: if it can't be written, as on a full disk. An older file of this name is intact.
    """
    # A link stays: what it points to is written.
    target = Path(os.path.realpath(as_path(path)))
    if not target.parent.is_dir():
        raise ValueError(f"save: there is no folder {str(target.parent)!r}; make it first.")
    draft = None
    try:
        # It is complete, and on the disk, before it has its name.
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private to its owner; a result has the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, target)
    except BaseException as error:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(f"save: {str(target)!r} could not be written ({error.strerror or error}).") from error
        raise


def read(path: str | os.PathLike[str], caller: str) -> "xarray.Dataset":
    """A dataset that `write` wrote.

    Raises:
        FileNotFoundError: if there is no such file; it names the caller.
        ValueError: if it is not, to the last bit, as it was written.
    """
    import xarray

    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{caller}: there is no file {str(path)!r}.")
    check_seal(path)
    with xarray.open_dataset(path, engine="h5netcdf") as opened:
        return opened.load()


def check_seal(path: Path) -> None:
    """Refuse a file that is not, to the last bit, as `write` wrote it; before HDF5 sees it, whose parser may hang.

    Raises:
        ValueError: if it is not.
    """
    length = len(SEAL) + 64
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - length
        while left > 0 and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
        seal = file.read()
    if len(seal) != length or not seal.startswith(SEAL):
        raise ValueError(
            f"load: {str(path)!r} does not end with the checksum of a saved solution: it was cut off or changed, or "
            "Solution.save did not write it."
        )
    if seal != SEAL + digest.hexdigest().encode():
        raise ValueError(f"load: {str(path)!r} is damaged: its contents do not match the checksum at its end.")
