"""Region: the values that several overlaps can have together, all others as they are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from overlap_learning.model.layout import Layout
from overlap_learning.model.overlaps import Overlaps

#: Candidates along each axis for the point that the boundary is seen from.
_CANDIDATES = 21


class Region(NamedTuple):
    """Where a Gram matrix stays positive semi-definite, convex, and seen from a point within.

    Attributes:
        gram: G, shape [d, d].
        places: rows and columns of the n overlaps that vary.
        limits: the box within which they do, shape [n, 2].
        centre: their values at a point within, shape [n].
    """

    gram: np.ndarray
    places: list[tuple[int, int]]
    limits: np.ndarray
    centre: np.ndarray

    def boundary(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rays from the centre leave the region.

        With `C = L L^T` the Gram matrix at the centre and E its change along a ray, `C + t E` is positive semi-definite
        up to `t = -1 / (smallest eigenvalue of L^-1 E L^-T)`, or forever.

        Args:
            directions: of the rays, shape [..., n].

        Returns:
            The points, shape [..., n], and whether they are on the region's boundary, not the box's, shape [...].
        """
        root = np.linalg.inv(np.linalg.cholesky(with_entries(self.gram, self.places, self.centre)))
        change = with_entries(np.zeros_like(self.gram), self.places, directions)
        least = np.linalg.eigvalsh(root @ change @ root.T)[..., 0]
        with np.errstate(divide="ignore"):
            own = np.where(least < 0, -1 / least, np.inf)
            sides = np.where(directions > 0, self.limits[:, 1] - self.centre, self.limits[:, 0] - self.centre)
            box = np.where(directions != 0, sides / directions, np.inf).min(axis=-1)
        # A region that ends at the edge of the box ends there by itself.
        return self.centre + np.minimum(own, box)[..., None] * directions, own <= box * (1 + 1e-9)


def region(overlaps: Overlaps, places: list[tuple[int, int]], limits: Any, caller: str) -> Region:
    """The region of some overlaps.

    Args:
        overlaps: the `Overlaps`.
        places: rows and columns of the overlaps that vary.
        limits: low and high of each; None: what is feasible with norms of up to twice what they are.
        caller: the function that a person called.

    Raises:
        ValueError: if the region has no inside within the limits.
    """
    gram = np.asarray(overlaps.gram)
    box = _widest(gram, places) if limits is None else np.asarray(limits, dtype=float)
    if box.shape != (len(places), 2) or not np.all(np.isfinite(box)):
        raise ValueError(f"{caller}: limits must be {len(places)} times (low, high), got {limits!r}.")
    axes = [low + (high - low) * (np.arange(_CANDIDATES) + 0.5) / _CANDIDATES for low, high in box]
    own = np.array([[gram[i, j] for i, j in places]])
    own = own[np.all((own > box[:, 0]) & (own < box[:, 1]), axis=1)]
    points = np.concatenate([own, np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(places))])
    least = np.linalg.eigvalsh(with_entries(gram, places, points))[:, 0]
    best = int(np.argmax(least))
    if least[best] <= 100 * len(gram) * np.finfo(gram.dtype).eps * np.abs(gram).max():
        vectors = overlaps.layout.vector_names
        names = ", ".join(vectors[i] + vectors[j] for i, j in places)
        raise ValueError(
            f"{caller}: the feasible region of {names} has no inside within {box.tolist()}: the other overlaps leave "
            f"them hardly any choice (the smallest eigenvalue of G is at most {least[best]:.2g}). Choose other "
            "overlaps, or other limits; ol.feasible says what one overlap can be."
        )
    return Region(gram, places, box, points[best])


def places_of(layout: Layout, names: Sequence[str], n: int, caller: str) -> list[tuple[int, int]]:
    """Rows and columns of n different overlaps of two vectors each.

    Raises:
        ValueError: if there are no such ones.
    """
    if isinstance(names, str) or len(names) != n:
        raise ValueError(f"{caller}: names must be {n} overlaps, such as {layout.entry_names[:n]}, got {names!r}.")
    places = []
    for name in names:
        rows, columns = layout.locate(name)
        if rows.stop - rows.start != 1 or columns.stop - columns.start != 1:
            raise ValueError(f"{caller}: {name!r} is a block of overlaps; name one of it, such as u1v2.")
        places.append((min(rows.start, columns.start), max(rows.start, columns.start)))
    if len(set(places)) != n:
        raise ValueError(f"{caller}: names must be {n} different overlaps, got {names!r}.")
    return places


def with_entries(gram: np.ndarray, places: Sequence[tuple[int, int]], values: np.ndarray) -> np.ndarray:
    """A Gram matrix with some overlaps set anew, of values [..., n]: shape [..., d, d]."""
    changed = np.broadcast_to(gram, (*values.shape[:-1], *gram.shape)).copy()
    for k, (i, j) in enumerate(places):
        changed[..., i, j] = changed[..., j, i] = values[..., k]
    return changed


def _widest(gram: np.ndarray, places: list[tuple[int, int]]) -> np.ndarray:
    """Limits of each overlap: a norm is up to twice what it is, and no overlap above the root of two norms."""
    norms = np.diagonal(gram) * [2.0 if (i, i) in places else 1.0 for i in range(len(gram))]
    highest = [np.sqrt(norms[i] * norms[j]) for i, j in places]
    return np.array([[0.0 if i == j else -high, high] for (i, j), high in zip(places, highest, strict=True)])
