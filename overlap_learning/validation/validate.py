"""validate: the theory against full N, on the same trials."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.results import RESULTS, LearningError
from overlap_learning.dynamics.rules import AbstractDescent, AbstractRule, DirectDescent, GradientFlow
from overlap_learning.dynamics.solution import Solution
from overlap_learning.dynamics.storage import to_dataset, write
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.model.precision import count, require_float64
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.validation.train import train

if TYPE_CHECKING:
    import xarray

#: The largest standard error of an exponent that still tells -1/2 from 0 and from -1, by four standard errors.
DECISIVE_ERROR = 0.125

#: How far the start is moved, relative to its size, to see how much learning amplifies; and the deviation, relative to
#: the overlaps, from which on a comparison says nothing.
NUDGE, HOPELESS = 1e-10, 1e-3

#: Neurons of the networks that are trained side by side: enough that small networks do not wait for overhead.
NEURONS_AT_ONCE = 10_000


class Verdict(NamedTuple):
    """Whether theory and full N agree as they should, and why.

    Attributes:
        passed: whether they do.
        sentence: the reason, with its numbers.
    """

    passed: bool
    sentence: str


class Validation(eqx.Module):
    """What `ol.validate` returns: the theory, and the deviations of full networks from it.

    Attributes:
        theory: the `Solution` of `ol.integrate`.
        n_neurons: the N that were run.
        deviation: full N minus theory of each overlap, shape [len(n_neurons), n_seeds, S, p], in the order of
            `layout.entry_names`.
        loss: the loss at full N, shape [len(n_neurons), n_seeds, S].
        early: index of the saved point that stands for early training.
        tolerance: for linear networks, the largest deviation that rounding (and a flow's solver) explains, per N, shape
            [len(n_neurons)].
    """

    theory: Solution
    n_neurons: tuple[int, ...] = eqx.field(static=True)
    deviation: np.ndarray
    loss: np.ndarray
    early: int = eqx.field(static=True)
    tolerance: np.ndarray

    @property
    def model(self) -> Model:
        """The `Model` that was validated."""
        return self.theory.model

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
        squares = np.mean(np.square(self.deviation[:, :, index]), axis=-1)
        mean = squares.mean(axis=1)
        rms = np.sqrt(mean)
        if self.n_seeds == 1:
            return rms, np.full_like(rms, np.nan)
        error = squares.std(axis=1, ddof=1) / np.sqrt(self.n_seeds)
        # d sqrt(x) = dx / (2 sqrt(x)); no deviation at all has no error.
        return rms, np.divide(error, 2 * rms, out=np.zeros_like(rms), where=rms > 0)

    def exponent(self, index: int | None = None) -> tuple[float, float]:
        """The fitted exponent a of `rms ~ N^a`, with its standard error.

        Weighted least squares of log rms on log N; the error is the larger of what the error bars say and of what the
        scatter about the line says.

        Args:
            index: the saved point; None for early training.

        Returns:
            (exponent, standard error); NaN with fewer than two N, two seeds, or where there is no deviation.
        """
        rms, error = self.rms(self.early if index is None else index)
        if len(rms) < 2 or self.n_seeds < 2 or not np.all((rms > 0) & (error > 0)):
            return float("nan"), float("nan")
        x, y, weight = np.log(self.n_neurons), np.log(rms), np.square(rms / error)
        centre = np.average(x, weights=weight)
        information = np.sum(weight * np.square(x - centre))
        slope = np.sum(weight * (x - centre) * y) / information
        residual = y - np.average(y, weights=weight) - slope * (x - centre)
        freedom = len(x) - 2
        scatter = np.sum(weight * np.square(residual)) / freedom if freedom > 0 else 1.0
        return float(slope), float(np.sqrt(max(scatter, 1.0) / information))

    @property
    def verdict(self) -> Verdict:
        """The verdict: for a linear network rounding at every N, for others finite-N scaling of early training."""
        if self.model.is_linear:
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
        found = f"the early deviation scales as N^({slope:.3f} +- {error:.3f})"
        if not error <= DECISIVE_ERROR:
            return Verdict(
                False,
                f"Undecided: {found}, too uncertain to tell N^(-1/2) from no decay; use more seeds or other N.",
            )
        passed = abs(slope + 0.5) <= 2 * error
        ending, _ = self.rms()
        return Verdict(
            passed,
            f"Early in training theory and network {'agree' if passed else 'do NOT agree'} up to finite N: {found}, "
            f"expected -1/2. At the end the deviation is {ending[-1]:.2g} at N = {self.n_neurons[-1]}; what of it "
            "does not fall with N is the error of the Gaussian theory, which grows with training.",
        )

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: the theory's, with `deviation` and `full_loss` over `n_neurons` and `seed`."""
        data = to_dataset(self.theory).assign_coords(
            n_neurons=("n_neurons", list(self.n_neurons)), seed=("seed", np.arange(self.n_seeds))
        )
        axes = ("n_neurons", "seed", "time")
        data["deviation"] = ((*axes, "overlap"), self.deviation, {"long_name": "full N minus theory", "units": "1"})
        data["full_loss"] = (axes, self.loss, {"long_name": "loss at full N", "units": "1"})
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_xarray()` as a NetCDF-4 file, whole or not at all.

        Args:
            path: the file; an existing one is replaced once the new one is complete.
        """
        write(self.to_xarray(), path)

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
        named = ", ".join(
            f"{name} {value:.1e}" for name, value in zip(self.model.layout.entry_names, largest, strict=True)
        )
        rows.append(f"  at the end, N = {self.n_neurons[-1]}, largest over networks: {named}")
        rows.append(f"  {'confirmed' if self.verdict.passed else 'NOT confirmed'}: {self.verdict.sentence}")
        return "\n".join(rows)


def validate(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps,
    rule: AbstractRule,
    n_neurons: Sequence[int] = (250, 500, 1000),
    n_seeds: int = 4,
    *,
    key: jax.Array,
    exact: bool = True,
    early: float = 0.1,
    progress: bool | None = None,
) -> Validation:
    """The theory and full networks, from the same overlaps on the same trials: how far apart they end, and why.

    * Linear networks: theory and full N are equal at every N, to rounding. With the rounding unit eps, gradients that
      sum over T times and N neurons, a path of length L that the overlaps move along in n steps, and overlaps of size
      |G|, rounding explains a deviation of `eps ((T + N) L + n |G|)`; a flow's solver adds its tolerance `rtol |G| +
      atol` per step.
    * Nonlinear networks: early in training the deviation comes from finite N and falls as N^(-1/2), which is fitted.
      Later a part remains that does not fall: neurons stop being Gaussian, and the theory is off also at infinite N. It
      is reported as it is.

    Args:
        model: the `Model`.
        task: a `Task`, or for rules in steps a `TaskStream`.
        overlaps: the start.
        rule: `GradientDescent` or `GradientFlow`, without stop_loss.
        n_neurons: the N to run.
        n_seeds: networks per N.
        key: a jax random key: networks and trials.
        exact: whether each network starts from exactly these overlaps (else from a Gaussian sample, off by O(N^-1/2)).
        early: the fraction of the learning time that stands for early training.
        progress: show a progress bar; None: if a person is watching.

    Returns:
        A `Validation`; print it.

    Raises:
        ValueError: if the arguments do not fit together.
        LearningError: if theory or a network diverged.
        RuntimeError: if jax is not in 64-bit mode.

    Source: Ger & Barak 2026, Figs. 1, 4; theory page, section 7.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(learning_rate=5e-3, n_steps=50)
        >>> task = ol.tasks.exponential_filter(duration=5.0)
        >>> found = ol.validate(model, task, start, rule, n_neurons=(10, 20), n_seeds=2, key=jax.random.key(0))
        >>> found.verdict.passed
        True
    """
    require_float64("ol.validate")
    sizes = tuple(count(n, "validate: n_neurons") for n in n_neurons)
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise ValueError(
            f"validate: n_neurons must be one or more increasing numbers, such as (250, 500, 1000), got {n_neurons}."
        )
    n_seeds = count(n_seeds, "validate: n_seeds")
    if not 0 < early <= 1:
        raise ValueError(f"validate: early must be a fraction in (0, 1], got {early}.")
    if isinstance(rule, DirectDescent):
        raise ValueError(
            "validate: DirectDescent is no theory of a network; compare it by plotting its solution beside ol.train's."
        )
    if getattr(rule, "stop_loss", None) is not None:
        raise ValueError(
            "validate: the rule must not have a stop_loss, so that theory and networks have the same saved points."
        )
    trial_key, network_key, nudge_key = jax.random.split(key, 3)
    # Networks of overlaps in single precision are compared in double precision all the same.
    overlaps = with_gram(overlaps, overlaps.gram.astype(float))
    theory = integrate(model, task, overlaps, rule, key=trial_key)
    theory_entries = _entries(theory)
    tolerance = _rounding(theory, rule, task, np.asarray(sizes))
    if model.is_linear:
        nudge = jnp.eye(model.layout.size) + NUDGE * jax.random.normal(nudge_key, overlaps.gram.shape)
        nudged = integrate(model, task, with_gram(overlaps, nudge.T @ overlaps.gram @ nudge), rule, key=trial_key)
        largest = np.abs(_entries(nudged) - theory_entries).max()
        tolerance = tolerance * max(1.0, largest / (NUDGE * np.abs(theory_entries).max()))

    deviation, loss = [], []
    from tqdm.auto import tqdm

    disable = None if progress is None else not progress
    with tqdm(total=len(sizes) * n_seeds, disable=disable, unit="network", desc="validate") as bar:
        for n, size_key in zip(sizes, jax.random.split(network_key, len(sizes)), strict=True):
            keys = jax.random.split(size_key, n_seeds)
            group = max(1, NEURONS_AT_ONCE // n)
            for first in range(0, n_seeds, group):
                bar.set_postfix_str(f"N={n}")
                full = _train_group(model, task, overlaps, rule, n, keys[first : first + group], trial_key, exact)
                deviation.append(_entries(full) - theory_entries)
                loss.append(np.asarray(full.loss))
                bar.update(len(full.loss))
    shape = (len(sizes), n_seeds)
    time = np.asarray(theory.time)
    return Validation(
        theory=theory,
        n_neurons=sizes,
        deviation=np.concatenate(deviation).reshape(*shape, *theory_entries.shape),
        loss=np.concatenate(loss).reshape(*shape, -1),
        early=max(1, int(np.argmin(np.abs(time - early * time[-1])))),
        tolerance=tolerance,
    )


def _train_group(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps,
    rule: AbstractRule,
    n: int,
    keys: jax.Array,
    trial_key: jax.Array,
    exact: bool,
) -> Solution:
    """Several networks of one N, trained side by side.

    Raises:
        LearningError: if one of them ended badly.
    """

    def one(key: jax.Array) -> Solution:
        network = Network.sample(overlaps, n, key=key, exact=exact)
        return train(model, task, network, rule, key=trial_key, throw=False)

    full = jax.vmap(one)(keys)
    good = np.asarray(full.result == RESULTS.successful)
    if not good.all():
        raise LearningError(
            f"{np.sum(~good)} of {len(good)} networks of N = {n} ended badly, the theory did not; try a smaller rate.",
            full,
        )
    return full


def _entries(solution: Solution) -> np.ndarray:
    """The distinct overlaps at each saved point, shape [..., S, p]."""
    rows, columns = solution.model.layout.entry_indices
    return np.asarray(solution.overlaps.gram)[..., rows, columns]


def _rounding(theory: Solution, rule: AbstractRule, task: Task | TaskStream, sizes: np.ndarray) -> np.ndarray:
    """The deviation that rounding, and a flow's solver, explain in a linear network; see `validate`."""
    gram = np.asarray(theory.overlaps.gram)
    size = np.abs(gram).max()
    path = np.abs(np.diff(gram, axis=0)).sum(axis=0).max() if len(gram) > 1 else 0.0
    batch = jax.eval_shape(task.sample, jax.random.key(0)) if isinstance(task, TaskStream) else task
    n_steps = rule.n_steps if isinstance(rule, AbstractDescent) else int(theory.stats["accepted"])
    eps = float(jnp.finfo(gram.dtype).eps)
    solver = n_steps * (float(rule.rtol) * size + float(rule.atol)) if isinstance(rule, GradientFlow) else 0.0
    return eps * ((batch.n_steps + sizes) * path + n_steps * size) + solver
