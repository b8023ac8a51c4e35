"""Twins: networks that start alike, learn different tasks, and then the same one."""

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.results import RESULTS
from overlap_learning.dynamics.rules import AbstractRule
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.model.precision import count, require_float64
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task


class Twins(eqx.Module):
    """The overlaps of pairs of twins after their different first task, and after the same second one.

    Attributes:
        model: the `Model`.
        start: `Overlaps` with gram [n_pairs, d, d].
        after_first: `Overlaps` with gram [2, n_pairs, d, d]: twins that learned the first task, twins that learned the
            second.
        after_common: the same, after the common task.
        losses: final losses of both phases, shape [2 phases, 2, n_pairs].
        good: whether all of a pair's learning ended well, shape [n_pairs].
    """

    model: Model
    start: Overlaps
    after_first: Overlaps
    after_common: Overlaps
    losses: jax.Array
    good: jax.Array

    def features(self, names: tuple[str, ...], *, after_common: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Overlaps by name, for `decode_history`: two arrays [n_good_pairs, len(names)], one per history.

        Args:
            names: such as `model.visible_names` or `model.invisible_names`.
            after_common: after the common task, or after the first.
        """
        entries = (self.after_common if after_common else self.after_first).entries()
        values = np.stack([np.asarray(entries[name]) for name in names], axis=-1)[:, np.asarray(self.good)]
        return values[0], values[1]


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
    starts: Overlaps,
    rules: tuple[AbstractRule, AbstractRule],
    *,
    key: jax.Array,
) -> Twins:
    """Pairs of twins learn one of two tasks each, then both the same; all pairs in one compiled call per phase.

    Args:
        model: the `Model`.
        first: the two tasks of the first phase.
        common: the task of the second phase.
        starts: `Overlaps` with gram [n_pairs, d, d].
        rules: the rules of the two phases.
        key: a jax random key; the twins of all pairs see the same trials.

    Returns:
        A `Twins`.

    Raises:
        ValueError: if the arguments do not fit together.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Figs. 4d-f, 9, 10.
    """
    require_float64("ol.studies.train_twins")
    if starts.gram.ndim != 3:
        raise ValueError(f"train_twins: starts must have gram [n_pairs, d, d], got {list(starts.gram.shape)}.")
    keys = jax.random.split(key, 3)

    def learn(task, rule, key):
        def one(overlaps):
            solution = integrate(model, task, overlaps, rule, key, throw=False)
            good = (solution.result == RESULTS.successful) | (solution.result == RESULTS.loss_reached)
            return cast(Overlaps, solution.final).gram, solution.loss[-1], good

        return eqx.filter_jit(jax.vmap(one))

    halves = [learn(task, rules[0], k)(starts) for task, k in zip(first, keys[:2], strict=True)]
    after = with_gram(starts, jnp.concatenate([half[0] for half in halves]))
    both, losses, good = learn(common, rules[1], keys[2])(after)
    pairs = (2, len(starts.gram))
    shape = (*pairs, *starts.gram.shape[1:])
    return Twins(
        model=model,
        start=starts,
        after_first=with_gram(starts, after.gram.reshape(shape)),
        after_common=with_gram(starts, both.reshape(shape)),
        losses=jnp.stack([jnp.stack([half[1] for half in halves]), losses.reshape(pairs)]),
        good=halves[0][2] & halves[1][2] & jnp.all(good.reshape(pairs), axis=0),
    )
