"""Cache: where compiled programs are kept from one call of the program to the next."""

import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

#: What is quicker to compile, in seconds, is not worth a file.
WORTH_KEEPING = 0.1


def keep_programs() -> None:
    """Have jax keep compiled programs in the user's folder, unless the user has told jax another one, or not to.

    For programs, not for libraries: the setting is the process's.
    """
    settings: Any = jax.config
    if settings.jax_compilation_cache_dir is not None or not settings.jax_enable_compilation_cache:
        return
    try:
        folder = cache_folder()
        # Whoever can write there can have this program run what they like.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        # No home, or none that can be written to: programs are compiled again.
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)


def cache_folder() -> Path:
    """The folder of this user, this version of jax and this kind of processor.

    Raises:
        RuntimeError: if the user has no home.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "overlap-learning" / f"jax-{version('jaxlib')}-{_processor()}"


def _processor() -> str:
    """A short name of the processor's kind: a home that machines share holds programs that not all of them can run."""
    kind = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        # One of each, from whichever core is listed first.
        for field in ("model name", "flags", "Features"):
            kind += [line for line in lines if line.startswith(field)][:1]
    except OSError:
        # Only Linux says it there.
        kind.append(platform.processor())
    return hashlib.sha256("\n".join(kind).encode()).hexdigest()[:12]
