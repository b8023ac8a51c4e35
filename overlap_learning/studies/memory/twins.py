"""Twins: networks that start alike, learn different tasks, and then the same one."""

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import count, require_float64
from overlap_learning.dynamics.learners import TransferLearner
from overlap_learning.learning.checkpoint import Checkpoint, Store, check_checkpoint, part_of
from overlap_learning.learning.driver import check_run, run
from overlap_learning.learning.outcomes import RESULTS
from overlap_learning.learning.pace import watched
from overlap_learning.learning.record import Record
from overlap_learning.learning.result import AbstractResult
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution, finish
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model, check_tied
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    import xarray


class Phase(eqx.Module):
    """How all twins learned in one phase.

    Attributes:
        time: learning time of each saved point, NaN where a twin did not reach it, shape [2 histories, n_pairs, S].
        loss: the loss there, shape [2, n_pairs, S].
        overlaps: `Overlaps` there, gram [2, n_pairs, S, d, d].
        final: `Overlaps` at the end, gram [2, n_pairs, d, d].
        good: whether learning ended well, shape [2, n_pairs].
    """

    time: jax.Array
    loss: jax.Array
    overlaps: Overlaps
    final: Overlaps
    good: jax.Array

    @property
    def final_loss(self) -> jax.Array:
        """The loss at the last point that each twin reached, shape [2, n_pairs]."""
        last = jnp.sum(jnp.isfinite(self.time), axis=-1, keepdims=True) - 1
        return jnp.take_along_axis(self.loss, last, axis=-1)[..., 0]


