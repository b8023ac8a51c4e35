"""Decoding: which task came first, from the overlaps that are left."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from overlap_learning.model.precision import count


class Decoding(NamedTuple):
    """How well a linear decoder tells the history of one twin from the other's.

    Attributes:
        accuracy: share of twins whose history was decoded, each by a decoder that saw neither it nor its twin.
        low: lower end of the 95 % confidence interval of the accuracy (bootstrap over pairs).
        high: upper end.
        p_value: share of permutations (swaps of the labels within pairs) that decode at least as well.
        n_pairs: number of pairs.
    """

    accuracy: float
    low: float
    high: float
    p_value: float
    n_pairs: int


def decode_history(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    n_folds: int = 10,
    training_noise: float = 0.0,
    n_permutations: int = 200,
    n_bootstrap: int = 2000,
) -> Decoding:
    """Which of two histories a network had: cross-validated logistic regression on standardised features.

    Twins start alike, learn different things, then the same. They are never split between training and test: a decoder
    that has seen one twin knows the other's start. Scores come from held-out pairs only; chance is 1/2.

    Args:
        first: features of the networks with the first history, shape [n_pairs, n_features], such as their invisible
            overlaps.
        second: features of their twins with the second history, same shape and order.
        seed: of folds, noise, permutations and bootstrap.
        n_folds: folds of the cross-validation, at most n_pairs.
        training_noise: standard deviation of normal noise added to the standardised training features.
        n_permutations: permutations for the p-value.
        n_bootstrap: bootstrap samples of the pairs for the confidence interval.

    Returns:
        A `Decoding`.

    Raises:
        ImportError: if scikit-learn is not installed; the message gives the command.
        ValueError: if the shapes do not match, a feature is not finite, or there are fewer than two pairs.

    Source: Ger & Barak 2026, Figs. 4, 9, 10 (whose twins were split between training and test from the second phase
        on).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> start = rng.normal(size=(40, 3))
        >>> found = ol.studies.decode_history(start + 1.0, start - 1.0, seed=0, n_permutations=50)
        >>> found.accuracy > 0.7, found.p_value < 0.05
        (True, True)
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "decode_history: first and second must both have shape [n_pairs, n_features] with two or more pairs, got "
            f"{list(first.shape)} and {list(second.shape)}."
        )
    if not (np.all(np.isfinite(first)) and np.all(np.isfinite(second))):
        raise ValueError("decode_history: features must be finite; leave out pairs whose learning diverged.")
    n_folds = min(count(n_folds, "decode_history: n_folds", least=2), len(first))
    rng = np.random.default_rng(seed)
    folds = np.array_split(rng.permutation(len(first)), n_folds)
    correct = _held_out(first, second, folds, training_noise, rng)
    accuracy = float(correct.mean())
    resampled = correct[rng.integers(len(correct), size=(n_bootstrap, len(correct)))].mean(axis=(1, 2))
    low, high = np.quantile(resampled, [0.025, 0.975])
    at_least = 0
    for _ in range(n_permutations):
        swap = rng.random(len(first))[:, None] < 0.5
        exchanged = _held_out(np.where(swap, second, first), np.where(swap, first, second), folds, training_noise, rng)
        at_least += int(exchanged.mean() >= accuracy)
    # The observed labelling is itself one of the permutations.
    return Decoding(accuracy, float(low), float(high), (at_least + 1) / (n_permutations + 1), len(first))


def _held_out(
    first: np.ndarray, second: np.ndarray, folds: list[np.ndarray], noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Whether each twin of each pair was decoded, shape [n_pairs, 2], by decoders of the other folds."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise ImportError("decode_history needs scikit-learn: pip install 'overlap_learning[studies]'.") from None

    correct = np.zeros((len(first), 2))
    for held in folds:
        train = np.setdiff1d(np.arange(len(first)), held)
        scaler = StandardScaler().fit(np.concatenate([first[train], second[train]]))
        features = np.asarray(scaler.transform(np.concatenate([first[train], second[train]])))
        labels = np.repeat([0, 1], len(train))
        decoder = LogisticRegression(max_iter=1000).fit(features + noise * rng.normal(size=features.shape), labels)
        for label, twins in enumerate((first, second)):
            correct[held, label] = decoder.predict(scaler.transform(twins[held])) == label
    return correct
