"""Gates: what training changed of the gates of an LSTM, and how much of that the trained one needs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overlap_learning.checks import refuse_traced, scalar
from overlap_learning.learning.result import AbstractResult, labelled
from overlap_learning.studies.connectivity import N_RANKS, ConnectivityChange, change_between, chosen_ranks
from overlap_learning.tasks.task import Task
from overlap_learning.training.lstm import LSTM, LSTMLearner

if TYPE_CHECKING:
    import xarray


class GateRanks(AbstractResult):
    """The accuracy of a trained LSTM with its matrices cut off at each rank.

    Attributes:
        ranks: R, shape [K].
        accuracy: with `W0 + Delta W^(R)` for each of the matrices, shape [K].
        accuracy_of_whole: with `W^(R)`, the whole of each matrix cut off, shape [K].
        trained_accuracy: with all of W, shape [].
        n_sentences: on which it was measured.
        change: the `ConnectivityChange` of each matrix, by name.
        whole: of each matrix W itself, the same.
        start_singular_values: of each W0, shape [N], by name.
    """

    table: ClassVar[str] = "accuracy"

    ranks: jax.Array
    accuracy: jax.Array
    accuracy_of_whole: jax.Array
    trained_accuracy: jax.Array
    n_sentences: int = eqx.field(static=True)
    change: dict[str, ConnectivityChange]
    whole: dict[str, ConnectivityChange]
    start_singular_values: dict[str, jax.Array]

    def interval(self, accuracy: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Where accuracies of all sentences of this kind are, by that of these: low and high ends, shapes as given.

        Intervals of Wilson for a binomial share. Accuracies measured on the same sentences err together, so that those
        of two ranks differ by less than their intervals say.

        Args:
            accuracy: shares of these sentences, such as `self.accuracy`.
            level: the probability that an interval has the true one, between 0 and 1.

        Raises:
            ValueError: if level is not between 0 and 1.
        """
        from scipy.stats import binomtest

        level = float(scalar(level, "GateRanks.interval: level", "between 0 and 1", 0, 1 - 1e-9))
        right = np.rint(np.asarray(accuracy) * self.n_sentences).astype(int)
        tests = [binomtest(int(k), self.n_sentences).proportion_ci(level, method="wilson") for k in right.flat]
        low, high = (np.reshape([getattr(test, end) for test in tests], right.shape) for end in ("low", "high"))
        return low, high

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset of accuracies by `rank`, and of the singular values of each matrix's change."""
        data = labelled(
            "Accuracy of an LSTM with its matrices cut off at each rank",
            accuracy=("rank", self.accuracy, "accuracy with the change cut off"),
            accuracy_of_whole=("rank", self.accuracy_of_whole, "accuracy with all cut off"),
            trained_accuracy=((), self.trained_accuracy, "accuracy with all of W"),
            **{f"{name}_singular_values": (f"{name}_component", change.singular_values, f"of the change of {name}")
               for name, change in self.change.items()},
        )  # fmt: skip
        return data.assign_coords(rank=np.asarray(self.ranks))


def rank_of_gates(
    start: LSTM, final: LSTM, learner: LSTMLearner, task: Task, *, ranks: Sequence[int] | int = N_RANKS
) -> GateRanks:
    """How many singular values of what training changed an LSTM needs, by its accuracy on a task.

    The four gates of a matrix are one, of shape [4N, N]. All matrices that connect units (`LSTM.matrices`) are cut off
    at the same rank, the other parameters are the trained ones.

    Args:
        start: the LSTM before training.
        final: the trained one, `ol.training.LSTM.from_arrays(solution.final)`.
        learner: the `LSTMLearner` that was trained, for its words.
        task: sentences that the accuracy is measured on, such as `corpus.valid.task`.
        ranks: the ranks, or how many of them, from 0 on.

    Returns:
        A `GateRanks`.

    Raises:
        ValueError: if the two are no LSTMs of one shape, or a rank is none.

    Source: Schuessler et al. 2020, Fig. 5.

    Examples:
        >>> corpus = ol.tasks.synthetic_corpus(jax.random.key(0), sizes=(50, 40, 50), longest=8, mean_length=6)
        >>> start, other = (ol.training.LSTM.sample(100, 4, n_layers=1, key=jax.random.key(i)) for i in (1, 2))
        >>> learner = ol.training.LSTMLearner(start, corpus.embeddings)
        >>> found = ol.studies.rank_of_gates(start, other, learner, corpus.valid.task, ranks=5)
        >>> found.accuracy.shape, bool(found.accuracy[-1] == found.trained_accuracy)  # of rank 4 is all of the change
        ((5,), True)
        >>> low, high = found.interval(found.accuracy)
        >>> bool(np.all((low <= found.accuracy) & (found.accuracy <= high)))
        True
    """
    caller = "rank_of_gates"
    for name, lstm in (("start", start), ("final", final)):
        if not isinstance(lstm, LSTM):
            raise ValueError(
                f"{caller}: {name} must be an ol.training.LSTM, got {type(lstm).__name__}; what was learned is "
                "ol.training.LSTM.from_arrays(solution.final)."
            )
    refuse_traced(caller, start, final)
    chosen = jnp.asarray(chosen_ranks(ranks, caller))
    before, after = ({name: np.asarray(matrix) for name, matrix in lstm.matrices.items()} for lstm in (start, final))
    shapes = [{name: matrix.shape for name, matrix in matrices.items()} for matrices in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{caller}: start and final must have the same shapes, got {shapes[0]} and {shapes[1]}.")
    nothing = {name: np.zeros_like(matrix) for name, matrix in after.items()}
    change, whole = (
        {name: change_between(base[name], matrix) for name, matrix in after.items()} for base in (before, nothing)
    )
    task = task.astype(final.readout.weight.dtype)
    return GateRanks(
        ranks=chosen,
        accuracy=_accuracies(learner, final, task, before, change, chosen),
        accuracy_of_whole=_accuracies(learner, final, task, nothing, whole, chosen),
        trained_accuracy=learner.accuracy(final, task),
        n_sentences=task.n_trials,
        change=change,
        whole=whole,
        start_singular_values={
            name: jnp.asarray(np.linalg.svd(matrix, compute_uv=False)) for name, matrix in before.items()
        },
    )


@eqx.filter_jit
def _accuracies(
    learner: LSTMLearner,
    final: LSTM,
    task: Task,
    bases: dict[str, np.ndarray],
    changes: dict[str, ConnectivityChange],
    ranks: jax.Array,
) -> jax.Array:
    """The accuracy with bases and changes cut off at each rank, one after another."""

    def at(rank):
        cut = {name: jnp.asarray(bases[name]) + change.truncated(rank) for name, change in changes.items()}
        return learner.accuracy(final.with_matrices(cut), task)

    return lax.map(at, ranks)