class Twins(AbstractResult):
    """The overlaps of pairs of twins through their different first task, and through the same second one.

    Attributes:
        model: the `Model`.
        n_neurons: N; None for the theory.
        start: `Overlaps` with gram [n_pairs, d, d].
        first: the `Phase` in which one twin of each pair learned one task, and the other another.
        common: the `Phase` of the common task.
    """

    table: ClassVar[str] = "common_overlaps"

    model: Model
    n_neurons: int | None = eqx.field(static=True)
    start: Overlaps
    first: Phase
    common: Phase

    @property
    def after_first(self) -> Overlaps:
        """What the first phase led to, gram [2, n_pairs, d, d]: twins with the first history, and with the second."""
        return self.first.final

    @property
    def after_common(self) -> Overlaps:
        """The same after the common task."""
        return self.common.final

    @property
    def losses(self) -> jax.Array:
        """Final losses of both phases, shape [2 phases, 2 histories, n_pairs]."""
        return jnp.stack([self.first.final_loss, self.common.final_loss])

    @property
    def good(self) -> jax.Array:
        """Whether all of a pair's learning ended well, shape [n_pairs]."""
        return jnp.all(self.first.good & self.common.good, axis=0)

    def features(self, names: tuple[str, ...], *, after_common: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Overlaps by name, for `decode_history`: two arrays [n_good_pairs, len(names)], one per history.

        Args:
            names: such as `model.visible_names` or `model.invisible_names`.
            after_common: after the common task, or after the first.
        """
        entries = (self.after_common if after_common else self.after_first).entries()
        values = np.stack([np.asarray(entries[name]) for name in names], axis=-1)[:, np.asarray(self.good)]
        return values[0], values[1]

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: dimensions `history`, `pair`, `overlap`; saved points `first_point`, `common_point`."""
        import xarray

        layout = self.model.layout
        names = layout.entry_names
        who = ("history", "pair")

        def entries(overlaps):
            return np.stack([np.asarray(value) for value in overlaps.entries().values()], axis=-1)

        variables: dict[str, Any] = {
            "start": (("pair", "overlap"), entries(self.start)),
            "good": ("pair", np.asarray(self.good).astype(np.int8)),
        }
        for name, phase in (("first", self.first), ("common", self.common)):
            points = (*who, f"{name}_point")
            variables |= {
                f"{name}_time": (points, np.asarray(phase.time)),
                f"{name}_loss": (points, np.asarray(phase.loss)),
                f"{name}_overlaps": ((*points, "overlap"), entries(phase.overlaps)),
                f"{name}_final": ((*who, "overlap"), entries(phase.final)),
            }
        return xarray.Dataset(
            variables,
            coords={
                "overlap": ("overlap", list(names)),
                "is_visible": ("overlap", np.isin(names, self.model.visible_names).astype(np.int8)),
            },
            attrs={
                "title": "Twins that learned different tasks, then the same one",
                "n_neurons": self.n_neurons or 0,
                "model": f"{type(self.model.activation).__name__}, {layout}",
                "versions": json.dumps({name: version(name) for name in ("overlap_learning", "jax", "numpy")}),
            },
        )


def random_starts(layout: Layout, n_pairs: int, *, key: jax.Array) -> Overlaps:
    """Starts as in the published experiment: overlaps |N(0, 0.4)|, norms U(0.5, 2), anew until a network has them.

    Args:
        layout: the `Layout`.
        n_pairs: how many.
        key: a jax random key.

    Returns:
        `Overlaps` with gram [n_pairs, d, d].

    Source: Ger & Barak 2026, Fig. 4d-f.

    Examples:
        >>> ol.studies.random_starts(ol.Layout(), 3, key=jax.random.key(0)).gram.shape
        (3, 4, 4)
    """
    n_pairs = count(n_pairs, "random_starts: n_pairs")
    d = layout.size

    def draw(key):
        norm_key, entry_key = jax.random.split(key)
        upper = jnp.triu(jnp.abs(0.4 * jax.random.normal(entry_key, (d, d))), 1)
        return upper + upper.T + jnp.diag(jax.random.uniform(norm_key, (d,), minval=0.5, maxval=2.0))

    def one(key):
        def again(carry):
            _, gram = carry
            return jnp.linalg.eigvalsh(gram)[0] <= 0

        def retry(carry):
            key, _ = carry
            key, now = jax.random.split(key)
            return key, draw(now)

        return jax.lax.while_loop(again, retry, (key, -jnp.eye(d)))[1]

    return Overlaps(jax.vmap(one)(jax.random.split(key, n_pairs)), layout)


def train_twins(
    model: Model,
    first: tuple[Task | TaskStream, Task | TaskStream],
    common: Task | TaskStream,
    starts: Overlaps | Network,
    rules: tuple[AbstractRule, AbstractRule],
    *,
    key: jax.Array,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Twins:
    """Pairs of twins learn one of two tasks each, then both the same; all of them side by side.

    Args:
        model: the `Model`.
        first: the two tasks of the first phase.
        common: the task of the second phase.
        starts: for the theory `Overlaps` with gram [n_pairs, d, d]; for full N a `Network` with vectors
            [n_pairs, N, d], such as `ol.Network.sample(overlaps, N, key=key)`: both twins of a pair start as the same
            neurons.
        rules: the rules of the two phases.
        key: a jax random key; the twins of all pairs see the same trials, in theory and at full N alike.
        progress: show a progress bar; None: if a person is watching (a terminal or a notebook).
        checkpoint: where to write down, every so many steps, where the run is, each task in a folder of its own.

    Returns:
        A `Twins`.

    Raises:
        ValueError: if the arguments do not fit together, or the checkpoint is that of another run.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved of the task at hand.
        RuntimeError: if jax is not in 64-bit mode (for the theory).

    Source: Ger & Barak 2026, Figs. 4d-f, 9, 10.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> starts = ol.studies.random_starts(model.layout, 2, key=jax.random.key(0))
        >>> a, b, c = (ol.tasks.exponential_filter(decay, duration=5.0) for decay in (0.2, 0.4, 0.6))
        >>> rules = (ol.GradientDescent(0.1, 4), ol.GradientDescent(0.1, 4))
        >>> twins = ol.studies.train_twins(model, (a, b), c, starts, rules, key=jax.random.key(1))
        >>> twins.after_common.gram.shape
        (2, 2, 4, 4)
    """
    size = {Overlaps: "gram [n_pairs, d, d]", Network: "vectors [n_pairs, N, d]"}.get(type(starts))
    if size is None:
        raise ValueError(
            "train_twins: starts must be ol.Overlaps (theory) or an ol.Network (full N) of all pairs, got "
            f"{type(starts).__name__}."
        )
    shape = (starts.gram if isinstance(starts, Overlaps) else starts.vectors).shape
    if len(shape) != 3 or shape[0] == 0:
        raise ValueError(f"train_twins: starts must have {size}, got {list(shape)}.")
    if starts.layout != model.layout:
        raise ValueError(f"train_twins: starts have {starts.layout}, the model has {model.layout}.")
    if len(first) != 2 or len(rules) != 2:
        raise ValueError(
            f"train_twins: give two first tasks and two rules (one per phase), got {len(first)} and {len(rules)}."
        )
    # All phases are checked before the first one runs.
    for task, rule in ((first[0], rules[0]), (first[1], rules[0]), (common, rules[1])):
        check_run(model, task, rule, key, "train_twins")
        check_checkpoint(checkpoint, rule, "train_twins")
    names = ("first-a", "first-b", "common")
    keys: dict[str, jax.Array] = dict(zip(names, jax.random.split(key, 3), strict=True))

    def learn(name: str, task: Task | TaskStream, starts: Any, rule: AbstractRule) -> _Learned:
        function: Any = _learn_overlaps if isinstance(starts, Overlaps) else _learn_networks
        return function(model, task, starts, rule, keys[name], progress, part_of(checkpoint, name), name)

    halves = [learn(name, task, starts, rules[0]) for name, task in zip(names[:2], first, strict=True)]
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), *halves)
    last = learn(names[2], common, both.learned, rules[1])
    is_theory = isinstance(starts, Overlaps)
    return Twins(
        model=model,
        n_neurons=None if is_theory else starts.n_neurons,
        start=starts if is_theory else starts.overlaps,
        first=_phase(both),
        common=_phase(last),
    )


