"""Any optax optimiser."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from overlap_learning.checks import count
from overlap_learning.learning.rules.arguments import as_arrays, optional_noise, optional_positive, stride
from overlap_learning.learning.rules.rule import AbstractDescent, Motion

if TYPE_CHECKING:
    from overlap_learning.learning.learner import AbstractLearner


class Optimiser(AbstractDescent):
    """Any optax optimiser, for `ol.train` at full N: `ol.Optimiser(optax.adam(1e-3), n_steps=4000)`.

    It is given the scaled gradient `N dL/dV` (each neuron's gradient over its weight), as `GradientDescent` is, and
    `dL/dW` of a bulk that learns; `ol.train(..., arrays=ol.training.Arrays(...))` gives it other arrays. The loss is
    given as optax's `value` (for `optax.contrib.reduce_on_plateau`, say).
    Element-wise rules such as Adam do not close in overlap space: the step of a neuron depends on more than overlaps,
    so `ol.integrate` refuses them.

    Args:
        transformation: an `optax.GradientTransformation`.
        n_steps: number of steps.
        label_noise: as in `GradientDescent`.
        batch_size: as in `GradientDescent`.
        rates: as in `GradientDescent`; they multiply the optimiser's updates.
        save_every: as in `GradientDescent`.
        stop_loss: as in `GradientDescent`.

    Raises:
        ValueError: if an argument is out of range, or the optimiser needs to evaluate the loss on its way.

    Source: Ger & Barak 2026, Figs. 7, 8.

    Examples:
        >>> import optax
        >>> ol.Optimiser(optax.adam(1e-3), n_steps=4000).n_steps
        4000
    """

    transformation: Any
    n_steps: int = eqx.field(static=True)
    label_noise: jax.Array | None
    batch_size: int | None = eqx.field(static=True)
    rates: Any
    save_every: int = eqx.field(static=True)
    stop_loss: jax.Array | None
    dense: bool = eqx.field(static=True)
    parameter_noise: None = eqx.field(static=True)

    def __init__(
        self,
        transformation: Any,
        n_steps: int,
        *,
        label_noise: ArrayLike = 0.0,
        batch_size: int | None = None,
        rates: Any = None,
        save_every: int | None = None,
        stop_loss: ArrayLike | None = None,
    ):
        if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
            raise ValueError(
                "Optimiser: transformation must be an optax optimiser, such as optax.adam(1e-3), "
                f"got {transformation!r}."
            )
        self.transformation = transformation
        self.n_steps = count(n_steps, "Optimiser: n_steps")
        self.label_noise = optional_noise(label_noise, "Optimiser: label_noise")
        self.batch_size = None if batch_size is None else count(batch_size, "Optimiser: batch_size")
        self.rates = as_arrays(rates)
        self.save_every = stride(save_every, self.n_steps, "Optimiser")
        self.stop_loss = optional_positive(stop_loss, "Optimiser: stop_loss")
        self.parameter_noise = None
        self.dense = False
        self._check()

    def _check(self) -> None:
        """Refuse an optimiser that needs what no step has, before anything is compiled.

        Raises:
            ValueError: naming what it needs.
        """
        like = jax.ShapeDtypeStruct((2, 2), jnp.result_type(float))
        try:
            jax.eval_shape(lambda x: self._updates(x, self.init(x), x, jnp.sum(x)), like)
        except Exception as error:
            # Whatever else it objects to is this position, which is not the one that it is for.
            if not isinstance(error, TypeError) or "missing" not in str(error):
                return
            raise ValueError(
                "Optimiser: transformation needs more than gradient, position and loss: line searches, such as that of "
                "optax.lbfgs, evaluate the loss on their way, which no learning step here does. Use "
                f"optax.lbfgs(rate, linesearch=None), or another optimiser ({error})."
            ) from None

    @property
    def motion(self) -> Motion:
        return Motion.ELEMENTWISE

    def init(self, position: Any) -> Any:
        return self.transformation.init(position)

    def update(
        self, learner: "AbstractLearner", position: Any, gradient: Any, memory: Any, rate: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any]:
        updates, memory = self._updates(gradient, memory, position, loss)
        return jax.tree.map(lambda x, u, p: x + (u * p).astype(x.dtype), position, updates, learner.rates), memory

    def _updates(self, gradient: Any, memory: Any, position: Any, loss: jax.Array) -> tuple[Any, Any]:
        # By the name of the class, as any object with these two methods will do, of optax or not.
        takes_more = type(self.transformation).__name__ == "GradientTransformationExtraArgs"
        more = {"value": loss} if takes_more else {}
        return self.transformation.update(gradient, memory, position, **more)

    def rate(self, step: jax.Array, lowest: jax.Array) -> jax.Array:
        """1: an optimiser's rate is its own business, so its learning time counts steps."""
        return jnp.ones(())
