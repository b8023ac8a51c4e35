"""Work: a function and its points; what any process needs to compute some of them."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from overlap_learning.dynamics.results import LearningError
from overlap_learning.studies.sweeps import batched
from overlap_learning.studies.sweeps.grid import Grid
from overlap_learning.studies.sweeps.pieces import Piece
from overlap_learning.studies.sweeps.results import read


class Done(NamedTuple):
    """Points that are done, and the exception if they failed, where it could be kept."""

    piece: Piece
    error: Exception | None


class Chunk(NamedTuple):
    """Points that are computed together.

    Attributes:
        points: their indices.
        size: of the compiled call that they are run in, filled up with the last; None: one after another.
    """

    points: np.ndarray
    size: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """A function, the points at which it is wanted, and the key from which theirs are folded.

    Raises:
        ValueError: if the function does not take the arguments that the grid has.
    """

    function: Callable[..., Any]
    grid: Grid
    key: jax.Array | None

    def __post_init__(self):
        if not callable(self.function):
            raise ValueError(f"sweep: function must be callable, function(**point), got {self.function!r}.")
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):
            return
        names = self.grid.names
        takes = signature.parameters.get("key")
        needs = takes is not None and takes.default is inspect.Parameter.empty
        if self.key is not None and "key" in names:
            raise ValueError("sweep: the grid has keys of its own under 'key'; leave out key=.")
        if needs and self.key is None and "key" not in names:
            raise ValueError(
                "sweep: the function takes a key, of which each point gets its own; pass "
                "ol.sweep(..., key=jax.random.key(0))."
            )
        try:
            arguments: dict[str, None] = dict.fromkeys(names if self.key is None else (*names, "key"))
            signature.bind(**arguments)
        except TypeError as error:
            with_key = "" if self.key is None else " and key"
            raise ValueError(
                f"sweep: the function must take the arguments {', '.join(names)}{with_key} by name; it is "
                f"function{signature} ({error})."
            ) from None

    def chunks(self, size: int | None, most: int | None = None) -> list[Chunk]:
        """All points, in the chunks in which they are computed. These do not depend on what is done already: the same
        points share a call, so that numbers are the same to the last bit.

        Args:
            size: the most points of one compiled call; None: one after another.
            most: the most chunks of points that are computed one after another; None: each is one.
        """
        if size is None:
            n = 1 if most is None else math.ceil(self.grid.size / most)
            return [Chunk(index, None) for index in _split(np.arange(self.grid.size), n)]
        found = []
        for group in self.grid.alike():
            # As even as can be, since the last is filled up to the size of the others.
            n = math.ceil(len(group) / math.ceil(len(group) / size))
            found += [Chunk(index, n) for index in _split(group, n)]
        return found

    def run(self, chunk: Chunk) -> list[Done]:
        """A chunk's points, and the exceptions of those that failed."""
        if chunk.size is None:
            return [self._one(int(index)) for index in chunk.points]
        return self._together(chunk.points, chunk.size)

    def _one(self, index: int) -> Done:
        error = None
        try:
            own = {} if self.key is None else {"key": jax.random.fold_in(self.key, index)}
            result = jax.block_until_ready(self.function(**self.grid.point(index), **own))
        except LearningError as caught:
            result, error = caught.solution, caught
        except Exception as caught:
            caught.add_note(self._where(index))
            return failed(np.array([index]), caught)
        partial = error is not None
        if error is not None:
            error.add_note(self._where(index))
        return Done(Piece(np.array([index]), (describe(error),), read(result), partial=partial), error)

    def _where(self, index: int) -> str:
        return f"sweep: at {self.grid.describe(index)}"

    def _together(self, chunk: np.ndarray, size: int) -> list[Done]:
        arrays, fixed = self.grid.batch(batched.pad(chunk, size))
        arguments = (self.function, arrays, fixed, self.key, batched.as_indices(batched.pad(chunk, size)))
        try:
            # What goes wrong here does so for every point.
            eqx.filter_eval_shape(batched.call, *arguments)
        except batched.NOT_TRACEABLE as error:
            raise ValueError(
                "sweep: the function asks for the value of an argument, which many points at once do not have under "
                "ol.Batched. Arguments that are structure (numbers of steps, ranks) are given by label: "
                "{'n_steps': {100: 100, 200: 200}}; or leave out the executor, for one point after another. "
                f"jax says: {error}"
            ) from error
        except Exception as error:
            return [failed(chunk, error)]
        try:
            result = jax.block_until_ready(batched.call(*arguments))
        except Exception:
            # One member failed, and with it the call: each on its own then.
            return [self._one(int(index)) for index in chunk]
        n = len(chunk)
        return [Done(Piece(chunk, ("",) * n, read(batched.first(result, n), n)), None)]


def describe(error: Exception | None) -> str:
    """An error in one text that any file can hold."""
    if error is None:
        return ""
    text = f"{type(error).__name__}: {error}".replace("\0", " ")
    return text.encode(errors="replace").decode()


def failed(chunk: np.ndarray, error: Exception) -> Done:
    """Points that have no result."""
    passing = isinstance(error, (OSError, MemoryError)) or "RESOURCE_EXHAUSTED" in str(error)
    return Done(Piece(chunk, (describe(error),) * len(chunk), None, passing=passing), error)


def _split(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]
