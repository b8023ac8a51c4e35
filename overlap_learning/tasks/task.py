"""Task: inputs, targets and loss weights of a batch of trials."""

from collections.abc import Callable
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import (
    assembled,
    described,
    floating,
    in_jax,
    in_numpy,
    is_mask,
    is_traced,
    is_zero,
    later,
    namespace,
    scalar,
)
from overlap_learning.guides import guide
from overlap_learning.model.model import Model, check_model
from overlap_learning.module import Module
from overlap_learning.tasks.sums import Sums

#: The error of each reading, from outputs and targets.
Error = Callable[[jax.Array, jax.Array], jax.Array]


class Trials(Protocol):
    """What a task is made of: its arrays, or that from which they follow. There is one truth."""

    @property
    def inputs(self) -> jax.Array: ...

    @property
    def targets(self) -> jax.Array: ...

    @property
    def weights(self) -> jax.Array: ...

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """B, T, n_in, n_out, known without making an array."""
        ...

    @property
    def sums(self) -> Sums | None:
        """Sums of signals that are known before a network is; None: there is nothing to add up."""
        ...

    def silent_loss(self) -> jax.Array:
        """The loss of a network whose outputs are 0, shape []."""
        ...


class GivenTrials(Module):
    """Trials given as arrays."""

    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        n_trials, n_steps, n_in = self.inputs.shape[-3:]
        return n_trials, n_steps, n_in, self.targets.shape[-1]

    @property
    def sums(self) -> None:
        return None

    def silent_loss(self) -> jax.Array:
        return _squares(self.weights, self.targets)


