"""Trials: what each learning step draws."""

from typing import Any

import jax

from overlap_learning.learning.rules import AbstractRule
from overlap_learning.module import Module
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task


class Trials(Module):
    """Where the trials of each step come from; without a key if nothing is drawn."""

    task: Task | TaskStream
    key: jax.Array | None

    def draw(self, rule: AbstractRule, step: jax.Array, dtype: Any) -> tuple[Task, Task]:
        """The trials of a step, and the same with noise on the targets."""
        key = self._key_of(step)
        trial_key, choice_key, noise_key = self._keys_of(key)
        batch = self.task.sample(trial_key)
        if rule.batch_size is not None:
            chosen = jax.random.choice(choice_key, batch.n_trials, (rule.batch_size,), replace=False)
            # The mean over trials of the whole batch's loss, so that its expectation does not depend on the batch size.
            weights = batch.weights[chosen] * (batch.n_trials / rule.batch_size)
            batch = batch.replace(inputs=batch.inputs[chosen], targets=batch.targets[chosen], weights=weights)
        # A network in single precision learns on trials in single precision; a drawn batch is cast where it is drawn.
        batch = batch.astype(dtype)
        if batch.state_noise is not None:
            batch = batch.with_noise_from(jax.random.fold_in(key, 4))
        if rule.label_noise is None:
            return batch, batch
        noise = rule.label_noise * jax.random.normal(noise_key, batch.targets.shape)
        noisy = batch.replace(targets=batch.targets + noise.astype(batch.targets.dtype))
        return batch, noisy if batch.noise_key is None else noisy.with_noise_from(batch.noise_key)

    def sample(self, step: jax.Array) -> Task:
        """The trials of a step before some are chosen, without noise."""
        trial_key, _, _ = self._keys_of(self._key_of(step))
        return self.task.sample(trial_key)

    def parameter_key(self, step: jax.Array) -> jax.Array:
        """The key of the parameter noise of a step, beyond the three of its trials."""
        return jax.random.fold_in(self._key_of(step), 3)

    def _keys_of(self, key: jax.Array) -> jax.Array:
        """The keys of a step's trials, of the choice among them, and of the noise on their targets."""
        return jax.random.split(key, 3)

    def _key_of(self, step: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.key(0) if self.key is None else self.key, step)


def are_drawn(task: Task | TaskStream, rule: AbstractRule) -> bool:
    """Whether the trials, or the noise on their targets and states, differ from step to step."""
    if isinstance(task, TaskStream) or task.state_noise is not None:
        return True
    return rule.batch_size is not None or rule.label_noise is not None
