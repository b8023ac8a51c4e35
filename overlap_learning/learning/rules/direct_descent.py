"""Direct descent of overlaps: the contrast case."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
from jax.typing import ArrayLike

from overlap_learning.checks import count
from overlap_learning.learning.rules.arguments import (
    learning_rate_of,
    optional_noise,
    optional_positive,
    rate_at,
    stride,
)
from overlap_learning.learning.rules.rule import AbstractDescent, Motion

if TYPE_CHECKING:
    from overlap_learning.learning.learner import AbstractLearner


class DirectDescent(AbstractDescent):
    """The contrast case: descend the visible overlaps as if they were the parameters, `sigma <- sigma - eta dL/dsigma`.

    Same loss and same gradient, but without the metric that the vectors impose: the invisible overlaps never move, and
    the trajectory is not that of any network (its Gram matrix need not stay positive semi-definite).

    Args:
        learning_rate: eta; a number or a schedule `step -> eta`.
        n_steps: number of steps.
        label_noise: as in `GradientDescent`.
        batch_size: as in `GradientDescent`.
        save_every: as in `GradientDescent`.
        stop_loss: as in `GradientDescent`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, Figs. 1, 4, 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.DirectDescent(learning_rate=5e-3, n_steps=100)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, rule)
        >>> bool(solution.invisible["uu"][-1] == 1.0)
        True
    """

    learning_rate: jax.Array | Callable[[jax.Array], jax.Array]
    n_steps: int = eqx.field(static=True)
    label_noise: jax.Array | None
    batch_size: int | None = eqx.field(static=True)
    save_every: int = eqx.field(static=True)
    stop_loss: jax.Array | None
    dense: bool = eqx.field(static=True)
    parameter_noise: None = eqx.field(static=True)
    rates: None = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: ArrayLike | Callable[[jax.Array], jax.Array],
        n_steps: int,
        *,
        label_noise: ArrayLike = 0.0,
        batch_size: int | None = None,
        save_every: int | None = None,
        stop_loss: ArrayLike | None = None,
    ):
        self.learning_rate = learning_rate_of(learning_rate, "DirectDescent")
        self.n_steps = count(n_steps, "DirectDescent: n_steps")
        self.label_noise = optional_noise(label_noise, "DirectDescent: label_noise")
        self.batch_size = None if batch_size is None else count(batch_size, "DirectDescent: batch_size")
        self.save_every = stride(save_every, self.n_steps, "DirectDescent")
        self.stop_loss = optional_positive(stop_loss, "DirectDescent: stop_loss")
        self.parameter_noise = None
        self.rates = None
        self.dense = False

    @property
    def motion(self) -> Motion:
        return Motion.BARE

    def init(self, position: Any) -> Any:
        return None

    def update(
        self, learner: "AbstractLearner", position: Any, gradient: Any, memory: Any, rate: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any]:
        return jax.tree.map(lambda x, g: x - rate.astype(x.dtype) * g, position, gradient), memory

    def rate(self, step: jax.Array, lowest: jax.Array) -> jax.Array:
        """Eta of this step."""
        return rate_at(self.learning_rate, step, lowest)
