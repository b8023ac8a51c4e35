"""Corpus: sentences that are positive or negative, and the vectors of their words."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import check_key, count
from overlap_learning.tasks.task import Task

#: Word numbers and seeds go through the inputs of a task, which are floats: float32 holds integers up to here.
MOST_NUMBERS = 2**24


def binary_cross_entropy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """`-log p` of targets that are 0 or 1, of which an output y gives 1 the probability `p = 1 / (1 + exp(-y))`."""
    return jax.nn.softplus(outputs) - targets * outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences of one part of a corpus.

    `task` is all of them, and `ol.tasks.stream(sentences.draw, n_trials=64)` a fresh batch at each learning step. The
    input of a trial is the number of a word at each step, its target the label; what counts is the reading after the
    last word.

    Args:
        words: the number of each word, shape [n, L]; what comes after a sentence's length is padding.
        lengths: words of each sentence, shape [n], from 1 to L.
        labels: 1 for positive, 0 for negative, shape [n].

    Raises:
        ValueError: if shapes do not agree, or a number is none of these.

    Examples:
        >>> sentences = ol.tasks.Sentences(words=[[3, 1, 2], [4, 0, 0]], lengths=[3, 1], labels=[1, 0])
        >>> sentences.task.weights[..., 0].tolist()
        [[0.0, 0.0, 0.5], [0.5, 0.0, 0.0]]
    """

    words: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        for name, n_axes in (("words", 2), ("lengths", 1), ("labels", 1)):
            array = np.asarray(getattr(self, name))
            if array.ndim != n_axes or not np.issubdtype(array.dtype, np.integer):
                raise ValueError(
                    f"Sentences: {name} must be integers of shape {'[n, L]' if n_axes == 2 else '[n]'}, got dtype "
                    f"{array.dtype} and shape {list(array.shape)}."
                )
            object.__setattr__(self, name, array.astype(np.int32))
        n, longest = self.words.shape
        if n == 0 or self.lengths.shape != (n,) or self.labels.shape != (n,):
            raise ValueError(
                f"Sentences: words [n, L], lengths [n] and labels [n] must agree, with n at least 1; got "
                f"{list(self.words.shape)}, {list(self.lengths.shape)} and {list(self.labels.shape)}."
            )
        allowed = {"words": (0, MOST_NUMBERS), "lengths": (1, longest), "labels": (0, 1)}
        for name, (low, high) in allowed.items():
            array = getattr(self, name)
            if array.size == 0 or array.min() < low or array.max() > high:
                found = "none" if array.size == 0 else f"some from {array.min()} to {array.max()}"
                raise ValueError(f"Sentences: {name} must be from {low} to {high}, got {found}.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def task(self) -> Task:
        """All of the sentences, inputs [n, L, 1], with the binary cross-entropy of the reading after the last word."""
        return self._trials(np.arange(len(self)), ())

    def draw(self, *, key: jax.Array, n_trials: int) -> Task:
        """Sentences drawn at random, each as probable at any time, with a seed of dropout as a second input.

        Args:
            key: a jax random key.
            n_trials: how many.

        Returns:
            A `Task` with inputs [n_trials, L, 2].

        Raises:
            ValueError: if n_trials is no number of trials.
        """
        check_key(key, "Sentences.draw")
        shape = (count(n_trials, "Sentences.draw: n_trials"),)
        of_sentences, of_dropout = jax.random.split(key)
        chosen = jax.random.randint(of_sentences, shape, 0, len(self))
        return self._trials(chosen, (jax.random.randint(of_dropout, shape, 0, MOST_NUMBERS),))

    def _trials(self, chosen: Any, seeds: tuple[jax.Array, ...]) -> Task:
        """The task of chosen sentences; each seed becomes an input that is the same at all steps."""
        words, lengths, labels = (jnp.asarray(a)[chosen] for a in (self.words, self.lengths, self.labels))
        inputs = jnp.stack([words, *(jnp.broadcast_to(seed[:, None], words.shape) for seed in seeds)], axis=-1)
        targets = jnp.broadcast_to(labels[:, None, None], (*words.shape, 1))
        is_last = jnp.arange(words.shape[1]) == lengths[:, None] - 1
        weights = is_last[..., None].astype(float) / len(labels)
        return Task(inputs.astype(float), targets.astype(float), weights, 1.0, loss=binary_cross_entropy)


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Sentences in three parts, and the vectors of their words, which do not learn.

    Args:
        embeddings: the vector of each word, shape [V, E]; that of word 0, the padding and what is unknown, is 0.
        train: the `Sentences` to learn from.
        valid: those that are looked at while one learns.
        test: those that are looked at once.

    Raises:
        ValueError: if the embeddings are no finite matrix, or a sentence has a word without one.

    Examples:
        >>> part = ol.tasks.Sentences(words=[[1, 2], [2, 0]], lengths=[2, 1], labels=[1, 0])
        >>> corpus = ol.tasks.Corpus([[0.0, 0.0], [0.3, 1.0], [0.5, -1.0]], train=part, valid=part, test=part)
        >>> corpus.embeddings.shape, len(corpus.train)
        ((3, 2), 2)
    """

    embeddings: np.ndarray
    train: Sentences
    valid: Sentences
    test: Sentences

    def __post_init__(self):
        embeddings = np.asarray(self.embeddings)
        is_real = np.issubdtype(embeddings.dtype, np.floating)
        if embeddings.ndim != 2 or 0 in embeddings.shape or not is_real or not np.all(np.isfinite(embeddings)):
            raise ValueError(
                f"Corpus: embeddings must be finite real numbers of shape [V, E] (words, dimensions), got dtype "
                f"{embeddings.dtype} and shape {list(embeddings.shape)}."
            )
        if np.any(embeddings[0]):
            raise ValueError("Corpus: word 0 is the padding and what is unknown; its embedding must be 0.")
        object.__setattr__(self, "embeddings", embeddings)
        for name in ("train", "valid", "test"):
            part = getattr(self, name)
            if not isinstance(part, Sentences):
                raise ValueError(f"Corpus: {name} must be ol.tasks.Sentences, got {type(part).__name__}.")
            if part.words.max() >= len(embeddings):
                raise ValueError(
                    f"Corpus: {name} has word {part.words.max()}, and the last one with an embedding is "
                    f"{len(embeddings) - 1}."
                )
