"""Origins: whose a module is. Of a library the version is known; of a person's own module, what is in it."""

import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

#: Folders that installed packages are in, on every system.
_INSTALLED = {"site-packages", "dist-packages"}
#: Parts of this package on which no number depends.
_SHOWING = {"cli", "explore", "plot"}


@functools.cache
def library(module: str) -> str | None:
    """The version of the library that a module is of; None for a person's own module.

    Own is what lies outside the folders of installed packages, and what was installed from a folder: its version need
    not change when it does. The version of one that was compiled is its hash.
    """
    top = module.partition(".")[0]
    if top == "overlap_learning":
        return importlib.metadata.version("overlap_learning")
    files = _files(top)
    standard = Path(sysconfig.get_paths()["stdlib"])
    if any(_INSTALLED & set(file.parts) for file in files):
        return None if _is_from_folder(top, files) else _version(top)
    if any(file.is_relative_to(standard) for file in files) or (not files and top in sys.stdlib_module_names):
        return f"of Python {sys.version_info.major}.{sys.version_info.minor}" if top != "__main__" else None
    return f"compiled {hashlib.sha256(own.read_bytes()).hexdigest()[:12]}" if (own := _compiled(module)) else None


@functools.cache
def this_package() -> str:
    """The version of this package, and a hash of what in it decides numbers: it changes between two releases too."""
    root, whole = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root)
        if place.parts[0] not in _SHOWING:
            whole.update(place.as_posix().encode() + b"\0" + file.read_bytes())
    return f"{library('overlap_learning')} (source {whole.hexdigest()[:12]})"


def by_name(value: Any) -> str | None:
    """The name under which a library has an object, with the library's version; None if it has it under none."""
    module, name = _read(value, "__module__"), _read(value, "__qualname__") or _read(value, "__name__")
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if (version := library(module)) is None:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}.{name} {version}" if found is value else None


def _read(value: Any, name: str) -> Any:
    # A person's own `__getattr__` may raise anything.
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def is_made_up(kind: type) -> bool:
    """Whether a library made a class while it ran: what is in it is a person's then."""
    module = str(kind.__module__)
    return bool(kind.__flags__ & _HEAP) and library(module) is not None and not by_name(kind) and not _compiled(module)


#: The flag of a class that was made while Python runs.
_HEAP = 1 << 9


def _compiled(module: str) -> Path | None:
    """The file of a module that was compiled, by C or the like."""
    file = str(getattr(sys.modules.get(module), "__file__", None))
    return Path(file) if file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)) else None


def _files(top: str) -> list[Path]:
    """Where a top-level module is: its file, or the folders of a package without one."""
    module = sys.modules.get(top)
    if module is None or top == "__main__":
        try:
            spec = None if top == "__main__" else importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        origin = getattr(spec, "origin", None)
        places = [origin] if getattr(spec, "has_location", False) else getattr(spec, "submodule_search_locations", None)
    else:
        file = getattr(module, "__file__", None)
        places = [file] if file else getattr(module, "__path__", None)
    return [Path(place) for place in places or () if isinstance(place, str)]


def _is_from_folder(top: str, files: list[Path]) -> bool:
    """Whether a package was installed from a folder, as `pip install .` does."""
    return any(top in _from_folders(folder) for file in files for folder in file.parents if folder.name in _INSTALLED)


@functools.cache
def _from_folders(installed: Path) -> frozenset[str]:
    """The top-level modules in a folder of installed packages that came from a person's folder."""
    found: set[str] = set()
    for url in installed.glob("*.dist-info/direct_url.json"):
        record = url.with_name("RECORD")
        if "dir_info" in json.loads(url.read_text()) and record.is_file():
            lines = record.read_text().splitlines()
            found |= {line.partition(",")[0].partition("/")[0].removesuffix(".py") for line in lines}
    return frozenset(found)


def _version(top: str) -> str:
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(top, ())
        return ", ".join(sorted({importlib.metadata.version(name) for name in names})) or "without a version"
