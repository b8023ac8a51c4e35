"""closure_error: how far the Gaussian theory is from the limit of infinitely many neurons, on a given task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import count, first_rows, floating, listed, refuse_traced, require_float64, scalar
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.checkpoint import Checkpoint, check_checkpoint, part_of
from overlap_learning.learning.result import AbstractResult
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution
from overlap_learning.learning.trust import FAILS, verdict_of
from overlap_learning.model.activity import rollout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.nodes import AbstractNodes
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.neurons.gaussianity import gaussian_overlaps
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.validation.finite_size import FiniteSize, check_comparable, check_sizes, entries, finite_size
from overlap_learning.validation.limit import Limit, limit

if TYPE_CHECKING:
    import xarray

#: Folded into the key for networks: beyond the number of any learning step, into which it is folded for trials.
NETWORKS = 2**32 - 1
#: Saved points in a printed report.
N_ROWS = 6


class ClosureReport(AbstractResult):
    """What `ol.closure_error` returns: the Gaussian theory against the limit of infinitely many neurons.

    Attributes:
        theory: the `Solution` of `ol.integrate`.
        limit: the `Limit` of `ol.limit`.
        tolerance: how large a part of the learning the theory may be off by, see `until`.
        theory_output: outputs of the theory at the end of learning, shape [B, T, n_out].
        limit_output: outputs in the limit there, on the same trials.
        networks: networks of several N against the limit, a `FiniteSize`; None if none were run.
    """

    table: ClassVar[str] = "overlaps"

    theory: Solution
    limit: Limit
    tolerance: jax.Array
    theory_output: jax.Array
    limit_output: jax.Array
    networks: FiniteSize | None = None

    @property
    def model(self) -> Model:
        """The `Model`."""
        return self.theory.model

    @property
    def closure(self) -> np.ndarray:
        """Limit minus theory of each overlap at each saved point, shape [S, p], ordered as `layout.entry_names`."""
        return entries(self.limit.solution) - entries(self.theory)

    @property
    def loss_closure(self) -> np.ndarray:
        """Limit minus theory of the loss at each saved point, shape [S]."""
        return np.asarray(self.limit.loss) - np.asarray(self.theory.loss)

    @property
    def largest(self) -> np.ndarray:
        """The largest closure error of any overlap at each saved point, shape [S]."""
        return np.abs(self.closure).max(axis=1)

    @property
    def change(self) -> float:
        """How far learning moves the overlap that it moves most, in the limit: the measure of the tolerance."""
        values = entries(self.limit.solution)
        return float(np.abs(values - values[0]).max())

    @property
    def resolved(self) -> bool:
        """Whether the limit is known well enough to speak of an error of the theory: at least twice as well, both taken
        of the worst overlap; `closure` and `limit.error` have each.
        """
        return bool(2 * self.limit.error.max() <= self.largest.max()) or self.limit.exact

    def until(self, tolerance: float | None = None) -> int:
        """Index of the last saved point up to which no overlap of the theory is off by more than `tolerance * change`.

        Args:
            tolerance: a part of the learning, such as 0.05; None: the report's own.
        """
        allowed = float(self.tolerance) if tolerance is None else float(tolerance)
        # Where learning moves nothing, nothing but rounding is off.
        off = self.largest > max(allowed * self.change, 100 * np.finfo(float).eps * np.abs(entries(self.theory)).max())
        return int(np.argmax(off)) - 1 if off.any() else len(off) - 1

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: that of the limit, with `theory_overlaps` and `theory_loss`, and if there are networks
        `finite_size` (network minus limit) over `n_neurons` and `seed`.
        """
        data = self.limit.to_xarray()
        data["theory_overlaps"] = (
            ("time", "overlap"),
            entries(self.theory),
            {"long_name": "overlaps of the Gaussian theory", "units": "1"},
        )
        data["theory_loss"] = (
            "time",
            np.asarray(self.theory.loss),
            {"long_name": "loss of the Gaussian theory", "units": "1"},
        )
        axes = ("trial", "trial_time", "output")
        for name, values in (("theory", self.theory_output), ("limit", self.limit_output)):
            attributes = {"long_name": f"output of the {name}", "units": "1"}
            data[f"{name}_output"] = (axes, np.asarray(values), attributes)
        if self.networks is not None:
            data = data.assign_coords(
                n_neurons=("n_neurons", list(self.networks.n_neurons)), seed=("seed", np.arange(self.networks.n_seeds))
            )
            data["finite_size"] = (
                ("n_neurons", "seed", "time", "overlap"),
                self.networks.deviation,
                {"long_name": "network minus limit", "units": "1"},
            )
            data["network_loss"] = (
                ("n_neurons", "seed", "time"),
                self.networks.loss,
                {"long_name": "loss of the networks", "units": "1"},
            )
        data.attrs |= {
            "title": "Gaussian theory against the limit of infinitely many neurons",
            "tolerance": float(self.tolerance),
            "good_until_index": self.until(),
        }
        return data

    @property
    def verdict(self) -> str:
        """The verdict of `Solution.trust` ("trust", "doubt", "the theory fails here") on the largest closure error."""
        return verdict_of(self.largest.max() / self.change if self.change > 0 else 0.0)

    @property
    def sentence(self) -> str:
        """The closure error in a sentence, with its numbers; before it the verdict, where the limit is known."""
        if self.limit.exact:
            return (
                "The theory of a linear network is exact: the largest difference from the limit is "
                f"{self.largest.max():.2g}."
            )
        known = f"the limit is known to {self.limit.error[-1].max():.1g} in the worst overlap"
        if self.change <= 100 * np.finfo(float).eps * np.abs(entries(self.theory)).max():
            return "Nothing was learned: no overlap moved by more than rounding."
        if not self.resolved:
            fails = self.verdict == FAILS and self.largest.max() > self.limit.error.max()
            return (f"{self.verdict}: by {self.largest.max() / self.change:.2g} of what learning changes. " * fails) + (
                f"The closure error is not resolved: theory and limit differ by at most {self.largest.max():.2g}, and "
                f"the limit is known to {self.limit.error.max():.1g} in its worst overlap; finer nodes would tell."
            )
        found = (
            f"{self.verdict}: the Gaussian theory ends {self.largest[-1]:.2g} away from the limit of infinitely many "
            f"neurons ({self.largest[-1] / self.change:.1%} of what learning changes; {known})"
        )
        index = self.until()
        part = f"{float(self.tolerance):.1%} of that change"
        if index == len(self.largest) - 1:
            return f"{found}, and was good to {part} throughout."
        return f"{found}, and was good to {part} until {self._moment(index)}."

    def _moment(self, index: int) -> str:
        moment = f"learning time {float(self.theory.time[index]):.4g}"
        return moment if self.theory.step is None else f"step {int(self.theory.step[index])} ({moment})"

    def __repr__(self) -> str:
        names, layout = self.model.layout.entry_names, self.model.layout
        shown = np.unique(np.linspace(0, len(self.largest) - 1, N_ROWS + 1).round().astype(int))
        rows = [
            f"ClosureReport: the Gaussian theory against the limit of infinitely many neurons, {layout}, "
            f"{type(self.model.activation).__name__}, {self.limit.nodes_text}",
            "  learning time   loss, theory    loss, limit   largest error  limit known to (worst overlap)",
        ]
        for i in shown:
            time, theory_loss, loss = (float(x[i]) for x in (self.theory.time, self.theory.loss, self.limit.loss))
            known = self.limit.error[i].max()
            rows.append(f"  {time:>13.4g}{theory_loss:>15.5g}{loss:>15.5g}{self.largest[i]:>16.2e}{known:>16.1e}")
        # In a line of its own, so that HTML has two tables.
        rows += ["  at the end:", f"  {'':<11}{'theory':>12}{'limit':>12}{'error':>12}{'known to':>12}"]
        ends = (entries(self.theory)[-1], entries(self.limit.solution)[-1], self.limit.error[-1])
        rows += first_rows(
            [
                f"  {name:<11}{a:>12.5f}{b:>12.5f}{a - b:>12.2e}{error:>12.1e}"
                for name, a, b, error in zip(names, *ends, strict=True)
            ]
        )
        difference = float(jnp.max(jnp.abs(self.theory_output - self.limit_output)))
        size = float(jnp.sqrt(jnp.mean(jnp.square(self.limit_output))))
        rows.append(f"  output at the end: largest difference {difference:.2e}, size (rms) {size:.2e}")
        vectors = layout.vector_names
        exact = self.limit
        for title, values in (
            ("mean over neurons", exact.mean),
            ("excess kurtosis", exact.kurtosis),
            ("linear share", exact.linear_share),
        ):
            # Adding 0 turns what rounds to -0 into 0.
            numbers = zip(vectors, np.round(values, 4) + 0.0, strict=True)
            rows.append(f"  {title}: " + listed([f"{v} {x:.4f}" for v, x in numbers]))
        rows.append(f"  {self.sentence}")
        if not exact.resolved:
            rows.append(f"  {exact.warning}")
        if self.networks is not None:
            rows += self.split_rows(self.networks)
        return "\n".join(rows)

    def split_rows(self, networks: FiniteSize) -> list[str]:
        """A printed table of the two parts of the deviation of networks from the theory: finite N, and closure."""
        closure = np.sqrt(np.mean(np.square(self.closure[-1])))
        rows = [
            "  networks minus theory at the end, in two parts (rms)",
            f"  {'N':>9}  {'network minus limit':<24}limit minus theory",
        ]
        rms, error = networks.rms()
        for n, value, bar in zip(networks.n_neurons, rms, error, strict=True):
            found = f"{value:.3e}" + (f" +- {bar:.1e}" if np.isfinite(bar) else "")
            rows.append(f"  {n:>9}  {found:<24}{closure:.3e}")
        slope, uncertainty = networks.exponent()
        if np.isfinite(slope):
            rows.append(f"  the first scales as N^({slope:.3f} +- {uncertainty:.3f}), expected -1/2")
        return rows


