"""Learning rules: how the vectors of a network follow the gradient of the loss."""

import abc
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import count, described, floating, is_traced, is_zero, later, scalar
from overlap_learning.learning.schedule import LossSchedule

if TYPE_CHECKING:
    from diffrax import AbstractSolver

    from overlap_learning.learning.learner import AbstractLearner
    from overlap_learning.tasks.task import Task
else:
    # Diffrax takes as long to import as all the rest, and descent does without; signatures are evaluated.
    AbstractSolver = Any

#: Saved points of a run whose rule does not say how many.
DEFAULT_SAVES = 200


class Motion(enum.Enum):
    """How a rule moves the vectors of a network, which says what their overlaps are enough for."""

    LINEAR = "each vector becomes a linear combination of all vectors"
    DIFFUSING = "and every entry of the vectors gets noise of its own"
    COUPLED = "and noise and velocity get overlaps of their own"
    BARE = "overlaps move by themselves, without vectors"
    ELEMENTWISE = "each entry of the vectors moves by itself"


class AbstractRule(eqx.Module):
    """A learning rule: all that the engine asks of one.

    Attributes:
        rates: relative learning rates, as a person gave them; None: 1.
        stop_loss: the loss at which a run stops; None: it does not.
        dense: whether the interpolant of the position is kept.
        n_steps: steps; None: a flow, which takes those that its solver chooses.
        save_every: steps between saved points; None: of a flow.
        batch_size: trials per step; None: all.
        label_noise: on the targets; None: none.
        parameter_noise: on the position; None: none.
    """

    rates: eqx.AbstractVar[Any]
    stop_loss: eqx.AbstractVar[Any]
    dense: eqx.AbstractVar[Any]
    n_steps: eqx.AbstractVar[Any]
    save_every: eqx.AbstractVar[Any]
    batch_size: eqx.AbstractVar[Any]
    label_noise: eqx.AbstractVar[Any]
    parameter_noise: eqx.AbstractVar[Any]

    def __repr__(self) -> str:
        return described(self)

    @property
    @abc.abstractmethod
    def motion(self) -> Motion:
        """How it moves vectors."""

    @abc.abstractmethod
    def error(self, size: float) -> float:
        """How far off, beyond rounding, one step may be by intention, at positions of this size."""


class AbstractDescent(AbstractRule):
    """A rule that learns in steps. The same object drives any learner."""

    #: Whether the rule looks at saved points, and may end a run there.
    reviews: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, position: Any) -> Any:
        """What the rule remembers between steps, at the start."""

    @abc.abstractmethod
    def update(
        self, learner: "AbstractLearner", position: Any, gradient: Any, memory: Any, rate: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any]:
        """The next position and memory, by a step of this learning rate from where the loss and its gradient are."""

    @abc.abstractmethod
    def rate(self, step: jax.Array, lowest: jax.Array) -> jax.Array:
        """The learning time that a step takes, before which the lowest loss was `lowest`."""

    def review(self, learner: "AbstractLearner", position: Any, memory: Any, task: "Task") -> tuple[Any, jax.Array]:
        """At a saved point, of a rule that `reviews`: what is remembered from here on, and whether the run ends."""
        return memory, jnp.zeros((), bool)

    def chosen(self, position: Any, memory: Any) -> Any:
        """Where a run has led: to its last position, or to one that the rule remembers."""
        return position

    def error(self, size: float) -> float:
        return 0.0


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
        self.rates = _as_arrays(rates)
        self.weight_decay = scalar(weight_decay, "GradientFlow: weight_decay", "at least 0", 0, open_low=False)
        self.save_at = _save_times(self.duration, save_every, save_at)
        self.dense = bool(dense)
        self.stop_loss = _optional_positive(stop_loss, "GradientFlow: stop_loss")
        self.max_steps = count(max_steps, "GradientFlow: max_steps")
        self.n_steps = None
        self.save_every = None
        self.batch_size = None
        self.label_noise = None
        self.parameter_noise = None

    @property
    def motion(self) -> Motion:
        return Motion.LINEAR

    def error(self, size: float) -> float:
        return float(self.rtol) * size + float(self.atol)


