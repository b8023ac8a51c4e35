"""Entrywise: calculations with small matrices, compiled number by number.

A step of the theory multiplies 4 x 4 matrices. Compiled as such, most of the time goes into calling the routine that
multiplies matrices. Written out in single numbers, the calculation is one fused loop, and each number becomes under
`jax.vmap` a vector over the batch, many entries of which a processor handles at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad, batching, mlir

from overlap_learning.checks import is_traced
from overlap_learning.scalars.graph import Graph, NotSmallError
from overlap_learning.scalars.writing import (
    LARGEST_ARRAY,
    OWN_RULES,
    Rule,
    Written,
    array_of,
    entries,
    joined,
    split,
)

Carry = TypeVar("Carry")

#: Operations of a function that is written out also where it is called once. The derivative of 800 takes XLA 8 s to
#: compile, that of 2,400 some minutes.
MOST_ALONE = 900


def scan(
    step: Callable[[Carry, Any], tuple[Carry, Any]], state: Carry, inputs: Any = None, length: int | None = None
) -> tuple[Carry, Any]:
    """`jax.lax.scan`; under `jax.vmap` in single numbers, if all arrays of a step are small.

    Args:
        step: from the state and an input to the next state, of the same shapes, and an output.
        state: arrays, in any pytree.
        inputs: arrays, in any pytree, with the steps as their first axis; None: none.
        length: how many steps, if there are no inputs.

    Returns:
        The last state, and all outputs along a new first axis.
    """
    leaves, tree = jax.tree.flatten(state)
    # Of a fixed dtype, as what a step returns is.
    leaves = [lax.convert_element_type(leaf, jnp.asarray(leaf).dtype) for leaf in leaves]
    given, inputs_tree = jax.tree.flatten(inputs)
    length = len(given[0]) if given else length
    if length == 0 or any(leaf.size > LARGEST_ARRAY for leaf in leaves):
        return lax.scan(step, state, inputs, length)
    if length == 1:
        state, output = step(tree.unflatten(leaves), jax.tree.map(lambda a: a[0], inputs))
        return state, jax.tree.map(lambda a: jnp.asarray(a)[None], output)
    trees = []

    def flat_step(*arguments):
        states, inputs = arguments[: len(leaves)], arguments[len(leaves) :]
        results, tree_of_results = jax.tree.flatten(step(tree.unflatten(states), inputs_tree.unflatten(inputs)))
        trees.append(tree_of_results)
        return results

    closed = jax.make_jaxpr(flat_step)(*leaves, *(jax.eval_shape(lambda a: a[0], array) for array in given))
    around = [value for value in closed.consts if is_traced(value)]
    try:
        written = _Scan(_with_arguments(closed), len(around), len(leaves), length)
    except NotSmallError:
        body = jex.jaxpr_as_fun(closed)
        ends, outputs = lax.scan(lambda leaves, x: _parted(body(*leaves, *x), len(leaves)), leaves, given, length)
        return trees[0].unflatten([*ends, *outputs])
    return trees[0].unflatten(_scan.bind(*around, *leaves, *given, scan=written, batches=()))


def number_by_number(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function in single numbers, always: alone, in a batch, and its derivatives.

    What moves entries costs nothing, nor does what is 0 by structure.

    Args:
        function: of arrays, in any pytrees, which are its arguments and nothing else; it remains as it is if it is
            large.
    """

    def written(*arguments):
        leaves, tree = jax.tree.flatten(arguments)
        shapes = []

        def flat(*leaves):
            results, shape = jax.tree.flatten(function(*tree.unflatten(leaves)))
            shapes.append(shape)
            return results

        closed = jax.make_jaxpr(flat)(*leaves)
        try:
            calculation = Written(closed, len(leaves), MOST_ALONE)
        except NotSmallError:
            return function(*arguments)
        pairs = zip(leaves, calculation.arguments, strict=True)
        numbers = calculation.run([x for leaf, own in pairs if own is not None for x in entries(leaf)], once=False)
        return shapes[0].unflatten(joined(numbers, closed.out_avals))

    return written