def closure_error(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps | Network,
    rule: AbstractRule,
    key: jax.Array | None = None,
    n_neurons: int | Sequence[int] | None = None,
    n_seeds: int = 4,
    tolerance: float = 0.05,
    *,
    nodes: tuple[AbstractNodes, AbstractNodes] | None = None,
    exact: bool = True,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> ClosureReport:
    """How wrong the Gaussian theory is on a task, and since when: the theory against the limit of infinite N.

    What separates a network from the theory has two parts: `network - theory = (network - limit) + (limit - theory)`.
    The first comes from finite N and falls as N^(-1/2). The second, the closure error, is there at every N: the theory
    assumes that neurons stay Gaussian, and training makes them less so.

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        overlaps: the start; of a `Network` its overlaps are taken, with a warning if they do not give its output.
        rule: `GradientDescent` or `GradientFlow`, without stop_loss.
        key: a jax random key; needed for a stream, for minibatches, for label noise, and for networks. Theory, limit
            and networks see the same trials, those of `ol.integrate` with this key.
        n_neurons: the N of networks to train besides; None for none.
        n_seeds: networks per N.
        tolerance: the theory counts as good while no overlap is off by more than this part of the largest change of an
            overlap (`ClosureReport.change`).
        nodes: as in `ol.limit`.
        exact: whether each network starts from exactly these overlaps (else from a Gaussian sample, off by O(N^-1/2)).
        progress: show a progress bar; None: if a person is watching.
        checkpoint: where to write down how far each run is; the same call goes on from there. Not with a flow.

    Returns:
        A `ClosureReport`; print it, or draw it with `ol.plot.closure`.

    Raises:
        ValueError: if the arguments do not fit together, or the checkpoint is that of another run.
        LearningError: if learning diverged.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved of the run at hand.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Fig. 4 (the theory); theory page, section 7.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task, rule = ol.tasks.exponential_filter(duration=5.0), ol.GradientDescent(5e-3, 50)
        >>> bool(ol.closure_error(model, task, start, rule).largest.max() < 1e-12)
        True
    """
    require_float64("ol.closure_error", model=model, task=task, overlaps=overlaps, rule=rule)
    refuse_traced("closure_error", overlaps, key)
    if isinstance(overlaps, Network):
        overlaps = gaussian_overlaps(model, overlaps, task, key, "closure_error")
    check_layout(model, overlaps, "closure_error")
    check_comparable(rule, "closure_error")
    check_checkpoint(checkpoint, rule, "closure_error")
    tolerance_array = scalar(tolerance, "closure_error: tolerance", "positive", 0)
    sizes = None if n_neurons is None else check_sizes(n_neurons, "closure_error")
    n_seeds = count(n_seeds, "closure_error: n_seeds")
    if sizes is not None and key is None:
        raise ValueError(
            "closure_error: networks are drawn at random and need a key: ol.closure_error(..., key=jax.random.key(0))."
        )
    theory = integrate(model, task, overlaps, rule, key, trust=False, checkpoint=part_of(checkpoint, "theory"))
    exact_limit = limit(
        model, task, overlaps, rule, key, nodes=nodes, progress=progress, checkpoint=part_of(checkpoint, "limit")
    )
    networks = None
    if sizes is not None and key is not None:
        networks = finite_size(
            model, task, with_gram(overlaps, floating(overlaps.gram, "gram").astype(float)), rule,
            entries(exact_limit.solution), sizes, n_seeds, network_key=jax.random.fold_in(key, NETWORKS),
            trial_key=key, exact=exact, progress=progress, title="closure_error",
            checkpoint=part_of(checkpoint, "networks"),
        )  # fmt: skip
    return report(theory, exact_limit, task, key, tolerance_array, networks)


def report(
    theory: Solution,
    exact: Limit,
    task: Task | TaskStream,
    key: jax.Array | None,
    tolerance: jax.Array,
    networks: FiniteSize | None,
) -> ClosureReport:
    """The report of a theory and a limit; outputs of a stream are compared on one batch of it."""
    batch = task.sample(jax.random.key(0) if key is None else key) if isinstance(task, TaskStream) else task
    assert isinstance(theory.final, Overlaps)
    return ClosureReport(
        theory=theory,
        limit=exact,
        tolerance=tolerance,
        theory_output=rollout(theory.model, theory.final, batch),
        limit_output=exact.output(batch),
        networks=networks,
    )
