"""Fingerprints: what a run depends on, as text, so that another run can be told from it."""

import dataclasses
import functools
import hashlib
import json
import os
import types
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: Packages whose functions are known by their names and code.
_LIBRARIES = frozenset({"overlap_learning", "jax", "optax", "equinox", "diffrax", "numpy", "scipy", "functools"})


def fingerprint(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What a run depends on, as text by name: numbers as they are, arrays by their hash, functions by their code.

    Two calls with the same fingerprint are the same run; where two differ, the names say in what.
    """
    found = {"overlap_learning": version("overlap_learning")}
    for name, value in arguments.items():
        _describe(value, name, found, ())
    return found


def changes(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """In what two fingerprints differ, in words (the first five); empty if they are the same."""
    names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    shown = [f"{name} was {was.get(name, 'not there')} and is {now.get(name, 'not there')}" for name in names]
    return "; ".join(shown[:5]) + (f", and {len(shown) - 5} more" if len(shown) > 5 else "")


def _describe(value: Any, name: str, found: dict[str, str], outer: tuple[int, ...]) -> None:
    """Enter a value, and all that it is made of, under its name. `outer` are the objects that this one is part of."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, os.PathLike)):
        found[name] = repr(value)
    elif isinstance(value, jax.Array) and is_key(value):
        found[name] = f"{jax.random.key_impl(value)} {np.asarray(jax.random.key_data(value)).tolist()}"
    elif isinstance(value, (jax.Array, np.ndarray, np.generic)):
        array = np.asarray(value)
        text = repr(array.item()) if array.ndim == 0 else f"{list(array.shape)} {digest_of({'': array})[:12]}"
        found[name] = f"{array.dtype} {text}"
    elif id(value) in outer:
        found[name] = "itself"
    else:
        found[name] = _kind(value)
        for part, content in _parts(value):
            _describe(content, f"{name}{part}", found, (*outer, id(value)))


def _kind(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What an object is made of: (how it is reached, what it is)."""
    code = getattr(value, "__code__", None)
    if code is not None:
        return _parts_of_function(value, code)
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", content) for key, content in sorted(value.items(), key=lambda item: repr(item[0]))]
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", None)
        return [(f"[{i}]" if names is None else f".{names[i]}", content) for i, content in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [("[...]", sorted(map(repr, value)))]
    if isinstance(value, functools.partial):
        return [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A field may be left out on purpose, as in an object with a __init__ of its own.
        return [(f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return []
    return [(f".{key}", content) for key, content in sorted(vars(value).items())]


def _parts_of_function(function: Any, code: Any) -> list[tuple[str, Any]]:
    cells = [_content(cell) for cell in function.__closure__ or ()]
    inside = [(f".{name}", cell) for name, cell in zip(code.co_freevars, cells, strict=True)]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    bound = [(".self", function.__self__)] if hasattr(function, "__self__") else []
    return [(" code", _code_text(code)), *inside, (" defaults", defaults), *bound, *_globals_of(function, code)]


def _content(cell: types.CellType) -> Any:
    """What a closure holds; a function may close over a name that it has not set yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _globals_of(function: Any, code: Any) -> list[tuple[str, Any]]:
    """The numbers, arrays and functions of a person's own module that a function reads; of libraries, the names."""
    # Of libraries the version is compared where it counts; their insides are theirs.
    if function.__module__ is None or function.__module__.split(".")[0] in _LIBRARIES:
        return []
    found = []
    for name in sorted(_names(code)):
        if name not in function.__globals__:
            continue
        content = function.__globals__[name]
        if isinstance(content, types.ModuleType):
            content = content.__name__
        elif callable(content) and getattr(content, "__module__", None) != function.__module__:
            content = f"{getattr(content, '__module__', None)}.{getattr(content, '__qualname__', name)}"
        found.append((f" global {name}", content))
    return found


def _names(code: Any) -> set[str]:
    """The names that compiled code and the functions in it read."""
    inner = [_names(constant) for constant in code.co_consts if hasattr(constant, "co_code")]
    return set(code.co_names).union(*inner)


def _code_text(code: Any) -> str:
    """A hash of compiled code and of that of the functions in it, the same in every process."""
    constants = [
        _code_text(c) if hasattr(c, "co_code") else sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c)
        for c in code.co_consts
    ]
    content = json.dumps([code.co_code.hex(), code.co_names, constants])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def digest_of(arrays: Mapping[str, Any]) -> str:
    """A checksum of arrays by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def is_key(leaf: Any) -> bool:
    """Whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
