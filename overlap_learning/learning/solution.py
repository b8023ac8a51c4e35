"""Solution: the course of learning, the same for the theory and for full N."""

import functools
import operator
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import assembled, in_numpy, is_traced
from overlap_learning.guides import guide
from overlap_learning.learning.outcomes import RESULTS, LearningError, LearningInterrupted, is_one_of
from overlap_learning.learning.record import Outcome, Record, trim
from overlap_learning.learning.result import AbstractResult
from overlap_learning.learning.stability import rise_sentence
from overlap_learning.learning.trust import ADVICE, MORE, Trust, compared, not_estimated
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.bulk import AbstractBulk
from overlap_learning.model.bulk_network import BulkNetwork, bulk_network_of
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork, Network, network_of
from overlap_learning.model.overlaps import Overlaps, unchecked
from overlap_learning.model.populations import Populations
from overlap_learning.model.reduced_network import ReducedNetwork

if TYPE_CHECKING:
    import xarray
    from diffrax import DenseInterpolation
else:
    # Diffrax takes as long to import as all the rest, and descent does without.
    DenseInterpolation = Any


#: The number of the result of most runs, which are asked about nothing else: each question takes time.
SUCCESSFUL = int(jax.tree.leaves(RESULTS.successful)[0])
#: How a run ends well.
GOOD = (RESULTS.successful, RESULTS.loss_reached, RESULTS.stalled)
#: Overlaps of each kind that a printed solution shows.
MOST_ROWS = 20


