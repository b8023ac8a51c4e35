"""Gradient flow: learning in continuous time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import assembled, count, floating, in_jax, is_traced, later, scalar
from overlap_learning.learning.rules.arguments import DEFAULT_SAVES, as_arrays, optional_positive
from overlap_learning.learning.rules.drift import Drift
from overlap_learning.learning.rules.rule import AbstractRule, Motion

if TYPE_CHECKING:
    from diffrax import AbstractSolver
else:
    # Diffrax takes as long to import as all the rest, and descent does without; signatures are evaluated.
    AbstractSolver = Any


class GradientFlow(AbstractRule):
    """Gradient flow, `dV/dtau = -(V S + lambda V) P`: the limit of small learning rates.

    Integrated by diffrax with adaptive steps, on the transfer matrix M of `V(tau) = V(0) M(tau)`, so that the overlaps
    `G = M^T G(0) M` stay positive semi-definite by construction.

    Args:
        duration: learning time tau to integrate; n steps of gradient descent with learning rate eta take n eta.
        solver: a diffrax solver; None: `diffrax.Dopri8()`, explicit and of high order. On a stiff plateau (many steps
            rejected, or `max_steps_reached`) use an implicit one: `diffrax.Kvaerno5()`.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.
        rates: relative learning rates P: a mapping from blocks or vectors to rates, or an array [d]; 0 freezes. A bulk
            learns if it is named: `{"W": 1.0}`.
        weight_decay: lambda.
        save_every: learning time between saved points; None: `duration / 200`.
        save_at: the learning times to save, increasing, instead of save_every (`final` is the end all the same).
        dense: also keep the interpolant, for `Solution.at(time)` (theory only). It reserves memory for max_steps steps:
            give a smaller max_steps with it.
        stop_loss: stop at the first step at which the loss is at most this.
        max_steps: the most solver steps allowed.

    Raises:
        ValueError: if an argument is out of range.

    Source: Ger & Barak 2026, eq. 8; theory page, eqs. (6), (8).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task = ol.tasks.exponential_filter(decay=0.2)
        >>> ol.integrate(model, task, start, ol.GradientFlow(10.0, stop_loss=1e-2)).result == ol.RESULTS.loss_reached
        Array(True, dtype=bool)
    """

    duration: jax.Array
    solver: AbstractSolver
    rtol: jax.Array
    atol: jax.Array
    rates: Any
    weight_decay: jax.Array
    save_at: jax.Array
    dense: bool = eqx.field(static=True)
    stop_loss: jax.Array | None
    max_steps: int = eqx.field(static=True)
    n_steps: None = eqx.field(static=True)
    save_every: None = eqx.field(static=True)
    batch_size: None = eqx.field(static=True)
    label_noise: None = eqx.field(static=True)
    parameter_noise: None = eqx.field(static=True)

    def __init__(
        self,
        duration: ArrayLike,
        *,
        solver: AbstractSolver | None = None,
        rtol: ArrayLike = 1e-8,
        atol: ArrayLike = 1e-10,
        rates: Any = None,
        weight_decay: ArrayLike = 0.0,
        save_every: float | None = None,
        save_at: ArrayLike | Sequence[float] | None = None,
        dense: bool = False,
        stop_loss: ArrayLike | None = None,
        max_steps: int = 100_000,
    ):
        import diffrax

        self.duration = scalar(duration, "GradientFlow: duration", "positive", 0)
        if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
            raise ValueError(
                f"GradientFlow: solver must be a diffrax solver, such as diffrax.Kvaerno5(), got {solver!r}."
            )
        self.solver = diffrax.Dopri8() if solver is None else solver
        self.rtol = scalar(rtol, "GradientFlow: rtol", "positive", 0)
        self.atol = scalar(atol, "GradientFlow: atol", "positive", 0)
        self.rates = as_arrays(rates)
        self.weight_decay = scalar(weight_decay, "GradientFlow: weight_decay", "at least 0", 0, open_low=False)
        self.save_at = _save_times(self.duration, save_every, save_at)
        self.dense = bool(dense)
        self.stop_loss = optional_positive(stop_loss, "GradientFlow: stop_loss")
        self.max_steps = count(max_steps, "GradientFlow: max_steps")
        self.n_steps = None
        self.save_every = None
        self.batch_size = None
        self.label_noise = None
        self.parameter_noise = None

    @property
    def motion(self) -> Motion:
        return Motion.LINEAR

    @property
    def drift(self) -> Drift:
        return Drift(self.weight_decay)

    def finer(self, n_points: int) -> tuple["GradientFlow", np.ndarray | None]:
        if is_traced(self.save_at, self.duration) or len(self.save_at) >= n_points:
            return self, None
        own = np.asarray(self.save_at)
        times = np.union1d(own, np.linspace(0.0, float(self.duration), n_points))
        finer = assembled(type(self), **(vars(self) | {"save_at": in_jax(times)}))
        return finer, np.searchsorted(times, own)

    def error(self, size: float) -> float:
        return float(self.rtol) * size + float(self.atol)


def _save_times(
    duration: jax.Array, save_every: float | None, save_at: ArrayLike | Sequence[float] | None
) -> jax.Array:
    if save_at is not None:
        if save_every is not None:
            raise ValueError("GradientFlow: give save_every or save_at, not both.")
        times = floating(save_at, "GradientFlow: save_at")
        allowed = (
            f"increasing learning times from 0 to duration={float(duration) if not is_traced(duration) else duration}"
        )
        if times.ndim != 1 or times.size == 0:
            raise ValueError(f"GradientFlow: save_at must be {allowed}, got shape {list(times.shape)}.")
        if not is_traced(times, duration):
            known = np.asarray(times)
            # Duration and times may come from the same number by different roundings.
            end = float(duration) * (1 + 4 * np.finfo(known.dtype).eps)
            if not (np.all(np.diff(known) > 0) and known[0] >= 0 and known[-1] <= end):
                raise ValueError(f"GradientFlow: save_at must be {allowed}, got {known.tolist()}.")
        elif is_traced(times):
            times = later(times, lambda x: (jnp.diff(x, prepend=-1) > 0) & (x >= 0) & (x <= duration * (1 + 1e-12)))
        return jnp.minimum(times, duration)
    n = DEFAULT_SAVES
    if save_every is not None:
        if is_traced(duration, save_every):
            raise ValueError(
                "GradientFlow: with a duration that is not yet known (jit, vmap), save_every must be None."
            )
        save_every = float(scalar(save_every, "GradientFlow: save_every", "positive", 0))
        if save_every > float(duration):
            raise ValueError(
                f"GradientFlow: save_every must be in (0, duration={float(duration):g}], got {save_every}."
            )
        # A last point that falls short of the end by rounding alone is the end.
        whole = count(int(float(duration) / save_every * (1 + 1e-12)), "GradientFlow: duration / save_every")
        times = save_every * jnp.arange(whole + 1)
        return times if float(times[-1]) >= float(duration) * (1 - 1e-9) else jnp.append(times, duration)
    return duration * jnp.linspace(0.0, 1.0, n + 1)
