"""Treebank: the Stanford Sentiment Treebank and the vectors of GloVe, from their files."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from overlap_learning.checks import as_path
from overlap_learning.tasks.corpus import Corpus, Sentences

#: The beginning of a tree with its label, its end, or a word.
_PART = re.compile(r"\((?P<label>[^\s()]*)|(?P<end>\))|(?P<word>[^\s()]+)")
_LABELS = ("0", "1", "2", "3", "4")
_BRACKETS = {"-lrb-": "(", "-rrb-": ")"}


def treebank_corpus(trees: str | os.PathLike[str], vectors: str | os.PathLike[str]) -> Corpus:
    r"""The sentences of the Stanford Sentiment Treebank with vectors of GloVe, read from their published files.

    The label of a whole sentence is 0 to 4: 0 and 1 are negative, 3 and 4 positive, and those that are neutral are left
    out. Words are those of the trees, in small letters as the vectors of GloVe 6B are. The vocabulary is that of the
    training sentences; words beyond it, and words without a vector, are word 0, whose vector is 0.

    Args:
        trees: the folder of `train.txt`, `dev.txt` and `test.txt`, a tree `(3 (2 a) (4 (3 good) (2 film)))` a line.
        vectors: a text file of GloVe, such as `glove.6B.100d.txt`, a word and its numbers a line.

    Raises:
        ValueError: if a line is no tree or no vector, with the file, the line and what is wrong with it.
        OSError: if a file can't be read.

    Source: Schuessler et al. 2020, Fig. 5; Socher et al. 2013; Pennington et al. 2014.

    Examples:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = pathlib.Path(name)
        ...     for part in ("train", "dev", "test"):
        ...         _ = (folder / f"{part}.txt").write_text("(4 (2 A) (3 (3 good) (2 film)))\n")
        ...     _ = (folder / "glove.txt").write_text("good 1.0 0.5\nbad -1.0 0.5\n")
        ...     corpus = ol.tasks.treebank_corpus(folder, folder / "glove.txt")
        >>> corpus.train.words.tolist(), corpus.train.labels.tolist(), corpus.embeddings.tolist()
        ([[0, 1, 0]], [1], [[0.0, 0.0], [1.0, 0.5]])
    """
    parts = [_sentences(as_path(trees) / f"{name}.txt") for name in ("train", "dev", "test")]
    vocabulary = {word for words, _ in parts[0] for word in words}
    known = _vectors(as_path(vectors), vocabulary)
    number = {word: i for i, word in enumerate(known, start=1)}
    embeddings = np.stack(list(known.values()))
    return Corpus(np.pad(embeddings, ((1, 0), (0, 0))), *(_numbered(part, number) for part in parts))


def _numbered(part: list[tuple[list[str], int]], number: dict[str, int]) -> Sentences:
    lengths = np.array([len(words) for words, _ in part])
    numbers = np.zeros((len(part), lengths.max()), int)
    for row, (words, _) in zip(numbers, part, strict=True):
        row[: len(words)] = [number.get(word, 0) for word in words]
    return Sentences(numbers, lengths, np.array([label for _, label in part]))


def _sentences(path: Path) -> list[tuple[list[str], int]]:
    """Words and label, 1 or 0, of each sentence that is not neutral."""
    found = []
    for where, line in _lines(path):
        words, label = _tree(line, where)
        if label != 2:
            found.append(([_BRACKETS.get(word.lower(), word.lower()) for word in words], int(label > 2)))
    if not found:
        raise ValueError(f"treebank_corpus: {path} has no sentence that is positive or negative.")
    return found


def _tree(line: str, where: str) -> tuple[list[str], int]:
    """The words of a tree, and the label of the whole.

    Raises:
        ValueError: if it is no tree.
    """

    def refused(what: str) -> ValueError:
        return ValueError(
            f"treebank_corpus: {where}: {what}; a tree is (3 (2 a) (4 (3 good) (2 film))), with labels from 0 to 4."
        )

    # What each tree that is open holds so far: a word, or a number of trees.
    words: list[str] = []
    labels: list[int] = []
    inside: list[str | int] = []
    for part in _PART.finditer(line):
        if not inside and labels:
            raise refused(f"{part.group()!r} comes after the end of the tree")
        if (label := part["label"]) is not None:
            if label not in _LABELS:
                raise refused(f"the label {label!r} is none")
            if inside:
                if isinstance(held := inside[-1], str):
                    raise refused(f"a tree comes after the word {held!r}")
                inside[-1] = held + 1
            labels.append(int(label))
            inside.append(0)
        elif (word := part["word"]) is not None:
            if not inside or inside[-1] != 0:
                raise refused(f"the word {word!r} has no label of its own")
            inside[-1] = word
            words.append(word)
        elif not inside or inside.pop() == 0:
            raise refused("a bracket is closed around nothing")
    if inside:
        raise refused(f"{len(inside)} brackets are not closed")
    return words, labels[0]


def _vectors(path: Path, vocabulary: set[str]) -> dict[str, np.ndarray]:
    """The vectors of the words of a vocabulary that the file has.

    Raises:
        ValueError: if a line has no word and numbers, or as many as the first.
    """
    found: dict[str, np.ndarray] = {}
    n_dimensions = 0
    for where, line in _lines(path):
        word, *numbers = line.split(" ")
        n_dimensions = n_dimensions or len(numbers)
        if not numbers or len(numbers) != n_dimensions:
            raise ValueError(
                f"treebank_corpus: {where}: {len(numbers)} numbers after the word {word!r}; a line is a word and its "
                f"vector, {'as of 0.1 0.2' if not n_dimensions else f'{n_dimensions} numbers as in the first line'}."
            )
        if word in vocabulary:
            try:
                vector = np.array(numbers, np.float32)
            except ValueError:
                vector = np.array([np.nan])
            if not np.all(np.isfinite(vector)):
                raise ValueError(f"treebank_corpus: {where}: the vector of {word!r} must be finite numbers.")
            found.setdefault(word, vector)
    if not found:
        raise ValueError(f"treebank_corpus: {path} has a vector of none of the {len(vocabulary)} words.")
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text that are not empty, each with its place."""
    try:
        # Other line ends than "\n" occur within words of GloVe.
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if text := line.strip("\r\n "):
                    yield f"{path}, line {number}", text
    except UnicodeDecodeError as error:
        raise ValueError(f"treebank_corpus: {path} is no text in UTF-8 ({error}).") from None
