"""Decoding: which task came first, from the overlaps that are left."""

from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy.special import betaincinv

from overlap_learning.checks import check_key, count

#: The ridge of the squared distance in the sign-flip test, in units of each feature's mean square.
RIDGE = 0.1


class Decoding(NamedTuple):
    """How well the history of networks is told from their overlaps.

    Attributes:
        accuracy: share of decisions that were right, each by a decoder that saw neither twin of the pair; chance is
            1/2. A tie counts one half.
        low: lower end of the 95 % confidence interval of the accuracy.
        high: upper end.
        p_value: how probable networks without a history are to differ as much, if the test is exact; what is compared
            is said by the function that made it.
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
    key: jax.Array,
    n_folds: int = 5,
    training_noise: float = 0.0,
    measurement_noise: float = 0.0,
    n_flips: int = 10_000,
) -> Decoding:
    r"""Which twin of a pair had which history: their difference, decoded, and tested by flips of its sign.

    Twins start alike and part by what they learned, so their difference `d_i = first_i - second_i` holds the history
    and not the start. Where starts vary more than histories do, this finds what decoders of single twins
    (`decode_single_twins`) cannot.

    *Accuracy.* Each pair is left out once, with its fold. scikit-learn's logistic regression without a constant, with
    its default penalty, learns a direction w from the pairs j of all other folds, each of them in both orders:

        minimise `|w|^2 / 2 + 2 sum_j log(1 + exp(-w . d_j / s))`,  `s_k^2 = mean_j d_jk^2`,

    and is right about a pair i that was left out if `w . d_i / s > 0`.

    *Interval.* Decisions about left-out pairs depend on each other: pair i trains the decoder of pair j, and j that of
    i. Without a history the two are right or wrong together, which nearly doubles the variance of the accuracy (and
    multiplies it by more, the more pairs there are, if each is a fold of its own); a binomial interval then covers
    chance in as few as 87 % of experiments. The interval is that of Clopper and Pearson for `n / (1 + K / (K - 1))`
    decisions with K folds, fewer than half as many as there are pairs: the correction of Nadeau and Bengio. With five
    folds it covers in 98 % of experiments or more. Being that wide, it is for the size of an effect; whether there is
    one is for the p-value to say.

    *p-value.* Without a history the first twin of a pair could as well be the second, and every sign of every `d_i` is
    as probable. The p-value is the share of flips of signs for which the differences look at least as much like a
    history as they do, the flips that change nothing among them (no mid-p: `p <= a` has a probability of at most a).
    It is exact for any number of pairs and features. All flips are counted if there are at most n_flips of them; as
    flipping all signs at once changes nothing, those are `2^(n - 1)`, and the smallest p-value of n pairs is
    `2^(1 - n)`: .03 for six. Else n_flips of them are drawn, and the p-value is `(1 + as extreme) / (1 + n_flips)`.

    It is about other starts. What all pairs share besides a task is history too: twins of `train_twins` see the same
    trials, and those of one task with two sequences of trials are told apart as well, from differences that are tiny.
    So look at the size of a difference, and decode twins that were trained with another key.

    Three measures of the mean difference `m_k = mean_i d_ik / r_k`, with `r_k^2 = mean_i d_ik^2`, are compared, because
    which of them sees most depends on what a history is like:

        `max_k |m_k|` (one overlap has it), `|m|^2` (all have some of it), and `m' (R + 0.1 I)^-1 m` with
        `R_kl = mean_i d_ik d_il / (r_k r_l)` (Hotelling's, with a ridge: a direction in which pairs hardly vary).

    Each flip has the smallest of its three p-values as its score, and the p-value is that of this score.

    Args:
        first: features of the networks with the first history, shape [n_pairs, n_features], such as their invisible
            overlaps.
        second: features of their twins with the second history, same shape and order. A combination of features that
            learning conserves is the same in both twins and holds no history; differences of the size of rounding count
            like any others, unless noise hides them.
        key: a jax random key, of folds, noise and flips.
        n_folds: folds of the cross-validation, at most n_pairs. With more than ten the interval is too narrow.
        training_noise: standard deviation of normal noise on what is known of the networks that a decoder is trained on
            and that the p-value compares, in units of each feature's spread over those networks. What is decoded is
            without noise.
        measurement_noise: the same in the features' own units: differences that are small in absolute terms drown in
            it.
        n_flips: the most flips of signs that are compared.

    Returns:
        A `Decoding`.

    Raises:
        ImportError: if scikit-learn is not installed; the message gives the command.
        ValueError: if the shapes do not match, a feature is not finite, there are fewer than two pairs, or another
            argument is out of range.

    Source: Ger & Barak 2026, Figs. 4, 9, 10, for the question (they decode single twins); Fisher 1935 for flips of
    signs; Pesarin & Salmaso 2010 for the combination of tests; Nadeau & Bengio 2003 for the interval.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> start = 3.0 * rng.normal(size=(12, 3))
        >>> first, second = start + 0.3 * rng.normal(size=(2, 12, 3))
        >>> found = ol.studies.decode_history(first + 0.5, second, key=jax.random.key(0))
        >>> found.accuracy > 0.9, found.p_value < 0.01
        (True, True)
    """
    first, second, noise = _checked(first, second, key, training_noise, measurement_noise, "decode_history")
    n = len(first)
    n_folds = min(count(n_folds, "decode_history: n_folds", least=2), n)
    n_flips = count(n_flips, "decode_history: n_flips")
    rng = _generator(key)
    correct = _left_out_pairs(first, second, np.array_split(rng.permutation(n), n_folds), noise, rng)
    low, high = _clopper_pearson(correct.mean(), n / (1 + n_folds / (n_folds - 1)))
    noisy = _noisy(np.stack([first, second]), noise, rng)
    scores = _scores(noisy[0] - noisy[1], _signs(n, n_flips, rng))
    return Decoding(float(correct.mean()), low, high, float(np.mean(scores <= scores[0])), n)


def decode_single_twins(
    first: ArrayLike,
    second: ArrayLike,
    *,
    key: jax.Array,
    n_folds: int = 10,
    training_noise: float = 0.0,
    measurement_noise: float = 0.0,
    n_permutations: int = 200,
) -> Decoding:
    """Which of two histories a network had, without its twin: cross-validated logistic regression, as published.

    A decoder of single networks has to see a history through the spread of the starts. Compare `decode_history`, which
    has both twins of a pair before it, and finds far smaller differences.

    The regression is scikit-learn's with its default penalty (`|w|^2 / 2` beside the sum of the losses), on
    standardised features. Twins are never split between training and test: a decoder that has seen one twin knows the
    other's start. Scores come from held-out pairs only; chance is 1/2. The p-value is the share of relabellings within
    pairs, the given labels among them, that decode at least as well.

    The confidence interval is Clopper and Pearson's, for as many independent decisions as have the variance that the
    scores of pairs have: between one per pair (twins that are right or wrong together) and two. It does not shrink to a
    point where all decisions are right. It takes pairs as independent, and is therefore too narrow near chance; other
    folds would give others.

    Args:
        first: features of the networks with the first history, shape [n_pairs, n_features], such as their invisible
            overlaps.
        second: features of their twins with the second history, same shape and order.
        key: a jax random key, of folds, noise and permutations.
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
        >>> from overlap_learning.studies.memory.decoding import decode_single_twins
        >>> rng = np.random.default_rng(0)
        >>> start = rng.normal(size=(40, 3))
        >>> found = decode_single_twins(start + 1.0, start - 1.0, key=jax.random.key(0), n_permutations=50)
        >>> found.accuracy > 0.7, found.p_value < 0.05
        (True, True)
    """
    first, second, noise = _checked(first, second, key, training_noise, measurement_noise, "decode_single_twins")
    n_folds = min(count(n_folds, "decode_single_twins: n_folds", least=2), len(first))
    n_permutations = count(n_permutations, "decode_single_twins: n_permutations")
    rng = _generator(key)
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


def _checked(
    first: ArrayLike, second: ArrayLike, key: jax.Array, training_noise: float, measurement_noise: float, caller: str
) -> tuple[np.ndarray, np.ndarray, Noise]:
    """Features [n_pairs, n_features] of both histories as numbers, and the noise.

    Raises:
        ValueError: naming the caller.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2 or first.shape[1] == 0:
        raise ValueError(
            f"{caller}: first and second must both have shape [n_pairs, n_features] with two or more pairs and a "
            f"feature, got {list(first.shape)} and {list(second.shape)}."
        )
    if not (np.all(np.isfinite(first)) and np.all(np.isfinite(second))):
        raise ValueError(f"{caller}: features must be finite; leave out pairs whose learning diverged.")
    check_key(key, caller)
    noise = Noise(training_noise, measurement_noise)
    for name, value in zip(("training_noise", "measurement_noise"), noise, strict=True):
        if not 0 <= value < np.inf:
            raise ValueError(f"{caller}: {name} must be at least 0, got {value}.")
    return first, second, noise


def _generator(key: jax.Array) -> np.random.Generator:
    # Numpy draws: the shapes are many and small, and jax would compile a program for each.
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _clopper_pearson(share: float, n: float) -> tuple[float, float]:
    """The exact 95 % confidence interval of a probability, from the share of n decisions; n need not be whole."""
    right = share * n
    low = betaincinv(right, n - right + 1, 0.025) if right > 0 else 0.0
    high = betaincinv(right + 1, n - right, 0.975) if right < n else 1.0
    return float(low), float(high)


# -- pairs -----------------------------------------------------------------------------------------------------------


def _noisy(networks: np.ndarray, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Features [2, n_pairs, n_features] with noise, in their own units; the spread is that over all these networks."""
    if noise.measurement:
        networks = networks + noise.measurement * rng.normal(size=networks.shape)
    if noise.training:
        networks = networks + noise.training * networks.std(axis=(0, 1)) * rng.normal(size=networks.shape)
    return networks


def _left_out_pairs(
    first: np.ndarray, second: np.ndarray, folds: list[np.ndarray], noise: Noise, rng: np.random.Generator
) -> np.ndarray:
    """Whether each pair was decoded by the decoder of all other folds, shape [n_pairs]: 1, 0, or 1/2 for a tie."""
    networks = np.stack([first, second])
    correct = np.empty(len(first))
    for held in folds:
        # Noise is drawn anew for each decoder. With one draw for all of them they would err together.
        seen = _noisy(np.delete(networks, held, axis=1), noise, rng)
        scale = _root_mean_square(seen[0] - seen[1])
        rows = (seen[0] - seen[1]) / scale
        decoder = _fit(np.concatenate([rows, -rows]), np.repeat([1.0, 0.0], len(rows)), with_constant=False)
        # What is decoded is without noise.
        correct[held] = (1 + np.sign((first[held] - second[held]) / scale @ decoder)) / 2
    return correct


def _root_mean_square(difference: np.ndarray) -> np.ndarray:
    """Of each feature, shape [n_features], not centred: no order of a pair is the right one. 1 where all are 0."""
    scale = np.sqrt(np.mean(np.square(difference), axis=0))
    return np.where(scale > 0, scale, 1.0)


def _signs(n_pairs: int, n_flips: int, rng: np.random.Generator) -> np.ndarray:
    """Flips of the signs of pairs, shape [n, n_pairs]; the first flips none. All there are if at most n_flips.

    The first pair is not flipped where all flips are counted: flipping all of them changes no score.
    """
    # 2^(n_pairs - 1), without its overflow.
    if n_pairs - 1 < 60 and 2 ** (n_pairs - 1) <= n_flips:
        flips = np.arange(2 ** (n_pairs - 1))[:, None] >> np.arange(n_pairs - 1) & 1
        return np.concatenate([np.ones((len(flips), 1)), 1.0 - 2.0 * flips], axis=1)
    drawn = 1.0 - 2.0 * rng.integers(0, 2, size=(n_flips, n_pairs))
    return np.concatenate([np.ones((1, n_pairs)), drawn])


def _scores(difference: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """How much each flip of differences [n_pairs, n_features] looks like a history, shape [n_flips]: less is more."""
    return np.min(_tails(difference, signs), axis=0)


def _tails(difference: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The share of flips that are at least as extreme as each, by each of three measures, shape [3, n_flips]."""
    rows = difference / _root_mean_square(difference)
    # Scale and second moment are the same for all flips.
    moment = rows.T @ rows / len(rows)
    means = signs @ rows / len(rows)
    distance = np.linalg.solve(moment + RIDGE * np.eye(len(moment)), means.T).T
    measures = (np.max(np.abs(means), axis=1), np.sum(means**2, axis=1), np.sum(means * distance, axis=1))
    return np.stack([_tail(measure) for measure in measures])


def _tail(measure: np.ndarray) -> np.ndarray:
    """The share of flips with at least each value. Values that differ by rounding alone are the same."""
    levels = np.round(measure / max(measure.max(), np.finfo(float).tiny), 9)
    ordered = np.sort(levels)
    return 1 - np.searchsorted(ordered, levels, side="left") / len(levels)


# -- single twins ----------------------------------------------------------------------------------------------------


def _interval(correct: np.ndarray) -> tuple[float, float]:
    """The 95 % confidence interval of a mean of decisions [n_pairs, 2], of which those of a pair may depend."""
    n_pairs, share = len(correct), float(correct.mean())
    variance = float(correct.mean(axis=1).var(ddof=1)) / n_pairs
    independent = share * (1 - share)
    # As many independent decisions as would have this variance. Two of a pair are not more than two.
    n = n_pairs if independent == 0 else np.clip(independent / max(variance, 1e-300), n_pairs, 2 * n_pairs)
    return _clopper_pearson(share, float(n))


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


def _fit(features: np.ndarray, labels: np.ndarray, with_constant: bool = True) -> np.ndarray:
    """The coefficients of a logistic regression and, if it has one, its constant, shape [p] or [p + 1].

    Raises:
        ImportError: if scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ImportError("decoding needs scikit-learn: pip install 'overlap_learning[studies]'.") from None

    # Newton's method: few, small problems, solved to the end, many times over.
    decoder = LogisticRegression(solver="newton-cholesky", fit_intercept=with_constant).fit(features, labels)
    return np.append(decoder.coef_[0], decoder.intercept_) if with_constant else decoder.coef_[0]


def _with_constant(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)
