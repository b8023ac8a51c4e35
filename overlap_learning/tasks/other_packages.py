"""Trials of other packages: neurogym and PsychRNN, drawn by them, as fixed batches."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, scalar
from overlap_learning.tasks.task import Error, Task


class Trial(NamedTuple):
    """One trial: inputs [T, n_in], targets [T, n_out], and the weight of each error."""

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def from_neurogym(env: Any, *, n_trials: int, tau: ArrayLike, key: jax.Array, loss: Error | None = None) -> Task:
    """A fixed batch of trials of a neurogym environment, with its ground truth as the target.

    Observations are the inputs. Actions that are choices have one output each, of which the target is 1 for the right
    one and 0 for the others; other actions are the target themselves. All steps of a trial count alike, its mean over
    trials, steps and outputs; shorter trials are filled up with steps of no input that do not count. As in programs
    that use neurogym, y is read after the update by the observation of the same step (`Task.read_after_update`).

    Args:
        env: an environment of trials, `neurogym.make("PerceptualDecisionMaking-v0", dt=20)`, with wrappers or without.
            It is seeded, and goes on by as many trials. neurogym itself is not needed by this package.
        n_trials: B.
        tau: the time constant of a neuron in the unit of `env.dt`, milliseconds; the task has the step `env.dt / tau`.
        key: a jax random key, from which the environment is seeded.
        loss: as of a `Task`: cross-entropy in place of squares, say.

    Raises:
        ValueError: if env is no environment of trials, has no ground truth, or draws its trials from elsewhere than its
            seed; or for arguments as those of a `Task`.

    Source: neurogym 2 (Molano-Mazon et al. 2022), `TrialEnv.new_trial`, `ob` and `gt`.
    """
    check_key(key, "from_neurogym")
    n_trials = count(n_trials, "from_neurogym: n_trials")
    base: Any = getattr(env, "unwrapped", None)
    if not all(hasattr(base, name) for name in ("new_trial", "seed", "dt", "action_space")):
        raise ValueError(
            f"from_neurogym: env must be an environment of trials, such as "
            f'neurogym.make("PerceptualDecisionMaking-v0", dt=20), got {type(env).__name__}.'
        )

    def draw(seed: int, n: int) -> list[Trial]:
        base.seed(seed)
        layer = env
        while not hasattr(layer, "new_trial"):
            layer = layer.env
        found = []
        for _ in range(n):
            layer.new_trial()
            inputs = np.asarray(base.ob, float).reshape(len(base.ob), -1)
            right = np.asarray(getattr(base, "gt", ()))
            if len(right) != len(inputs):
                raise ValueError(
                    f"from_neurogym: {type(base).__name__} has no ground truth to learn from; it is for reinforcement."
                )
            n_choices = getattr(base.action_space, "n", None)
            if right.ndim == 1 and n_choices is not None:
                right = np.eye(n_choices)[right.astype(int) - int(getattr(base.action_space, "start", 0))]
            right = right.astype(float).reshape(len(inputs), -1)
            found.append(Trial(inputs, right, np.ones_like(right)))
        return found

    tau = scalar(tau, "from_neurogym: tau", "above 0, a time constant in the unit of env.dt", 0)
    return _batch(draw, n_trials, base.dt / tau, key, loss, "from_neurogym")


def from_psychrnn(task: Any, *, n_trials: int | None = None, key: jax.Array, loss: Error | None = None) -> Task:
    """A fixed batch of trials of a PsychRNN task, with its loss `mean((mask (y - y*))^2)`.

    The mean is over all trials, steps and outputs, masked or not, as there. The step is `task.dt / task.tau`, and y is
    read after the update by the input of the same step (`Task.read_after_update`). PsychRNN's `rec_noise` is
    `state_noise = rec_noise * sqrt(2 dt / tau)`, its `L2_firing_rate` an `activity_penalty`.

    Args:
        task: an object with `N_in`, `N_out`, `N_steps`, `dt`, `tau`, `generate_trial_params(batch, trial)` and
            `trial_function(time, params)`, which returns input, target and mask. A copy of it is used, and PsychRNN
            itself (with tensorflow) is not needed by this package.
        n_trials: B; None: `task.N_batch`.
        key: a jax random key, from which numpy's generator, of which such tasks draw, is seeded; afterwards it is as
            before.
        loss: as of a `Task`, in place of squares.

    Raises:
        ValueError: if the task has no such interface, or draws its trials from elsewhere than numpy's generator; or for
            arguments as those of a `Task`.

    Source: PsychRNN 1.0 (Ehrlich et al. 2021), `Task.generate_trial`, `LossFunction.mean_squared_error`.

    Examples:
        >>> class Copy:
        ...     N_in, N_out, N_steps, N_batch, dt, tau = 1, 1, 5, 3, 10, 100
        ...     def generate_trial_params(self, batch, trial):
        ...         return {"height": np.random.normal()}
        ...     def trial_function(self, time, params):
        ...         return params["height"], params["height"], time >= 30
        >>> task = ol.tasks.from_psychrnn(Copy(), key=jax.random.key(0))
        >>> task.inputs.shape, float(task.dt), task.weights[0, :, 0].round(3).tolist()
        ((3, 6, 1), 0.1, [0.0, 0.0, 0.0, 0.0, 0.067, 0.067])
    """
    check_key(key, "from_psychrnn")
    needed = ("N_in", "N_out", "N_steps", "dt", "tau", "generate_trial_params", "trial_function")
    if missing := [name for name in needed if not hasattr(task, name)]:
        raise ValueError(
            f"from_psychrnn: task must have {', '.join(needed)}, as psychrnn.tasks.task.Task; {type(task).__name__} "
            f"has no {', '.join(missing)}."
        )
    n_trials = count(getattr(task, "N_batch", None) if n_trials is None else n_trials, "from_psychrnn: n_trials")

    def draw(seed: int, n: int) -> list[Trial]:
        own = copy.deepcopy(task)
        found = []
        with _numpy_seeded(seed):
            for trial in range(n):
                params = own.generate_trial_params(1, trial)
                steps = [own.trial_function(k * own.dt, params) for k in range(own.N_steps)]
                widths = (own.N_in, own.N_out, own.N_out)
                inputs, targets, mask = (
                    np.stack([np.broadcast_to(np.asarray(step[i], float), width) for step in steps])
                    for i, width in enumerate(widths)
                )
                found.append(Trial(inputs, targets, np.square(mask)))
        return found

    return _batch(draw, n_trials, task.dt / task.tau, key, loss, "from_psychrnn")


def _batch(
    draw: Callable[[int, int], list[Trial]], n_trials: int, dt: Any, key: jax.Array, loss: Error | None, caller: str
) -> Task:
    """Trials of one seed, filled up to the length of the longest.

    Raises:
        ValueError: if the seed does not determine them.
    """
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    trials = draw(seed, n_trials)
    again = draw(seed, 1)[0]
    if not all(
        a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in zip(trials[0], again, strict=True)
    ):
        raise ValueError(
            f"{caller}: the same seed gave other trials: they are drawn from a generator of their own, or depend on "
            "trials before. Draw them there, and pass the arrays: ol.Task(inputs, targets, weights, dt)."
        )
    n_steps = max(len(trial.inputs) for trial in trials)
    inputs, targets, weights = (
        np.stack([np.pad(array, ((0, n_steps - len(array)), (0, 0))) for array in arrays])
        for arrays in zip(*trials, strict=True)
    )
    n_counted = sum(trial.weights.size for trial in trials)
    if loss is not None and np.shape(jax.eval_shape(loss, targets, targets))[-1:] == (1,):
        # An error of all outputs together is counted where any of them is.
        weights = weights.max(axis=-1, keepdims=True)
        n_counted = sum(len(trial.weights) for trial in trials)
    return Task(inputs, targets, weights / n_counted, dt, loss=loss).read_after_update()


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Numpy's shared generator from a seed, and after that as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
