"""Graph: a calculation with single numbers, as it grows."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

#: A calculation of more single numbers than this is not written out: it would take long to compile, and gain little.
MOST_NUMBERS = 5000
#: What would be calculated so many times over, counted in operations, is kept in memory instead.
MOST_REPEATED = 100

#: What is calculated beforehand with numpy, at a fraction of the cost; anything else with jax.
_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "and": np.bitwise_and,
    "convert_element_type": np.asarray,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "select_n": lambda which, *cases: cases[int(which)],
    "sub": np.subtract,
}
_COMMUTING = {"add", "add_any", "mul", "max", "min", "and", "or", "eq", "ne"}


class NotSmallError(Exception):
    """The calculation is too large to be written out, or has something in it that can't be."""


class Operation:
    """Something done to single numbers.

    Attributes:
        run: from the values of the operands to a list of those of the results.
        operands: each a `Number`, or a numpy scalar that is known beforehand.
    """

    __slots__ = ("operands", "run")

    def __init__(self, run: Callable[..., Sequence[Any]], operands: Sequence[Any]):
        self.run, self.operands = run, operands


class Number:
    """A result of an operation; an argument, if there is none."""

    __slots__ = ("dtype", "operation", "place")

    def __init__(self, operation: Operation | None, place: int, dtype: Any):
        self.operation, self.place, self.dtype = operation, place, dtype


class Graph:
    """What is calculated from what.

    What is 0 by structure costs nothing, and makes 0 of anything that it is multiplied with; what occurs twice is there
    once.

    Args:
        most: operations; None: `MOST_NUMBERS`.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = MOST_NUMBERS if most is None else most
        # In an order in which they can be done.
        self.operations: list[Operation] = []
        self._known: dict[Any, Number] = {}

    def apply(
        self, name: str, function: Callable[..., Any], operands: Sequence[Any], dtype: Any, params: Any = None
    ) -> Any:
        """The result of an operation on single numbers.

        Args:
            name: what jax calls the operation.
            function: what does it.
            operands: the numbers.
            dtype: of the result.
            params: what tells the operation from others of its name.
        """
        if not any(isinstance(x, Number) for x in operands):
            if name in _IN_NUMPY:
                return np.asarray(_IN_NUMPY[name](*operands), dtype)[()]
            with jax.ensure_compile_time_eval():
                return np.asarray(function(*map(jnp.asarray, operands)))[()]
        if (simpler := self._simpler(name, operands, dtype, params)) is not None:
            return simpler
        names = [(0, id(x)) if isinstance(x, Number) else (1, x.dtype.str, x.tobytes()) for x in operands]
        if name in _COMMUTING:
            names.sort()
        key = (name, str(params), dtype, *names)
        if key not in self._known:
            (self._known[key],) = self.add(lambda *values: [function(*values)], operands, [dtype])
        return self._known[key]

    def add(self, run: Callable[..., Sequence[Any]], operands: Sequence[Any], dtypes: Sequence[Any]) -> list[Number]:
        """The results of a new operation."""
        if len(self.operations) == self._most:
            raise NotSmallError
        operation = Operation(run, operands)
        self.operations.append(operation)
        return [Number(operation, place, dtype) for place, dtype in enumerate(dtypes)]

    def times(self, a: Any, b: Any) -> Any:
        """The product of two numbers."""
        return self.apply("mul", lax.mul, (a, b), a.dtype)

    def _simpler(self, name: str, operands: Sequence[Any], dtype: Any, params: Any) -> Any:
        """What an operation with a 0 or a 1 comes to, without it; None if it is needed."""

        def known(x, value):
            return not isinstance(x, Number) and x == value

        match name:
            case "mul":
                for one, other in (operands, operands[::-1]):
                    if known(one, 0):
                        return one
                    if known(one, 1):
                        return other
            case "add" | "add_any":
                for one, other in (operands, operands[::-1]):
                    if known(one, 0):
                        return other
            case "sub" if known(operands[1], 0):
                return operands[0]
            case "sub" if known(operands[0], 0):
                return self.apply("neg", lax.neg, operands[1:], dtype)
            case "neg" | "convert_element_type" if known(operands[0], 0):
                return np.zeros((), dtype)[()]
            case "convert_element_type" if operands[0].dtype == dtype:
                return operands[0]
            case "div" if known(operands[1], 1):
                return operands[0]
            case "integer_pow" if params["y"] == 2:
                return self.times(operands[0], operands[0])
            case "square":
                return self.times(operands[0], operands[0])
            case "select_n" if not isinstance(operands[0], Number):
                return operands[1 + int(operands[0])]
            case "select_n" if all(x is operands[1] for x in operands[2:]):
                return operands[1]
        return None

    def run(self, outputs: Sequence[Any], given: dict[Number, jax.Array], once: bool = True) -> list[Any]:
        """The values of numbers of this graph.

        Args:
            outputs: the numbers.
            given: the values of the arguments.
            once: calculate once what would be calculated many times over, at the price of a division.
        """
        needed = self._needed(outputs)
        stored = self._stored(outputs, needed) if once else set()
        # From the last argument, which of a loop is the state: by a number that all members of a batch share, the
        # compiler turns a quotient into a product, and calculates it anew.
        one = _one(reversed(list(given.values())))
        done: dict[Operation, Sequence[Any]] = {}

        def value(x):
            if not isinstance(x, Number):
                return x
            return given[x] if x.operation is None else done[x.operation][x.place]

        for operation in self.operations:
            if operation in needed:
                results = operation.run(*map(value, operation.operands))
                done[operation] = [_kept(x, one) for x in results] if operation in stored else results
        return [value(x) for x in outputs]

    def _needed(self, outputs: Sequence[Any]) -> set[Operation | None]:
        """The operations that lead to the outputs."""
        needed = {x.operation for x in outputs if isinstance(x, Number)}
        for operation in reversed(self.operations):
            if operation in needed:
                needed |= {x.operation for x in operation.operands if isinstance(x, Number)}
        return needed

    def _stored(self, outputs: Sequence[Any], needed: set[Any]) -> set[Operation]:
        """The operations whose results are not to be calculated anew wherever they are used."""
        uses = dict.fromkeys(self.operations, 0)
        for x in (*outputs, *(x for o in self.operations if o in needed for x in o.operands)):
            if isinstance(x, Number) and x.operation is not None:
                uses[x.operation] += 1
        stored, cost = set(), {}
        for operation in self.operations:
            before = {x.operation for x in operation.operands if isinstance(x, Number)}
            cost[operation] = 1 + sum(cost[o] for o in before if o is not None and o not in stored)
            if (uses[operation] - 1) * cost[operation] > MOST_REPEATED:
                stored.add(operation)
        return stored


def _one(values: Iterable[jax.Array]) -> jax.Array | None:
    """The number 1, as something that the compiler does not know to be 1."""
    for value in values:
        if jnp.issubdtype(value.dtype, jnp.floating):
            return lax.stop_gradient(jnp.where(value - value > 0, value, jnp.ones_like(value)))
    return None


def _kept(value: jax.Array, one: jax.Array | None) -> jax.Array:
    """The same value, which is calculated once.

    The compiler would rather calculate sums and products anew wherever they are used, a thousand times if need be;
    quotients it does not.
    """
    if one is not None and jnp.issubdtype(value.dtype, jnp.floating):
        return value / one.astype(value.dtype)
    if one is not None and value.dtype == bool:
        return jnp.where(value, 1.0, 0.0) / one > 0.5
    return value