class _Learned(NamedTuple):
    """A batch of networks, one after another, that learned one task."""

    record: Record
    learned: Any
    good: jax.Array


def _learn_overlaps(
    model: Model,
    task: Task | TaskStream,
    starts: Overlaps,
    rule: AbstractRule,
    key: jax.Array,
    progress: bool | None,
    checkpoint: Checkpoint | None,
    title: str,
) -> _Learned:
    """The theory of a batch of networks."""
    require_float64("ol.studies.train_twins", model=model, task=task, starts=starts, rule=rule)
    starts = check_tied(model, starts, "train_twins")
    if rule.motion is not Motion.LINEAR:
        noisy = " with parameter_noise" if rule.parameter_noise is not None else ""
        raise ValueError(
            "train_twins: the theory follows ol.GradientDescent (without parameter_noise) and ol.GradientFlow, got "
            f"{type(rule).__name__}{noisy}. Run others at full N: pass an "
            "ol.Network of all pairs as starts."
        )
    store = None
    if checkpoint is not None:
        store = Store(checkpoint, "train_twins", model=model, task=task, starts=starts, rule=rule, key=key)
    learner, position = TransferLearner.begin(model, starts, model.layout.rates(rule.rates))
    with watched(rule, progress, f"{title}, {len(starts.gram)} networks", store) as pace:
        outcome, final = run(learner, rule, task, position, key, ("start",), pace)
    return _learned(finish(model, outcome, final, "train_twins", throw=False))


def _learn_networks(
    model: Model,
    task: Task | TaskStream,
    starts: Network,
    rule: AbstractRule,
    key: jax.Array,
    progress: bool | None,
    checkpoint: Checkpoint | None,
    title: str,
) -> _Learned:
    """A batch of networks at full N."""
    return _learned(train(model, task, starts, rule, key, throw=False, progress=progress, checkpoint=checkpoint))


def _learned(found: Solution) -> _Learned:
    record = Record(found.time, found.step, found.loss, found.saved)
    good = (found.result == RESULTS.successful) | (found.result == RESULTS.loss_reached)
    return _Learned(record, found.final, good)


def _phase(both: _Learned) -> Phase:
    """The learning of both twins of each pair, from that of all first twins, then all second ones."""
    final = both.learned.overlaps if isinstance(both.learned, Network) else both.learned
    record, gram, good = jax.tree.map(
        lambda array: array.reshape(2, -1, *array.shape[1:]), (both.record, final.gram, both.good)
    )
    return Phase(
        time=record.time,
        loss=record.loss,
        overlaps=with_gram(final, record.saved["gram"]),
        final=with_gram(final, gram),
        good=good,
    )
