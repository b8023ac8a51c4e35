"""Writing: a calculation with small arrays, written out in single numbers."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.scalars.graph import Graph, NotSmallError, Number

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


class Rule(NamedTuple):
    """How an operation of our own is written out.

    Attributes:
        used: from the equation to the operands that lead to its results.
        write: from the graph, the equation and the operands, as arrays of numbers, to such results.
    """

    used: Callable[[jex.JaxprEqn], list[Any]]
    write: Callable[[Graph, jex.JaxprEqn, Sequence[np.ndarray]], Sequence[np.ndarray]]


OWN_RULES: dict[jex.Primitive, Rule] = {}


class Written:
    """A calculation, written out.

    Args:
        closed: the calculation.
        n_optional: of so many of its first arguments, those are left out that lead to no result.
        most: operations; None: as many as a `Graph` takes.

    Attributes:
        closed: as it is.
        arguments: the arrays of numbers that go in; None: left out.

    Raises:
        NotSmallError: if it can't be written out, or is too large.
    """

    def __init__(self, closed: jex.ClosedJaxpr, n_optional: int = 0, most: int | None = None):
        self.closed, self.arguments = closed, []
        self._graph = Graph(most)
        if closed.effects:
            raise NotSmallError
        jaxpr = closed.jaxpr
        needed = needed_by(jaxpr)
        for place, variable in enumerate(jaxpr.invars):
            if place < n_optional and variable not in needed:
                self.arguments.append(None)
                continue
            check_size(variable.aval)
            numbers = [Number(None, 0, variable.aval.dtype) for _ in range(variable.aval.size)]
            self.arguments.append(array_of(numbers, variable.aval.shape))
        pairs = zip(jaxpr.constvars, closed.consts, strict=True)
        constants = [known_array(value) if variable in needed else None for variable, value in pairs]
        results = evaluate(self._graph, jaxpr, constants, self.arguments)
        self._inputs = [x for argument in self.arguments if argument is not None for x in argument.flat]
        self._outputs = [x for array in results for x in array.flat]
        self._dtypes = [aval.dtype for aval in closed.out_avals for _ in range(aval.size)]

    def run(self, numbers: Sequence[jax.Array], once: bool = True) -> list[jax.Array]:
        """The numbers that come out, from those that go in; `once` as for `Graph.run`."""
        given = dict(zip(self._inputs, numbers, strict=True))
        return typed(self._graph.run(self._outputs, given, once), self._dtypes)


def evaluate(graph: Graph, jaxpr: jex.Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """The results of a calculation as arrays of numbers, from such arrays."""
    needed = needed_by(jaxpr)
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def value(atom: Any) -> Any:
        # An operand that is not needed may not have been calculated.
        return values.get(atom) if not isinstance(atom, jex.Literal) else _literal(atom)

    for equation in jaxpr.eqns:
        if needed.isdisjoint(equation.outvars):
            continue
        for variable in equation.outvars:
            check_size(variable.aval)
        results = _apply(graph, equation, [value(atom) for atom in equation.invars])
        values |= zip(equation.outvars, results, strict=True)
    return [value(atom) for atom in jaxpr.outvars]


def _literal(atom: Any) -> np.ndarray:
    return known_array(atom.val, atom.aval.dtype)


def needed_by(jaxpr: jex.Jaxpr) -> set[jex.Var]:
    """The variables that lead to the results."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, jex.Literal)}
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed |= {atom for atom in _used(equation) if not isinstance(atom, jex.Literal)}
    return needed


def _used(equation: jex.JaxprEqn) -> list[Any]:
    """The operands that lead to the results."""
    if equation.primitive in OWN_RULES:
        return OWN_RULES[equation.primitive].used(equation)
    inner = _inner(equation)
    if not inner:
        return equation.invars
    first = len(equation.invars) - len(inner[0].jaxpr.invars)
    within = [needed_by(each.jaxpr) for each in inner]
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
    primitive = equation.primitive
    params: dict[str, Any] = dict(equation.params)
    name = primitive.name
    avals: list[Any] = [variable.aval for variable in equation.outvars]
    atoms: list[Any] = equation.invars
    if equation.effects:
        raise NotSmallError
    if primitive in OWN_RULES:
        return OWN_RULES[primitive].write(graph, equation, operands)
    if name in _ELEMENTWISE:
        entries = zip(*(array.flat for array in np.broadcast_arrays(*operands)), strict=True)
        function = functools.partial(primitive.bind, **params)
        results = [graph.apply(name, function, each, avals[0].dtype, params) for each in entries]
        return [array_of(results, avals[0].shape)]
    if name in _MOVING:
        return [array_of(np.asarray(_MOVING[name](*operands, **params)).ravel(), avals[0].shape)]
    if name == "gather" and not any(isinstance(x, Number) for x in operands[1].flat):
        places = np.arange(operands[0].size).reshape(operands[0].shape)
        # Out of bounds, it is filled with something else.
        filled = params | {"fill_value": -1}
        with jax.ensure_compile_time_eval():
            where = np.asarray(primitive.bind(jnp.asarray(places), jnp.asarray(operands[1].astype(int)), **filled))
        if where.size == 0 or where.min() >= 0:
            return [array_of(operands[0].ravel()[where.ravel()], where.shape)]
    if name == "split":
        parts = np.split(operands[0], np.cumsum(params["sizes"])[:-1], axis=params["axis"])
        return [array_of(part.ravel(), part.shape) for part in parts]
    if name == "unstack":
        moved = np.moveaxis(operands[0], params["axis"], 0)
        return [array_of(moved[k : k + 1].ravel(), moved.shape[1:]) for k in range(len(moved))]
    if name == "iota":
        line = np.arange(params["shape"][params["dimension"]], dtype=params["dtype"])
        along = [-1 if k == params["dimension"] else 1 for k in range(len(params["shape"]))]
        return [known_array(np.broadcast_to(line.reshape(along), params["shape"]))]
    if name in _REDUCING:
        (array,) = operands
        kept = [axis for axis in range(array.ndim) if axis not in params["axes"]]
        lines = array.transpose(*kept, *params["axes"]).reshape(avals[0].size, _size(array, params["axes"]))
        return [array_of([_reduced(graph, *_REDUCING[name], line) for line in lines], avals[0].shape)]
    if name == "dot_general" and all(atom.aval.dtype == avals[0].dtype for atom in atoms):
        return [_product(graph, *operands, *params["dimension_numbers"]).reshape(avals[0].shape)]
    if name == "jit":
        (inner,) = _inner(equation)
        return evaluate(graph, inner.jaxpr, [known_array(c) for c in inner.consts], operands)
    if name == "cond":
        return _choice(graph, _inner(equation), operands, avals)
    if all(x.ndim == 0 for x in (*operands, *avals)) and not any(isinstance(x, _CALCULATIONS) for x in params.values()):
        # Such as a random key drawn from another.
        function = functools.partial(primitive.bind, **params)
        if not primitive.multiple_results:
            return [array_of(graph.add(lambda *xs: [function(*xs)], [a[()] for a in operands], [avals[0].dtype]), ())]
    raise NotSmallError


