"""Locks: one program at a time writes to a folder, and the next one is told which."""

import contextlib
import datetime
import errno
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overlap_learning.learning.files import DRAFT

try:
    import fcntl
# Windows has none.
except ImportError:
    fcntl: Any = None

#: The file in a folder that says who writes to it.
LOCK = ".overlap_learning.lock"


def is_left_over(file: Path) -> bool:
    """Whether a file is what a killed program of this package leaves in a folder."""
    return file.is_file() and (file.name == LOCK or (file.name.startswith(DRAFT) and file.suffix == ".part"))


@contextlib.contextmanager
def held(folder: Path, caller: str) -> Iterator[None]:
    """Hold a folder. The system lets go of what a dead process held, so that no lock on this host is stale.

    Args:
        folder: it must be there. One that can't be written to is not held: nobody writes.
        caller: the function that a person called.

    Raises:
        ValueError: if another program holds it; it names the process, its host and since when.
    """
    path = folder / LOCK
    try:
        handle = _opened(path, caller)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        yield
        return
    try:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": platform.node(), "since": now}).encode(), 0)
        yield
    finally:
        # Before it is let go: whoever opens it afterwards makes a new one.
        path.unlink(missing_ok=True)
        os.close(handle)


def _opened(path: Path, caller: str) -> int:
    """The lock's file, opened and locked."""
    while True:
        # What a link leads to is somebody else's, and would be written over.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            holder = _holder(handle)
            if holder.get("host", platform.node()) != platform.node():
                # What the system of another host holds, this one need not know.
                raise ValueError(_refusal(path, caller, holder, f" If it has ended there, delete {str(path)!r}."))
            if not _is_free(handle, holder):
                raise ValueError(_refusal(path, caller, holder, ""))
            # It may have been deleted between the two, by the program that held it.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_free(handle: int, holder: dict[str, Any]) -> bool:
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        # Some network disks have no locks.
        except OSError:
            return not _is_alive(holder.get("pid"))
    return not holder


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _holder(handle: int) -> dict[str, Any]:
    """What the lock says of who holds it; nothing if it says nothing."""
    try:
        found = json.loads(os.pread(handle, 10_000, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(path: Path, caller: str, holder: dict[str, Any], advice: str) -> str:
    who = f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'this host')} since {holder.get('since')}"
    return (
        f"{caller}: the folder {str(path.parent)!r} is in use by {who}; one program at a time. Wait for its end, or "
        f"give another folder.{advice}"
    )