class Solution(AbstractResult):
    """What `ol.integrate` (the theory) and `ol.train` (full N) return.

    Under `jax.vmap` every array has the batch as its first axis, and points that a member did not reach have time NaN.

    Attributes:
        model: the `Model`; None for a learner that has none.
        time: learning time of each saved point, shape [S]: the sum of the learning rates so far (steps so far for an
            `Optimiser`).
        step: number of steps done at each saved point, shape [S]; None for a flow.
        loss: the loss, without label noise, shape [S]; each on the trials of its own step.
        saved: what the learner observed at each saved point, a pytree; of a network `gram` [S, d, d] and, in theory,
            `transfer`, at full N, if asked for, `vectors` and the `bulk` that learned. `overlaps`, `visible`,
            `invisible`, `transfer` and `networks` read it.
        final: what was learned, of the kind that was passed in: `Overlaps`, `Populations`, `Network` or `BulkNetwork`;
            with a bulk, of the theory, a `ReducedNetwork`.
        stats: numbers about the run: `n_steps`, or `accepted` and `rejected` solver steps and the `end_time`; for a
            nonlinear theory the largest `field_variance` met at start and end, and the `gain_error` there, that of the
            quadrature of the gain alone (what the theory is off by, `trust` says); the number of `neurons_beside` a
            closure; where the loss rose on fixed trials, the `rise_step` from which, and the largest `stable_rate`
            there; for a theory of a bulk the number of `directions` and the `bulk_error`, how far fewer of them lead
            elsewhere.
        result: a member of `ol.RESULTS`.
        interpolation: the interpolant of M, if asked for with `GradientFlow(dense=True)`.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> solution = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(5e-3, 200))
        >>> solution.visible["zm"].shape, solution.overlaps["u", "u"].shape
        ((201,), (201, 1, 1))
    """

    table: ClassVar[str] = "overlaps"

    model: Any
    time: jax.Array
    step: jax.Array | None
    loss: jax.Array
    saved: Any
    final: Any
    stats: dict[str, jax.Array]
    result: RESULTS
    interpolation: DenseInterpolation | None = None

    @property
    def overlaps(self) -> Overlaps:
        """`Overlaps` at each saved point, gram [S, d, d].

        Raises:
            ValueError: if the learner has no overlaps.
        """
        if self.model is None or not isinstance(self.saved, Mapping) or "gram" not in self.saved:
            raise ValueError("Solution.overlaps: this learner saved no overlaps; what it observed is in .saved.")
        return unchecked(self.saved["gram"], self.model.layout)

    @property
    def transfer(self) -> jax.Array | None:
        """M of `V(tau) = V(0) M(tau)`, shape [S, d, d]; of populations M of `(1, V)` in each, [S, P, d + 1, d + 1].

        None where there is none (full N, direct descent, parameter noise).
        """
        return self.saved.get("transfer") if isinstance(self.saved, Mapping) else None

    @property
    def singular_values(self) -> jax.Array | None:
        """Of the change of W, the largest eight, shape [S, 8]; None where a bulk did not learn in theory.

        With weight decay, of `W - kept W0`: the share of W0 that decay has taken (`final.kept` is left) is no part of
        it, as its norm grows with N.
        Derivatives do not pass through them; they do through `change_norm`.
        """
        return self.saved.get("singular_values") if isinstance(self.saved, Mapping) else None

    @property
    def change_norm(self) -> jax.Array | None:
        """Of the change of W (Frobenius), shape [S]; None likewise."""
        return self.saved.get("change_norm") if isinstance(self.saved, Mapping) else None

    @property
    def networks(self) -> AbstractNetwork | None:
        """The `Network` at each saved point, vectors [S, N, d]; None without `ol.train(..., save_vectors=True)`.

        Of a `BulkNetwork`, one with the bulk at each point, [S, N, N].
        """
        vectors = self.saved.get("vectors") if isinstance(self.saved, Mapping) else None
        if vectors is None:
            return None
        last = cast(AbstractNetwork, self.final)
        weights = jnp.broadcast_to(last.weights[..., None, :], vectors.shape[:-1])
        if not isinstance(last, BulkNetwork):
            return network_of(vectors, self.model.layout, weights)
        bulk = self.saved.get("bulk")
        if bulk is None:
            kept = last.dense_bulk[..., None, :, :]
            bulk = jnp.broadcast_to(kept, (*vectors.shape[:-1], vectors.shape[-2]))
        return bulk_network_of(vectors, self.model.layout, weights, bulk)

    @property
    def trust(self) -> Trust:
        """How far the overlaps are estimated to be off, and the verdict: "trust", "doubt" or "the theory fails here".

        A closure is held against a few weighted neurons that learned beside it, by the same rule on the same trials:
        `ol.integrate(..., trust=True)`. Linear theory and trained neurons are exact, and say so.

        Raises:
            ValueError: if the learner has no overlaps.
        """
        if self.model is None:
            raise ValueError("Solution.trust: this learner has no overlaps that a theory could be wrong about.")
        if "beside_gram" in self.saved:
            advice = MORE if isinstance(self.final, AbstractNetwork) else ADVICE
            return compared(self.time, self.loss, self.saved, advice)
        off, reason = 0.0, "Exact: linear phi, whose overlaps learn by themselves."
        if isinstance(self.final, AbstractNetwork):
            reason = "Exact: every neuron of this network was trained."
        elif isinstance(self.final, ReducedNetwork):
            off, reason = self.stats["bulk_error"], "The limit of infinitely many neurons, known to the bulk_error."
        elif not self.model.is_linear:
            off, reason = np.nan, "Not estimated: ol.integrate(..., trust=True) estimates it for rules of networks."
        return not_estimated(self.time, self.loss, off, reason)

    @property
    def visible(self) -> dict[str, jax.Array]:
        """The series of each overlap that the loss depends on, by name, shape [S] each."""
        entries = self.overlaps.entries()
        return {name: entries[name] for name in cast(Model, self.model).visible_names}

    @property
    def invisible(self) -> dict[str, jax.Array]:
        """The series of each overlap that the loss does not depend on, by name, shape [S] each."""
        entries = self.overlaps.entries()
        return {name: entries[name] for name in cast(Model, self.model).invisible_names}

    def at(self, time: ArrayLike) -> Overlaps:
        """The overlaps at any learning time of a flow that was run with `dense=True`.

        Args:
            time: one learning time, or several, shape [...].

        Returns:
            `Overlaps` with gram [..., d, d].

        Raises:
            ValueError: if there is no interpolant, or a time lies outside the run.
        """
        if isinstance(self.final, Populations):
            raise ValueError("Solution.at gives overlaps of one population; save the times you need with save_at.")
        if self.interpolation is None or self.transfer is None:
            raise ValueError("Solution.at needs an interpolant: integrate with ol.GradientFlow(duration, dense=True).")
        times = jnp.asarray(time, dtype=float)
        first, last = self.interpolation.t0, self.interpolation.t1
        if not is_traced(times, last) and not np.all((np.asarray(times) >= first) & (np.asarray(times) <= last)):
            raise ValueError(
                f"Solution.at: time must be from {float(first):g} to {float(last):g}, got {np.asarray(times)}."
            )
        transfer = jnp.vectorize(self.interpolation.evaluate, signature="()->(d,d)")(times)
        inverse = jnp.linalg.inv(self.transfer[0])
        start = inverse.T @ self.overlaps.gram[0] @ inverse
        return unchecked(jnp.swapaxes(transfer, -1, -2) @ start @ transfer, self.overlaps.layout)

    def gathered(self) -> "Solution":
        """The same with the neurons of `final`, if they were spread over devices or processes, in this process.

        Needed before `to_xarray` and `save` where neurons are spread over processes; then every process calls it.
        """
        return eqx.tree_at(lambda s: s.final, self, self.final.gathered()) if isinstance(self.final, Network) else self

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: dimensions `time`, `vector`, `overlap` (`neuron`); units and versions as attributes."""
        from overlap_learning.learning.dataset import to_dataset

        return to_dataset(self)

    def to_file(self) -> "xarray.Dataset":
        from overlap_learning.learning.loading import to_file

        return to_file(self)

    @classmethod
    def from_file(
        cls,
        data: "xarray.Dataset",
        activation: AbstractActivation | None = None,
        bulk: AbstractBulk | None = None,
    ) -> "Solution":
        from overlap_learning.learning.loading import from_file

        return from_file(data, activation, bulk)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        activation: AbstractActivation | None = None,
        bulk: AbstractBulk | None = None,
    ) -> "Solution":
        """`ol.load(path)`."""
        from overlap_learning.learning.loading import load

        return load(path, activation=activation, bulk=bulk)

    def __repr__(self) -> str:
        layout = "" if self.model is None else f", {self.model.layout}"
        if is_traced(self.time, self.loss) or self.loss.ndim != 1:
            return f"Solution(points of shape {self.loss.shape}{layout}, a batch: index or vmap to read one)"
        time, step, loss = in_numpy((self.time, self.step, self.loss))
        rows = [f"Solution: {RESULTS[self.result]}"]
        span = f"learning time {time[0]:g} to {time[-1]:g}"
        if step is not None:
            span += f", steps {step[0]} to {step[-1]}"
        rows.append(f"  {len(self.time)} saved points, {span}")
        if self.model is not None:
            rows.append(f"  {self.model.layout}, {type(self.model.activation).__name__}, {self.loss.dtype}")
        rows += [f"  {name}: {np.asarray(value):.6g}" for name, value in self.stats.items()]
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(self) if hasattr(leaf, "nbytes"))
        rows.append(f"  memory: {size / 2**20:.2f} MiB")
        if self.model is not None:
            rows += [f"  {line}" for line in repr(self.trust).splitlines()]
        if rose := rise_sentence(self, self.stats):
            rows.append(f"  {rose}")
        rows.append(f"  {'':<12}{'start':>14}{'end':>14}")
        rows.append(f"  {'loss':<12}{loss[0]:>14.6g}{loss[-1]:>14.6g}")
        return "\n".join([*rows, *self._rows_of_overlaps()])

    def _rows_of_overlaps(self) -> list[str]:
        """Each overlap at the start and at the end, the first `MOST_ROWS` of each kind."""
        if self.model is None:
            return []
        rows, gram = [], np.asarray(self.overlaps.gram)
        for kind, names in (("visible", self.model.visible_names), ("invisible", self.model.invisible_names)):
            for name in names[:MOST_ROWS]:
                entry = tuple(part.start for part in self.model.layout.locate(name))
                rows.append(f"  {name:<12}{gram[0][entry]:>14.6g}{gram[-1][entry]:>14.6g}  {kind}")
            if len(names) > MOST_ROWS:
                rows.append(f"  ... and {len(names) - MOST_ROWS:,} more {kind} ones, by name in .{kind}")
        return rows


def finish(
    model: Model | None,
    outcome: Outcome,
    final: Any,
    caller: str,
    *,
    throw: bool,
    look: Callable[[], dict[str, Any]] | None = None,
) -> Solution:
    """The Solution of a run, or the error that carries it.

    Args:
        model: the `Model`; None for a learner that has none.
        outcome: how it went.
        final: what was learned.
        caller: the function that a person called.
        throw: raise an error if learning ended badly.
        look: what finds further numbers about the run, when it is done.

    Raises:
        LearningError: if throw, and the run ended badly (of a batch: at least one member).
        LearningInterrupted: if the run was interrupted.
    """
    result = outcome.result
    number = jax.tree.leaves(result)[0]
    # Put together before the result is asked for, while the program runs.
    solution = _solution(model, outcome, outcome.record, final)
    # Such a run has reached every point.
    is_whole = not isinstance(number, jax.core.Tracer) and (np.asarray(number) == SUCCESSFUL).all()
    if not is_whole:
        solution = _solution(model, outcome, trim(outcome.record), final)
    solution = _with_stats(solution, look)
    if is_whole:
        return solution
    if is_traced(result):
        message = "Learning ended badly in at least one member; pass throw=False to keep the good ones."
        return eqx.error_if(solution, has_failed(result), message) if throw else solution
    if not np.any(has_failed(result)):
        return solution
    if np.any(is_one_of(result, RESULTS.interrupted)):
        # Whoever presses Ctrl-C wants the loop around this run to end too.
        raise LearningInterrupted(solution)
    if throw:
        raise LearningError(_what_went_wrong(solution, caller), solution)
    return solution


def has_failed(result: RESULTS) -> Any:
    """Whether a run, or each of a batch, ended badly; inside jit or vmap, an array known when the program runs."""
    if is_traced(result):
        return functools.reduce(operator.and_, (result != good for good in GOOD))
    return ~is_one_of(result, *GOOD)


def _with_stats(solution: Solution, look: Callable[[], dict[str, Any]] | None) -> Solution:
    """The solution with what was found about the run, if anything was."""
    found = None if look is None else look()
    return eqx.tree_at(lambda s: s.stats, solution, solution.stats | found) if found else solution


def _solution(model: Model | None, outcome: Outcome, record: Record, final: Any) -> Solution:
    # By `vars`, which is ten times as fast as fields one by one.
    how = {name: value for name, value in vars(outcome).items() if name not in ("record", "position")}
    return assembled(Solution, model=model, final=final, **vars(record), **how)


def _what_went_wrong(solution: Solution, caller: str) -> str:
    """How a run ended badly and where; of a batch, which members did, and how the first of them."""
    failed = has_failed(solution.result)
    bad = np.flatnonzero(failed)
    result, stats = solution.result, solution.stats
    if failed.ndim:
        result, stats = jax.tree.map(lambda array: array[bad[0]], (result, stats))
    where = f"step {int(stats['n_steps'])}" if "n_steps" in stats else f"learning time {float(stats['end_time']):g}"
    keep = "the others" if failed.ndim else "the solution up to there"
    sentence = f"{RESULTS[result]} (Ended at {where}; pass throw=False for {keep}.)"
    if not failed.ndim:
        parts = [sentence, rise_sentence(solution, stats)]
        if "beside_gram" in solution.saved:
            parts.append(f"The closure: {solution.trust.verdict}: {solution.trust.sentence}")
        return " ".join(filter(None, parts)) + guide("failure")
    named = f"{', '.join(map(str, bad[:10]))}{', ...' if bad.size > 10 else ''}"
    return (
        f"{caller}: {bad.size} of {failed.size} networks ended badly: {named}. The first: {sentence}{guide('failure')}"
    )
