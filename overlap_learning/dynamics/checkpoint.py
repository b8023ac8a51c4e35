"""Checkpoints: a long run on disk, so that the same call goes on where it was cut off."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import signal
import threading
import types
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.record import Record, join
from overlap_learning.dynamics.rules import GradientFlow
from overlap_learning.model.precision import count, is_traced

#: Version of what a checkpoint holds. A reader refuses any other.
SCHEMA = 1

#: Packages whose functions are known by their names and code.
_LIBRARIES = frozenset({"overlap_learning", "jax", "optax", "equinox", "diffrax", "numpy", "scipy", "functools"})


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often a long run writes down where it is: `ol.train(..., checkpoint=ol.Checkpoint("runs/a"))`.

    Also of `ol.integrate`, `ol.protocol`, `ol.limit`, `ol.closure_error`, `ol.validate` and `ol.studies.train_twins`;
    those that make several runs keep each in a folder of its own within this one.

    The same call, after the program was killed, goes on from the last complete checkpoint to the same numbers (to the
    last bit on the same kind of device, with the same versions of jax), and returns at once if the run had ended.
    Ctrl-C writes a checkpoint too.

    Args:
        folder: where; it is made if need be. One call per folder. The last two checkpoints are kept in it, by Orbax.
        every: learning steps between checkpoints. What is lost when a machine dies is at most this, and what was
            compiled.

    Raises:
        ValueError: if an argument is of another kind.

    Examples:
        >>> import tempfile
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> network = ol.Network.sample(ol.Overlaps.from_entries(model.layout, zu=0.1), 20, key=jax.random.key(0))
        >>> rule, task = ol.GradientDescent(5e-3, 40), ol.tasks.exponential_filter(duration=5.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = ol.train(model, task, network, rule, checkpoint=ol.Checkpoint(folder, every=20))
        ...     again = ol.train(model, task, network, rule, checkpoint=ol.Checkpoint(folder, every=20))
        >>> bool(jnp.all(first.final.vectors == again.final.vectors))
        True
    """

    folder: str | os.PathLike[str]
    every: int = 500

    def __post_init__(self):
        if not isinstance(self.folder, (str, os.PathLike)):
            raise ValueError(f"Checkpoint: folder must be a path, such as 'runs/a', got {self.folder!r}.")
        count(self.every, "Checkpoint: every")

    def part(self, name: str) -> "Checkpoint":
        """The checkpoints of one part of a longer run, in a folder within this one."""
        return Checkpoint(Path(self.folder) / name, self.every)


def part_of(checkpoint: Checkpoint | None, name: str) -> Checkpoint | None:
    """`checkpoint.part(name)`; None if no checkpoints are wanted."""
    return None if checkpoint is None else checkpoint.part(name)


def check_checkpoint(checkpoint: Any, rule: Any, caller: str) -> None:
    """Refuse what is no checkpoint, and a rule in the middle of which none can be written; None asks for none.

    Raises:
        ValueError: naming the caller.
    """
    if checkpoint is None:
        return
    if not isinstance(checkpoint, Checkpoint):
        raise ValueError(f"{caller}: checkpoint must be ol.Checkpoint(folder, every=500), got {checkpoint!r}.")
    if isinstance(rule, GradientFlow):
        raise ValueError(
            f"{caller}: a GradientFlow is one call of its solver, between whose steps no checkpoint can be written; "
            "use ol.GradientDescent, or leave checkpoint out."
        )


