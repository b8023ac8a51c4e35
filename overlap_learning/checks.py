"""Checks of arguments that every entry point shares: numbers, arrays, keys, paths, precision."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from overlap_learning.guides import guide
from overlap_learning.memory import refuse_too_large

T = TypeVar("T")

#: The longest axis of an array: beyond any memory, and before sizes overflow inside XLA, which then ends the program.
MOST = 2**31 - 1
_SINGLE = np.dtype(np.float32)
#: The most names that a message lists.
MOST_NAMES = 45


def is_traced(*arrays: Any) -> bool:
    """Whether a value is only known later (inside jit, vmap or grad), so that it can't be checked now."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))


#: Whether values that are only known later are checked then: True while a sweep calls its function. It is part of what
#: programs are compiled for, so that outside of sweeps they are as they were.
checks_later = jax.make_user_context(False)
#: What the error of such a check says. Sweeps compute the point once more, uncompiled, where the check itself speaks.
REFUSED = "overlap_learning: a value that is only known inside a compiled program was refused"


def later(array: jax.Array, is_allowed: Callable[[jax.Array], Any]) -> jax.Array:
    """An array that `is_traced`; in a sweep with a check of its values, made when they are known."""
    if not checks_later.value:
        return array
    return eqx.error_if(array, jnp.logical_not(jnp.all(is_allowed(jax.lax.stop_gradient(array)))), REFUSED)


def in_numpy(tree: Any) -> Any:
    """A pytree with its arrays in numpy if all are known: a small calculation then needs no compiled program."""
    return tree if is_traced(tree) else jax.tree.map(np.asarray, tree)


def namespace(*trees: Any) -> Any:
    """Numpy for arrays that are in numpy, jax.numpy for others."""
    is_plain = all(isinstance(leaf, (np.ndarray, np.generic, float, int)) for leaf in jax.tree.leaves(trees))
    return np if is_plain else jnp


def is_zero(value: Any) -> bool:
    """Whether a number is known to be 0, as it was passed (inside jit even a plain number becomes a traced array)."""
    return not is_traced(value) and float(np.asarray(value)) == 0


def in_jax(value: Any) -> jax.Array:
    """`value` as a jax array. A known one is put on the device; `jnp.asarray` compiles a program for each new shape."""
    if is_traced(value) or isinstance(value, jax.Array):
        return jnp.asarray(value)
    return jax.device_put(value if isinstance(value, (bool, int, float)) else np.asarray(value))


def with_values(array: Any, where: Any, values: Any) -> Any:
    """An array with some of its values set anew, in numpy if all are known."""
    if is_traced(array, values):
        return jnp.asarray(array).at[where].set(values)
    changed = np.array(array)
    changed[where] = values
    return changed


def refuse_masked(value: Any, name: str) -> None:
    """Refuse an array of numpy with masked values: as an array of jax it would show what lies under the mask.

    Raises:
        ValueError: naming it.
    """
    if isinstance(value, np.ma.MaskedArray) and np.any(np.ma.getmaskarray(value)):
        n = int(np.ma.getmaskarray(value).sum())
        raise ValueError(
            f"{name} has {n} masked values, of which nothing is known; pass {name.split()[-1]}.filled(0.0), or with "
            "np.nan where NaN is allowed, to say what they are."
        )


def by_label(value: Any, name: str, *wanted: Sequence[str]) -> Any:
    """An array of pandas or xarray whose last axes have labels, in the order that is wanted; any other as it is.

    Args:
        value: what was passed. Axes that are numbered from 0 have no labels.
        name: what it is called in messages.
        *wanted: the labels of each of the last axes, in order.

    Raises:
        ValueError: if it has other labels.
    """
    axes = _labels(value)[-len(wanted) :]
    if len(axes) < len(wanted):
        return value
    array = value.to_numpy()
    for axis, (found, labels) in enumerate(zip(axes, wanted, strict=True), start=array.ndim - len(wanted)):
        if found is None or found == list(range(len(found))) or found == list(labels):
            continue
        if sorted(map(str, found)) != sorted(labels):
            raise ValueError(
                f"{name} has an axis with the labels {found}; they must be {', '.join(labels)}, in any order. Without "
                f"labels its order counts: pass {name.split()[-1]}.to_numpy()."
            )
        array = np.take(array, [list(map(str, found)).index(label) for label in labels], axis)
    return array


def _labels(value: Any) -> list[list[Any] | None]:
    """The labels of each axis of an array of pandas or xarray, None for one without; none of any other."""
    if hasattr(value, "dims") and hasattr(value, "coords"):
        return [value.coords[dim].values.tolist() if dim in value.coords else None for dim in value.dims]
    if hasattr(value, "index") and hasattr(value, "to_numpy"):
        return [list(getattr(value, name)) for name in ("index", "columns") if hasattr(value, name)]
    return []


