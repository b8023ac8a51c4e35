"""Members of a batch that learn side by side."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


def per_member(fields: tuple[str, ...] | None, function: Callable[..., Any], learner: Any, *arguments: Any) -> Any:
    """`function(learner, *arguments)` of one run, or of each member of a batch, side by side.

    Args:
        fields: the learner's arrays of which each member has its own, by name; None: one run.
        function: what is called.
        learner: the learner, of which `fields` have the members as their first axis.
        *arguments: have them too.
    """
    if fields is None:
        return function(learner, *arguments)

    def own(learner):
        return [getattr(learner, name) for name in fields]

    def member(mine, *arguments):
        return function(eqx.tree_at(own, learner, mine), *arguments)

    return jax.vmap(member)(own(learner), *arguments)