class Task(Module):
    """A fixed batch of trials with the loss `L = sum(weights * (y - targets)^2)`, or that of another error.

    y[k] is read before the k-th Euler update of the state, so an input at step k is first seen by the readout at k + 1.

    Args:
        inputs: x, shape [B, T, n_in].
        targets: y*, shape [B, T, n_out]. Where the weight is 0 they may be NaN.
        weights: the weight of each error in the loss, shape [B, T, n_out], not negative. Put the averages here: `dt`
            for a time integral. A mask of True and False is a mean over what it lets through, `mask / mask.sum()`.
        dt: the Euler step, in units of the neuronal time constant, 0 < dt < 2 (from 2 on, the leak 1 - dt makes the
            state of every network grow).
        loss: the error of each reading, a function of outputs and targets, shape [B, T, n_out] each, in place of the
            square of their difference: `L = sum(weights * loss(y, targets))`. What it returns has the shape of the
            outputs, or [B, T, 1] if it takes them together, as cross-entropy does; `weights` have that shape too. A
            named function of jax operations: a fresh lambda in every call compiles anew.
        activity_penalty: a, at least 0, of `a < phi(h)^2 >`, the mean over neurons, trials and the T readings, which
            the loss then has beside the errors; None: there is none. Penalties on weights are those of the rule
            (`weight_decay`).
        state_noise: the standard deviation of normal noise that each step adds to the state of each neuron, drawn anew
            in each learning step; None: there is none. Noise per square root of time is `sqrt(dt)` times that.

    Both are known to theory, too: to that of Gaussian neurons, where the mean of `phi(h)^2` is that of a field of
    variance `k^T G_BB k`, and where noise adds `s[k]` to that variance, `s[k + 1] = (1 - dt)^2 s[k] + state_noise^2`.
    Outputs see noise only so: what is private to N neurons leaves them as `1 / sqrt(N)`. Learning with noise is known
    to first order in the learning rate (noise in the gradients adds terms of the second).

    An array of one channel may be given as [B, T] if another one has all three axes; weights [B, T] hold for every
    output.

    Raises:
        ValueError: if a shape is wrong or does not match the others, a value is not finite, a weight is negative, or
            dt makes Euler unstable.

    Examples:
        >>> inputs = jnp.zeros((1, 3, 1)).at[:, 0].set(1.0)
        >>> task = ol.Task(inputs, targets=jnp.ones((1, 3, 1)), weights=jnp.full((1, 3, 1), 0.5), dt=0.5)
        >>> task.loss(jnp.zeros((1, 3, 1)))
        Array(1.5, dtype=float64)

        Cross-entropy at the last step, of four classes of which the second is right:

        >>> def cross_entropy(outputs, targets):
        ...     return -(targets * jax.nn.log_softmax(outputs)).sum(axis=-1, keepdims=True)
        >>> last = np.array([[False, False, True]])
        >>> classes = jnp.broadcast_to(jnp.eye(4)[1], (1, 3, 4))
        >>> task = ol.Task(inputs, classes, last, dt=0.5, loss=cross_entropy)
        >>> task.loss(jnp.zeros((1, 3, 4))).round(4)
        Array(1.3863, dtype=float64)
    """

    trials: Trials
    dt: jax.Array
    error: Error | None = eqx.field(static=True)
    activity_penalty: jax.Array | None
    state_noise: jax.Array | None
    #: From which the noise of one learning step is drawn.
    noise_key: jax.Array | None

    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike,
        dt: ArrayLike,
        *,
        loss: Error | None = None,
        activity_penalty: ArrayLike | None = None,
        state_noise: ArrayLike | None = None,
    ):
        given = _given({"inputs": inputs, "targets": targets, "weights": weights})
        dtype = jnp.result_type(*(array for array in given.values() if array.dtype != bool))
        arrays = _with_channels(in_numpy(given))
        xp = namespace(arrays)
        for name, array in arrays.items():
            if array.ndim != 3 or 0 in array.shape:
                channels = "n_in" if name == "inputs" else "n_out"
                raise ValueError(
                    f"Task: {name} must have shape [B, T, {channels}] (trials, steps, channels), none of them 0, "
                    f"got {list(array.shape)}. For one trial of one channel: {name}[None, :, None].{guide('task')}"
                )
        errors = (*arrays["targets"].shape[:2], _channels_of(loss, arrays["targets"].shape))
        counts = is_mask(weights)
        if arrays["weights"].shape == (*errors[:2], 1) and (counts or np.ndim(weights) == 2):
            arrays["weights"] = xp.broadcast_to(arrays["weights"], errors)
        shapes = {name: array.shape for name, array in arrays.items()}
        if not shapes["inputs"][:2] == shapes["targets"][:2] or shapes["weights"] != errors:
            raise ValueError(
                f"Task: inputs [B, T, n_in], targets [B, T, n_out] and weights [B, T, {errors[2]}] must agree; got "
                + ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
                + f".{guide('task')}"
            )
        dt = scalar(
            dt, "Task: dt", "above 0 and below 2 (else Euler's leak 1 - dt makes every state grow)", 0, 2 - 1e-9
        )
        # One dtype, and none of them weak: the same program serves whatever dt was written as.
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
        if counts:
            if not is_traced(weights) and not np.any(weights):
                raise ValueError("Task: weights are a mask that lets nothing through; True is where an error counts.")
            arrays["weights"] = arrays["weights"] / arrays["weights"].sum()
        # What is not counted may be anything, and is not to reach a gradient.
        reads = xp.broadcast_to(arrays["weights"] != 0, shapes["targets"])
        fill = 0 if loss is None else _counted(arrays["targets"], reads)
        arrays["targets"] = xp.where(reads | xp.isfinite(arrays["targets"]), arrays["targets"], fill)
        for name, array in arrays.items():
            if is_traced(array):
                is_weight = name == "weights"
                arrays[name] = later(array, lambda x, low=0 if is_weight else -jnp.inf: jnp.isfinite(x) & (x >= low))
        self.trials = GivenTrials(**{name: in_jax(array) for name, array in arrays.items()})
        self.dt = jax.lax.convert_element_type(dt, dtype)
        self.error = loss
        self.activity_penalty = _amount(activity_penalty, "activity_penalty", dtype)
        self.state_noise = _amount(state_noise, "state_noise", dtype)
        self.noise_key = None
        for name, array in arrays.items():
            if not is_traced(array):
                bad = ~np.isfinite(np.asarray(array))
                if bad.any():
                    trial, step, channel = np.argwhere(bad)[0]
                    raise ValueError(
                        f"Task: {name} must be finite; {bad.sum()} values are not, the first at trial {trial}, "
                        f"step {step}, channel {channel}."
                    )
        if not is_traced(arrays["weights"]) and np.any(np.asarray(arrays["weights"]) < 0):
            raise ValueError(f"Task: weights must not be negative; the smallest is {arrays['weights'].min():.6g}.")

    @property
    def inputs(self) -> jax.Array:
        """x, shape [B, T, n_in]."""
        return self.trials.inputs

    @property
    def targets(self) -> jax.Array:
        """y*, shape [B, T, n_out]."""
        return self.trials.targets

    @property
    def weights(self) -> jax.Array:
        """The weight of each squared error in the loss, shape [B, T, n_out]."""
        return self.trials.weights

    @property
    def n_trials(self) -> int:
        """B."""
        return self.trials.sizes[0]

    @property
    def n_steps(self) -> int:
        """T."""
        return self.trials.sizes[1]

    @property
    def n_in(self) -> int:
        """The number of input channels."""
        return self.trials.sizes[2]

    @property
    def n_out(self) -> int:
        """The number of output channels."""
        return self.trials.sizes[3]

    @property
    def times(self) -> jax.Array:
        """The time of each reading y[k], shape [T], in neuronal time constants."""
        dt = in_numpy(self.dt)
        return in_jax(dt * namespace(dt).arange(self.n_steps, dtype=dt.dtype))

    def loss(self, outputs: jax.Array, activity: jax.Array | None = None) -> jax.Array:
        """`sum(weights * (outputs - targets)^2)`, or that of another error, with the penalty on activity, shape [].

        Args:
            outputs: y, shape [B, T, n_out].
            activity: the mean of `phi(h)^2` over neurons, shape [B, T]; needed for a penalty.

        Raises:
            ValueError: if there is a penalty, and no activity.
        """
        if self.activity_penalty is None:
            return self._loss_of_outputs(outputs)
        if activity is None:
            raise ValueError(
                "Task.loss: the task has an activity_penalty, and this is given outputs alone: what was called knows "
                "nothing of it. ol.integrate and ol.train do; or leave it out, task.replace(activity_penalty=None)."
            )
        return self._loss_of_outputs(outputs) + self.activity_penalty * jnp.mean(activity)

    def _loss_of_outputs(self, outputs: jax.Array) -> jax.Array:
        if self.error is None:
            return _squares(self.weights, outputs - self.targets)
        return jnp.sum(self.weights * self.error(outputs, self.targets))

    def silent_loss(self) -> jax.Array:
        """The loss of a network whose outputs are 0, without its activity, shape []."""
        return self.trials.silent_loss() if self.error is None else self._loss_of_outputs(jnp.zeros_like(self.targets))

    def sample(self, key: jax.Array | None = None) -> "Task":
        """The task itself: a fixed batch has the same trials at every learning step, as a `TaskStream` has not."""
        return self

    @property
    def outline(self) -> "Task":
        """A batch of which shapes are known: itself."""
        return self

    def replace(self, **arrays: ArrayLike | None) -> "Task":
        """The same task, of arrays, with other `inputs`, `targets`, `weights`, `dt`, `activity_penalty`, `state_noise`.

        A task that knows more of itself, as those of `ol.tasks.impulse_response`, is then stepped through time as any.

        Raises:
            ValueError: as for a new task, and for any other name.

        Examples:
            >>> task = ol.tasks.exponential_filter(decay=0.2, duration=1.0, dt=0.5)
            >>> task.replace(targets=2 * task.targets).targets[0, 1:, 0].round(2)
            Array([2.  , 1.81], dtype=float64)
        """
        names = ("inputs", "targets", "weights", "dt", "activity_penalty", "state_noise")
        if unknown := sorted(arrays.keys() - {*names}):
            raise ValueError(f"Task.replace: a task has {', '.join(names)}, not {', '.join(unknown)}.")
        settings: Any = {name: getattr(self, name) for name in names} | arrays
        return Task(**settings, loss=self.error)

    def starting_from(self, state: ArrayLike) -> "Task":
        """The same trials, begun at `h(0) = m k(0)`, a state along the input vectors.

        One step goes before the others: from `h = 0` the input `k(0) / dt` leads to this state, whatever else connects
        the network. So the theory of overlaps, full networks and their gradients take it as any input. For another
        state h(0), give the network an input vector m = h(0) of its own. The loss is that of the steps after the first,
        to which noise on states adds, too.

        Args:
            state: k(0), shape [n_in], or [B, n_in] for each trial.

        Raises:
            ValueError: if the shape is wrong, or a value is not finite.

        Examples:
            >>> task = ol.Task(jnp.zeros((1, 3, 1)), jnp.ones((1, 3, 1)), jnp.ones((1, 3, 1)), dt=0.5)
            >>> model = ol.Model(ol.Layout(rank=0), ol.Linear())
            >>> start = ol.Overlaps.from_entries(model.layout, zm=1.0)
            >>> ol.rollout(model, start, task.starting_from([2.0]))[0, :, 0].tolist()
            [0.0, 2.0, 1.0, 0.5]
        """
        known = floating(state, "Task.starting_from: state")
        allowed = ([self.n_in], [self.n_trials, self.n_in])
        if list(known.shape) not in allowed:
            raise ValueError(
                f"Task.starting_from: state must have shape {allowed[0]} or {allowed[1]} (trials, inputs), got "
                f"{list(known.shape)}."
            )
        known, inputs, dt = in_numpy((known, self.inputs, self.dt))
        xp = namespace(known, inputs, dt)
        impulse = xp.broadcast_to(known / dt, (self.n_trials, self.n_in))[:, None]
        return self._one_step_later(xp.concatenate([impulse, inputs], axis=1))

    def read_after_update(self) -> "Task":
        """The same trials, whose targets are those of readings after the update of the same step, as in many programs.

        A task reads y[k] before the k-th update, so that an input is seen one step later; a program that calculates
        `h = step(h, x[k])` and then `y[k] = readout(h)` sees it at once. Here the reading of step k is y[k + 1]: one
        step is appended, and y[0], of h = 0, does not count. (In a penalty a state of `starting_from` does.)

        Examples:
            >>> task = ol.Task(jnp.ones((1, 3, 1)), jnp.ones((1, 3, 1)), jnp.ones((1, 3, 1)), dt=0.5)
            >>> later = task.read_after_update()
            >>> later.inputs[0, :, 0].tolist(), later.weights[0, :, 0].tolist()
            ([1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0])
        """
        inputs = in_numpy(self.inputs)
        return self._one_step_later(namespace(inputs).pad(inputs, ((0, 0), (0, 1), (0, 0))))

    def with_bias(self) -> "Task":
        """The same trials with one more input, which is 1 throughout: its input vector is the bias of each neuron.

        `dh/dt = -h + W phi(h) + m x + b` with b as the last of the input vectors, of a layout with one more `n_in`. It
        learns as they do; `rates={"m2": 0.0}` keeps it, where it is the second. Overlaps with it are the statistics of
        biases: `z . b / N`, or their mean square `b . b / N`.

        Examples:
            >>> task = ol.Task(jnp.zeros((1, 2, 1)), jnp.ones((1, 2, 1)), jnp.ones((1, 2, 1)), dt=0.5)
            >>> task.with_bias().inputs[0].tolist()
            [[0.0, 1.0], [0.0, 1.0]]
        """
        inputs = in_numpy(self.inputs)
        return self.replace(inputs=namespace(inputs).pad(inputs, ((0, 0), (0, 0), (0, 1)), constant_values=1.0))

    def _one_step_later(self, inputs: jax.Array) -> "Task":
        """The same readings one step later, for inputs of one step more."""
        earlier = ((0, 0), (1, 0), (0, 0))
        # A target that does not count, but at which an error of one's own is defined: 0 may be none.
        targets, weights = in_numpy((self.targets, self.weights))
        xp = namespace(targets, weights)
        targets, weights = xp.pad(targets, earlier, mode="edge"), xp.pad(weights, earlier)
        # The mean of the activity is that over the steps after the first, at which there is none.
        share = 1 + 1 / self.n_steps
        penalty = None if self.activity_penalty is None else share * self.activity_penalty
        return self.replace(inputs=inputs, targets=targets, weights=weights, activity_penalty=penalty)

    def __repr__(self) -> str:
        return described(self)

    def with_noise_from(self, key: jax.Array) -> "Task":
        """The same trials, the noise of whose states is drawn from this key."""
        return eqx.tree_at(lambda task: task.noise_key, self, key, is_leaf=lambda leaf: leaf is None)

    def astype(self, dtype) -> "Task":
        """The same task in another floating-point dtype."""
        return jax.tree.map(lambda array: array.astype(dtype) if eqx.is_inexact_array(array) else array, self)


