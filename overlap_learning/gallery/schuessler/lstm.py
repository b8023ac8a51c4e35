"""LSTM: an LSTM learns to tell positive sentences from negative ones (Schuessler et al. 2020, Fig. 5)."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import adam
from overlap_learning.learning.checkpoint import Checkpoint
from overlap_learning.learning.driver import learn
from overlap_learning.learning.solution import Solution
from overlap_learning.plot.style import COLOURS
from overlap_learning.studies.gates import GateRanks, rank_of_gates
from overlap_learning.tasks import stream, synthetic_corpus
from overlap_learning.tasks.corpus import Corpus
from overlap_learning.training.lstm import LSTM, LSTMLearner

#: The matrix whose singular values are drawn: the recurrent one of the second layer, as published.
SHOWN = "weight_hh_l1"


@dataclass(frozen=True)
class Settings:
    """A size that two cores learn in some minutes; the published one in brackets.

    Args:
        n_units: N of each layer (256).
        sizes: sentences to learn from, to look at meanwhile and to look at once (as published).
        n_words: the vocabulary (15,431).
        n_dimensions: of a word's vector (100).
        mean_length: of a sentence, in words (20).
        longest: words of the longest.
        strength: of the polarity in a word's vector.
        label_noise: the share of labels that is turned round.
        learning_rate: of Adam, times N (as published).
        n_epochs: sentences seen, in units of all of them (500).
        n_trials: of a step (64).
        dropout: the probability that a number is dropped (0.5).
        ranks: at which matrices are cut off; those up to N are taken (all).
        seed: of all that is drawn.
    """

    n_units: int = 128
    sizes: tuple[int, int, int] = (6920, 872, 1821)
    n_words: int = 15_000
    n_dimensions: int = 50
    mean_length: float = 12.0
    longest: int = 24
    strength: float = 6.0
    label_noise: float = 0.1
    learning_rate: float = 0.01
    n_epochs: int = 25
    n_trials: int = 64
    dropout: float = 0.5
    ranks: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 28, 40, 50, 64, 90, 128, 180, 256)
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(
    n_units=32, sizes=(2000, 400, 400), n_words=1000, mean_length=8.0, longest=16, n_epochs=12, learning_rate=0.03
)


class Trained(NamedTuple):
    """An LSTM before training and after, and how it learned."""

    corpus: Corpus
    learner: LSTMLearner
    start: LSTM
    solution: Solution

    @property
    def final(self) -> LSTM:
        """The trained LSTM."""
        return LSTM.from_arrays(self.solution.final)


def steps_of_epoch(settings: Settings) -> int:
    """Learning steps in which as many sentences are seen as there are."""
    return max(1, settings.sizes[0] // settings.n_trials)


def trained(settings: Settings, progress: bool | None, checkpoint: Checkpoint | None) -> Trained:
    """An LSTM that learned, by Adam and in single precision, as published."""
    of_corpus, of_start, of_trials = jax.random.split(jax.random.key(settings.seed), 3)
    corpus = synthetic_corpus(
        of_corpus, sizes=settings.sizes, n_words=settings.n_words, n_dimensions=settings.n_dimensions,
        mean_length=settings.mean_length, longest=settings.longest, strength=settings.strength,
        label_noise=settings.label_noise,
    )  # fmt: skip
    start = LSTM.sample(settings.n_dimensions, settings.n_units, key=of_start, dtype=jnp.float32)
    learner = LSTMLearner(start, corpus.embeddings, dropout=settings.dropout, validation=corpus.valid.task)
    epoch = steps_of_epoch(settings)
    solution = learn(
        learner, stream(corpus.train.draw, n_trials=settings.n_trials), start,
        adam(settings.learning_rate / settings.n_units, epoch * settings.n_epochs, save_every=epoch), of_trials,
        progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    return Trained(corpus, learner, start, solution)


def figure_5(
    settings: Settings = STANDARD, *, progress: bool | None = None, checkpoint: Checkpoint | None = None
) -> Reproduction:
    """Loss, accuracy, singular values before and after, and the accuracy with matrices cut off at each rank.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.
        checkpoint: where the run writes down where it is.

    Source: Schuessler et al. 2020, Fig. 5.
    """
    run = trained(settings, progress, checkpoint)
    valid = run.corpus.valid.task
    found = rank_of_gates(
        run.start, run.final, run.learner, valid, ranks=[rank for rank in settings.ranks if rank <= settings.n_units]
    )
    figure, (loss, right, values, cut) = page("Fig. 5: an LSTM learns the sentiment of sentences", 2, 2)
    epochs = np.asarray(run.solution.step) / steps_of_epoch(settings)
    loss.plot(epochs, run.solution.loss, color=COLOURS[0], linewidth=0.9, label="training, one batch, with dropout")
    loss.plot(epochs, run.solution.saved["validation_loss"], color=COLOURS[1], label="validation")
    right.plot(epochs, run.solution.saved["validation_accuracy"], color=COLOURS[1], label="validation")
    right.axhline(
        1 - settings.label_noise, color="0.6", linewidth=0.8, linestyle=":", label="all that label noise allows"
    )
    index = np.arange(1, settings.n_units + 1)
    spectra = {
        "W": np.asarray(found.whole[SHOWN].singular_values),
        "W0": np.asarray(found.start_singular_values[SHOWN]),
        "change": np.asarray(found.change[SHOWN].singular_values),
    }
    for s, label, colour in zip(spectra.values(), ("$W$", "$W_0$", r"$\Delta W$"), COLOURS, strict=False):
        values.plot(index[: s.size], s, "o-", color=colour, markersize=2.5, linewidth=1, label=label)
    for accuracy, label, colour in (
        (found.accuracy, r"$W_0 + \Delta W^{(R)}$", COLOURS[2]),
        (found.accuracy_of_whole, "$W^{(R)}$", COLOURS[0]),
    ):
        low, high = found.interval(accuracy)
        cut.plot(found.ranks, accuracy, "o-", color=colour, markersize=3, label=label)
        cut.fill_between(found.ranks, low, high, color=colour, alpha=0.2, linewidth=0)
    cut.axhline(float(found.trained_accuracy), color="0.6", linewidth=0.8, linestyle=":")
    loss.set(xlabel="epoch", ylabel="cross-entropy")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0.45, 1))
    values.set(xlabel="index", ylabel="singular value, layer 2, recurrent", ylim=(0, None))
    cut.set(xlabel="rank R that is kept", ylabel="accuracy, validation", xscale="symlog", xlim=(-0.15, None))
    cut.xaxis.set_major_formatter("{x:g}")
    for ax in (loss, right, values, cut):
        ax.legend(frameon=False, fontsize=8)
    arrays: dict[str, Any] = {
        "epoch": (("epoch",), epochs, "sentences seen, in units of all of them"),
        "loss": (("epoch",), run.solution.loss, "loss on the batch of a step, with dropout"),
        "rank": (("rank",), found.ranks, "rank that is kept"),
        "accuracy_of_change": (("rank",), found.accuracy, "accuracy with W0 and the change cut off"),
        "accuracy_of_whole": (("rank",), found.accuracy_of_whole, "accuracy with W cut off"),
    }
    arrays |= {name: (("epoch",), saved, name.replace("_", " ")) for name, saved in run.solution.saved.items()}
    arrays |= {
        f"singular_values_{name}": ((f"index_{name}",), s, f"of {name}, layer 2, recurrent")
        for name, s in spectra.items()
    }
    return collect(figure, settings, _numbers(settings, run, found), _NOTES, arrays=arrays)


def _numbers(settings: Settings, run: Trained, found: GateRanks) -> list[Number]:
    def with_error(name: str, accuracy: float, n: int) -> Number:
        return Number(name, accuracy, math.sqrt(accuracy * (1 - accuracy) / n))

    n, ranks, whole = found.n_sentences, np.asarray(found.ranks), float(found.trained_accuracy)
    test = float(run.learner.accuracy(run.final, run.corpus.test.task))
    numbers = [
        with_error("accuracy, validation", whole, n),
        with_error("accuracy, test", test, len(run.corpus.test)),
        Number("accuracy that label noise allows", 1 - settings.label_noise),
    ]
    for name, start in found.start_singular_values.items():
        s, change, final = np.asarray(start), found.change[name], found.whole[name]
        numbers += [
            Number(f"largest singular value of W0, {name}", s[0], None, math.sqrt(3)),
            Number(f"smallest singular value of W0, {name}", s[-1], None, 1 / math.sqrt(3)),
            *(Number(f"singular value {k + 1} of W, {name}", float(final.singular_values[k])) for k in range(3)),
            *(
                Number(f"singular value {k + 1} of the change, {name}", float(change.singular_values[k]))
                for k in range(3)
            ),
            Number(f"rank of 95 % of the change, squared, {name}", change.rank_holding(0.95)),
            Number(f"rank of 95 % of W, squared, {name}", final.rank_holding(0.95)),
        ]
    error = math.sqrt(whole * (1 - whole) / n)
    for what, accuracies in (("of the change", found.accuracy), ("of W", found.accuracy_of_whole)):
        enough = np.asarray(accuracies) >= whole - error
        numbers += [with_error(f"accuracy with rank {rank} {what}", float(accuracies[k]), n)
                    for k, rank in enumerate(ranks) if rank in (0, 1, 3, 10)]  # fmt: skip
        numbers.append(Number(f"first rank {what} within a standard error of the trained accuracy",
                              float(ranks[enough.argmax()]) if enough.any() else math.nan))  # fmt: skip
    return numbers


_NOTES = (
    "The sentences are made by a rule (tasks.synthetic_corpus); published are those of the Stanford Sentiment "
    "Treebank, which tasks.treebank_corpus reads. Published numbers are not comparable one by one.",
    "Accuracies are on the validation sentences, as in the authors' program; the text says of training. Their "
    "intervals hold for other sentences; accuracies of two ranks, on the same ones, differ by less.",
    "Expected: singular values of independent uniform entries within 1 / sqrt(N), for N to infinity: sqrt(3) and "
    "1 / sqrt(3).",
)
