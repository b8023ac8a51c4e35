"""Layout: how many vectors of each kind a network has, and what their overlaps are called."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import by_label, count, floating, in_jax, in_numpy, is_traced, later, listed, with_values

BLOCKS = ("m", "u", "v", "z")
#: Of each block. The Gram matrix of all vectors has to fit into memory.
MOST_VECTORS = 10_000

# The visible overlaps are named as in the field (readout or selection vector first); all others in the order m, u, v,
# z.
_NAME = re.compile(r"([muvz])(\d*)([muvz])(\d*)")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The numbers of input, recurrent and readout vectors of a low-rank network.

    The vectors of all N neurons are the columns of `V = [m | u | v | z]`, shape `[N, d]` with
    `d = n_in + 2 rank + n_out`. `B = (m, u)` spans the activity, `A = (v, z)` reads it.

    Args:
        n_in: number of input vectors m, at least 1.
        rank: rank R of the connectivity `u v^T / N`: R vectors u and R vectors v.
        n_out: number of readout vectors z, at least 1.

    Raises:
        ValueError: if a number is not an integer, or too small.

    Source: Ger & Barak 2026, section 2.

    Examples:
        >>> layout = ol.Layout(n_in=1, rank=2, n_out=1)
        >>> layout.size
        6
        >>> layout.vector_names
        ('m', 'u1', 'u2', 'v1', 'v2', 'z')
    """

    n_in: int = 1
    rank: int = 1
    n_out: int = 1

    def __post_init__(self):
        for name, least in (("n_in", 1), ("rank", 0), ("n_out", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(
                    f"Layout: {name} must be an integer of at least {least}, got {value!r}. "
                    "For one input, one recurrent rank and one readout: ol.Layout(n_in=1, rank=1, n_out=1)."
                )
            object.__setattr__(self, name, count(value, f"Layout: {name}", least, MOST_VECTORS))

    @property
    def size(self) -> int:
        """d: the number of vectors, `n_in + 2 rank + n_out`."""
        return self.n_in + 2 * self.rank + self.n_out

    @property
    def n_overlaps(self) -> int:
        """p: the number of distinct overlaps, `d (d + 1) / 2`."""
        return self.size * (self.size + 1) // 2

    @property
    def n_fields(self) -> int:
        """The number of vectors in `B = (m, u)`, those that span the activity."""
        return self.n_in + self.rank

    def block(self, name: str) -> slice:
        """The columns of V that hold block `name` ("m", "u", "v" or "z")."""
        if name not in BLOCKS:
            raise ValueError(f"Layout: there is no block {name!r}. The blocks are {', '.join(BLOCKS)}.")
        sizes = dict(zip(BLOCKS, (self.n_in, self.rank, self.rank, self.n_out), strict=True))
        position = BLOCKS.index(name)
        start = sum(sizes[b] for b in BLOCKS[:position])
        return slice(start, start + sizes[name])

    @property
    def vector_names(self) -> tuple[str, ...]:
        """One name per vector: "m", or "m1", "m2", ... where a block has several."""
        names = []
        for name in BLOCKS:
            columns = self.block(name)
            n = columns.stop - columns.start
            names += [name] if n == 1 else [f"{name}{i + 1}" for i in range(n)]
        return tuple(names)

    @property
    def signature(self) -> np.ndarray:
        """Sign, shape [d]: -1 on the vectors of B = (m, u), +1 on those of A = (v, z)."""
        return np.where(np.arange(self.size) < self.n_fields, -1.0, 1.0)

    @property
    def entry_indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (row <= column), shape [p] each, of the distinct overlaps: the order of `entry_names`."""
        return np.triu_indices(self.size)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """The names of the p distinct overlaps, such as "zm", "uu", or "z1u2" where a block has several vectors."""
        vectors = self.vector_names
        is_reading = np.arange(self.size) >= self.n_fields
        return tuple(
            vectors[j] + vectors[i] if is_reading[j] and not is_reading[i] else vectors[i] + vectors[j]
            for i, j in zip(*self.entry_indices, strict=True)
        )

    def locate(self, name: str) -> tuple[slice, slice]:
        """Rows and columns of the Gram matrix that an overlap's name stands for.

        Args:
            name: two vectors, in either order: "zm" is the whole z-m block, "z1m2" one entry of it.

        Raises:
            ValueError: if there is no such overlap; the message lists those there are.
        """
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(self._unknown(name))
        found = []
        for letter, number in (match.group(1, 2), match.group(3, 4)):
            columns = self.block(letter)
            if number:
                column = columns.start + int(number) - 1
                if not columns.start <= column < columns.stop:
                    raise ValueError(self._unknown(name))
                columns = slice(column, column + 1)
            found.append(columns)
        return found[0], found[1]

    def _unknown(self, name: str) -> str:
        return f"There is no overlap {name!r} in {self}. Its overlaps are: {listed(self.entry_names)}."

    def rates(self, rates: Any = None) -> jax.Array:
        """P: the rate of each vector, shape [d], relative to the learning rate (1: plain; 0: frozen).

        Args:
            rates: None for ones; a mapping from block or vector name to a rate, such as `{"m": 0.0, "u1": 0.5}`
                (whatever is not named learns at rate 1); or an array of shape [d].

        Raises:
            ValueError: if a name is unknown, the shape is wrong, or a rate is negative or not finite.

        Examples:
            >>> ol.Layout(n_in=1, rank=2, n_out=1).rates({"m": 0.0, "u2": 0.5})
            Array([0. , 1. , 0.5, 1. , 1. , 1. ], dtype=float64)
        """
        return in_jax(self.known_rates(rates))

    def known_rates(self, rates: Any, n_neurons: int | None = None) -> Any:
        """`rates`, in numpy if they are known; with n_neurons also an array [N, d], of every neuron its own."""
        if rates is None:
            return np.ones(self.size)
        allowed = (
            f"rates must be a mapping with keys from {listed([*dict.fromkeys((*BLOCKS, *self.vector_names))])}, "
            f'such as {{"m": 0.0}} ("W" is that of a bulk, in networks that have one), or an array of shape '
            f"[{self.size}]" + (", or [N, d] of single neurons" if n_neurons is not None else "")
        )
        if isinstance(rates, Mapping):
            result = np.ones(self.size)
            names = self.vector_names
            # Blocks first, so that a vector named beside its block keeps its own rate.
            for key in sorted(rates, key=lambda k: len(str(k))):
                if key in BLOCKS:
                    columns = self.block(key)
                elif key in names:
                    columns = slice(names.index(key), names.index(key) + 1)
                else:
                    raise ValueError(f"{allowed}; got the key {key!r}.")
                rate = in_numpy(floating(rates[key], f"rates[{key!r}]"))
                if rate.shape not in ((), (columns.stop - columns.start,)):
                    raise ValueError(f"{allowed}; rates[{key!r}] has shape {list(rate.shape)}.")
                result = with_values(result, columns, rate)
        else:
            result = in_numpy(floating(by_label(rates, "rates", self.vector_names), "rates")).astype(float)
            if result.shape not in ((self.size,), (n_neurons, self.size)):
                own = n_neurons is None and result.ndim == 2
                nearest = " Rates of single neurons are for ol.train, which moves every one." if own else ""
                raise ValueError(f"{allowed}; got an array of shape {list(result.shape)}.{nearest}")
        if not is_traced(result) and not np.all(np.isfinite(result) & (np.asarray(result) >= 0)):
            raise ValueError(f"{allowed}, each rate finite and not negative; got {np.asarray(result).tolist()}.")
        if is_traced(result):
            result = later(jnp.asarray(result), lambda x: jnp.isfinite(x) & (x >= 0))
        return result