def floating(value: Any, name: str) -> jax.Array:
    """`value` as a jax array of real numbers; integers become floats.

    Raises:
        ValueError: if it is not a rectangular array of real numbers, or has masked values.
    """
    refuse_masked(value, name)
    try:
        array = in_jax(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of real numbers, got {value!r} ({error}).") from None
    if jnp.issubdtype(array.dtype, jnp.integer):
        array = array.astype(float)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    return array


def is_mask(value: Any) -> bool:
    """Whether an array, or what one can be made of, says True or False."""
    dtype = getattr(value, "dtype", None)
    return bool((np.asarray(value).dtype if dtype is None else dtype) == np.dtype(bool))


def scalar(value: Any, name: str, allowed: str, low: float, high: float = np.inf, open_low: bool = True) -> jax.Array:
    """`value` as a float array of shape [], checked to lie in a range where it is known.

    It becomes an array so that another value does not compile the program again.

    Raises:
        ValueError: if it is not one number of the range `low` to `high`; `allowed` says the range in words.
    """
    array = floating(value, name)
    if array.ndim > 0:
        raise ValueError(
            f"{name} must be one number, {allowed}, got shape {list(array.shape)}; use jax.vmap for several."
        )
    # The value as it was passed: inside jit even a plain number becomes a traced array.
    if not is_traced(value):
        number = float(np.asarray(value))
        if not (number > low if open_low else number >= low) or not number <= high or not np.isfinite(number):
            raise ValueError(f"{name} must be {allowed}, got {number:g}.")
        return array
    return later(array, lambda x: ((x > low) if open_low else (x >= low)) & (x <= high) & jnp.isfinite(x))


def count(value: Any, name: str, least: int = 1, most: int = MOST, each: float = 0) -> int:
    """`value` as an integer from `least` to `most`, of things that take `each` bytes.

    Raises:
        ValueError: if it is something else, or they would take more memory than is free.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value:,}.")
    refuse_too_large(value * each, f"{name} must be smaller: {value:,}", "make it smaller")
    return int(value)


def check_key(key: Any, caller: str) -> None:
    """Refuse what is no jax random key, of the new kind or the old.

    Raises:
        ValueError: naming the caller.
    """
    is_array = isinstance(key, (jax.Array, np.ndarray))
    is_new = is_array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    if not (is_new or (is_array and key.dtype == np.uint32 and key.ndim == 1)):
        raise ValueError(f"{caller}: key must be one jax random key, such as jax.random.key(0), got {key!r}.")


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path, in which `~` is the home of a person, as in a shell."""
    return Path(os.path.expanduser(path))


def listed(names: Sequence[str]) -> str:
    """Names in a message, the first `MOST_NAMES` of them."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMES])}, ... ({len(names):,} in all)"


def first_rows(rows: Sequence[str]) -> list[str]:
    """Rows of a printed table, the first `MOST_NAMES` of them."""
    left = len(rows) - MOST_NAMES
    return [*rows[:MOST_NAMES], f"  ... and {left:,} more"] if left > 0 else [*rows]


def described(module: Any) -> str:
    """A module, or a pytree, as it is printed, with its numbers: equinox shows their types alone."""

    def shown(leaf: Any) -> Any:
        is_number = isinstance(leaf, (jax.Array, np.ndarray)) and leaf.ndim == 0 and not is_traced(leaf)
        return float(f"{float(leaf):.6g}") if is_number and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return eqx.tree_pformat(jax.tree.map(shown, module), width=120)


def assembled(kind: type[T], **fields: Any) -> T:
    """An equinox module of fields that need no check: its `__init__`, which takes as long as a short run, is passed."""
    module = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(module, name, value)
    return module


def refuse_traced(caller: str, *arrays: Any) -> None:
    """Refuse values that are only known later, where numbers are looked at.

    Raises:
        ValueError: naming the caller.
    """
    if is_traced(*arrays):
        raise ValueError(
            f"{caller}: the numbers must be known, and inside jax.jit, jax.vmap and jax.grad they are not; call "
            f"{caller} outside of them, in a Python loop over several starts."
        )


def require_float64(caller: str, **given: Any) -> None:
    """Refuse to compute theory in single precision, and warn of what was made in it.

    Args:
        caller: the function that a person called.
        **given: what it was called with, by name.

    Raises:
        RuntimeError: if jax is not in 64-bit mode; the message gives the line to add.
    """
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError(
            f"{caller} computes in float64, and jax is in 32-bit mode. Add this line before any jax call:\n"
            f'    jax.config.update("jax_enable_x64", True){guide("float64")}'
        )
    for name, value in given.items():
        # Its own arrays and no pytree: to flatten one takes as long as a short run.
        for field, array in getattr(value, "__dict__", {}).items():
            # The class is asked first: a module that has no dtype takes long to say so.
            if hasattr(type(array), "dtype") and array.dtype is _SINGLE:
                warnings.warn(
                    f"{caller}: {name}.{field} is float32: it was made before jax_enable_x64 was switched on, or of "
                    f"single precision, and has 7 digits. Make {name} after that line; or, if they will do, say so: "
                    f"{name} = jax.tree.map(lambda array: array.astype(float), {name}).{guide('float64')}",
                    stacklevel=3,
                )
                break
