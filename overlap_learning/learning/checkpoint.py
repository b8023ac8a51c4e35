"""Checkpoints: a long run on disk, so that the same call goes on where it was cut off."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from overlap_learning.checks import as_path, count, in_jax, is_traced
from overlap_learning.guides import guide
from overlap_learning.learning.files import path_of, replace
from overlap_learning.learning.fingerprint import changes, check_version, digest_of, fingerprint, is_key
from overlap_learning.learning.lock import held, is_left_over
from overlap_learning.learning.record import Record, join
from overlap_learning.learning.rules import AbstractRule

#: Version of what a checkpoint holds. A reader refuses any other.
SCHEMA = 3
#: The file that says that a folder is one of checkpoints.
_ABOUT = "checkpoint.json"
#: What Orbax writes for a step. A program killed while the last but one is deleted leaves some of it.
_METADATA = "_CHECKPOINT_METADATA"
_OF_A_STEP = {"arrays", "about", _METADATA, "commit_success.txt"}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often a long run writes down where it is: `ol.train(..., checkpoint=ol.Checkpoint("runs/a"))`.

    Also of `ol.integrate`, `ol.protocol`, `ol.limit`, `ol.closure_error`, `ol.validate` and `ol.studies.train_twins`;
    those that make several runs keep each in a folder of its own within this one.

    The same call, after the program was killed, goes on from the last complete checkpoint to the same numbers (to the
    last bit on the same kind of device, with the same versions of jax), and returns at once if the run had ended.
    Ctrl-C writes a checkpoint too.

    Args:
        folder: where; it is made if need be, and must be empty if it is not one of checkpoints. One call per folder,
            and one program at a time: another one is told which process holds it. The last two checkpoints are kept in
            it, by Orbax.
        every: learning steps between checkpoints. What is lost when a machine dies is at most this, and what was
            compiled.
        version: a text of your own that stands for what can't be seen through in the arguments; change it whenever that
            changes. None: such arguments are refused. All else that a function of yours reads (closures, globals,
            modules and classes of your own) is compared by itself, libraries by their version; files are not.

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
    version: str | None = None

    def __post_init__(self):
        path_of(self.folder, "Checkpoint", "folder", "a folder, such as 'runs/a'")
        count(self.every, "Checkpoint: every")
        check_version(self.version, "Checkpoint")

    def part(self, name: str) -> "Checkpoint":
        """The checkpoints of one part of a longer run, in a folder within this one."""
        return dataclasses.replace(self, folder=as_path(self.folder) / name)


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
    if isinstance(rule, AbstractRule) and rule.n_steps is None:
        raise ValueError(
            f"{caller}: a GradientFlow is one call of its solver, between whose steps no checkpoint can be written; "
            f"use ol.GradientDescent, or leave checkpoint out.{guide('checkpoint')}"
        )


class Store:
    """The checkpoints of one run: `descend` writes them and goes on from the last.

    Args:
        checkpoint: where and how often.
        caller: the function that a person called.
        **arguments: what the run depends on, by the names that the person knows.

    Raises:
        ValueError: if an argument is only known later (inside jit or vmap), or can't be seen through.
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
        self.folder = as_path(checkpoint.folder).absolute()
        self.about = fingerprint({**arguments, "checkpoint.every": checkpoint.every}, caller, checkpoint.version)
        self.written = -1

    @functools.cached_property
    def _orbax(self) -> Any:
        try:
            import orbax.checkpoint as orbax
        except ImportError:
            raise ImportError(
                f"{self.caller}: checkpoints need Orbax: pip install 'overlap_learning[checkpoint]'."
            ) from None
        return orbax

    @functools.cached_property
    def _manager(self) -> Any:
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            if not (self.folder / _ABOUT).exists() and jax.process_index() == 0:
                replace(self.folder / _ABOUT, json.dumps({"checkpoints of": self.caller, "schema": SCHEMA}).encode())
            return self._orbax.CheckpointManager(self.folder, options=options, item_names=("arrays", "about"))
        except OSError as error:
            raise self._unusable(error) from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder while the run lasts; nothing in it is touched before it is known to be of checkpoints.

        Raises:
            ValueError: if it can't be made, has something else in it, or another program holds it.
        """
        with contextlib.ExitStack() as holds:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._check_folder()
                # Processes that share the neurons share the checkpoints.
                if jax.process_index() == 0:
                    holds.enter_context(held(self.folder, self.caller))
                self._check_folder()
            except OSError as error:
                raise self._unusable(error) from error
            yield

    def _check_folder(self) -> None:
        files = [file for file in self.folder.iterdir() if not is_left_over(file)]
        marked = (self.folder / _ABOUT).is_file()
        steps = [file for file in files if file.name.isdigit()]
        strange = [file.name for file in steps if not _is_step(file)] if marked else [file.name for file in files]
        if strange and all(file.name.isdigit() and (file / _METADATA).is_file() for file in files):
            raise ValueError(
                f"{self.caller}: the folder {str(self.folder)!r} has checkpoints that an earlier version of "
                "overlap_learning or another program wrote, which this version can't go on from. Go on with the "
                "version that wrote them, or give ol.Checkpoint an empty or a new folder."
            )
        if strange:
            raise ValueError(
                f"{self.caller}: the folder {str(self.folder)!r} has something in it that is no checkpoint "
                f"({', '.join(map(repr, sorted(strange)[:3]))}), which may not be lost; give ol.Checkpoint an "
                "empty or a new folder."
            )

    def _unusable(self, error: OSError) -> ValueError:
        return ValueError(
            f"{self.caller}: the checkpoint's folder {str(self.folder)!r} can't be used ({error}). Give ol.Checkpoint "
            "a folder that can be written to."
        )

    def load(self, start: tuple[Any, Record]) -> tuple[tuple[Any, Record], int] | None:
        """The state and the saved points, and the number of compiled calls done, of the last complete checkpoint.

        Args:
            start: the state and its record at the start of the run, for their structure.

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
            self.compare(about["arguments"])
            for later in damaged:
                # Its place is needed: the run comes by there again.
                self._manager.delete(later)
            self.written = step
            return _fill(start, arrays), int(about["n_done"])
        if damaged:
            raise ValueError(
                f"{self.caller}: no checkpoint in {str(self.folder)!r} can be read ({'; '.join(damaged.values())}). "
                f"Delete the folder to start anew.{guide('checkpoint')}"
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
        arrays = _leaves((state, join(records)))
        about = {"schema": SCHEMA, "n_done": n_done, "arguments": self.about, "sha256": digest_of(arrays)}
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
        if digest_of(arrays) != about["sha256"]:
            raise ValueError("its contents do not match the checksum written with them")
        return arrays, about

    def compare(self, other: Mapping[str, str]) -> None:
        """Refuse to go on with a run that depended on something else.

        Raises:
            ValueError: that says on what.
        """
        differs = changes(other, self.about)
        if differs:
            raise ValueError(
                f"{self.caller}: the checkpoints in {str(self.folder)!r} belong to a run with other arguments: "
                f"{differs}. Call it with the same arguments, and the same versions, to go on with that run; for "
                f"another one give ol.Checkpoint another folder, or delete this one.{guide('checkpoint')}"
            )


def _is_step(file: Path) -> bool:
    return file.is_dir() and {part.name for part in file.iterdir()} <= _OF_A_STEP


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


# -- arrays ----------------------------------------------------------------------------------------------------------


def _leaves(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a pytree, numbered. An array without elements holds nothing to keep."""
    leaves = (jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(tree))
    return {f"array_{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves) if leaf.size}


def _fill(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A pytree of the same structure with the arrays that `_leaves` took from it."""
    leaves, structure = jax.tree.flatten(tree)

    def restored(i, leaf):
        if not leaf.size:
            return leaf
        value = in_jax(arrays[f"array_{i:03d}"])
        value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if is_key(leaf) else value
        # Neurons that were spread over devices are so again.
        spread = isinstance(leaf, jax.Array) and len(leaf.devices()) > 1
        return jax.device_put(value, leaf.sharding) if spread else value

    return jax.tree.unflatten(structure, [restored(i, leaf) for i, leaf in enumerate(leaves)])
