"""Sentences: what is drawn of them, what the rule makes of them, and what is read of files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.tasks.lexicon import FACTOR, REACH, Lexicon

SIZES = (3000, 400, 300)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def corpus():
    return ol.tasks.synthetic_corpus(KEY, sizes=SIZES, n_words=2000, label_noise=0.1)


def by_hand(lexicon, words):
    """The score of one sentence, word by word."""
    total = 0.0
    for t, word in enumerate(words):
        sign = (-1) ** sum(bool(lexicon.is_negator[w]) for w in words[max(0, t - REACH) : t])
        factor = FACTOR if t and lexicon.is_intensifier[words[t - 1]] else 1.0
        total += sign * factor * lexicon.polarity[word]
    return total


def test_a_negator_turns_the_three_words_after_it_round_and_an_intensifier_the_next_up():
    # Words: 0 padding, 1 negator, 2 intensifier, 3 of polarity 1, 4 of polarity -2.
    lexicon = Lexicon(np.array([0.0, 0.0, 0.0, 1.0, -2.0]), np.arange(5) == 1, np.arange(5) == 2)
    cases = {
        (3,): 1,
        (1, 3): -1,
        (1, 1, 3): 1,
        (1, 3, 3, 3, 3): -2,
        (2, 4): -2 * FACTOR,
        (1, 2, 4): 2 * FACTOR,
        (4, 1): -2,
    }
    for words, score in cases.items():
        # What stands in the padding counts for nothing.
        padded = [*words, *[3] * (6 - len(words))]
        assert lexicon.score([padded], [len(words)]).tolist() == [score]


def test_labels_follow_the_rule_but_for_the_noise(corpus):
    lexicon = Lexicon.sample(2000, np.random.default_rng(np.ravel(jax.random.key_data(KEY))))
    scores = np.array([by_hand(lexicon, s[:n]) for s, n in zip(corpus.train.words, corpus.train.lengths, strict=True)])
    told = scores != 0
    share = np.mean((scores > 0)[told] == (corpus.train.labels == 1)[told])
    # A binomial share of 0.9 and of 1/2: five standard errors.
    error = np.sqrt(0.09 / told.sum())
    assert abs(share - 0.9) < 5 * error
    assert abs(corpus.train.labels.mean() - 0.5) < 5 * 0.5 / np.sqrt(SIZES[0])
    # The same rule without negation is told from it.
    without = Lexicon(lexicon.polarity, np.zeros(2000, bool), lexicon.is_intensifier)
    plain = without.score(corpus.train.words, corpus.train.lengths)
    assert np.mean((plain > 0)[told] == (corpus.train.labels == 1)[told]) < 0.9 - 5 * error


def test_sizes_lengths_and_frequencies(corpus):
    for part, size in zip((corpus.train, corpus.valid, corpus.test), SIZES, strict=True):
        assert part.words.shape == (size, 50)
        inside = np.arange(50) < part.lengths[:, None]
        assert np.all((part.words > 0) == inside)
    lengths = corpus.train.lengths
    assert lengths.min() >= 3
    # Log-normal of spread 0.5: standard deviation 0.53 of the mean; what the limits cut off moves it by less than 2 %.
    assert abs(lengths.mean() / 20 - 1) < 0.02 + 5 * 0.53 / np.sqrt(SIZES[0])
    counts = np.bincount(corpus.train.words[corpus.train.words > 0], minlength=2000)
    share = counts[[1, 2, 10]] / counts.sum()
    expected = 1 / np.array([1, 2, 10]) / np.sum(1 / np.arange(1, 2000))
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(expected[0] / counts.sum()))
    assert not np.any(corpus.embeddings[0])


def test_drawn_batches_are_sentences_with_their_labels_and_read_the_last_word(corpus):
    part = corpus.valid
    batch = ol.tasks.stream(part.draw, n_trials=30).sample(jax.random.key(1))
    known = {tuple(words): (n, label) for words, n, label in zip(part.words, part.lengths, part.labels, strict=True)}
    for k, words in enumerate(np.asarray(batch.inputs[..., 0], int)):
        n, label = known[tuple(words)]
        assert np.flatnonzero(batch.weights[k, :, 0]).tolist() == [n - 1]
        assert np.all(batch.targets[k] == label)
    assert len({*np.asarray(batch.inputs[:, 0, 1])}) == 30
    # Of outputs that are log p / (1 - p), the loss is -log p, and ln 2 for outputs of 0.
    assert float(batch.silent_loss()) == pytest.approx(np.log(2), rel=1e-12)
    sure = 3.0 * (2 * batch.targets - 1)
    assert float(batch.loss(sure)) == pytest.approx(np.log1p(np.exp(-3.0)), rel=1e-12)


TREES = {
    "train": "(3 (2 A) (4 (4 Good) (2 -LRB-film-RRB-)))\n\n(2 (2 neutral) (2 film))\n(0 bad)\r\n",
    "dev": "(1 (1 bad) (2 (2 Unknown) (4 good)))\n",
    "test": "(4 good)\n",
}
GLOVE = "good 1 0.5\nfilm 0 1e-1\nunseen 7 7\nbad -1 0.25\n"


def written(folder, glove=GLOVE, **parts):
    for name, text in (TREES | parts).items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    (folder / "glove.txt").write_bytes(glove if isinstance(glove, bytes) else glove.encode())
    return ol.tasks.treebank_corpus(folder, folder / "glove.txt")


def test_files_of_trees_and_vectors(tmp_path):
    corpus = written(tmp_path)
    assert corpus.train.labels.tolist() == [1, 0]
    assert corpus.train.lengths.tolist() == [3, 1]
    assert corpus.valid.labels.tolist() == [0]
    good, bad = [1, 0.5], [-1, 0.25]
    vectors = corpus.embeddings[corpus.train.words]
    assert vectors[:, :2].tolist() == [[[0, 0], good], [bad, [0, 0]]]
    # A word that no training sentence has is unknown, and so is one without a vector.
    assert corpus.embeddings[corpus.valid.words].tolist() == [[bad, [0, 0], good]]
    assert corpus.embeddings.shape == (3, 2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"dev": "(1 (1 bad)\n"}, r"dev\.txt, line 1: 1 brackets are not closed"),
        ({"dev": "(4 good)\n(5 bad)\n"}, r"dev\.txt, line 2: the label '5' is none"),
        ({"dev": "(4 good))\n"}, r"line 1: '\)' comes after the end"),
        ({"dev": "(4 good film)\n"}, "the word 'film' has no label"),
        ({"dev": "good\n"}, "the word 'good' has no label"),
        ({"dev": "(4 good (2 film))\n"}, "a tree comes after the word 'good'"),
        ({"dev": "(4 )\n"}, "closed around nothing"),
        ({"test": "(2 film)\n"}, r"test\.txt has no sentence"),
        ({"glove": "good 1 2\nbad 1\n"}, r"glove\.txt, line 2: 1 numbers after the word 'bad'.*2 numbers"),
        ({"glove": "good 1 x\n"}, r"line 1: the vector of 'good' must be finite"),
        ({"glove": "good 1 nan\n"}, "must be finite"),
        ({"glove": "other 1 2\n"}, "a vector of none of the"),
        ({"glove": b"good \xff\xfe\n"}, "no text in UTF-8"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_what_is_wrong(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        written(tmp_path, **files)


def test_a_very_deep_tree_is_read(tmp_path):
    n = 5000
    corpus = written(tmp_path, dev="(1 (2 bad) " * n + "(1 bad)" + ")" * n)
    assert corpus.valid.lengths.tolist() == [n + 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": [[1, 9], [2, 0]]}, "train has word 9, and the last one with an embedding is 4"),
        ({"words": [[1, -1], [2, 0]]}, "words must be from 0"),
        ({"lengths": [0, 1]}, "lengths must be from 1 to 2"),
        ({"labels": [1, 2]}, "labels must be from 0 to 1"),
        ({"labels": [1]}, "must agree"),
        ({"words": [[1.0, 2.0], [2.0, 0.0]]}, "words must be integers"),
    ],
)
def test_arrays_that_are_no_sentences_are_refused(change, message):
    given = {"words": [[1, 3], [2, 0]], "lengths": [2, 1], "labels": [1, 0]}
    good = ol.tasks.Sentences(**given)
    with pytest.raises(ValueError, match=message):
        ol.tasks.Corpus(np.eye(5) * (np.arange(5) > 0), ol.tasks.Sentences(**(given | change)), good, good)


def test_a_corpus_pads_with_a_word_of_no_vector():
    part = ol.tasks.Sentences([[1]], [1], [1])
    with pytest.raises(ValueError, match="its embedding must be 0"):
        ol.tasks.Corpus(np.ones((3, 2)), part, part, part)
    with pytest.raises(ValueError, match="embeddings must be finite"):
        ol.tasks.Corpus(np.full((3, 2), jnp.nan), part, part, part)
