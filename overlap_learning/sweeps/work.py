"""Work: a function and its points; what any process needs to compute some of them."""

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import REFUSED, checks_later
from overlap_learning.learning.outcomes import LearningError
from overlap_learning.sweeps import batched, ram
from overlap_learning.sweeps.grid import Grid
from overlap_learning.sweeps.pieces import Piece
from overlap_learning.sweeps.tables import read


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

    def groups(self, done: np.ndarray) -> list[np.ndarray]:
        """The points that can share a program, group by group; those of which all are done are left out."""
        return [group for group in self.grid.alike() if not np.all(done[group])]

    def singles(self, done: np.ndarray, most: int | None = None) -> list[Chunk]:
        """The points that are not done, to be computed one after another.

        Args:
            done: which are, shape [n_points].
            most: the most chunks of all points; None: each point is one.
        """
        n = 1 if most is None else math.ceil(self.grid.size / most)
        return [Chunk(index, None) for index in _split(np.arange(self.grid.size), n) if not np.all(done[index])]

    def calls(self, groups: Sequence[np.ndarray], sizes: Iterable[int], done: np.ndarray) -> Iterator[Chunk]:
        """Groups of points in compiled calls. Of one size, they do not depend on what is done already: the same points
        share a call, so that numbers are the same to the last bit.

        Args:
            groups: the points that can share a program.
            sizes: for each group the most points of a call.
            done: which points are, shape [n_points]; calls of which all points are done are left out.
        """
        for group, size in zip(groups, sizes, strict=True):
            n = batched.even(len(group), size)
            yield from (Chunk(index, n) for index in _split(group, n) if not np.all(done[index]))

    def fit(self, group: np.ndarray, allowed: float | None) -> int:
        """How many points of a group make a compiled call.

        As many as gain speed, if the program takes no more memory than it may; else the largest power of two of which
        it does, or one. The program is compiled for that, and compiled once: the calls find it compiled.

        Args:
            group: points that can share a program.
            allowed: the bytes that a call may take; None: nobody knows.
        """
        most = batched.most_points()
        while True:
            size = batched.even(len(group), most)
            taken = None if allowed is None else self._memory(group[:size])
            if allowed is None or taken is None:
                return min(most, batched.MOST_UNKNOWN)
            if taken <= allowed or size == 1:
                return size
            # Memory is a constant and so much per point: in proportion it is too much rather than too little, and the
            # power of two below leaves room for the constant. Free memory that differs a little gives the same size.
            most = 2 ** math.floor(math.log2(max(1.0, size * allowed / taken)))

    def _memory(self, points: np.ndarray) -> int | None:
        """Bytes that a compiled call at these points takes; None if that can't be known."""
        compiled = self.compile(points)
        return None if compiled is None else ram.of_program(compiled)

    def compile(self, points: np.ndarray) -> Any:
        """The compiled call at these points, which calls at as many find compiled; None if it can't be had."""
        try:
            lower: Any = batched.call.lower  # pyright: ignore[reportFunctionMemberAccess]
            return lower(*self._arguments(points)).compile().compiled
        # What is wrong with the function is said when it is called.
        except Exception:
            return None

    def _arguments(self, points: np.ndarray) -> tuple[Any, ...]:
        """Those of `batched.call`."""
        arrays, fixed = self.grid.batch(points)
        return self.function, arrays, fixed, self.key, batched.as_indices(points)

    def run(self, chunk: Chunk) -> list[Done]:
        """A chunk's points, and the exceptions of those that failed."""
        if chunk.size is None:
            return [self._one(int(index)) for index in chunk.points]
        return self._together(chunk.points, chunk.size)

    def _one(self, index: int) -> Done:
        error = None
        try:
            result = self._value(index)
        except LearningError as caught:
            result, error = caught.solution, caught
        except Exception as caught:
            self._note(caught, index)
            return failed(np.array([index]), caught)
        partial = error is not None
        if error is not None:
            self._note(error, index)
        return Done(Piece(np.array([index]), (describe(error),), read(result), partial=partial), error)

    def _note(self, error: Exception, index: int) -> None:
        # A person's own exception may refuse it.
        with contextlib.suppress(Exception):
            error.add_note(self._where(index))

    def _value(self, index: int) -> Any:
        """What the function returns at a point."""
        own = {} if self.key is None else {"key": jax.random.fold_in(self.key, index)}
        point = self.grid.point(index)
        try:
            with checks_later(True):
                return jax.block_until_ready(self.function(**point, **own))
        except Exception as error:
            if REFUSED not in _said(error):
                raise
        # A check failed in what the function compiled: here it says why.
        with jax.disable_jit():
            return jax.block_until_ready(self.function(**point, **own))

    def _where(self, index: int) -> str:
        return f"sweep: at {self.grid.describe(index)}"

    def _together(self, chunk: np.ndarray, size: int) -> list[Done]:
        arguments = self._arguments(batched.pad(chunk, size))
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


#: The most characters of what an error says.
_LONGEST = 2000


def describe(error: Exception | None) -> str:
    """An error in one text that any file can hold."""
    if error is None:
        return ""
    said = _said(error)
    # All points are given as much room as the longest error. What went wrong stands first, or, behind a stack, last.
    if len(said) > _LONGEST:
        said = f"{said[: _LONGEST // 2]} ... ({len(said):,} characters) ... {said[-_LONGEST // 2 :]}"
    text = f"{type(error).__name__}: {said}".replace("\0", " ")
    return text.encode(errors="replace").decode()


def _said(error: Exception) -> str:
    try:
        return str(error)
    # A person's own exception may raise anything when it is asked what it says.
    except Exception as other:
        return f"it can't be said ({type(other).__name__} in its __str__)"


def failed(chunk: np.ndarray, error: Exception) -> Done:
    """Points that have no result."""
    passing = isinstance(error, (OSError, MemoryError)) or "RESOURCE_EXHAUSTED" in _said(error)
    return Done(Piece(chunk, (describe(error),) * len(chunk), None, passing=passing), error)


def _split(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]
