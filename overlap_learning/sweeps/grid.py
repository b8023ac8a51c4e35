"""Grid: the points of a sweep, and which of them may share one compiled program."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import in_jax, refuse_masked
from overlap_learning.memory import refuse_too_large
from overlap_learning.sweeps.tables import check_name

_HOW = (
    "Give each argument of the function its values: {'learning_rate': [1e-3, 1e-2]}, objects by label: {'task': "
    "{'slow': task_a, 'fast': task_b}}, or a batch whose arrays have the values as their first axis."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a grid.

    Attributes:
        name: of the argument, and of the dimension.
        labels: the coordinate, shape [n].
        values: a batch (an array, or an object whose arrays have a first axis of n), or a tuple of n objects.
        attributes: of the coordinate.
    """

    name: str
    labels: np.ndarray
    values: Any
    attributes: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def value(self, i: int) -> Any:
        """What the function gets at place i: a plain number where there are numbers."""
        if isinstance(self.values, tuple):
            return self.values[i]
        if isinstance(self.values, np.ndarray):
            return self.values[i].item()
        return jax.tree.map(lambda leaf: leaf[i] if _is_array(leaf) else leaf, self.values)

    @functools.cached_property
    def groups(self) -> tuple[np.ndarray, np.ndarray, list[tuple[Any, Any]]]:
        """Values that differ in their arrays' numbers only share a group, and so a program.

        Returns:
            The group of each value, its place in the group, and for each group its arrays, stacked, and what is not
            array in its values.
        """
        if not isinstance(self.values, tuple):
            everything, first = np.zeros(len(self), int), np.arange(len(self))
            return everything, first, [eqx.partition(self.values, _is_array)]
        members: list[list[Any]] = []
        kinds: list[tuple[Any, Any]] = []
        group, place = np.zeros(len(self), int), np.zeros(len(self), int)
        for i, value in enumerate(self.values):
            arrays, fixed = eqx.partition(value, _is_array)
            shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), arrays)
            found = next((g for g, kind in enumerate(kinds) if _equal(kind, (shapes, fixed))), len(kinds))
            if found == len(kinds):
                kinds.append((shapes, fixed))
                members.append([])
            group[i], place[i] = found, len(members[found])
            members[found].append(arrays)
        stacks = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *own) for own in members]
        return group, place, [(arrays, fixed) for arrays, (_, fixed) in zip(stacks, kinds, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The outer product of axes; its points are counted in C order (the last axis changes fastest)."""

    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, grid: Any) -> "Grid":
        """A grid as a person writes it.

        Raises:
            ValueError: naming the argument, what it was and what is allowed.
        """
        if not isinstance(grid, Mapping) or not grid:
            raise ValueError(f"sweep: grid must be a mapping of at least one name to its values, got {grid!r}. {_HOW}")
        found = cls(tuple(_axis(name, values) for name, values in grid.items()))
        refuse_too_large(
            found.size * (1 + sum(axis.labels.itemsize for axis in found.axes)),
            f"sweep: grid must have fewer values: {found.size:,} points",
            "sweep over parts of it",
        )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions."""
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """The number of points."""
        return math.prod(self.shape)

    def point(self, index: int) -> dict[str, Any]:
        """The arguments of the function at a point."""
        places = np.unravel_index(index, self.shape)
        return {axis.name: axis.value(int(i)) for axis, i in zip(self.axes, places, strict=True)}

    def describe(self, index: int) -> str:
        """A point, for messages: `learning_rate=0.1, start=3`."""
        places = np.unravel_index(index, self.shape)
        return ", ".join(f"{axis.name}={axis.labels[i]}" for axis, i in zip(self.axes, places, strict=True))

    def alike(self) -> list[np.ndarray]:
        """The points in groups that can share one compiled program."""
        of_axes = np.meshgrid(*(axis.groups[0] for axis in self.axes), indexing="ij")
        counts = [len(axis.groups[2]) for axis in self.axes]
        codes = np.ravel_multi_index([codes.ravel() for codes in of_axes], counts)
        order = np.argsort(codes, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)

    def batch(self, indices: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        """Points that are alike: the arrays in their arguments, stacked, and all else, by name."""
        places = np.unravel_index(indices, self.shape)
        arrays, fixed = {}, {}
        for axis, at in zip(self.axes, places, strict=True):
            group, place, stacks = axis.groups
            own, fixed[axis.name] = stacks[group[at[0]]]
            arrays[axis.name] = jax.tree.map(lambda leaf, at=place[at]: in_jax(leaf[at]), own)
        return arrays, fixed


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray))


def _equal(a: Any, b: Any) -> bool:
    """Whether two trees are the same. What can't be compared is not."""
    try:
        leaves, structure = jax.tree.flatten(a)
        others, other_structure = jax.tree.flatten(b)
        same = (type(x) is type(y) and bool(x == y) for x, y in zip(leaves, others, strict=True))
        return structure == other_structure and all(same)
    except (TypeError, ValueError):
        return False


def _axis(name: Any, values: Any) -> Axis:
    if not isinstance(name, str):
        raise ValueError(f"sweep: grid's names must be strings, the arguments of the function, got {name!r}.")
    check_name(name, f"sweep: grid's name {name!r}")
    refuse_masked(values, f"sweep: grid[{name!r}]")
    attributes = dict(getattr(values, "attrs", {}))
    if isinstance(values, Mapping):
        axis = Axis(name, _labels(name, list(values)), tuple(values.values()), attributes)
    elif isinstance(values, eqx.Module):
        axis = _of_batch(name, values)
    elif isinstance(values, jax.Array) and jnp.issubdtype(values.dtype, jax.dtypes.prng_key):
        if values.ndim != 1:
            raise ValueError(f"sweep: grid[{name!r}] must be 1-D, got keys of shape {list(values.shape)}.")
        axis = Axis(name, np.arange(len(values)), values, attributes)
    else:
        axis = _of_sequence(name, values, attributes)
    if len(axis) == 0:
        raise ValueError(f"sweep: grid[{name!r}] has no values. {_HOW}")
    unique, counts = np.unique(axis.labels, return_counts=True)
    if len(unique) < len(axis):
        raise ValueError(
            f"sweep: grid[{name!r}] must not hold a value twice, got {unique[counts > 1][:5].tolist()} more than once. "
            "For repetitions add a dimension: {'seed': range(10)}, or let the function take a key."
        )
    return axis


def _of_batch(name: str, values: eqx.Module) -> Axis:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(values) if _is_array(leaf)]
    if not shapes or any(shape == () for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"sweep: grid[{name!r}] is one {type(values).__name__} with arrays of shapes "
            f"{', '.join(str(list(shape)) for shape in shapes) or 'none'}: a batch must have its members as the first "
            "axis of every array, as from jax.vmap; several single ones are given as a list, or by label: "
            f"{{{name!r}: {{'first': a, 'second': b}}}}."
        )
    return Axis(name, np.arange(shapes[0][0]), values, {})