def _with_arguments(closed: jex.ClosedJaxpr) -> jex.ClosedJaxpr:
    """The calculation with what it has from a calculation around it as further arguments, the first ones."""
    pairs = list(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    around = [variable for variable, value in pairs if is_traced(value)]
    own = [(variable, value) for variable, value in pairs if not is_traced(value)]
    jaxpr = closed.jaxpr.replace(constvars=[v for v, _ in own], invars=[*around, *closed.jaxpr.invars])
    return jex.ClosedJaxpr(jaxpr, [value for _, value in own])


class _Scan:
    """A loop over steps, as it is and written out.

    Args:
        closed: a step: from constants, the state and an input to the next state and an output.
        n_constants: how many arrays are constants.
        n_leaves: how many arrays are the state.
        length: how many steps; None: as many as there are inputs.

    Raises:
        NotSmallError: if it can't be written out, or is too large.
    """

    def __init__(self, closed: jex.ClosedJaxpr, n_constants: int, n_leaves: int, length: int | None):
        self.closed, self.n_constants, self.n_leaves, self.length = closed, n_constants, n_leaves, length
        self.step = Written(closed, n_optional=n_constants)

    @property
    def avals(self) -> list[Any]:
        """Of the last state and of all outputs."""
        ends, outputs = _parted(self.closed.out_avals, self.n_leaves)
        return [*ends, *(aval.update(shape=(self.length, *aval.shape)) for aval in outputs)]

    def as_it_is(self, *arrays: jax.Array) -> list[jax.Array]:
        """The last state and all outputs."""
        constants, rest = _parted(arrays, self.n_constants)
        step = jex.jaxpr_as_fun(self.closed)

        def one_step(leaves, inputs):
            return _parted(step(*constants, *leaves, *inputs), self.n_leaves)

        ends, outputs = lax.scan(one_step, *_parted(rest, self.n_leaves), self.length)
        return [*ends, *outputs]

    def written_out(self, *arrays: jax.Array) -> list[jax.Array]:
        """The same, by single numbers."""
        axes = [0] * (self.n_constants + self.n_leaves) + [1] * (len(arrays) - self.n_constants - self.n_leaves)
        numbers = [
            x
            for array, n_axes, argument in zip(arrays, axes, self.step.arguments, strict=True)
            if argument is not None
            for x in entries(array, n_axes)
        ]
        return self.run(*numbers)

    def run(self, *numbers: jax.Array) -> list[jax.Array]:
        """The last state and all outputs, from single numbers; arrays of them for the inputs."""
        sizes = [0 if argument is None else argument.size for argument in self.step.arguments]
        constants, rest = _parted(numbers, sum(sizes[: self.n_constants]))
        state, inputs = _parted(rest, sum(sizes[self.n_constants :][: self.n_leaves]))
        avals = self.closed.out_avals

        def one_step(state, inputs):
            ends, outputs = _parted(self.step.run([*constants, *state, *inputs]), len(state))
            return ends, joined(outputs, avals[self.n_leaves :])

        ends, outputs = lax.scan(one_step, state, inputs, self.length)
        return [*joined(ends, avals[: self.n_leaves]), *outputs]


# A primitive of jax, so that a loop is written out in a batch only (one run would be a long list of tiny routines, each
# of them called), and derivatives are taken of the loop as it is (those of thousands of numbers take minutes to
# compile). `batches` are the axes of each jax.vmap, innermost first.
_scan = jex.Primitive("scan_written_out")
_scan.multiple_results = True


def _side_by_side(function: Callable[..., Any], batches: Sequence[Sequence[int | None]]) -> Callable[..., Any]:
    for axes in batches:
        function = jax.vmap(function, in_axes=tuple(axes))
    return function


def _lowered(*arrays, scan, batches):
    return _side_by_side(scan.written_out if batches else scan.as_it_is, batches)(*arrays)


def _shapes(*avals, scan, batches):
    shapes, sizes = [aval.shape for aval in avals], []
    # The arguments come with the axes of the outermost batch.
    for axes in reversed(batches):
        sizes.append(next(shape[axis] for shape, axis in zip(shapes, axes, strict=True) if axis is not None))
        shapes = [
            shape if axis is None else (*shape[:axis], *shape[axis + 1 :])
            for shape, axis in zip(shapes, axes, strict=True)
        ]
    return [aval.update(shape=(*sizes, *aval.shape)) for aval in scan.avals]


def _batch(arrays, axes, *, scan, batches):
    results = _scan.bind(*arrays, scan=scan, batches=(*batches, tuple(axes)))
    return results, [0] * len(results)


def _derivative(arrays, slopes, *, scan, batches):
    # By what moves alone: constants, such as the trials, are many.
    moving = [place for place, slope in enumerate(slopes) if not isinstance(slope, ad.Zero)]

    def results(*values):
        filled = list(arrays)
        for place, value in zip(moving, values, strict=True):
            filled[place] = value
        return _side_by_side(scan.as_it_is, batches)(*filled)

    return jax.jvp(results, [arrays[place] for place in moving], [slopes[place] for place in moving])


def _used(equation: jex.JaxprEqn) -> list[Any]:
    arguments = equation.params["scan"].step.arguments
    return [atom for atom, own in zip(equation.invars, arguments, strict=True) if own is not None]


def _within(graph: Graph, equation: jex.JaxprEqn, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A loop inside one that is written out."""
    inner = equation.params["scan"]
    if equation.params["batches"] or len(operands) > inner.n_constants + inner.n_leaves:
        raise NotSmallError
    pairs = zip(operands, inner.step.arguments, strict=True)
    numbers = [x for operand, own in pairs if own is not None for x in operand.flat]
    avals = [variable.aval for variable in equation.outvars]
    dtypes = [aval.dtype for aval in inner.avals for _ in range(aval.size)]
    results = graph.add(lambda *values: [x for a in inner.run(*values) for x in entries(a)], numbers, dtypes)
    return [array_of(part, aval.shape) for part, aval in split(results, avals)]


OWN_RULES[_scan] = Rule(_used, _within)
_scan.def_impl(jax.jit(_lowered, static_argnames=("scan", "batches")))
_scan.def_abstract_eval(_shapes)
mlir.register_lowering(_scan, mlir.lower_fun(_lowered))
batching.primitive_batchers[_scan] = _batch
ad.primitive_jvps[_scan] = _derivative


def _parted(values: Sequence[Any], n: int) -> tuple[list[Any], list[Any]]:
    """The first n, and the others."""
    return list(values[:n]), list(values[n:])
