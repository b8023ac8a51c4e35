"""Lexicon: words that have a polarity, turn that of others round or add weight to it, and sentences made of them."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from overlap_learning.checks import check_key, count, refuse_traced, scalar
from overlap_learning.tasks.corpus import MOST_NUMBERS, Corpus, Sentences

#: The number of words that a negator turns round, and the factor of an intensifier.
REACH, FACTOR = 3, 3.0
#: The commonest words have no polarity; negators and intensifiers are among them.
N_FUNCTION_WORDS = 100
N_NEGATORS = N_INTENSIFIERS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Lexicon:
    """What each word does to the score of a sentence.

    The score is `sum_t (-1)^n_t f_t p_t` over its words: p is the polarity of a word, n_t how many of the 3 words
    before are negators, f_t = 3 right after an intensifier, else 1.

    Args:
        polarity: p of each word, shape [V].
        is_negator: whether a word turns those after it round, shape [V].
        is_intensifier: whether it adds weight to the next, shape [V].
    """

    polarity: np.ndarray
    is_negator: np.ndarray
    is_intensifier: np.ndarray

    @classmethod
    def sample(cls, n_words: int, random: np.random.Generator) -> "Lexicon":
        """Normal polarities; negators and intensifiers are at random places among the commonest words."""
        rank = np.arange(n_words)
        polarity = np.where(rank > N_FUNCTION_WORDS, random.normal(size=n_words), 0.0)
        places = 1 + random.permutation(N_FUNCTION_WORDS)
        is_negator = np.isin(rank, places[:N_NEGATORS])
        return cls(polarity, is_negator, np.isin(rank, places[N_NEGATORS : N_NEGATORS + N_INTENSIFIERS]))

    def score(self, words: Any, lengths: Any) -> np.ndarray:
        """The score of sentences, shape [n], of words [n, L] and lengths [n]."""
        words, inside = np.asarray(words), np.arange(np.shape(words)[1]) < np.asarray(lengths)[:, None]

        def before(flags: np.ndarray, by: int) -> np.ndarray:
            return np.pad(flags[words], ((0, 0), (by, 0)))[:, : words.shape[1]]

        n_negators = sum(before(self.is_negator, by).astype(int) for by in range(1, REACH + 1))
        factor = np.where(before(self.is_intensifier, 1), FACTOR, 1.0)
        return np.sum(inside * (-1.0) ** n_negators * factor * self.polarity[words], axis=1)

    def embeddings(self, n_dimensions: int, strength: float, random: np.random.Generator) -> np.ndarray:
        """Normal vectors, shape [V, E], and along three random directions what a word does, times the strength."""
        directions = random.normal(size=(3, n_dimensions))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        roles = np.stack([self.polarity, self.is_negator, self.is_intensifier], axis=1)
        vectors = random.normal(size=(self.polarity.size, n_dimensions)) + strength * roles @ directions
        vectors[0] = 0.0
        return vectors.astype(np.float32)


def synthetic_corpus(
    key: jax.Array,
    *,
    sizes: tuple[int, int, int] = (6920, 872, 1821),
    n_words: int = 15_000,
    n_dimensions: int = 100,
    mean_length: float = 20.0,
    shortest: int = 3,
    longest: int = 50,
    strength: float = 6.0,
    label_noise: float = 0.1,
) -> Corpus:
    """Sentences in place of the Stanford Sentiment Treebank, made without a file: what is positive follows a rule.

    Words have Zipf's frequencies, `p ~ 1 / rank`, and sentences log-normal lengths. The label is the sign of the sum
    of the polarities of the words. A negator turns round the polarities of the three words after it, an intensifier
    multiplies that of the next by 3. A share of the labels is turned round, so that the best that can be learned is to
    be right in `1 - label_noise` of the sentences. A word's vector is of normal numbers of variance 1, to which its
    polarity adds along one direction.

    Args:
        key: a jax random key.
        sizes: sentences to learn from, to look at meanwhile and to look at once; by default those of the treebank.
        n_words: V, with the padding, word 0.
        n_dimensions: E, of a word's vector.
        mean_length: the mean number of words of a sentence, before it is kept within the two limits.
        shortest: words of the shortest sentences.
        longest: words of the longest.
        strength: how far a polarity of 1 moves a word's vector, in standard deviations of its entries.
        label_noise: the share of labels that is turned round, at most 0.5.

    Raises:
        ValueError: if an argument is out of range.

    Source: Schuessler et al. 2020, Fig. 5, whose sentences are those of the treebank (`treebank_corpus`); this rule is
    ours.

    Examples:
        >>> corpus = ol.tasks.synthetic_corpus(jax.random.key(0), sizes=(200, 50, 50))
        >>> bool(abs(corpus.train.labels.mean() - 0.5) < 0.15), bool(corpus.train.lengths.min() >= 3)
        (True, True)
    """
    caller = "synthetic_corpus"
    check_key(key, caller)
    refuse_traced(caller, key)
    least = N_FUNCTION_WORDS + 2
    n_words = count(n_words, f"{caller}: n_words", least, MOST_NUMBERS)
    n_dimensions = count(n_dimensions, f"{caller}: n_dimensions")
    shortest = count(shortest, f"{caller}: shortest")
    longest = count(longest, f"{caller}: longest", shortest)
    mean = scalar(mean_length, f"{caller}: mean_length", f"from shortest={shortest} to {longest}", shortest, longest,
                  open_low=False)  # fmt: skip
    strength = float(scalar(strength, f"{caller}: strength", "at least 0", 0, open_low=False))
    noise = float(scalar(label_noise, f"{caller}: label_noise", "at least 0, at most 0.5", 0, 0.5, open_low=False))
    if not isinstance(sizes, (tuple, list)) or len(sizes) != 3:
        raise ValueError(f"{caller}: sizes must be three, (6920, 872, 1821) for instance, got {sizes!r}.")
    ends = np.cumsum([count(size, f"{caller}: a size") for size in sizes])
    n = int(ends[-1])
    # On the host: each shape that jax draws is a program to compile.
    random = np.random.default_rng(np.ravel(jax.random.key_data(key)))
    lexicon = Lexicon.sample(n_words, random)
    # Of a log-normal number of this spread in its logarithm; that of the treebank's lengths is about the same.
    spread = 0.5
    logarithm = math.log(float(mean)) - spread**2 / 2 + spread * random.normal(size=n)
    lengths = np.clip(np.rint(np.exp(logarithm)), shortest, longest).astype(int)
    frequency = np.cumsum(1 / np.arange(1, n_words))
    drawn = random.uniform(high=frequency[-1], size=(n, longest))
    words = 1 + np.searchsorted(frequency, drawn, side="right").clip(max=n_words - 2)
    words[np.arange(longest) >= lengths[:, None]] = 0
    score = lexicon.score(words, lengths)
    # A sentence without polarity is as often positive as negative.
    coin, turned = random.uniform(size=(2, n))
    labels = np.where(score == 0, coin < 0.5, score > 0) ^ (turned < noise)
    parts = [Sentences(*part) for part in zip(*(np.split(a, ends[:-1]) for a in (words, lengths, labels.astype(int))),
                                              strict=False)]  # fmt: skip
    return Corpus(lexicon.embeddings(n_dimensions, strength, random), *parts)
