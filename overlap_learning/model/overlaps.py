"""Overlaps: the Gram matrix of a network's vectors."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import (
    assembled,
    by_label,
    check_key,
    floating,
    in_jax,
    in_numpy,
    is_traced,
    later,
    listed,
    scalar,
    with_values,
)
from overlap_learning.guides import guide
from overlap_learning.model.factor import standard_neurons
from overlap_learning.model.layout import Layout
from overlap_learning.module import Module
from overlap_learning.printed import as_html, matrix_rows


class Overlaps(Module):
    """The overlaps of a low-rank network: `G = V^T V / N`, symmetric and positive semi-definite.

    Args:
        gram: G, shape [..., d, d], rows and columns ordered m, u, v, z. Leading axes are batches.
        layout: the `Layout` that says which row is which vector.

    Raises:
        ValueError: if G has the wrong shape, is not finite, not symmetric, or not positive semi-definite
            (smallest eigenvalue below `-100 d eps` times the largest, eps the rounding unit of its dtype:
            a hundred times what forming a Gram matrix in that dtype can leave behind).

    Source: Ger & Barak 2026, eq. 2.

    Examples:
        >>> layout = ol.Layout(n_in=1, rank=1, n_out=1)
        >>> overlaps = ol.Overlaps.from_entries(layout, zm=0.5, uu=2.0)
        >>> overlaps["z", "m"]
        Array([[0.5]], dtype=float64)
        >>> overlaps.entries()["uu"]
        Array(2., dtype=float64)
    """

    gram: jax.Array
    layout: Layout = eqx.field(static=True)

    def __init__(self, gram: ArrayLike, layout: Layout):
        _check_layout(layout, "Overlaps")
        names = layout.vector_names
        self.gram = floating(by_label(gram, "Overlaps: gram", names, names), "Overlaps: gram")
        self.layout = layout
        d = layout.size
        if self.gram.ndim < 2 or self.gram.shape[-2:] != (d, d):
            raise ValueError(
                f"Overlaps: gram must have shape [..., {d}, {d}] for {layout}, got {list(self.gram.shape)}."
            )
        if not is_traced(self.gram):
            _check_gram(np.asarray(self.gram), layout)
        else:
            self.gram = later(self.gram, is_gram)

    # -- making overlaps ---------------------------------------------------------------------------------------------

    @classmethod
    def from_network(cls, network) -> Self:
        """The overlaps of an `ol.Network`: `sum_i w_i V_i V_i^T`."""
        return network.overlaps

    @classmethod
    def from_entries(cls, layout: Layout, **entries: ArrayLike) -> Self:
        """Orthonormal vectors (G = 1) except for the overlaps that are named.

        Args:
            layout: the `Layout`.
            **entries: overlaps by name: "zm" sets the z-m block (a number where it is 1 x 1, else an array of its
                shape), "z1u2" one entry. The mirror image is set with it.

        Raises:
            ValueError: if a name is unknown, a shape is wrong, or no network has these overlaps; then the message gives
                the interval of each named overlap that is feasible with the others as they are.

        Examples:
            >>> layout = ol.Layout(n_in=1, rank=2, n_out=1)
            >>> ol.Overlaps.from_entries(layout, zm=0.5, u1u2=0.2, vu=[[0.1, 0.0], [0.0, 0.1]])["u", "u"]
            Array([[1. , 0.2],
                   [0.2, 1. ]], dtype=float64)
        """
        _check_layout(layout, "Overlaps.from_entries")
        return cls._with_entries(np.eye(layout.size, dtype=jnp.result_type(float)), layout, entries)

    @classmethod
    def random(cls, layout: Layout, *, key: jax.Array, scale: float = 0.1) -> Self:
        """Near-orthonormal random overlaps: the Gram matrix of d Gaussian vectors in `d + 1/scale^2` dimensions.

        Args:
            layout: the `Layout`.
            key: a jax random key.
            scale: positive and at most 1; the overlap of two different vectors has standard deviation
                `1 / sqrt(d + 1/scale^2)`, about scale where it is small (`1/sqrt(N)` is that of N random neurons).

        Examples:
            >>> ol.Overlaps.random(ol.Layout(), key=jax.random.key(0)).gram.shape
            (4, 4)
        """
        _check_layout(layout, "Overlaps.random")
        check_key(key, "Overlaps.random")
        scalar(scale, "Overlaps.random: scale", "in (0, 1]", 0, 1)
        if scale < 1e-4:
            raise ValueError(
                f"Overlaps.random: scale must be at least 1e-4 (1/scale^2 numbers are drawn for a vector), got {scale}."
            )
        dimension = layout.size + round(scale**-2)
        vectors = standard_neurons(key, (dimension, layout.size), float, exact=False)
        return cls(vectors.T @ vectors / dimension, layout)

    def replace(self, **entries: ArrayLike) -> "Overlaps":
        """These overlaps with some entries set anew; names and errors as in `from_entries`.

        Examples:
            >>> ol.Overlaps.from_entries(ol.Layout()).replace(uu=2.0, mu=0.8)["m", "u"]
            Array([[0.8]], dtype=float64)
        """
        return self._with_entries(in_numpy(self.gram), self.layout, entries)

    @classmethod
    def _with_entries(cls, gram: Any, layout: Layout, entries: dict[str, Any]) -> Self:
        changed: list[tuple[int, int]] = []
        for name, value in entries.items():
            rows, columns = layout.locate(name)
            pairs = [(i, j) for i in range(rows.start, rows.stop) for j in range(columns.start, columns.stop)]
            if {frozenset(pair) for pair in pairs} & {frozenset(pair) for pair in changed}:
                raise ValueError(
                    f"Overlap {name!r} is given twice (by another name too); give each overlap once: {list(entries)}."
                )
            changed += pairs
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            names = layout.vector_names
            value = by_label(value, f"Overlap {name!r}", names[rows], names[columns])
            block = in_numpy(floating(value, f"Overlap {name!r}"))
            if block.ndim == 0 and shape == (1, 1):
                block = block.reshape(shape)
            if block.shape != shape:
                raise ValueError(
                    f"Overlap {name!r} must have shape {list(shape)} in {layout}, got {list(block.shape)}. "
                    f"One entry of it is set by its own name: {listed(layout.entry_names)}."
                )
            mirror = block.swapaxes(-1, -2)
            if rows == columns and not is_traced(block) and not np.array_equal(block, mirror):
                raise ValueError(f"Overlap {name!r} must be a symmetric block, got {block.tolist()}.")
            if rows == columns and is_traced(block):
                block = later(block, lambda x: x == jnp.swapaxes(x, -1, -2))
                mirror = block.swapaxes(-1, -2)
            gram = with_values(with_values(gram, (..., rows, columns), block), (..., columns, rows), mirror)
        try:
            return cls(gram, layout)
        except _NotPositiveError as error:
            last = guide("infeasible")
            reason = f"{str(error).removesuffix(last)} {_advice(np.asarray(gram), layout, changed)}"
            raise ValueError(reason.rstrip() + last) from None

    # -- reading overlaps --------------------------------------------------------------------------------------------

    def __getitem__(self, blocks: tuple[str, str]) -> jax.Array:
        """The block of overlaps between two kinds of vectors: `overlaps["z", "u"]`, shape [..., n_out, rank]."""
        if not (isinstance(blocks, tuple) and len(blocks) == 2):
            raise ValueError(f'Overlaps are indexed by two blocks, as in overlaps["z", "u"], got {blocks!r}.')
        return self.gram[..., self.layout.block(blocks[0]), self.layout.block(blocks[1])]

    def __repr__(self) -> str:
        if is_traced(self.gram) or self.gram.ndim != 2:
            return f"Overlaps({self.layout}, gram of shape {list(self.gram.shape)})"
        about = f"Overlaps: {self.layout}, {self.gram.dtype}"
        return "\n".join([about, *matrix_rows(np.asarray(self.gram), self.layout.vector_names)])

    def _repr_html_(self) -> str:
        return as_html(repr(self))

    def entries(self) -> dict[str, jax.Array]:
        """All distinct overlaps by name, each of shape [...] (the batch axes)."""
        rows, columns = self.layout.entry_indices
        values = in_numpy(self.gram)[..., rows, columns]
        return {name: in_jax(values[..., i]) for i, name in enumerate(self.layout.entry_names)}


def with_gram(overlaps: Overlaps, gram: jax.Array) -> Overlaps:
    """Overlaps of the same layout with another Gram matrix, not checked: one that learning led to."""
    return unchecked(gram, overlaps.layout)


def unchecked(gram: jax.Array, layout: Layout) -> Overlaps:
    """Overlaps that are not checked: those that learning led to."""
    return assembled(Overlaps, gram=gram, layout=layout)


class _NotPositiveError(ValueError):
    """A Gram matrix that no network has."""


def what_has_overlaps(value: Any) -> str:
    """What was passed in place of overlaps, and how to get at those that it has."""
    kind = type(value).__name__
    if isinstance(value, Overlaps):
        return f"{kind} of {value.layout} with gram of shape {list(value.gram.shape)}"
    return f"{kind}; pass its .overlaps" if hasattr(type(value), "overlaps") else kind


def _check_layout(layout: Layout, caller: str) -> None:
    if not isinstance(layout, Layout):
        raise ValueError(f"{caller}: layout must be an ol.Layout, got {layout!r}.")


def _check_gram(gram: np.ndarray, layout: Layout) -> None:
    if not np.all(np.isfinite(gram)):
        where = [n for n, i, j in zip(layout.entry_names, *layout.entry_indices, strict=True)
                 if not np.all(np.isfinite(gram[..., i, j]))]  # fmt: skip
        raise ValueError(f"Overlaps: gram must be finite; these overlaps are not: {', '.join(where)}.")
    scale = np.max(np.abs(gram), axis=(-1, -2), keepdims=True, initial=0.0)
    tolerance = 100 * layout.size * np.finfo(gram.dtype).eps
    asymmetry = np.abs(gram - np.swapaxes(gram, -1, -2))
    if np.any(asymmetry > tolerance * scale):
        i, j = np.unravel_index(np.argmax(asymmetry), asymmetry.shape)[-2:]
        names = layout.vector_names
        raise ValueError(
            f"Overlaps: gram must be symmetric; its entries {names[i]}-{names[j]} and {names[j]}-{names[i]} differ by "
            f"{asymmetry.max():.3g}. Pass (gram + gram.T) / 2 if the difference is rounding."
        )
    eigenvalues = np.linalg.eigvalsh((gram + np.swapaxes(gram, -1, -2)) / 2)
    # Each member of a batch by its own scale.
    if np.any(eigenvalues[..., 0] < -tolerance * np.abs(eigenvalues).max(axis=-1)):
        raise _NotPositiveError(
            "Overlaps: gram must be positive semi-definite (no network has these overlaps); "
            f"its smallest eigenvalue is {eigenvalues.min():.6g}.{guide('infeasible')}"
        )


def is_gram(gram: jax.Array) -> jax.Array:
    """Whether `_check_gram` finds nothing, of a Gram matrix that is traced."""
    size, mirror = gram.shape[-1], jnp.swapaxes(gram, -1, -2)
    tolerance = 100 * size * jnp.finfo(gram.dtype).eps
    scale = jnp.max(jnp.abs(gram), axis=(-1, -2), initial=0.0)
    eigenvalues = jnp.linalg.eigvalsh((gram + mirror) / 2)
    is_positive = eigenvalues[..., 0] >= -tolerance * jnp.abs(eigenvalues).max(axis=-1)
    return jnp.isfinite(scale) & (jnp.abs(gram - mirror).max(axis=(-1, -2)) <= tolerance * scale) & is_positive


def interval(gram: np.ndarray, i: int, j: int) -> tuple[float, float] | None:
    """The values of entry (i, j) for which `gram` is positive semi-definite, all other entries as they are.

    A Schur complement: with the other vectors K and the entries a, b of i and j with them,
    `c = a^T K^+ b` and `|G_ij - c|^2 <= (G_ii - a^T K^+ a)(G_jj - b^T K^+ b)`; for i = j, `G_ii >= a^T K^+ a`.

    Returns:
        (low, high), or None if no value is feasible because the other overlaps already contradict each other.
    """
    others = [k for k in range(len(gram)) if k not in (i, j)]
    inner = gram[np.ix_(others, others)]
    tolerance = 100 * len(gram) * np.finfo(gram.dtype).eps * max(np.abs(gram).max(), np.finfo(gram.dtype).tiny)
    values, axes = np.linalg.eigh(inner) if others else (np.zeros(0), np.zeros((0, 0)))
    if np.any(values < -tolerance):
        return None
    kept = values > tolerance
    projected = axes.T @ gram[np.ix_(others, [i, j])]
    # What lies outside the range of K must vanish, or no value helps.
    if np.any(np.abs(projected[~kept]) > np.sqrt(tolerance * np.abs(gram).max())):
        return None
    whitened = projected[kept] / np.sqrt(values[kept])[:, None]
    residual_i = gram[i, i] - whitened[:, 0] @ whitened[:, 0]
    residual_j = gram[j, j] - whitened[:, 1] @ whitened[:, 1]
    centre = float(whitened[:, 0] @ whitened[:, 1])
    if i == j:
        return float(whitened[:, 0] @ whitened[:, 0]), float("inf")
    if residual_i < -tolerance or residual_j < -tolerance:
        return None
    radius = float(np.sqrt(max(residual_i, 0.0) * max(residual_j, 0.0)))
    return centre - radius, centre + radius


def _advice(gram: np.ndarray, layout: Layout, changed: list[tuple[int, int]]) -> str:
    if gram.ndim > 2:
        return ""
    indices = {frozenset(ij): k for k, ij in enumerate(zip(*layout.entry_indices, strict=True))}
    lines = []
    for i, j in changed:
        name = layout.entry_names[indices[frozenset((i, j))]]
        found = interval(gram, i, j)
        if found is None:
            lines.append(f"{name} = {gram[i, j]:.6g} (no value is feasible with the others as given)")
        else:
            lines.append(
                f"{name} = {gram[i, j]:.6g} (feasible with the others as given: {found[0]:.6g} to {found[1]:.6g})"
            )
    return "Of the overlaps given: " + "; ".join(dict.fromkeys(lines)) + "."
