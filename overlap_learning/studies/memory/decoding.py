"""Decoding: which task came first, from the overlaps that are left."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy.special import betaincinv

from overlap_learning.checks import count


class Decoding(NamedTuple):
    """How well a linear decoder tells the history of one twin from the other's.

    Attributes:
        accuracy: share of twins whose history was decoded, each by a decoder that saw neither it nor its twin.
        low: lower end of the 95 % confidence interval of the accuracy.
        high: upper end.
        p_value: share of permutations (swaps of the labels within pairs) that decode at least as well.
        n_pairs: number of pairs.
    """

    accuracy: float
    low: float
    high: float
    p_value: float
    n_pairs: int


class Noise(NamedTuple):
    """Noise on what decoders are trained on: on standardised features, and on features in their own units."""

    training: float = 0.0
    measurement: float = 0.0


def decode_history(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    n_folds: int = 10,
    training_noise: float = 0.0,
    measurement_noise: float = 0.0,
    n_permutations: int = 200,
) -> Decoding:
    """Which of two histories a network had: cross-validated logistic regression on standardised features.

    The regression is scikit-learn's with its default penalty (`|w|^2 / 2` beside the sum of the losses).

    Twins start alike, learn different things, then the same. They are never split between training and test: a decoder
    that has seen one twin knows the other's start. Scores come from held-out pairs only; chance is 1/2.

    The confidence interval is Clopper and Pearson's, for as many independent decisions as have the variance that the
    scores of pairs have: between one per pair (twins that are right or wrong together) and two. It does not shrink to a
    point where all decisions are right. It is that of new pairs for these decoders; other folds would give others.

    Args:
        first: features of the networks with the first history, shape [n_pairs, n_features], such as their invisible
            overlaps.
        second: features of their twins with the second history, same shape and order.
        seed: of folds, noise and permutations.
        n_folds: folds of the cross-validation, at most n_pairs.
        training_noise: standard deviation of normal noise added to the standardised training features.
        measurement_noise: standard deviation of normal noise added to the training features in their own units, before
            they are standardised: differences that are small in absolute terms drown in it.
        n_permutations: permutations for the p-value.

    Returns:
        A `Decoding`.

    Raises:
        ImportError: if scikit-learn is not installed; the message gives the command.
        ValueError: if the shapes do not match, a feature is not finite, there are fewer than two pairs, or another
            argument is out of range.

    Source: Ger & Barak 2026, Figs. 4, 9, 10 (whose twins were split between training and test from the second phase
        on); Korn & Graubard 1998 for the interval.

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
    n_permutations = count(n_permutations, "decode_history: n_permutations")
    noise = Noise(training_noise, measurement_noise)
    for name, value in zip(("training_noise", "measurement_noise"), noise, strict=True):
        if not 0 <= value < np.inf:
            raise ValueError(f"decode_history: {name} must be at least 0, got {value}.")
    rng = np.random.default_rng(seed)
    folds = np.array_split(rng.permutation(len(first)), n_folds)
    correct = _held_out(first, second, folds, noise, rng)
    accuracy = float(correct.mean())
    low, high = _interval(correct)
    at_least = 0
    for _ in range(n_permutations):
        swap = rng.random(len(first))[:, None] < 0.5
        exchanged = _held_out(np.where(swap, second, first), np.where(swap, first, second), folds, noise, rng)
        at_least += int(exchanged.mean() >= accuracy)
    # The observed labelling is itself one of the permutations.
    return Decoding(accuracy, low, high, (at_least + 1) / (n_permutations + 1), len(first))


def _interval(correct: np.ndarray) -> tuple[float, float]:
    """The 95 % confidence interval of a mean of decisions [n_pairs, 2], of which those of a pair may depend."""
    n_pairs, share = len(correct), float(correct.mean())
    variance = float(correct.mean(axis=1).var(ddof=1)) / n_pairs
    independent = share * (1 - share)
    # As many independent decisions as would have this variance. Two of a pair are not more than two.
    n = n_pairs if independent == 0 else np.clip(independent / max(variance, 1e-300), n_pairs, 2 * n_pairs)
    right = share * n
    low = betaincinv(right, n - right + 1, 0.025) if right > 0 else 0.0
    high = betaincinv(right + 1, n - right, 0.975) if right < n else 1.0
    return float(low), float(high)


def _held_out(
    first: np.ndarray, second: np.ndarray, folds: list[np.ndarray], noise: Noise, rng: np.random.Generator
) -> np.ndarray:
    """Whether each twin of each pair was decoded, shape [n_pairs, 2], by the decoder of the fold that left both out."""
    n_pairs = len(first)
    rows = np.stack([first, second], axis=1).reshape(2 * n_pairs, -1)
    labels = np.tile([0.0, 1.0], n_pairs)
    fold = np.empty(n_pairs, dtype=int)
    for i, held in enumerate(folds):
        fold[held] = i
    fold = np.repeat(fold, 2)
    # All folds side by side: rows that a fold leaves out have no weight in it.
    weights = (fold != np.arange(len(folds))[:, None]).astype(float)
    total = weights.sum(axis=1)[:, None]
    measured = rows + noise.measurement * rng.normal(size=rows.shape) if noise.measurement else rows
    mean = weights @ measured / total
    scale = np.sqrt(np.einsum("fn,fnp->fp", weights, np.square(measured - mean[:, None])) / total)
    scale = np.where(scale > 0, scale, 1.0)
    noisy = (measured - mean[:, None]) / scale[:, None]
    if noise.training:
        noisy = noisy + noise.training * rng.normal(size=noisy.shape)
    decoders = np.stack([_fit(x[seen], labels[seen]) for x, seen in zip(noisy, weights > 0, strict=True)])
    # What is decoded is without noise.
    decision = _with_constant((rows - mean[fold]) / scale[fold]) * decoders[fold]
    return ((decision.sum(axis=1) > 0) == labels).reshape(n_pairs, 2).astype(float)


def _fit(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The coefficients and the constant of a logistic regression, shape [p + 1].

    Raises:
        ImportError: if scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ImportError("decode_history needs scikit-learn: pip install 'overlap_learning[studies]'.") from None

    # Newton's method: few, small problems, solved to the end, many times over.
    decoder = LogisticRegression(solver="newton-cholesky").fit(features, labels)
    return np.append(decoder.coef_[0], decoder.intercept_)


def _with_constant(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)
