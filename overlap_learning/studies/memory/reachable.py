"""Reachable: networks that do the same and have the same conserved numbers, which learning can make of each other."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import count, floating, refuse_traced, require_float64
from overlap_learning.dynamics.conserved import conserved
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.studies.memory.manifold import null_space, outputs_and_slopes, scale
from overlap_learning.tasks.task import Task, check_task

#: The most corrections at each step along a class, and the residual at which they end.
_CORRECTIONS, _CONVERGED = 20, 1e-13


class EquivalenceClass(NamedTuple):
    """The directions in which overlaps can differ at the same function and the same conserved numbers.

    Attributes:
        directions: a basis, symmetric matrices dG with orthonormal entries i <= j, shape [k, d, d].
        names: the overlaps that differ along some of them.
    """

    directions: np.ndarray
    names: tuple[str, ...]

    @property
    def dimension(self) -> int:
        """Their number k."""
        return len(self.directions)


def equivalence_class(
    model: Model,
    task: Task,
    overlaps: Overlaps,
    *,
    rates: Any = None,
    same_visible: bool = False,
    threshold: float = 1e-9,
) -> EquivalenceClass:
    """Which networks do the same and can become each other by learning: the tangent of their manifold.

    Overlaps with the same outputs are equivalent. Of these, gradient flow leads from one to the other only if all
    conserved numbers agree too (`ol.conserved`), and then some sequence of tasks does, within a
    connected piece: targets can be chosen at will, so each velocity can be had with both signs, and sequences of tasks
    lead wherever velocities and their brackets point (Nagano, Sussmann). The class is the common null space of the
    Jacobians of outputs and conserved numbers; `moved_within` follows it.

    Args:
        model: the `Model`.
        task: a fixed batch.
        overlaps: the `Overlaps`, positive definite.
        rates: relative learning rates P.
        same_visible: whether all visible overlaps are to be the same, not the outputs alone; then only invisible ones
            differ.
        threshold: singular values below this share of the largest count as 0.

    Returns:
        An `EquivalenceClass`; its dimension is `solution_manifold(...).reachable`, or less with `same_visible`.

    Raises:
        ValueError: if layouts or channels do not match.

    Source: theory page, section 5.

    Examples:
        A linear network of rank 1 has two directions, of which one leaves all visible overlaps alone; an erf network
        three, and at equal visible overlaps two: `vv` cannot differ, because `uu` is visible and `uu - vv` conserved.

        >>> linear, erf = (ol.Model(ol.Layout(), phi) for phi in (ol.Linear(), ol.Erf()))
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.1)
        >>> here = ol.Overlaps.random(linear.layout, key=jax.random.key(0), scale=0.3)
        >>> [ol.studies.equivalence_class(model, task, here).dimension for model in (linear, erf)]
        [2, 3]
        >>> ol.studies.equivalence_class(linear, task, here, same_visible=True).names
        ('mm', 'mu', 'uu', 'vv', 'vz', 'zz')
        >>> ol.studies.equivalence_class(erf, task, here, same_visible=True).names
        ('vz', 'zz')
    """
    require_float64("ol.studies.equivalence_class", model=model, task=task, overlaps=overlaps)
    layout = check_layout(model, overlaps, "equivalence_class")
    refuse_traced("equivalence_class", overlaps)
    check_task(model, task, "equivalence_class")
    pinned = _Pinned(model, None if same_visible else task, rates)
    i, j = layout.entry_indices
    free = null_space(pinned.slopes(overlaps), threshold)
    directions = np.zeros((len(free), layout.size, layout.size))
    directions[:, i, j] = directions[:, j, i] = free
    moving = np.abs(free).max(axis=0, initial=0.0) > 1e-6
    return EquivalenceClass(directions, tuple(np.array(layout.entry_names)[moving].tolist()))


def moved_within(
    model: Model,
    task: Task,
    overlaps: Overlaps,
    direction: Any,
    *,
    rates: Any = None,
    same_visible: bool = False,
    n_steps: int = 20,
    threshold: float = 1e-9,
) -> Overlaps:
    """Another network that does the same, has the same conserved numbers, and so can be reached by learning.

    The overlaps move along the part of a direction that lies within their `equivalence_class`, in n steps, each
    brought back to the class by Newton's method. A class can be small and closed, as where two conserved eigenvalues
    nearly agree: going far then goes round.

    Args:
        model: the `Model`.
        task: a fixed batch.
        overlaps: the `Overlaps`, positive definite.
        direction: dG, symmetric, shape [d, d], such as one of `EquivalenceClass.directions` times a distance. Its part
            within the class is followed, as far as that part is long.
        rates: relative learning rates P.
        same_visible: as in `equivalence_class`.
        n_steps: steps of equal length.
        threshold: as in `equivalence_class`.

    Returns:
        The `Overlaps` there.

    Raises:
        ValueError: if arguments do not fit, the direction has no part within the class, leads out of the positive
            semi-definite matrices (no network is that far away), or a step is too long for the bends of the class.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.1)
        >>> here = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.3)
        >>> way = ol.studies.equivalence_class(model, task, here, same_visible=True).directions[0]
        >>> there = ol.studies.moved_within(model, task, here, 0.3 * way, same_visible=True)
        >>> bool(jnp.max(jnp.abs(there.gram - here.gram)) > 0.1)
        True
        >>> bool(jnp.max(jnp.abs((there.gram - here.gram)[model.visible])) < 1e-10)
        True
        >>> bool(jnp.max(jnp.abs(ol.invariants(model, there) - ol.invariants(model, here))) < 1e-10)
        True
    """
    require_float64("ol.studies.moved_within", model=model, task=task, overlaps=overlaps)
    layout = check_layout(model, overlaps, "moved_within")
    refuse_traced("moved_within", overlaps)
    check_task(model, task, "moved_within")
    wanted = np.asarray(floating(direction, "moved_within: direction"))
    if wanted.shape != (layout.size, layout.size) or not np.allclose(wanted, wanted.T):
        raise ValueError(
            f"moved_within: direction must be a finite symmetric matrix of shape [{layout.size}, {layout.size}], such "
            f"as 0.1 * ol.studies.equivalence_class(...).directions[0]; got {wanted.tolist()}."
        )
    n_steps = count(n_steps, "moved_within: n_steps")
    pinned = _Pinned(model, None if same_visible else task, rates)
    i, j = layout.entry_indices
    way = wanted[i, j]
    goal, here = [values for values, _ in pinned.read(overlaps)], overlaps
    length = None
    for _ in range(n_steps):
        free = null_space(pinned.slopes(here), threshold)
        along = free.T @ (free @ way)
        if np.linalg.norm(along) <= 1e-6 * np.linalg.norm(way):
            raise ValueError("moved_within: the direction has no part within the equivalence class, or does nothing.")
        # As far each time as the part of the direction that is in the class at the start.
        length = np.linalg.norm(along) if length is None else length
        way = along * length / np.linalg.norm(along)
        here = pinned.corrected(_moved(here, way / n_steps), goal, threshold)
    return here


class _Pinned(NamedTuple):
    """What all networks of a class have in common: outputs (or visible overlaps), and conserved numbers."""

    model: Model
    task: Task | None
    rates: Any

    def read(self, overlaps: Overlaps) -> list[tuple[np.ndarray, np.ndarray]]:
        """The values of each kind, and their Jacobian with respect to the p overlaps."""
        if self.task is None:
            i, j = overlaps.layout.entry_indices
            visible = self.model.visible[i, j]
            function = (np.asarray(overlaps.gram)[i, j][visible], np.eye(len(i))[visible])
        else:
            function = outputs_and_slopes(self.model, self.task, overlaps.gram)
        kept = conserved(self.model, overlaps, self.rates)
        numbers = np.concatenate([np.asarray(family.values) for family in kept.charges.values()])
        return [function, (numbers, np.asarray(kept.slopes))]

    def slopes(self, overlaps: Overlaps) -> np.ndarray:
        """All Jacobians, each at a scale of 1."""
        return np.concatenate([slopes / scale(slopes) for _, slopes in self.read(overlaps)])

    def corrected(self, overlaps: Overlaps, goal: list[np.ndarray], threshold: float) -> Overlaps:
        """Overlaps near these with such values, by Newton steps of least change."""
        for _ in range(_CORRECTIONS):
            kinds = self.read(overlaps)
            off = [(values - wanted) / scale(slopes) for (values, slopes), wanted in zip(kinds, goal, strict=True)]
            if max(np.abs(one).max(initial=0.0) for one in off) <= _CONVERGED:
                return overlaps
            rows = np.concatenate([slopes / scale(slopes) for _, slopes in kinds])
            overlaps = _moved(overlaps, -np.linalg.pinv(rows, rcond=threshold) @ np.concatenate(off))
        raise ValueError(
            f"moved_within: {_CORRECTIONS} corrections did not lead back to the class, which bends too much for this "
            "step; take more steps (n_steps), or go less far."
        )


def _moved(overlaps: Overlaps, change: np.ndarray) -> Overlaps:
    """With a change of the entries i <= j added.

    Raises:
        ValueError: if no network has these overlaps.
    """
    i, j = overlaps.layout.entry_indices
    gram = np.array(overlaps.gram)
    gram[i, j] += change
    gram[j, i] = gram[i, j]
    if np.linalg.eigvalsh(gram)[0] < 0:
        raise ValueError(
            "moved_within: the direction leads out of the positive semi-definite matrices, where no network is; go "
            "less far along it."
        )
    return with_gram(overlaps, jnp.asarray(gram))