class GradientDescent(AbstractDescent):
    """Gradient descent in steps, with everything that closes exactly in overlap space for linear networks.

    With the scaled gradient `g = N dL/dV = V S` (so that eta does not depend on N), at each step::

        g <- g min(1, clip_norm / |g|)          |g|^2 = tr(S G S), over trained vectors: the mean square over neurons
        g <- g + weight_decay V
        q <- momentum q + g
        V <- V - eta q P                        or, Nesterov:  V - eta (g + momentum q) P
        V <- V + sqrt(2 parameter_noise eta) xi         xi: normal, for each entry of the trained vectors

    (the order and the convention of optax and torch). Plain descent is `V <- V (1 - eta S P)`: the exact map
    `G <- (1 - eta S P)^T G (1 - eta S P)`.

    Args:
        learning_rate: eta; a number, or a schedule `step -> eta` such as those of optax.
        n_steps: number of steps.
        momentum: mu, in [0, 1).
        nesterov: look ahead along the momentum.
        weight_decay: lambda.
        label_noise: standard deviation of normal noise added to the targets, drawn anew at each step for every reading.
            At a fixed value the variance of the gradient that it draws falls with dt; `dt**-0.5` keeps it.
        parameter_noise: D, the diffusion of every trained entry (synaptic drift): variance 2 D per learning time. In
            the theory, where N is large, `G <- G + 2 D eta P_train`; not with momentum, which has to be run at full N.
            A bulk that learns gets 2 D / N, the same temperature.
        clip_norm: largest |g|; None for no clipping. torch's clip_grad_norm_(c) on dL/dV is `clip_norm = c sqrt(N)`.
        batch_size: trials per step, drawn anew from the task without replacement; None for all of them.
        rates: relative learning rates P: a mapping from blocks or vectors to rates, or an array [d]; 0 freezes. A bulk
            learns if it is named: `{"W": 1.0}`.
        save_every: steps between saved points (the last step is saved too); None: about 200 points.
        stop_loss: stop at the first step at which the loss, on that step's trials and with its label noise, is at most
            this.

    Raises:
        ValueError: if an argument is out of range.

    Source: theory page, eq. (7) and section 4.

    Examples:
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=2000, momentum=0.5, rates={"m": 0.0})
        >>> rule.save_every
        10
    """

    learning_rate: jax.Array | Callable[[jax.Array], jax.Array]
    n_steps: int = eqx.field(static=True)
    momentum: jax.Array | None
    nesterov: bool = eqx.field(static=True)
    weight_decay: jax.Array
    label_noise: jax.Array | None
    parameter_noise: jax.Array | None
    clip_norm: jax.Array | None
    batch_size: int | None = eqx.field(static=True)
    rates: Any
    save_every: int = eqx.field(static=True)
    stop_loss: jax.Array | None
    dense: bool = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: ArrayLike | Callable[[jax.Array], jax.Array],
        n_steps: int,
        *,
        momentum: ArrayLike = 0.0,
        nesterov: bool = False,
        weight_decay: ArrayLike = 0.0,
        label_noise: ArrayLike = 0.0,
        parameter_noise: ArrayLike = 0.0,
        clip_norm: ArrayLike | None = None,
        batch_size: int | None = None,
        rates: Any = None,
        save_every: int | None = None,
        stop_loss: ArrayLike | None = None,
    ):
        self.learning_rate = _learning_rate(learning_rate, "GradientDescent")
        self.n_steps = count(n_steps, "GradientDescent: n_steps")
        checked = scalar(momentum, "GradientDescent: momentum", "in [0, 1)", 0, 1 - 1e-9, open_low=False)
        # No momentum: no buffer of the size of the network.
        self.momentum = None if is_zero(momentum) else checked
        self.nesterov = bool(nesterov)
        self.weight_decay = scalar(weight_decay, "GradientDescent: weight_decay", "at least 0", 0, open_low=False)
        self.label_noise = _optional_noise(label_noise, "GradientDescent: label_noise")
        self.parameter_noise = _optional_noise(parameter_noise, "GradientDescent: parameter_noise")
        self.clip_norm = _optional_positive(clip_norm, "GradientDescent: clip_norm")
        self.batch_size = None if batch_size is None else count(batch_size, "GradientDescent: batch_size")
        self.rates = _as_arrays(rates)
        self.save_every = _stride(save_every, self.n_steps, "GradientDescent")
        self.stop_loss = _optional_positive(stop_loss, "GradientDescent: stop_loss")
        self.dense = False

    @property
    def motion(self) -> Motion:
        if self.parameter_noise is None:
            return Motion.LINEAR
        return Motion.DIFFUSING if self.momentum is None else Motion.COUPLED

    def init(self, position: Any) -> Any:
        return None if self.momentum is None else jax.tree.map(jnp.zeros_like, position)

    def update(
        self, learner: "AbstractLearner", position: Any, gradient: Any, memory: Any, rate: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any]:
        if self.clip_norm is not None:
            moving = jax.tree.map(lambda g, p: g * (p > 0), gradient, learner.rates)
            square, limit = learner.square(moving), self.clip_norm
            # Not the root of the square, whose derivative is infinite where nothing is to be clipped at 0.
            excess = jnp.sqrt(jnp.maximum(square, limit**2)) / limit
            gradient = jax.tree.map(lambda g: g / excess.astype(g.dtype), gradient)

        def cast(number, array):
            return number.astype(array.dtype)

        gradient = jax.tree.map(lambda g, x: g + cast(self.weight_decay, x) * x, gradient, position)
        if self.momentum is not None:
            momentum = self.momentum
            memory = jax.tree.map(lambda m, g: cast(momentum, g) * m + g, memory, gradient)
            ahead = jax.tree.map(lambda m, g: g + cast(momentum, g) * m, memory, gradient)
            gradient = ahead if self.nesterov else memory
        return jax.tree.map(
            lambda x, g, p: x - g * (cast(rate, x) * cast(p, x)), position, gradient, learner.rates
        ), memory

    def rate(self, step: jax.Array, lowest: jax.Array) -> jax.Array:
        """Eta of this step."""
        return _rate_at(self.learning_rate, step, lowest)


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
        self.learning_rate = _learning_rate(learning_rate, "DirectDescent")
        self.n_steps = count(n_steps, "DirectDescent: n_steps")
        self.label_noise = _optional_noise(label_noise, "DirectDescent: label_noise")
        self.batch_size = None if batch_size is None else count(batch_size, "DirectDescent: batch_size")
        self.save_every = _stride(save_every, self.n_steps, "DirectDescent")
        self.stop_loss = _optional_positive(stop_loss, "DirectDescent: stop_loss")
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
        return _rate_at(self.learning_rate, step, lowest)


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
        self.label_noise = _optional_noise(label_noise, "Optimiser: label_noise")
        self.batch_size = None if batch_size is None else count(batch_size, "Optimiser: batch_size")
        self.rates = _as_arrays(rates)
        self.save_every = _stride(save_every, self.n_steps, "Optimiser")
        self.stop_loss = _optional_positive(stop_loss, "Optimiser: stop_loss")
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