def _product(graph: Graph, a: np.ndarray, b: np.ndarray, summed: Any, batched: Any) -> np.ndarray:
    """`dot_general`: the sums of products over some axes, along others side by side."""

    def as_stack(array, over, along):
        free = [axis for axis in range(array.ndim) if axis not in (*over, *along)]
        return array.transpose(*along, *free, *over).reshape([_size(array, axes) for axes in (along, free, over)])

    a, b = (as_stack(array, *axes) for array, axes in zip((a, b), zip(summed, batched, strict=True), strict=True))
    return array_of(
        [
            _reduced(graph, "add", lax.add, [graph.times(x, y) for x, y in zip(row, column, strict=True)])
            for rows, columns in zip(a, b, strict=True)
            for row in rows
            for column in columns
        ],
        (-1,),
    )


def _size(array: np.ndarray, axes: Iterable[int]) -> int:
    return math.prod(array.shape[axis] for axis in axes)


def _reduced(graph: Graph, name: str, function: Callable[..., Any], numbers: Iterable[Any]) -> Any:
    """Numbers added up (or the like), in pairs: the shortest way from the first to the last."""
    numbers = list(numbers)
    if not numbers:
        raise NotSmallError
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
        return evaluate(graph, branch.jaxpr, [known_array(c) for c in branch.consts], arrays)
    numbers = dict.fromkeys(x for array in arrays if array is not None for x in array.flat if isinstance(x, Number))
    dtypes = [aval.dtype for aval in avals for _ in range(aval.size)]

    def written(branch):
        own, inside = Graph(), {x: Number(None, 0, x.dtype) for x in numbers}
        mine = [a if a is None else array_of([inside.get(x, x) for x in a.flat], a.shape) for a in arrays]
        results = evaluate(own, branch.jaxpr, [known_array(c) for c in branch.consts], mine)
        outputs = [x for array in results for x in array.flat]
        return lambda *values: typed(own.run(outputs, dict(zip(inside.values(), values, strict=True))), dtypes)

    ways = [written(branch) for branch in branches]
    results = graph.add(lambda which, *values: lax.switch(which, ways, *values), [which[()], *numbers], dtypes)
    return [array_of(part, aval.shape) for part, aval in split(results, avals)]


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


def check_size(aval: Any) -> None:
    """Refuse an array that is too large to be written out."""
    if aval.size > LARGEST_ARRAY:
        raise NotSmallError


def known_array(value: Any, dtype: Any = None) -> np.ndarray:
    """An array of numbers that are known beforehand."""
    array = np.asarray(value, dtype)
    return array_of(list(array.ravel()), array.shape)


def array_of(numbers: Iterable[Any], shape: tuple[int, ...]) -> np.ndarray:
    """An array of such objects."""
    numbers = list(numbers)
    array = np.empty(len(numbers), object)
    array[:] = numbers
    return array.reshape(shape)


def entries(array: jax.Array, n_axes: int = 0) -> list[jax.Array]:
    """The entries of an array, each with its first axes."""
    flat = array.reshape(*array.shape[:n_axes], -1)
    return [flat[..., k] for k in range(flat.shape[-1])]


def typed(numbers: Sequence[Any], dtypes: Sequence[Any]) -> list[jax.Array]:
    """Numbers of these dtypes, which they keep to; those known beforehand have none that they keep to."""
    return [lax.convert_element_type(x, dtype) for x, dtype in zip(numbers, dtypes, strict=True)]


def split(numbers: Sequence[Any], avals: Sequence[Any]) -> Iterable[tuple[list[Any], Any]]:
    """The numbers of each array."""
    following = iter(numbers)
    return [(list(itertools.islice(following, aval.size)), aval) for aval in avals]


def joined(numbers: Sequence[jax.Array], avals: Sequence[Any]) -> list[jax.Array]:
    """Arrays from their entries."""
    return [
        jnp.stack(part).reshape(aval.shape) if part else jnp.zeros(aval.shape, aval.dtype)
        for part, aval in split(numbers, avals)
    ]
