"""Entrywise: a loop over calculations with small matrices, compiled number by number.

A step of the theory multiplies 4 x 4 matrices. Compiled as such, most of its time goes into calling the routine that
multiplies matrices. Written out in single numbers it is one short run of the processor; under `jax.vmap` each number
becomes a vector over the batch, many of which a processor handles at a time.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.interpreters import ad, batching, mlir

from overlap_learning.model.graph import Graph, NotSmallError, Number
from overlap_learning.model.precision import is_traced

#: A calculation with a larger array than this is not written out.
LARGEST_ARRAY = 400

_ELEMENTWISE = {
    "abs", "add", "add_any", "and", "ceil", "convert_element_type", "copy", "cos", "cosh", "div", "eq", "erf", "exp",
    "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max",
    "min", "mul", "ne", "neg", "not", "or", "pow", "rem", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square",
    "sub", "tan", "tanh", "xor",
}  # fmt: skip
_CALCULATIONS = (jex.Jaxpr, jex.ClosedJaxpr)
#: They move entries and calculate nothing: what becomes of the arrays, in numpy.
_MOVING: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": lambda a, shape, broadcast_dimensions, **_: _broadcast(a, shape, broadcast_dimensions),
    "concatenate": lambda *arrays, dimension, **_: np.concatenate(arrays, axis=dimension),
    "expand_dims": lambda a, dimensions, **_: np.expand_dims(a, dimensions),
    "pad": lambda a, fill, padding_config, **_: _padded(a, fill, padding_config),
    "reshape": lambda a, new_sizes, **_: a.reshape(new_sizes),
    "rev": lambda a, dimensions, **_: np.flip(a, dimensions),
    "slice": lambda a, start_indices, limit_indices, strides, **_: a[
        tuple(map(slice, start_indices, limit_indices, strides or [1] * a.ndim))
    ],
    "squeeze": lambda a, dimensions, **_: a.squeeze(tuple(dimensions)),
    "stack": lambda *arrays, axis=0, **_: np.stack(arrays, axis=axis),
    "transpose": lambda a, permutation, **_: a.transpose(permutation),
}
_REDUCING = {
    "reduce_sum": ("add", lax.add),
    "reduce_max": ("max", lax.max),
    "reduce_min": ("min", lax.min),
    "reduce_and": ("and", lax.bitwise_and),
    "reduce_or": ("or", lax.bitwise_or),
}
Carry = TypeVar("Carry")


def scan(
    step: Callable[[Carry, Any], tuple[Carry, Any]], state: Carry, inputs: Any = None, length: int | None = None
) -> tuple[Carry, Any]:
    """`jax.lax.scan`, in single numbers if all arrays of a step are small.

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
    if any(leaf.size > LARGEST_ARRAY for leaf in leaves):
        return lax.scan(step, state, inputs, length)
    given, inputs_tree = jax.tree.flatten(inputs)
    length = len(given[0]) if given else length
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
        length: how many steps.

    Raises:
        NotSmallError: if it can't be written out, or is too large.
    """

    def __init__(self, closed: jex.ClosedJaxpr, n_constants: int, n_leaves: int, length: int):
        self.closed, self.n_constants, self.n_leaves, self.length = closed, n_constants, n_leaves, length
        self.graph, self.arguments = Graph(), []
        jaxpr = closed.jaxpr
        needed = _needed(jaxpr)
        for place, variable in enumerate(jaxpr.invars):
            if place < n_constants and variable not in needed:
                self.arguments.append(None)
                continue
            _check_size(variable.aval)
            numbers = [Number(None, 0, variable.aval.dtype) for _ in range(variable.aval.size)]
            self.arguments.append(_array(numbers, variable.aval.shape))
        pairs = zip(jaxpr.constvars, closed.consts, strict=True)
        constants = [_known(value) if variable in needed else None for variable, value in pairs]
        results = _evaluate(self.graph, jaxpr, constants, self.arguments)
        self.outputs = [x for array in results for x in array.flat]
        self.dtypes = [aval.dtype for aval in closed.out_avals for _ in range(aval.size)]

    @property
    def avals(self) -> list[jax.core.ShapedArray]:
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

    def written_out(self, *arrays: jax.Array, hinted: bool = False) -> list[jax.Array]:
        """The same, by single numbers."""
        axes = [0] * (self.n_constants + self.n_leaves) + [1] * (len(arrays) - self.n_constants - self.n_leaves)
        numbers = [
            x
            for array, n_axes, argument in zip(arrays, axes, self.arguments, strict=True)
            if argument is not None
            for x in _entries(array, n_axes)
        ]
        return (_in_one_piece if hinted else _called)(self.run, *numbers)

    def run(self, *numbers: jax.Array) -> list[jax.Array]:
        """The last state and all outputs, from single numbers; arrays of them for the inputs."""
        sizes = [0 if argument is None else argument.size for argument in self.arguments]
        constants, rest = _parted(numbers, sum(sizes[: self.n_constants]))
        state, inputs = _parted(rest, sum(sizes[self.n_constants :][: self.n_leaves]))
        places = [x for argument in self.arguments if argument is not None for x in argument.flat]
        avals = self.closed.out_avals

        def one_step(state, inputs):
            given = dict(zip(places, [*constants, *state, *inputs], strict=True))
            ends, outputs = _parted(_typed(self.graph.run(self.outputs, given), self.dtypes), len(state))
            return ends, _joined(outputs, avals[self.n_leaves :])

        ends, outputs = lax.scan(one_step, state, inputs, self.length)
        return [*_joined(ends, avals[: self.n_leaves]), *outputs]


def _called(function: Callable[..., Any], *numbers: jax.Array) -> Any:
    return function(*numbers)


def _in_one_piece(function: Callable[..., Any], *numbers: jax.Array) -> Any:
    """The results of a function of single numbers, compiled as one routine rather than as a list of small ones.

    Understood where the platform is a processor. For single numbers only: of arrays, the compiler can do with some but
    not with all.
    """
    closed = jax.make_jaxpr(function)(*numbers)
    with set_xla_metadata(inlineable="false", xla_cpu_small_call="true"):
        return jax.jit(jex.jaxpr_as_fun(closed))(*numbers)


# A primitive of jax, because what is best is not the same for one run (one piece), a batch (single numbers, each of
# which is an array, so that the parts are large enough to be routines of their own), and derivatives (as it is: of
# thousands of numbers they would take minutes to compile). `batches` are the axes of each jax.vmap, innermost first.
_scan = jex.Primitive("scan_written_out")
_scan.multiple_results = True


def _side_by_side(function: Callable[..., Any], batches: Sequence[Sequence[int | None]]) -> Callable[..., Any]:
    for axes in batches:
        function = jax.vmap(function, in_axes=tuple(axes))
    return function


def _lowered(*arrays, scan, batches, hinted=False):
    written_out = functools.partial(scan.written_out, hinted=hinted and not batches)
    return _side_by_side(written_out, batches)(*arrays)


def _shapes(*avals, scan, batches):
    shapes, found = [aval.shape for aval in avals], scan.avals
    # The outermost batch has its axes in the arguments as they come.
    for axes in reversed(batches):
        (size, *_) = {shape[axis] for shape, axis in zip(shapes, axes, strict=True) if axis is not None}
        found = [aval.update(shape=(size, *aval.shape)) for aval in found]
        shapes = [
            shape if axis is None else (*shape[:axis], *shape[axis + 1 :])
            for shape, axis in zip(shapes, axes, strict=True)
        ]
    return found


def _batch(arrays, axes, *, scan, batches):
    results = _scan.bind(*arrays, scan=scan, batches=(*batches, tuple(axes)))
    return results, [0] * len(results)


def _derivative(arrays, slopes, *, scan, batches):
    slopes = tuple(ad.instantiate_zeros(slope) for slope in slopes)
    return jax.jvp(_side_by_side(scan.as_it_is, batches), tuple(arrays), slopes)


_scan.def_impl(jax.jit(_lowered, static_argnames=("scan", "batches")))
_scan.def_abstract_eval(_shapes)
mlir.register_lowering(_scan, mlir.lower_fun(_lowered))
mlir.register_lowering(_scan, mlir.lower_fun(functools.partial(_lowered, hinted=True)), platform="cpu")
batching.primitive_batchers[_scan] = _batch
ad.primitive_jvps[_scan] = _derivative


def _evaluate(graph: Graph, jaxpr: jex.Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[np.ndarray]:
    """The results of a calculation as arrays of numbers, from such arrays."""
    needed = _needed(jaxpr)
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def value(atom):
        # An operand that is not needed may not have been calculated.
        return _known(atom.val, atom.aval.dtype) if isinstance(atom, jex.Literal) else values.get(atom)

    for equation in jaxpr.eqns:
        if needed.isdisjoint(equation.outvars):
            continue
        for variable in equation.outvars:
            _check_size(variable.aval)
        results = _apply(graph, equation, [value(atom) for atom in equation.invars])
        values |= zip(equation.outvars, results, strict=True)
    return [value(atom) for atom in jaxpr.outvars]


def _needed(jaxpr: jex.Jaxpr) -> set[jex.Var]:
    """The variables that lead to the results."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, jex.Literal)}
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed |= {atom for atom in _used(equation) if not isinstance(atom, jex.Literal)}
    return needed