def _as_arrays(rates: Any) -> Any:
    """Rates by name as arrays, so that another number does not compile another program."""
    if not isinstance(rates, Mapping):
        return rates
    return {k: jnp.asarray(r, float) if isinstance(r, (int, float)) else r for k, r in rates.items()}


def _learning_rate(value: Any, caller: str) -> Any:
    if callable(value):
        return value
    return scalar(value, f"{caller}: learning_rate", "positive, or a schedule step -> learning rate", 0)


def _rate_at(learning_rate: Any, step: jax.Array, lowest: jax.Array) -> jax.Array:
    if isinstance(learning_rate, LossSchedule):
        return learning_rate.at(lowest, step)
    return jnp.asarray(learning_rate(step) if callable(learning_rate) else learning_rate, dtype=float)


def _optional_positive(value: ArrayLike | None, name: str) -> jax.Array | None:
    return None if value is None else scalar(value, name, "positive, or None", 0)


def _optional_noise(value: ArrayLike, name: str) -> jax.Array | None:
    """The noise, or None if it is known to be 0: drawing it would take longer than all the rest of a small step."""
    noise = scalar(value, name, "at least 0", 0, open_low=False)
    return None if is_zero(value) else noise


def _stride(save_every: int | None, n_steps: int, caller: str) -> int:
    if save_every is None:
        return max(1, n_steps // DEFAULT_SAVES)
    return min(count(save_every, f"{caller}: save_every"), n_steps)


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
