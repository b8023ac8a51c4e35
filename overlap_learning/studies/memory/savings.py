"""Savings: what an experimenter would see of a network's history when it learns again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import require_float64, scalar
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.result import AbstractResult, labelled
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task, check_task

if TYPE_CHECKING:
    import xarray


class LearningSpeed(NamedTuple):
    """How fast gradient flow would lower the loss, and which overlaps make it so.

    Attributes:
        total: `-dL/dtau`, shape [].
        parts: what each overlap adds to it, by name; they sum to the total.
    """

    total: jax.Array
    parts: dict[str, jax.Array]


def learning_speed(model: Model, task: Task, overlaps: Overlaps, rates: Any = None) -> LearningSpeed:
    """The speed `-dL/dtau = tr(S P S G) = sum_ij (S P S)_ij G_ij` of gradient flow, overlap by overlap.

    In a linear network S is a function of the visible overlaps alone and joins B = (m, u) with A = (v, z) only, so
    `S P S` has no A-B block: *networks that behave alike learn at speeds that differ by their invisible overlaps and by
    nothing else*, and each overlap enters linearly. In a nonlinear network the B-B block is visible too, and what it
    hides, A-A, still carries its share.

    Args:
        model: the `Model`.
        task: a fixed batch: the task to be learned.
        overlaps: the `Overlaps` at which learning starts.
        rates: relative learning rates P.

    Returns:
        A `LearningSpeed`.

    Raises:
        ValueError: if layouts or channels do not match.

    Source: theory page, eqs. (5), (6).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> first = ol.Overlaps.from_entries(model.layout, zm=0.2, zu=0.5, vm=0.4)
        >>> second = ol.equivalent(first, model, uu=2.0)
        >>> task = ol.tasks.exponential_filter()
        >>> speeds = [ol.studies.learning_speed(model, task, network) for network in (first, second)]
        >>> more = speeds[1].parts["uu"] - speeds[0].parts["uu"]
        >>> bool(more > 0), bool(jnp.isclose(speeds[1].total - speeds[0].total, more))
        (True, True)
    """
    require_float64("ol.studies.learning_speed", model=model, task=task, overlaps=overlaps)
    layout = check_layout(model, overlaps, "learning_speed")
    check_task(model, task, "learning_speed")
    parts = _speed(model, task, overlaps.gram, layout.rates(rates))
    rows, columns = layout.entry_indices
    # An off-diagonal overlap stands for two entries.
    counted = parts[rows, columns] * np.where(rows == columns, 1.0, 2.0)
    return LearningSpeed(jnp.sum(parts), dict(zip(layout.entry_names, counted, strict=True)))


@eqx.filter_jit
def _speed(model: Model, task: Task, gram: jax.Array, rates: jax.Array) -> jax.Array:
    _, slope = gram_loss_gradient(model, gram, task)
    return (slope * rates) @ slope * gram


class History(NamedTuple):
    """What a network learned before.

    Attributes:
        name: in words.
        tasks: the tasks, in order; none for a naive network.
        rules: one rule for all of them, or one per task.
    """

    name: str
    tasks: Sequence[Task | TaskStream]
    rules: AbstractRule | Sequence[AbstractRule]


class Savings(AbstractResult):
    """How networks with different histories learn one task. The first history is the one that others are compared with.

    Attributes:
        names: the histories.
        before: the overlaps of each before it learns the task, gram [n_histories, d, d].
        learning: the `Solution` of each.
        criterion: the loss that counts as learned.
        time: learning time until the loss is at most that, shape [n_histories]; infinity where it never is.
        speed: the `LearningSpeed` of each at its start, of the gradient alone (without weight decay).
    """

    names: tuple[str, ...] = eqx.field(static=True)
    before: Overlaps
    learning: tuple[Solution, ...]
    criterion: jax.Array
    time: np.ndarray
    speed: tuple[LearningSpeed, ...]

    @property
    def share(self) -> np.ndarray:
        """The share of the first history's time that each one saves, `1 - time / time[0]`, shape [n_histories].

        NaN where both took no time, or neither learned the task.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return 1 - self.time / self.time[0]

    def __repr__(self) -> str:
        width = max(len(name) for name in self.names) + 2
        rows = [f"Savings: learning time until the loss is {float(self.criterion):.3g}"]
        rows.append(f"  {'history':<{width}}{'loss before':>12}{'time':>12}{'savings':>10}{'-dL/dtau at start':>20}")
        for name, run, time, share, speed in zip(
            self.names, self.learning, self.time, self.share, self.speed, strict=True
        ):
            rows.append(
                f"  {name:<{width}}{float(run.loss[0]):>12.4g}{time:>12.4g}{share:>10.1%}{float(speed.total):>20.4g}"
            )
        return "\n".join(rows)

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: dimensions `history`, `point` and `overlap`."""
        layout = self.before.layout
        rows, columns = layout.entry_indices
        data = labelled(
            "Learning a task after other tasks",
            loss=(("history", "point"), [s.loss for s in self.learning], "loss while the task is learned"),
            learning_time=(("history", "point"), [s.time for s in self.learning], "learning time"),
            before=(("history", "overlap"), np.asarray(self.before.gram)[:, rows, columns], "overlaps before"),
            time=("history", self.time, "learning time until it is learned"),
            share=("history", self.share, "share of the first history's time that is saved"),
            speed=("history", [s.total for s in self.speed], "-dL/dtau at the start"),
        )
        return data.assign_coords(history=list(self.names), overlap=list(layout.entry_names))


def savings(
    model: Model,
    histories: Sequence[History],
    task: Task,
    start: Overlaps | Network,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    criterion: ArrayLike,
) -> Savings:
    """Do networks that learned other things before learn a task faster, and what of them says so?

    Every history begins at the same start. Compare "A, B" not with a naive network alone but with "B": what it saves
    over B is memory of A. Under gradient flow a linear network of rank 1 has next to none, because its conserved
    numbers and the task hold all but two directions of its overlaps; label noise makes some, and so does nonlinearity,
    which conserves fewer.

    Args:
        model: the `Model`.
        histories: what each network learned before; the first is the reference.
        task: a fixed batch: the task that is then learned.
        start: `Overlaps` for the theory, or a `Network` for full N.
        rule: how the task is learned; without stop_loss.
        key: a jax random key, for rules that draw at random; phase p of every history draws from `fold_in(key, p)`.
        criterion: the loss that counts as learned. Its time is interpolated between saved points, the logarithm of the
            loss taken as linear.

    Returns:
        A `Savings`; print it.

    Raises:
        ValueError: if the arguments do not fit together.
        LearningError: if learning diverged.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> a, b = ol.tasks.exponential_filter(decay=0.2), ol.tasks.exponential_filter(decay=0.4)
        >>> flow = ol.GradientFlow(60.0, save_every=0.1)
        >>> histories = [ol.studies.History("B", [b], flow), ol.studies.History("A, B", [a, b], flow)]
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.2)
        >>> found = ol.studies.savings(model, histories, a, start, flow, criterion=1e-3)
        >>> bool(abs(found.share[1]) < 0.02)
        True
    """
    require_float64("ol.studies.savings", model=model, task=task, start=start, rule=rule)
    check_task(model, task, "savings")
    if not histories or not all(isinstance(history, History) for history in histories):
        raise ValueError("savings: histories must be one or more ol.studies.History(name, tasks, rules).")
    for history in histories:
        if isinstance(history.tasks, (Task, TaskStream)):
            raise ValueError(
                f"savings: the tasks of history {history.name!r} must be a list, such as [task], got "
                f"{type(history.tasks).__name__}."
            )
    if isinstance(start, Network) and start.vectors.ndim != 2:
        raise ValueError("savings: start must be one network, vectors [N, d]; call savings once for each of a batch.")
    if rule.stop_loss is not None:
        raise ValueError("savings: the rule must not have a stop_loss; give the loss that counts as criterion.")
    criterion = scalar(criterion, "savings: criterion", "positive", 0)
    before, learning = [], []
    for history in histories:
        # One protocol each, so that a phase draws the same trials in every history.
        tasks = [*history.tasks, task]
        rules = history.rules
        past = [rules] * len(history.tasks) if isinstance(rules, AbstractRule) else list(rules)
        *_, last = protocol(model, tasks, start, [*past, rule], key)
        learning.append(last)
        before.append(last.overlaps.gram[0])
    grams = jnp.stack(before).astype(float)
    return Savings(
        names=tuple(history.name for history in histories),
        before=Overlaps(grams, model.layout),
        learning=tuple(learning),
        criterion=criterion,
        time=np.array([_crossing(run, float(criterion)) for run in learning]),
        speed=tuple(learning_speed(model, task, Overlaps(gram, model.layout), rule.rates) for gram in grams),
    )


def _crossing(run: Solution, criterion: float) -> float:
    """The time at which the loss first is at most the criterion."""
    loss, time = np.asarray(run.loss, float), np.asarray(run.time, float)
    reached = np.flatnonzero(loss <= criterion)
    if len(reached) == 0:
        return float("inf")
    last = reached[0]
    if last == 0:
        return float(time[0])
    before, after = np.log(loss[last - 1]), np.log(max(loss[last], np.finfo(float).tiny))
    share = (before - np.log(criterion)) / (before - after)
    return float(time[last - 1] + share * (time[last] - time[last - 1]))
