"""validate: the theory against full N, on the same trials."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import count, listed, refuse_traced, require_float64
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.learning.checkpoint import Checkpoint, check_checkpoint, part_of
from overlap_learning.learning.dataset import to_dataset
from overlap_learning.learning.result import AbstractResult
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution
from overlap_learning.learning.trust import FAILS
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.neurons.gaussianity import gaussian_overlaps
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task, check_plain
from overlap_learning.validation.closure import ClosureReport, report
from overlap_learning.validation.finite_size import FiniteSize, check_comparable, check_sizes, entries, finite_size
from overlap_learning.validation.limit import limit

if TYPE_CHECKING:
    import xarray

#: The largest standard error of an exponent that still tells -1/2 from 0 and from -1, by four standard errors.
DECISIVE_ERROR = 0.125

#: How far the start is moved, relative to its size, to see how much learning amplifies; and the deviation, relative to
#: the overlaps, from which on a comparison says nothing.
NUDGE, HOPELESS = 1e-10, 1e-3

#: The part of the learning by which the theory of a nonlinear network may be off and still count as good.
CLOSURE_TOLERANCE = 0.05

#: Of networks with a bulk without a bias, the share that is said to have one.
FALSE_ALARM = 0.01


class Verdict(NamedTuple):
    """Whether theory and full N agree as they should, and why.

    Attributes:
        passed: whether they do.
        sentence: the reason, with its numbers.
    """

    passed: bool
    sentence: str


class Validation(AbstractResult):
    """What `ol.validate` returns: the theory, and the deviations of full networks from it.

    Attributes:
        theory: the `Solution` of `ol.integrate`.
        n_neurons: the N that were run.
        deviation: full N minus theory of each overlap, shape [len(n_neurons), n_seeds, S, p], in the order of
            `layout.entry_names`.
        loss: the loss at full N, shape [len(n_neurons), n_seeds, S].
        early: index of the saved point that stands for early training.
        tolerance: for linear networks, the largest deviation that rounding (and a flow's solver) explains, per N, shape
            [len(n_neurons)]; with a bulk, the estimated error of the theory.
        closure: for nonlinear networks, the `ClosureReport`: the theory against the limit of infinite N, which tells
            what of the deviation does not fall with N.
    """

    table: ClassVar[str] = "deviation"

    theory: Solution
    n_neurons: tuple[int, ...] = eqx.field(static=True)
    deviation: np.ndarray
    loss: np.ndarray
    early: int = eqx.field(static=True)
    tolerance: np.ndarray
    closure: ClosureReport | None = None

    @property
    def model(self) -> Model:
        """The `Model` that was validated."""
        return self.theory.model

    @property
    def is_exact(self) -> bool:
        """Whether theory and full networks are equal at every N: linear ones without a bulk are."""
        return self.model.is_linear and self.model.bulk is None

    @property
    def n_seeds(self) -> int:
        """Networks per N."""
        return self.deviation.shape[1]

    @property
    def largest(self) -> np.ndarray:
        """The largest deviation of any overlap at any saved point, shape [len(n_neurons), n_seeds]."""
        return np.abs(self.deviation).max(axis=(2, 3))

    def rms(self, index: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Root mean square deviation over overlaps and networks at a saved point, with its standard error, per N."""
        return FiniteSize(self.n_neurons, self.deviation, self.loss).rms(index)

    @property
    def finite(self) -> FiniteSize:
        """The finite-N part: full N minus the limit of infinite N (which is the theory for linear networks).

        With a bulk the last of its p + 1 columns is the loss, which tells a network apart whose overlaps do not learn.
        """
        if self.model.bulk is not None:
            loss = self.loss - np.asarray(self.theory.loss)
            return FiniteSize(self.n_neurons, np.concatenate([self.deviation, loss[..., None]], axis=-1), self.loss)
        closure = 0.0 if self.closure is None else self.closure.closure
        return FiniteSize(self.n_neurons, self.deviation - closure, self.loss)

    def exponent(self, index: int | None = None) -> tuple[float, float]:
        """The fitted exponent a of the finite-N part, `rms ~ N^a`, with its standard error.

        Args:
            index: the saved point; None for early training.

        Returns:
            (exponent, standard error); NaN with fewer than two N, two seeds, or where there is no deviation.
        """
        return self.finite.exponent(self.early if index is None else index)

    @property
    def verdict(self) -> Verdict:
        """The verdict: for a linear network rounding at every N, for others the finite-N part of early training.

        With a bulk also what does not fall with N, at the end of learning, which is to be no more than chance explains.
        The closure error of the theory is no failure of a check: it is in the sentence.
        """
        if self.is_exact:
            largest = self.largest.max(axis=1)
            worst = int(np.argmax(largest / self.tolerance))
            if self.tolerance.max() > HOPELESS * np.abs(self.theory.overlaps.gram).max():
                return Verdict(
                    False,
                    f"Undecided: this learning amplifies rounding to {self.tolerance.max():.2g} (it starts at a "
                    "saddle, or runs at the edge of stability); the largest deviation is "
                    f"{largest[worst]:.2g}. Start elsewhere, or use a smaller learning rate.",
                )
            passed = bool(np.all(largest <= self.tolerance))
            return Verdict(
                passed,
                f"The theory of a linear network is exact: the largest deviation, {largest[worst]:.2g} at "
                f"N = {self.n_neurons[worst]}, is {'within' if passed else 'BEYOND'} the {self.tolerance[worst]:.2g} "
                "that rounding explains.",
            )
        slope, error = self.exponent()
        found = f"early in training the finite-N part scales as N^({slope:.3f} +- {error:.3f})"
        if error <= DECISIVE_ERROR:
            passed = abs(slope + 0.5) <= 2 * error
            finite = f"Finite N {'as' if passed else 'NOT as'} expected: {found}, expected -1/2."
        else:
            passed = False
            word = FAILS if self.closure is not None and self.closure.verdict == FAILS else "undecided"
            finite = f"{word.capitalize()}: {found}, too uncertain to tell -1/2 from 0; use more seeds or other N."
        if self.model.bulk is not None:
            passed, bias = passed and self._bias.passed, self._bias.sentence
            return Verdict(passed, f"{finite} {bias}")
        return Verdict(passed, finite if self.closure is None else f"{finite} {self.closure.sentence}")

    @property
    def _bias(self) -> Verdict:
        """Whether what does not fall with N is explained by chance and by the error of the theory."""
        from scipy.stats import t

        bias, error = self.finite.bias()
        # An overlap that does not learn has no deviation and no error.
        moved = error > 0
        if not moved.any():
            return Verdict(False, "Undecided: there are no deviations to find a bias in.")
        names = np.array([*self.model.layout.entry_names, "loss"])[moved]
        excess = np.maximum(np.abs(bias[moved]) - self.tolerance.max(), 0) / error[moved]
        most = t.isf(FALSE_ALARM / (2 * len(names)), len(self.n_neurons) * self.n_seeds - 1)
        worst = int(np.argmax(excess))
        passed = bool(excess[worst] <= most)
        return Verdict(
            passed,
            f"What does not fall with N at the end is {'explained by chance' if passed else 'A BIAS'}: the largest, "
            f"of {names[worst]}, is {bias[moved][worst]:.2g} +- {error[moved][worst]:.2g}.",
        )

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: the theory's, with `deviation` and `full_loss` over `n_neurons` and `seed`."""
        data = to_dataset(self.theory).assign_coords(
            n_neurons=("n_neurons", list(self.n_neurons)), seed=("seed", np.arange(self.n_seeds))
        )
        axes = ("n_neurons", "seed", "time")
        data["deviation"] = ((*axes, "overlap"), self.deviation, {"long_name": "full N minus theory", "units": "1"})
        data["full_loss"] = (axes, self.loss, {"long_name": "loss at full N", "units": "1"})
        if self.closure is not None:
            data["closure"] = (
                ("time", "overlap"),
                self.closure.closure,
                {"long_name": "limit of infinite N minus theory", "units": "1"},
            )
            data["limit_error"] = (
                ("time", "overlap"),
                self.closure.limit.error,
                {"long_name": "estimated error of the limit", "units": "1"},
            )
        data["tolerance"] = (
            "n_neurons",
            self.tolerance,
            {"long_name": "deviation explained by rounding", "units": "1"},
        )
        data.attrs |= {
            "title": "Theory of learning against full N",
            "verdict": self.verdict.sentence,
            "early_index": self.early,
        }
        return data

    def __repr__(self) -> str:
        early_rms, early_error = self.rms(self.early)
        final_rms, final_error = self.rms()
        time = self.theory.time
        early_title, final_title = f"rms at {float(time[self.early]):.3g}", f"rms at {float(time[-1]):.3g} (end)"
        rows = [
            f"Validation: theory against full N, {self.n_seeds} network{'s' * (self.n_seeds > 1)} per N, "
            f"{self.model.layout}, {type(self.model.activation).__name__}",
            f"  {'N':>9}{'largest':>12}  {early_title:<22}{final_title}",
        ]
        for i, n in enumerate(self.n_neurons):
            early, final = (
                f"{rms[i]:.3e}" + (f" +- {error[i]:.1e}" if self.n_seeds > 1 else "")
                for rms, error in ((early_rms, early_error), (final_rms, final_error))
            )
            rows.append(f"  {n:>9}{self.largest[i].max():>12.3e}  {early:<22}{final}")
        largest = np.abs(self.deviation[-1, :, -1]).max(axis=0)
        named = listed(
            [f"{name} {value:.1e}" for name, value in zip(self.model.layout.entry_names, largest, strict=True)]
        )
        rows.append(f"  at the end, N = {self.n_neurons[-1]}, largest over networks: {named}")
        if self.closure is not None:
            rows += self.closure.split_rows(self.finite)
        verdict = self.verdict
        word = ("confirmed: " if verdict.passed else "NOT confirmed: ") if self.is_exact else ""
        rows.append(f"  {word}{verdict.sentence}")
        return "\n".join(rows)


def validate(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps | Network,
    rule: AbstractRule,
    n_neurons: Sequence[int] = (250, 500, 1000),
    n_seeds: int = 4,
    *,
    key: jax.Array,
    exact: bool = True,
    early: float = 0.1,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Validation:
    """The theory and full networks, from the same overlaps on the same trials: how far apart they end, and why.

    * Linear networks: theory and full N are equal at every N, to rounding. With the rounding unit eps, gradients that
      sum over T times and N neurons, a path of length L that the overlaps move along in n steps, and overlaps of size
      |G|, rounding explains a deviation of `eps ((T + N) L + n |G|)`; a flow's solver adds its tolerance `rtol |G| +
      atol` per step.
    * Linear networks with a bulk: the theory is the limit of infinitely many neurons, which the overlaps and the loss
      of networks, each with a W0 of its own, approach as N^(-1/2). That is fitted; and what does not fall with N at the
      end of learning, a bias, is held against its standard error.
    * Nonlinear networks: the deviation is split, `network - theory = (network - limit) + (limit - theory)`, with the
      limit of infinitely many neurons from `ol.limit`. The first part comes from finite N and falls as N^(-1/2), which
      is fitted. The second, the closure error, is there at every N, because neurons stop being Gaussian: it is given as
      it is, with the time until which the theory is good.

    Args:
        model: the `Model`.
        task: a `Task`, or for rules in steps a `TaskStream`.
        overlaps: the start; of a `Network` its overlaps are taken, with a warning if they do not give its output.
        rule: `GradientDescent` or `GradientFlow`, without stop_loss.
        n_neurons: the N to run; with a bulk N^2 numbers for each network.
        n_seeds: networks per N.
        key: a jax random key: networks and trials.
        exact: whether each network starts from exactly these overlaps (else from a Gaussian sample, off by O(N^-1/2)).
        early: the fraction of the learning time that stands for early training.
        progress: show a progress bar; None: if a person is watching.
        checkpoint: where to write down how far each run is; the same call goes on from there. Not with a flow.

    Returns:
        A `Validation`; print it.

    Raises:
        ValueError: if the arguments do not fit together, or the checkpoint is that of another run.
        LearningError: if theory or a network diverged.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved of the run at hand.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Figs. 1, 4; theory page, sections 7 and 9.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=50)
        >>> task = ol.tasks.exponential_filter(duration=5.0)
        >>> found = ol.validate(model, task, start, rule, n_neurons=(10, 20), n_seeds=2, key=jax.random.key(0))
        >>> found.verdict.passed
        True
    """
    require_float64("ol.validate", model=model, task=task, overlaps=overlaps, rule=rule)
    if isinstance(task, (Task, TaskStream)):
        # Networks with noise differ from theory by chance in each step, which is no deviation of the theory.
        check_plain(task.outline, "validate", ("state_noise",))
        # Neurons take steps. A task in continuous time says here, before theory has learned, that it has none.
        _ = task.outline.weights
    sizes, n_seeds = check_sizes(n_neurons, "validate"), count(n_seeds, "validate: n_seeds")
    if not 0 < early <= 1:
        raise ValueError(f"validate: early must be a fraction in (0, 1], got {early}.")
    refuse_traced("validate", overlaps, key)
    if isinstance(overlaps, Network):
        overlaps = gaussian_overlaps(model, overlaps, task, key, "validate")
    # The limit of nonlinear networks takes each vector to learn by itself.
    check_layout(model, overlaps, "validate", with_bulk=True, with_ties=isinstance(model, Model) and model.is_linear)
    if model.bulk is not None and not model.is_linear:
        raise ValueError(
            f"validate: the theory of a bulk is that of linear networks, and this model has {model.activation!r}; use "
            "ol.Linear(), or ol.train at full N alone."
        )
    check_comparable(rule, "validate")
    check_checkpoint(checkpoint, rule, "validate")
    trial_key, network_key = jax.random.split(key)
    # Networks of overlaps in single precision are compared in double precision all the same.
    overlaps = with_gram(overlaps, overlaps.gram.astype(float))
    theory = integrate(model, task, overlaps, rule, trial_key, trust=False, checkpoint=part_of(checkpoint, "theory"))
    nudged = closure = None
    if model.bulk is None and model.is_linear:
        part, moved = part_of(checkpoint, "nudged"), _nudge(overlaps)
        nudged = integrate(model, task, moved, rule, trial_key, checkpoint=part, trust=False)
    elif model.bulk is None:
        part = part_of(checkpoint, "limit")
        exact_limit = limit(model, task, overlaps, rule, trial_key, progress=progress, checkpoint=part)
        closure = report(theory, exact_limit, task, trial_key, jnp.asarray(CLOSURE_TOLERANCE), None)
    full = finite_size(
        model, task, overlaps, rule, entries(theory), sizes, n_seeds, network_key=network_key, trial_key=trial_key,
        exact=exact, progress=progress, title="validate", checkpoint=part_of(checkpoint, "networks"),
    )  # fmt: skip
    time = np.asarray(theory.time)
    return Validation(
        theory=theory,
        n_neurons=sizes,
        deviation=full.deviation,
        loss=full.loss,
        early=max(1, int(np.argmin(np.abs(time - early * time[-1])))),
        tolerance=(
            _rounding(theory, nudged, rule, task, np.asarray(sizes))
            if model.bulk is None
            else np.full(len(sizes), float(theory.stats["bulk_error"]))
        ),
        closure=closure,
    )


def _nudge(overlaps: Overlaps) -> Overlaps:
    """Overlaps of vectors that are moved a little, from the right, along no axis of theirs."""
    d = overlaps.layout.size
    nudge = np.eye(d) + NUDGE * np.sin(np.arange(1.0, d * d + 1)).reshape(d, d)
    return with_gram(overlaps, jax.device_put(nudge.T @ np.asarray(overlaps.gram) @ nudge))


def _rounding(
    theory: Solution, nudged: Solution | None, rule: AbstractRule, task: Task | TaskStream, sizes: np.ndarray
) -> np.ndarray:
    """The deviation that rounding, and a flow's solver, explain in a linear network; see `validate`.

    Amplified as learning amplifies it, if there is a theory of overlaps that were moved a little.
    """
    gram = np.asarray(theory.overlaps.gram)
    size = np.abs(gram).max()
    path = np.abs(np.diff(gram, axis=0)).sum(axis=0).max() if len(gram) > 1 else 0.0
    n_times = task.outline.n_steps
    n_steps = int(theory.stats["accepted"]) if rule.n_steps is None else rule.n_steps
    eps = float(jnp.finfo(gram.dtype).eps)
    solver = n_steps * rule.error(size)
    here = entries(theory)
    moved = 0.0 if nudged is None else np.abs(entries(nudged) - here).max() / (NUDGE * np.abs(here).max())
    return max(1.0, moved) * (eps * ((n_times + sizes) * path + n_steps * size) + solver)
