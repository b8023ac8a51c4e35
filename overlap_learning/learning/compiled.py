"""Compiled functions: one program for each structure of the arguments, called at little cost."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from overlap_learning.checks import checks_later


class _Outline(NamedTuple):
    """A pytree without its arrays: its structure; and its leaves with their types, of which arrays are `jax.Array`."""

    structure: Any
    leaves: tuple[Any, ...]

    def filled(self, arrays: list[jax.Array]) -> Any:
        given = iter(arrays)
        leaves = [next(given) if leaf is jax.Array else leaf[1] for leaf in self.leaves]
        return jax.tree.unflatten(self.structure, leaves)


@jax.tree_util.register_static
class _Constant:
    """What a program returns beside arrays: jax hands it on as part of the structure of the results."""

    def __init__(self, value: Any):
        self.value = value


def _parts(tree: Any) -> tuple[_Outline, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    arrays, rest = [], []
    for leaf in leaves:
        # By its dtype: to ask whether a leaf is a jax.Array takes twenty times as long.
        if hasattr(leaf, "dtype"):
            arrays.append(leaf)
            rest.append(jax.Array)
        else:
            # With its type, as 1, 1.0 and True are equal.
            rest.append((type(leaf), leaf))
    return _Outline(structure, tuple(rest)), arrays


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of pytrees, given by position, as compiled programs: as `eqx.filter_jit`, at half the cost of a call.

    Every leaf of the arguments that has a dtype is traced; all else is part of the program, and has to be hashable.
    """

    def program(outline: _Outline, arrays: list[jax.Array]) -> tuple[_Constant, list[jax.Array]]:
        found, arrays = _parts(function(*outline.filled(arrays)))
        return _Constant(found), arrays

    # By this name it is known in profiles.
    program.__name__ = function.__name__
    run = jax.jit(program, static_argnums=0)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if checks_later.value:
            # The arguments were made by a sweep's function, and checked where that was; what follows is the package's.
            with checks_later(False):
                return call(*arguments)
        constant, arrays = run(*_parts(arguments))
        return constant.value.filled(arrays)

    return call