class Store:
    """The checkpoints of one run: `descend` writes them and goes on from the last.

    Args:
        checkpoint: where and how often.
        caller: the function that a person called.
        **arguments: what the run depends on, by the names that the person knows.

    Raises:
        ValueError: if an argument is only known later (inside jit or vmap), or the folder can't be made.
        ImportError: if Orbax is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, caller: str, **arguments: Any):
        check_checkpoint(checkpoint, arguments.get("rule"), caller)
        if is_traced(arguments):
            raise ValueError(
                f"{caller}: a checkpoint can't be written inside jit or vmap; call {caller} outside, with a batch for "
                "several networks."
            )
        self.caller = caller
        self.every = checkpoint.every
        self.folder = Path(checkpoint.folder).absolute()
        self.about = fingerprint({**arguments, "checkpoint.every": checkpoint.every})
        self.written = -1

    @functools.cached_property
    def _orbax(self) -> Any:
        try:
            import orbax.checkpoint as orbax
        except ImportError:
            raise ImportError(f"{self.caller}: checkpoints need Orbax: pip install orbax-checkpoint.") from None
        return orbax

    @functools.cached_property
    def _manager(self) -> Any:
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._orbax.CheckpointManager(self.folder, options=options, item_names=("arrays", "about"))
        except OSError as error:
            raise ValueError(
                f"{self.caller}: the checkpoint's folder {str(self.folder)!r} can't be used ({error}). Give "
                "ol.Checkpoint a folder that can be written to."
            ) from error

    def load(self, state: Any) -> tuple[Any, Record, int] | None:
        """The state, the saved points and the number of compiled calls done of the last complete checkpoint.

        Args:
            state: the state at the start of the run, for its structure.

        Raises:
            ValueError: if the checkpoints are those of another run, or none of them is whole.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, about = self._read(step)
            # Whatever a broken file makes the layers below raise, it means one thing.
            except Exception as error:
                damaged[step] = f"step {step}: {type(error).__name__}: {error}"
                continue
            self._compare(about["arguments"])
            for later in damaged:
                # Its place is needed: the run comes by there again.
                self._manager.delete(later)
            self.written = step
            points: dict[str, Any] = {
                name: jnp.asarray(arrays[f"record_{name}"]) if f"record_{name}" in arrays else None for name in _RECORD
            }
            return _fill(state, arrays), Record(**points), int(about["n_done"])
        if damaged:
            raise ValueError(
                f"{self.caller}: no checkpoint in {str(self.folder)!r} can be read ({'; '.join(damaged.values())}). "
                "Delete the folder to start anew."
            )
        return None

    def keep(self, step: int, state: Any, records: list[Record], n_done: int, *, ended: bool) -> None:
        """Write a checkpoint if one is due: after `every` steps, and at the end."""
        if ended or step - max(self.written, 0) >= self.every:
            self.write(step, state, records, n_done)

    def write(self, step: int, state: Any, records: list[Record], n_done: int) -> None:
        """Write the checkpoint of a step, whole or not at all; the one before the last is then deleted.

        Raises:
            OSError: if it can't be written, as on a full disk. Those written before are intact.
        """
        # Ctrl-C may come while a checkpoint is written, or when it has just been.
        if step <= self.written or step in self._manager.all_steps():
            return
        record = join(records)
        arrays = _leaves(state) | {
            f"record_{name}": np.asarray(getattr(record, name)) for name in _RECORD if getattr(record, name) is not None
        }
        about = {"schema": SCHEMA, "n_done": n_done, "arguments": self.about, "sha256": _digest(arrays)}
        args = self._orbax.args
        try:
            with _uninterrupted():
                self._manager.save(
                    step, args=args.Composite(arrays=args.StandardSave(arrays), about=args.JsonSave(about)), force=True
                )
                self.written = step
        except Exception as error:
            last = f"the last complete one, of step {self.written}, is intact" if self.written >= 0 else "there is none"
            raise OSError(
                f"{self.caller}: the checkpoint of step {step} could not be written to {str(self.folder)!r} "
                f"({type(error).__name__}: {error}); {last}. Make room and run the same call again to go on from there."
            ) from error

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        args = self._orbax.args
        found = self._manager.restore(
            step, args=args.Composite(arrays=args.StandardRestore(), about=args.JsonRestore())
        )
        arrays, about = dict(found["arrays"]), dict(found["about"])
        if about["schema"] != SCHEMA:
            raise ValueError(f"it has version {about['schema']}, this package reads version {SCHEMA}")
        if _digest(arrays) != about["sha256"]:
            raise ValueError("its contents do not match the checksum written with them")
        return arrays, about

    def _compare(self, other: Mapping[str, str]) -> None:
        differs = changes(other, self.about)
        if differs:
            raise ValueError(
                f"{self.caller}: the checkpoints in {str(self.folder)!r} belong to a run with other arguments: "
                f"{differs}. Call it with the same arguments to go on with that run; for another one give "
                "ol.Checkpoint another folder, or delete this one."
            )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C is heard at the end, a second one at once: Orbax writes in threads, which do not end with the call."""
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread hears Ctrl-C, and may say what is to be done then.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[tuple[Any, ...]] = []

    def later(*args: Any) -> None:
        if heard:
            before(*args)
        heard.append(args)

    signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            before(*heard[0])


_RECORD = tuple(field.name for field in dataclasses.fields(Record))


# -- arrays ----------------------------------------------------------------------------------------------------------


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(state: Any) -> dict[str, np.ndarray]:
    """The arrays of a state, numbered. An array without elements holds nothing to keep."""
    leaves = (jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state))
    return {f"state_{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves) if leaf.size}


def _fill(state: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A state of the same structure with the arrays that `_leaves` took from it."""
    leaves, structure = jax.tree.flatten(state)

    def restored(i, leaf):
        if not leaf.size:
            return leaf
        value = jnp.asarray(arrays[f"state_{i:03d}"])
        value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else value
        # Neurons that were spread over devices are so again.
        spread = isinstance(leaf, jax.Array) and len(leaf.devices()) > 1
        return jax.device_put(value, leaf.sharding) if spread else value

    return jax.tree.unflatten(structure, [restored(i, leaf) for i, leaf in enumerate(leaves)])


def _digest(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# -- fingerprints ----------------------------------------------------------------------------------------------------


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
    elif isinstance(value, jax.Array) and _is_key(value):
        found[name] = f"{jax.random.key_impl(value)} {np.asarray(jax.random.key_data(value)).tolist()}"
    elif isinstance(value, (jax.Array, np.ndarray, np.generic)):
        array = np.asarray(value)
        text = repr(array.item()) if array.ndim == 0 else f"{list(array.shape)} {_digest({'': array})[:12]}"
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
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    inside = [(f".{name}", cell) for name, cell in zip(code.co_freevars, cells, strict=True)]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    bound = [(".self", function.__self__)] if hasattr(function, "__self__") else []
    return [(" code", _code_text(code)), *inside, (" defaults", defaults), *bound, *_globals_of(function, code)]


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