def _used(equation: jex.JaxprEqn) -> list[Any]:
    """The operands that lead to the results."""
    if equation.primitive is _scan:
        arguments = equation.params["scan"].arguments
        return [atom for atom, own in zip(equation.invars, arguments, strict=True) if own is not None]
    inner = _inner(equation)
    if not inner:
        return equation.invars
    first = len(equation.invars) - len(inner[0].jaxpr.invars)
    within = [_needed(each.jaxpr) for each in inner]
    return equation.invars[:first] + [
        atom
        for place, atom in enumerate(equation.invars[first:])
        if any(each.jaxpr.invars[place] in needed for each, needed in zip(inner, within, strict=True))
    ]


def _inner(equation: jex.JaxprEqn) -> Sequence[jex.ClosedJaxpr]:
    """The calculations that an operation calls or chooses from, of its last operands."""
    match equation.primitive.name:
        case "jit":
            return [equation.params["jaxpr"]]
        case "cond":
            return equation.params["branches"]
    return []


def _apply(graph: Graph, equation: jex.JaxprEqn, operands: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The results of one operation on arrays."""
    primitive, params = equation.primitive, equation.params
    name = primitive.name
    avals = [variable.aval for variable in equation.outvars]
    if equation.effects:
        raise NotSmallError
    if name in _ELEMENTWISE:
        entries = zip(*(array.flat for array in np.broadcast_arrays(*operands)), strict=True)
        function = functools.partial(primitive.bind, **params)
        results = [graph.apply(name, function, each, avals[0].dtype, params) for each in entries]
        return [_array(results, avals[0].shape)]
    if name in _MOVING:
        return [_array(np.asarray(_MOVING[name](*operands, **params)).ravel(), avals[0].shape)]
    if name == "gather" and not any(isinstance(x, Number) for x in operands[1].flat):
        places = np.arange(operands[0].size).reshape(operands[0].shape)
        with jax.ensure_compile_time_eval():
            where = np.asarray(primitive.bind(jnp.asarray(places), jnp.asarray(operands[1].astype(int)), **params))
        # Out of bounds, it is filled with something else.
        if where.size == 0 or where.min() >= 0:
            return [_array(operands[0].ravel()[where.ravel()], where.shape)]
    if name == "split":
        parts = np.split(operands[0], np.cumsum(params["sizes"])[:-1], axis=params["axis"])
        return [_array(part.ravel(), part.shape) for part in parts]
    if name == "iota":
        line = np.arange(params["shape"][params["dimension"]], dtype=params["dtype"])
        along = [-1 if k == params["dimension"] else 1 for k in range(len(params["shape"]))]
        return [_known(np.broadcast_to(line.reshape(along), params["shape"]))]
    if name in _REDUCING:
        (array,) = operands
        kept = [axis for axis in range(array.ndim) if axis not in params["axes"]]
        lines = array.transpose(*kept, *params["axes"]).reshape(avals[0].size, -1)
        return [_array([_reduced(graph, *_REDUCING[name], line) for line in lines], avals[0].shape)]
    if name == "dot_general":
        return [_product(graph, *operands, *params["dimension_numbers"]).reshape(avals[0].shape)]
    if name == "jit":
        (inner,) = _inner(equation)
        return _evaluate(graph, inner.jaxpr, [_known(c) for c in inner.consts], operands)
    if name == "cond":
        return _choice(graph, _inner(equation), operands, avals)
    if primitive is _scan and not params["batches"]:
        # A loop inside this one.
        inner = params["scan"]
        if len(operands) > inner.n_constants + inner.n_leaves:
            raise NotSmallError
        pairs = zip(operands, inner.arguments, strict=True)
        numbers = [x for array, own in pairs if own is not None for x in array.flat]
        dtypes = [aval.dtype for aval in avals for _ in range(aval.size)]
        results = graph.add(lambda *values: [x for a in inner.run(*values) for x in _entries(a)], numbers, dtypes)
        return [_array(part, aval.shape) for part, aval in _split(results, avals)]
    if all(x.ndim == 0 for x in (*operands, *avals)) and not any(isinstance(x, _CALCULATIONS) for x in params.values()):
        # Such as a random key drawn from another.
        function = functools.partial(primitive.bind, **params)
        if not primitive.multiple_results:
            return [_array(graph.add(lambda *xs: [function(*xs)], [a[()] for a in operands], [avals[0].dtype]), ())]
    raise NotSmallError


def _product(graph: Graph, a: np.ndarray, b: np.ndarray, summed: Any, batched: Any) -> np.ndarray:
    """`dot_general`: the sums of products over some axes, along others side by side."""

    def as_stack(array, over, along):
        free = [axis for axis in range(array.ndim) if axis not in (*over, *along)]
        size = int(np.prod([array.shape[axis] for axis in over], dtype=int))
        stacked = array.transpose(*along, *free, *over)
        return stacked.reshape(int(np.prod(stacked.shape[: len(along)], dtype=int)), -1, size)

    a, b = (as_stack(array, *axes) for array, axes in zip((a, b), zip(summed, batched, strict=True), strict=True))
    return _array(
        [
            _reduced(graph, "add", lax.add, [graph.times(x, y) for x, y in zip(row, column, strict=True)])
            for rows, columns in zip(a, b, strict=True)
            for row in rows
            for column in columns
        ],
        (-1,),
    )


def _reduced(graph: Graph, name: str, function: Callable[..., Any], numbers: Sequence[Any]) -> Any:
    """Numbers added up (or the like), in pairs: the shortest way from the first to the last."""
    numbers = list(numbers)
    while len(numbers) > 1:
        pairs = zip(numbers[::2], numbers[1::2], strict=False)
        added = [graph.apply(name, function, pair, pair[0].dtype) for pair in pairs]
        numbers = added + numbers[2 * len(added) :]
    return numbers[0]


def _choice(graph: Graph, branches: Sequence[jex.ClosedJaxpr], operands: Sequence[np.ndarray], avals: Any) -> Any:
    """`cond`: one of several calculations."""
    which, *arrays = operands
    if not isinstance(which[()], Number):
        branch = branches[np.clip(int(which[()]), 0, len(branches) - 1)]
        return _evaluate(graph, branch.jaxpr, [_known(c) for c in branch.consts], arrays)
    numbers = dict.fromkeys(x for array in arrays if array is not None for x in array.flat if isinstance(x, Number))
    dtypes = [aval.dtype for aval in avals for _ in range(aval.size)]

    def written(branch):
        own, inside = Graph(), {x: Number(None, 0, x.dtype) for x in numbers}
        mine = [a if a is None else _array([inside.get(x, x) for x in a.flat], a.shape) for a in arrays]
        results = _evaluate(own, branch.jaxpr, [_known(c) for c in branch.consts], mine)
        outputs = [x for array in results for x in array.flat]
        return lambda *values: _typed(own.run(outputs, dict(zip(inside.values(), values, strict=True))), dtypes)

    ways = [written(branch) for branch in branches]
    results = graph.add(lambda which, *values: lax.switch(which, ways, *values), [which[()], *numbers], dtypes)
    return [_array(part, aval.shape) for part, aval in _split(results, avals)]


def _broadcast(array: np.ndarray, shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """An array whose axes become these of a larger one, along whose others it is the same."""
    sizes = [1] * len(shape)
    for axis, size in zip(axes, array.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(array.reshape(sizes), shape)


def _padded(array: np.ndarray, fill: np.ndarray, config: Any) -> np.ndarray:
    """An array with an entry around it and between its entries; cut off, where the padding is negative."""
    lows, highs, betweens = zip(*config, strict=True) if config else ((), (), ())
    sizes = [max(0, n + (n - 1) * between) for n, between in zip(array.shape, betweens, strict=True)]
    padded = np.empty([max(0, a) + n + max(0, b) for a, n, b in zip(lows, sizes, highs, strict=True)], object)
    padded.fill(fill[()])
    within = zip(lows, sizes, betweens, strict=True)
    padded[tuple(slice(max(0, low), max(0, low) + n, between + 1) for low, n, between in within)] = array
    cut = zip(lows, highs, padded.shape, strict=True)
    return padded[tuple(slice(max(0, -low), n - max(0, -high)) for low, high, n in cut)]


def _check_size(aval: Any) -> None:
    if aval.size > LARGEST_ARRAY:
        raise NotSmallError


def _known(value: Any, dtype: Any = None) -> np.ndarray:
    """An array of numbers that are known beforehand."""
    array = np.asarray(value, dtype)
    return _array(list(array.ravel()), array.shape)


def _array(numbers: Iterable[Any], shape: tuple[int, ...]) -> np.ndarray:
    """An array of such objects."""
    numbers = list(numbers)
    array = np.empty(len(numbers), object)
    array[:] = numbers
    return array.reshape(shape)


def _entries(array: jax.Array, n_axes: int = 0) -> list[jax.Array]:
    """The entries of an array, each with its first axes."""
    flat = array.reshape(*array.shape[:n_axes], -1)
    return [flat[..., k] for k in range(flat.shape[-1])]


def _typed(numbers: Sequence[Any], dtypes: Sequence[Any]) -> list[jax.Array]:
    # Of a fixed dtype also where one is known beforehand.
    return [lax.convert_element_type(x, dtype) for x, dtype in zip(numbers, dtypes, strict=True)]


def _parted(values: Sequence[Any], n: int) -> tuple[list[Any], list[Any]]:
    """The first n, and the others."""
    return list(values[:n]), list(values[n:])


def _split(numbers: Sequence[Any], avals: Sequence[Any]) -> Iterable[tuple[list[Any], Any]]:
    """The numbers of each array."""
    numbers = iter(numbers)
    return [(list(itertools.islice(numbers, aval.size)), aval) for aval in avals]


def _joined(numbers: Sequence[jax.Array], avals: Sequence[Any]) -> list[jax.Array]:
    """Arrays from their entries."""
    return [
        jnp.stack(part).reshape(aval.shape) if part else jnp.zeros(aval.shape, aval.dtype)
        for part, aval in _split(numbers, avals)
    ]
