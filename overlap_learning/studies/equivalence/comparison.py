"""Comparison: several networks side by side, before learning and through it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import MOST_NAMES, in_jax, in_numpy, namespace, require_float64
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.metric import check_layout, metric
from overlap_learning.learning.compiled import compiled
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.result import AbstractResult, labelled
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activity import rollout
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.reduced_network import ReducedNetwork
from overlap_learning.random_connectivity import Depth
from overlap_learning.random_connectivity.learner import VECTORS
from overlap_learning.random_connectivity.learning import learner_at_start
from overlap_learning.tasks.task import Task, check_task

if TYPE_CHECKING:
    import xarray


class Comparison(AbstractResult):
    """What `ol.compare` returns: the members in the order given, the first as the reference.

    Attributes:
        solutions: the learning of each member.
        outputs: the output of each before learning, shape [members, B, T, n_out].
        outputs_after: the same after learning.
        loss: the loss of each before learning, shape [members].
        velocity: the initial `dsigma/dtau` of every overlap under gradient flow, shape [members, p], in the order of
            `layout.entry_names`.
    """

    table: ClassVar[str] = "overlaps"

    solutions: tuple[Solution, ...]
    outputs: jax.Array
    outputs_after: jax.Array
    loss: jax.Array
    velocity: jax.Array

    @property
    def model(self) -> Model:
        """The `Model` of all members."""
        return self.solutions[0].model

    @property
    def difference(self) -> jax.Array:
        """Largest difference of any visible overlap from the first member, shape [members, S].

        With a bulk the loss comes to see more than overlaps: `ol.model.visible_moments` of each `final`.
        """
        grams = in_numpy([s.overlaps.gram for s in self.solutions])
        xp = namespace(grams)
        return in_jax(xp.max(xp.abs(xp.stack(grams) - grams[0]) * self.model.visible, axis=(2, 3)))

    @property
    def direction(self) -> dict[str, jax.Array]:
        """Along which visible overlaps learning first tells the members apart: velocity minus the first's, by name."""
        names = self.model.layout.entry_names
        velocity = in_numpy(self.velocity)
        excess = velocity - velocity[0]
        return {name: in_jax(excess[:, names.index(name)]) for name in self.model.visible_names}

    def told_apart(self, tolerance: ArrayLike) -> jax.Array:
        """Learning time of the first saved point at which a member's visible overlaps differ from the first member's.

        Args:
            tolerance: the difference that counts.

        Returns:
            Times, shape [members]; infinity where it never happens.
        """
        difference, tolerance, time = in_numpy((self.difference, tolerance, self.solutions[0].time))
        xp = namespace(difference, tolerance, time)
        apart = difference > tolerance
        return in_jax(xp.where(xp.any(apart, axis=1), time[xp.argmax(apart, axis=1)], xp.inf))

    def __repr__(self) -> str:
        n = len(self.solutions)
        rows = [f"Comparison of {n} networks, {self.model.layout}, {type(self.model.activation).__name__}"]
        rows.append(f"  {'':<24}" + "".join(f"{f'network {i}':>14}" for i in range(n)))

        def row(name: str, values: Iterable[Any]) -> None:
            rows.append(f"  {name:<24}" + "".join(f"{float(value):>14.6g}" for value in values))

        row("loss before", self.loss)
        row("loss after", [np.asarray(s.loss)[-1] for s in self.solutions])
        for when, outputs in (("before", self.outputs), ("after", self.outputs_after)):
            apart = np.asarray(outputs) - np.asarray(outputs)[0]
            row(f"output off first, {when}", np.max(np.abs(apart), axis=(1, 2, 3)))
        for kind, names in (("visible", self.model.visible_names), ("invisible", self.model.invisible_names)):
            for name in names[:MOST_NAMES]:
                entry = self.model.layout.locate(name)
                series = [np.asarray(s.overlaps.gram)[:, *entry].ravel() for s in self.solutions]
                row(f"{name} before ({kind})", [v[0] for v in series])
                row(f"{name} after", [v[-1] for v in series])
            if len(names) > MOST_NAMES:
                rows.append(f"  ... and {len(names) - MOST_NAMES:,} more {kind} ones")
        return "\n".join(rows)

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: dimensions `network`, `time`, `overlap`, and `trial`, `trial_time`, `output`."""
        layout, first = self.model.layout, self.solutions[0]
        rows, columns = layout.entry_indices
        outputs = ("network", "trial", "trial_time", "output")
        data = labelled(
            "Networks side by side through learning",
            overlaps=(
                ("network", "time", "overlap"),
                [np.asarray(s.overlaps.gram)[:, rows, columns] for s in self.solutions],
                "overlaps by name",
            ),
            loss=(("network", "time"), [s.loss for s in self.solutions], "loss"),
            velocity=(("network", "overlap"), self.velocity, "velocity of gradient flow before learning"),
            outputs=(outputs, self.outputs, "output before learning"),
            outputs_after=(outputs, self.outputs_after, "output after learning"),
        )
        return data.assign_coords(time=np.asarray(first.time), overlap=list(layout.entry_names))


def compare(
    model: Model,
    task: Task,
    overlaps: Sequence[Overlaps | BulkNetwork | ReducedNetwork],
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    depth: Depth | None = None,
) -> Comparison:
    """Several networks on one task: what they do, and how learning tells them apart.

    Args:
        model: the `Model`.
        task: a fixed batch.
        overlaps: the networks' `Overlaps`, two or more; the first is the reference. With a bulk, also whatever else
            `ol.integrate` starts from.
        rule: a rule that `ol.integrate` takes.
        key: a jax random key, for rules that draw at random; all members get the same draws.
        depth: with a bulk, how far into it the theory looks, as in `ol.integrate`.

    Returns:
        A `Comparison`; print it.

    Raises:
        ValueError: if the arguments do not fit together.
        LearningError: if learning ended badly, or the error of a bulk is above the tolerance.

    Source: Ger & Barak 2026, Fig. 2; theory page, section 6, and section 9 for a bulk.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> first = ol.Overlaps.from_entries(model.layout, zm=0.2, zu=0.5)
        >>> pair = [first, ol.equivalent(first, model, uu=2.0, mu=0.8)]
        >>> found = ol.compare(model, ol.tasks.exponential_filter(), pair, ol.GradientDescent(5e-3, 300))
        >>> float(jnp.abs(found.outputs[1] - found.outputs[0]).max()), bool(found.told_apart(1e-3)[1] > 0)
        (0.0, True)
    """
    require_float64("ol.compare", model=model, task=task, overlaps=overlaps, rule=rule)
    check_task(model, task, "compare", with_bulk=True)
    if len(overlaps) < 2:
        raise ValueError(f"compare: overlaps must be two or more ol.Overlaps, got {len(overlaps)}.")
    for member in overlaps:
        if model.bulk is None or isinstance(member, Overlaps):
            check_layout(model, cast(Overlaps, member), "compare", with_bulk=True)
    solutions = tuple(integrate(model, task, member, rule, key, depth=depth, trust=False) for member in overlaps)
    if len({s.time.shape for s in solutions}) > 1:
        raise ValueError("compare: the members stopped at different times; use a rule without stop_loss.")
    starts = [_start(model, task, member, rule, s) for member, s in zip(overlaps, solutions, strict=True)]
    outputs, losses, velocities = map(_stacked, zip(*starts, strict=True))
    return Comparison(
        solutions=solutions,
        outputs=outputs,
        outputs_after=_stacked([rollout(model, cast(Any, s.final), task) for s in solutions]),
        loss=losses,
        velocity=velocities,
    )


def _stacked(arrays: Iterable[jax.Array]) -> jax.Array:
    known = in_numpy(list(arrays))
    return in_jax(namespace(known).stack(known))


def _start(
    model: Model, task: Task, member: Any, rule: AbstractRule, solution: Solution
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Outputs, loss and velocity of a member before learning."""
    if model.bulk is None:
        return rollout(model, member, task), *_slope(model, task, member, rule.rates)
    learner, position = learner_at_start(model, member, rule, int(solution.stats["directions"]))
    return rollout(model, learner.final(position), task), *_slope_with_bulk(model.layout, learner, position, task)


@compiled
def _slope(model: Model, task: Task, member: Overlaps, rates: Any) -> tuple[jax.Array, jax.Array]:
    """Loss and velocity."""
    rows, columns = model.layout.entry_indices
    loss, slope = gram_loss_gradient(model, member.gram, task)
    per_overlap = slope[rows, columns] * np.where(rows == columns, 0.5, 1.0)
    return loss, -metric(model, member, rates) @ per_overlap


@compiled
def _slope_with_bulk(
    layout: Layout, learner: AbstractLearner, position: jax.Array, task: Task
) -> tuple[jax.Array, jax.Array]:
    """Loss and velocity."""
    loss, slope = learner.gradient(position, task)
    half = -position[VECTORS].T @ (slope[VECTORS] * learner.rates[VECTORS])
    return loss, (half + half.T)[layout.entry_indices]