def task_of(trials: Trials, dt: jax.Array) -> Task:
    """A task of trials that have been checked, without making their arrays."""
    nothing = dict.fromkeys(("error", "activity_penalty", "state_noise", "noise_key"))
    return assembled(Task, trials=trials, dt=dt, **nothing)


def _amount(value: ArrayLike | None, name: str, dtype: Any) -> jax.Array | None:
    """What a task has of something, in its dtype; None: nothing, also where that is written as 0.

    Raises:
        ValueError: if it is no number of at least 0.
    """
    if value is None:
        return None
    found = scalar(value, f"Task: {name}", "None or a number of at least 0", 0, open_low=False)
    return None if is_zero(value) else jax.lax.convert_element_type(found, dtype)


def _given(given: dict[str, Any]) -> dict[str, jax.Array]:
    """Arrays of a task as numbers; a mask stays one of booleans.

    Raises:
        ValueError: if one is no rectangular array of real numbers.
    """
    return {
        name: in_jax(value) if name == "weights" and is_mask(value) else floating(value, f"Task: {name}")
        for name, value in given.items()
    }


def _with_channels(arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays of a task with all three axes, where it is plain which one was left out."""
    whole = {array.shape[:2] for array in arrays.values() if array.ndim == 3}
    return {name: array[..., None] if {array.shape} == whole else array for name, array in arrays.items()}


def _channels_of(loss: Error | None, shape: tuple[int, ...]) -> int:
    """Numbers that an error is made of at each reading: 1, or as many as there are outputs.

    Raises:
        ValueError: if the error is no function of outputs and targets with such a result.
    """
    if loss is None:
        return shape[2]
    said = (
        "Task: loss must be a function of outputs and targets, shape [B, T, n_out] each, that returns the error of "
        "each reading, shape [B, T, n_out] or [B, T, 1]"
    )
    if not callable(loss):
        raise ValueError(f"{said}; got {loss!r}.")
    like = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    try:
        found = jax.eval_shape(loss, like, like)
    except (TypeError, ValueError, jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ValueError(f"{said}, by jax operations; it failed: {str(error).splitlines()[0]}") from None
    if getattr(found, "shape", None) not in {shape, (*shape[:2], 1)}:
        raise ValueError(f"{said}; for shape {list(shape)} it gave {getattr(found, 'shape', found)!r}.")
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"{said}, a real number; it gave {found.dtype}.")
    return found.shape[2]


def _counted(targets: Any, reads: Any) -> Any:
    """A target of each output that counts, shape [n_out], at which an error of one's own is defined; 0 if none does."""
    xp = namespace(targets, reads)
    first = xp.argmax(reads.reshape(-1, reads.shape[-1]), axis=0)
    found = targets.reshape(-1, reads.shape[-1])[first, xp.arange(reads.shape[-1])]
    return xp.where(xp.isfinite(found), found, 0)


def check_squares(task: Task, caller: str) -> None:
    """Refuse a task whose loss is another than the squares of errors of outputs, for what holds of those alone.

    Raises:
        ValueError: naming the caller.
    """
    if task.error is not None:
        raise ValueError(
            f"{caller}: holds for squared errors, and the task has the loss {task.error!r}; follow its learning by "
            "ol.integrate and ol.train."
        )
    check_plain(task, caller)


def check_plain(task: Task, caller: str, names: tuple[str, ...] = ("activity_penalty", "state_noise")) -> None:
    """Refuse a task with a penalty on activity or with noise on states, for what does not know of it.

    Raises:
        ValueError: naming the caller.
    """
    for name in names:
        if getattr(task, name) is not None:
            raise ValueError(
                f"{caller}: holds without {name}, and the task has {getattr(task, name)}; follow its learning by "
                f"ol.integrate and ol.train, or leave it out: task.replace({name}=None)."
            )


def _squares(weights: jax.Array, errors: jax.Array) -> jax.Array:
    """`sum(weights * errors^2)`."""
    # All weights are finite, so that nothing is left out. But a choice keeps products and sum apart: together, XLA
    # hands them on a CPU to a library that takes longer for them in double precision than the network for its outputs.
    return jnp.sum(weights * jnp.square(errors), where=~jnp.isinf(weights))


def check_task(model: Model, task: Task, caller: str, *, with_bulk: bool = False) -> None:
    """Refuse what is not a fixed batch, has other output channels than the model, or a bulk as `check_model` does.

    Raises:
        ValueError: naming what was passed and what is allowed.
    """
    check_model(model, caller, with_bulk=with_bulk)
    if not isinstance(task, Task):
        raise ValueError(
            f"{caller}: task must be an ol.Task (a fixed batch), got {type(task).__name__}. "
            "From a stream, take one batch: stream.sample(key)."
        )
    if task.n_out != model.layout.n_out:
        raise ValueError(
            f"{caller}: the task has {task.n_out} output channels, the model has n_out={model.layout.n_out}."
        )
