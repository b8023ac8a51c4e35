"""Completions: Gram matrices with the same visible overlaps and other invisible ones."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import listed, refuse_traced, require_float64
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.guides import guide
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps, interval

#: Rounds of alternating projections, and the change of the matrix (relative to its size) at which they have converged.
_ROUNDS, _CONVERGED = 20_000, 1e-13


class Interval(NamedTuple):
    """The feasible values of one overlap.

    Attributes:
        low: the smallest.
        high: the largest; infinity for the norm of a vector.
    """

    low: float
    high: float


def feasible(overlaps: Overlaps, model: Model, name: str) -> Interval:
    """The values that one overlap can take, all others as they are.

    With K the Gram matrix of the other vectors and a, b the overlaps of the two with them, the Gram matrix is positive
    semi-definite where `|G_ij - a^T K^+ b|^2 <= (G_ii - a^T K^+ a) (G_jj - b^T K^+ b)`; a norm where
    `G_ii >= a^T K^+ a`.

    Args:
        overlaps: the `Overlaps`.
        model: the `Model`.
        name: one overlap, such as "uu" or "u1v2".

    Returns:
        (low, high).

    Raises:
        ValueError: if there is no such single overlap, or layouts differ.

    Source: theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, zu=0.5)
        >>> ol.feasible(overlaps, model, "uu")
        Interval(low=0.25, high=inf)
        >>> round(ol.feasible(overlaps, model, "mu").high ** 2, 12)
        0.75
    """
    require_float64("ol.feasible", model=model, overlaps=overlaps)
    layout = check_layout(model, overlaps, "feasible", with_bulk=True)
    refuse_traced("feasible", overlaps)
    rows, columns = layout.locate(name)
    if rows.stop - rows.start != 1 or columns.stop - columns.start != 1:
        raise ValueError(f"feasible: {name!r} is a block of overlaps; ask for one of {listed(layout.entry_names)}.")
    found = interval(np.asarray(overlaps.gram), rows.start, columns.start)
    # Overlaps are positive semi-definite, so their own value is feasible; the interval may round to empty at the edge.
    value = float(overlaps.gram[rows.start, columns.start])
    low, high = (value, value) if found is None else found
    return Interval(min(low, value), max(high, value))


def equivalent(overlaps: Overlaps, model: Model, *, closest: bool = False, **entries: ArrayLike) -> Overlaps:
    """Overlaps of a functionally equivalent network: the same visible overlaps, other invisible ones.

    The two networks have the same activity, output and loss (exactly for linear networks, in the Gaussian theory for
    others), and learn differently. With a bulk that is independent of the vectors this holds for N to infinity: all
    moments that the loss sees follow from the visible overlaps and the bulk.

    Args:
        overlaps: the `Overlaps` of the first network.
        model: the `Model`, which says what is visible.
        closest: if no network has the values asked for, take the closest ones that one has (least sum of squared
            differences over the entries of the Gram matrix, so that an overlap of two vectors counts twice; those not
            asked for are counted from what they are now).
        **entries: invisible overlaps by name, as in `Overlaps.from_entries`.

    Returns:
        `Overlaps` whose visible entries are those of the first, to the last bit.

    Raises:
        ValueError: if an overlap is visible, or no network has these overlaps and not `closest`; the message gives what
            is feasible.

    Source: Ger & Barak 2026, Fig. 2; theory page, section 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> first = ol.Overlaps.from_entries(model.layout, zm=0.2, zu=0.5)
        >>> second = ol.equivalent(first, model, uu=2.0, mu=0.8)
        >>> second["z", "u"] == first["z", "u"], second["u", "u"]
        (Array([[ True]], dtype=bool), Array([[2.]], dtype=float64))
    """
    require_float64("ol.equivalent", model=model, overlaps=overlaps)
    layout = check_layout(model, overlaps, "equivalent", with_bulk=True)
    for name in entries:
        if np.any(model.visible[layout.locate(name)]):
            raise ValueError(
                f"equivalent: {name!r} is visible to the loss, so changing it changes what the network does. The "
                f"invisible overlaps of this model are {listed(model.invisible_names)}."
            )
    try:
        return overlaps.replace(**entries)
    except ValueError as error:
        # A wrong name or shape has nothing to do with feasibility.
        if "positive semi-definite" not in str(error):
            raise
        asked = np.array(overlaps.gram)
        for name, value in entries.items():
            rows, columns = layout.locate(name)
            asked[rows, columns] = np.asarray(value)
            asked[columns, rows] = np.asarray(value).T
        found = Overlaps(_closest(np.asarray(overlaps.gram), asked, model), layout)
        if closest:
            return found
        values = found.entries()
        offered = ", ".join(
            f"{name}={float(values[name]):.6g}"
            for name in model.invisible_names
            if abs(float(values[name] - overlaps.entries()[name])) > _CONVERGED
        )
        last = guide("infeasible")
        reason = str(error).removesuffix(last)
        raise ValueError(f"{reason} The closest network has {offered}; closest=True takes it.{last}") from None


def _closest(gram: np.ndarray, asked: np.ndarray, model: Model) -> np.ndarray:
    """The positive semi-definite matrix with the visible entries of `gram` that is closest to `asked`.

    Dykstra's alternating projections between the positive semi-definite cone and the matrices with these visible
    entries, which converge to the projection onto their intersection (Boyle & Dykstra 1986; Higham 2002 for correlation
    matrices).
    """
    point, correction = asked.copy(), np.zeros_like(asked)
    for _ in range(_ROUNDS):
        values, axes = np.linalg.eigh(point - correction)
        positive = (axes * np.clip(values, 0, None)) @ axes.T
        correction = positive - (point - correction)
        following = np.where(model.visible, gram, positive)
        change = np.abs(following - point).max()
        point = following
        if change <= _CONVERGED * np.abs(point).max():
            break
    return complete(gram, point, model)


def complete(gram: np.ndarray, wanted: np.ndarray, model: Model) -> np.ndarray:
    """The positive semi-definite matrix with the visible entries of `gram` that a nearly feasible `wanted` stands for.

    The B-B block K is made positive semi-definite (where it is invisible), then the A-A block is raised to at least its
    Schur bound `C K^+ C^T`, with C the A-B block: together, every feasible completion.
    """
    n = model.layout.n_fields
    crossing = gram[n:, :n]
    spread = gram[:n, :n] if model.visible[0, 0] else _positive(wanted[:n, :n], floor=1e-12)
    bound = crossing @ np.linalg.pinv(spread, hermitian=True) @ crossing.T
    reading = bound + _positive(wanted[n:, n:] - bound)
    return np.block([[spread, crossing.T], [crossing, (reading + reading.T) / 2]])


def _positive(matrix: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """The closest symmetric matrix whose eigenvalues are at least `floor` times the largest entry."""
    values, axes = np.linalg.eigh((matrix + matrix.T) / 2)
    least = floor * max(np.abs(matrix).max(initial=0.0), np.finfo(float).tiny)
    return (axes * np.clip(values, least, None)) @ axes.T
