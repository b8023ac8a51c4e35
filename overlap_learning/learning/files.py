"""Files: results on disk, whole or not at all, each with a checksum of itself at its end."""

import contextlib
import errno
import hashlib
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlap_learning.checks import as_path
from overlap_learning.guides import guide
from overlap_learning.learning.hdf5 import check_heaps, check_parts

if TYPE_CHECKING:
    import xarray

#: Stands at the end of every written file, before the checksum of all that comes before.
SEAL = b"\noverlap_learning sha256 "
#: Names of files that are being written: short, so that any name that the disk allows can be written, and ours alone.
DRAFT = ".overlap_learning-"
#: The most bytes of a name on nearly every disk.
MOST_BYTES = 255


def path_of(path: Any, caller: str, name: str = "path", of: str = "a file, such as 'run.nc'") -> Path:
    """`path`, if it can be that of a file or a folder.

    Args:
        path: what a person passed.
        caller: the function that they called.
        name: of the argument.
        of: what it is to name, with an example.

    Raises:
        ValueError: naming the caller, what it was and what is allowed.
    """
    allowed = f"{caller}: {name} must be a text or a pathlib.Path that names {of}"
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(text, str):
        hint = "; pass os.fsdecode(path)" if isinstance(text, bytes) else ""
        raise ValueError(f"{allowed}, got {path!r}{hint}.")
    if "\0" in text or not text:
        raise ValueError(f"{allowed}, without the character NUL in it, got {text!r}.")
    try:
        longest = max((os.fsencode(part) for part in Path(text).parts), key=len, default=b"")
    except UnicodeEncodeError:
        raise ValueError(f"{allowed}, of characters that a disk can hold, got {text!r}.") from None
    if len(longest) > MOST_BYTES:
        raise ValueError(f"{allowed}, each part of it of at most {MOST_BYTES} bytes, got one of {len(longest)}.")
    return as_path(text)


def write(dataset: "xarray.Dataset", path: str | os.PathLike[str]) -> None:
    """Write a dataset as a NetCDF-4 file that ends with a checksum of itself, whole or not at all.

    Readers of NetCDF pass over what stands behind its end.

    Raises:
        ValueError: if there is no such folder, or a label is a text that no file can hold.
        OSError: if it can't be written, as on a full disk. An older file of this name is intact.
    """
    path = path_of(path, "save")
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OU":
            _check_texts(str(name), variable.values.ravel().tolist())
    # In memory: HDF5 itself can't go on after a write to a full disk, and may take the program down with it.
    with _without_cluster():
        content = bytes(dataset.to_netcdf(engine="h5netcdf"))
    replace(path, content + SEAL + hashlib.sha256(content).hexdigest().encode())


def _check_texts(name: str, texts: list[str]) -> None:
    """Refuse what is no text in UTF-8, or ends before it does.

    Raises:
        ValueError: naming the first.
    """
    for text in texts:
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(
                f"save: {name!r} has the text {text!r}, with a character that no file can hold (NUL, or half of a "
                "pair). Use another name."
            )


def _without_cluster() -> contextlib.AbstractContextManager[Any]:
    """With a client of Dask about, xarray would ask its cluster for the lock of a file that this process alone has."""
    if "distributed" not in sys.modules:
        return contextlib.nullcontext()
    import dask.config
    import dask.local

    # The function of the scheduler "synchronous", of which Dask says nothing; by its name it may warn.
    return dask.config.set(scheduler=dask.local.get_sync)


def replace(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file, whole or not at all: a killed program leaves the old file, or none.

    Raises:
        ValueError: if there is no such folder.
        OSError: if it can't be written, as on a full disk, or where something is that is no file. An older file of
            this name is intact.
    """
    # A link stays: what it points to is written.
    target = Path(os.path.realpath(path_of(path, "save")))
    if not target.parent.is_dir():
        raise ValueError(f"save: there is no folder {str(target.parent)!r}; make it first.")
    draft = None
    try:
        # A device or a pipe would be gone, and a file in its place.
        if os.path.lexists(target) and not target.is_file():
            raise FileExistsError(errno.EEXIST, "it is there, and no file")
        # It is complete, and on the disk, before it has its name.
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=DRAFT, suffix=".part")
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
        ValueError: if it is not, to the last bit, as it was written, or has something in it that `write` does not
            write.
    """
    path = path_of(path, caller)
    if not path.is_file():
        raise FileNotFoundError(f"{caller}: there is no file {str(path)!r}.")
    check_seal(path)
    return opened(path, caller)


def opened(path: Path, caller: str) -> "xarray.Dataset":
    """The dataset in a file that `check_seal` has passed: a checksum says that a file is whole, not who wrote it.

    Raises:
        ValueError: if there is something in it that `write` does not write.
    """
    import h5netcdf
    import h5py
    import xarray
    from xarray.backends import H5NetCDFStore

    with of_a_stranger(path, caller, "file that this package writes"):
        with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_heaps(content)
        with h5py.File(path, "r") as file:
            check_parts(file, path.stat().st_size)
        # A file that xarray opened and then fails to read stays open until Python collects its error.
        with h5netcdf.File(path, "r", decode_vlen_strings=True) as file:
            store = H5NetCDFStore(file)
            # Numbers as they are: no units turn them into dates.
            with xarray.open_dataset(store, decode_times=False, decode_timedelta=False) as data:
                return data.load()


class NotInFileError(ValueError):
    """A result needs what no file can hold, and what was passed for it is missing or another."""


@contextlib.contextmanager
def of_a_stranger(path: Path, caller: str, what: str) -> Iterator[None]:
    """Around the reading of what a file holds: whatever it makes the layers below raise means one thing.

    Raises:
        ValueError: naming the file, and what is wrong in it.
    """
    try:
        yield
    except NotInFileError:
        raise
    except Exception as error:
        reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{caller}: {str(path)!r} has a valid checksum, but is no {what}: {reason.rstrip('.')}.{guide('file')}"
        ) from error


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
            f"Solution.save did not write it.{guide('file')}"
        )
    if seal != SEAL + digest.hexdigest().encode():
        raise ValueError(
            f"load: {str(path)!r} is damaged: its contents do not match the checksum at its end.{guide('file')}"
        )