def _of_sequence(name: str, values: Any, attributes: dict[str, Any]) -> Axis:
    one = isinstance(values, (str, bytes)) or not (isinstance(values, Sequence) or hasattr(values, "__array__"))
    if one or getattr(values, "ndim", 1) != 1:
        what = repr(values) if one else f"shape {list(np.shape(values))}"
        raise ValueError(f"sweep: grid[{name!r}] must be 1-D (a list or an array of values), got {what}. {_HOW}")
    elements = list(values)
    if any(isinstance(e, (Sequence, np.ndarray, jax.Array)) and _ndim(e) > 0 for e in elements):
        raise ValueError(
            f"sweep: grid[{name!r}] must be 1-D, but has values that are arrays themselves; give them labels: "
            f"{{{name!r}: {{'first': a, 'second': b}}}}."
        )
    simple = [isinstance(e, (bool, int, float, complex, str, np.generic)) or _is_number(e) for e in elements]
    texts = [isinstance(e, str) for e in elements]
    if not all(simple) or any(texts) != all(texts):
        # Objects have no value that could be an axis label.
        return Axis(name, np.arange(len(elements)), tuple(elements), attributes)
    labels = np.asarray(elements)
    _check_exact(name, elements, labels)
    if labels.dtype.kind in "iufc":
        return Axis(name, labels, labels, attributes)
    # Truth values and texts choose between programs; dates have no meaning in one.
    values = tuple(labels.tolist()) if labels.dtype.kind in "bU" else tuple(labels)
    return Axis(name, labels, values, attributes)


def _check_exact(name: str, elements: list[Any], labels: np.ndarray) -> None:
    """Refuse values that one array does not hold as they are."""
    kinds = {isinstance(element, (bool, np.bool_)) for element in elements}
    for element, label in zip(elements, labels.tolist(), strict=True):
        exact = not isinstance(element, (str, int, np.integer)) or label == element
        if not exact or len(kinds) > 1:
            why = f"{element!r} would be {label!r}" if not exact else "truth values would be numbers"
            raise ValueError(
                f"sweep: grid[{name!r}] must hold values of one kind that an array holds as they are, and {why}; give "
                f"them labels: {{{name!r}: {{'first': a, 'second': b}}}}."
            )


def _ndim(element: Any) -> int:
    return 0 if isinstance(element, (str, bytes)) else getattr(element, "ndim", 1)


def _is_number(element: Any) -> bool:
    return _is_array(element) and not jnp.issubdtype(element.dtype, jax.dtypes.prng_key)


def _labels(name: str, labels: list[Any]) -> np.ndarray:
    array = np.asarray(labels)
    mixed = len({isinstance(label, str) for label in labels}) > 1
    if labels and (mixed or array.ndim != 1 or array.dtype.kind not in "biufUM"):
        raise ValueError(f"sweep: grid[{name!r}] must have texts or numbers as labels, got {labels[:5]!r}.")
    _check_exact(name, labels, array)
    return array
