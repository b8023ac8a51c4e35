"""Recorded: fits to the activity of a network whose learning is known, and what they find of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from scipy.linalg import subspace_angles

import overlap_learning.plot as plot
from overlap_learning.fitting.decoder import OneToOne
from overlap_learning.fitting.inputs import Inputs
from overlap_learning.fitting.ranks import RankComparison, compare_ranks
from overlap_learning.fitting.recordings import Recordings
from overlap_learning.fitting.result import Fit
from overlap_learning.fitting.solver import Euler
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.pellegrino import washout
from overlap_learning.learning.rules import GradientDescent, Optimiser
from overlap_learning.model.activations import Linear
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.studies.memory.course import joined
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.studies.tensor.sources import weight_tensor
from overlap_learning.studies.tensor.weights import WeightTensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Input and readout stay, so that activity changes by recurrent weights alone.
RATES = {"m": 0.0, "z": 0.0}


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment.

    Args:
        task: of the network that learns: targets, rotation, decay, duration, step and start.
        learning_rate: eta.
        n_steps: learning steps before the first phase, and of each phase: a step is a trial.
        n_neurons: N, all recorded.
        stride: Euler steps between two recorded times.
        noise: standard deviation of the noise, of that of the activity.
        ranks: R of the fits.
        n_fit_steps: steps of a fit.
        n_seeds: starts of a fit.
        seed: of neurons, noise, masks and fits.
    """

    task: washout.Settings = washout.STANDARD
    learning_rate: float = 1e-2
    n_steps: tuple[int, int, int, int] = (3000, 30, 60, 60)
    n_neurons: int = 40
    stride: int = 5
    noise: float = 0.1
    ranks: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    n_fit_steps: int = 1200
    n_seeds: int = 2
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_steps=(3000, 16, 32, 32), n_neurons=30, ranks=(1, 2, 4), n_fit_steps=400, n_seeds=2)


class Known(NamedTuple):
    """A network that learned, and recordings of it.

    Attributes:
        tensor: its weights at every trial.
        weights: the same, shape [K, N, N].
        recordings: activity with noise.
        noise: the variance of the noise.
    """

    tensor: WeightTensor
    weights: np.ndarray
    recordings: Recordings
    noise: float


def record(settings: Settings) -> Known:
    """Learn, and record one reach at each learning step."""
    before, *phases = settings.n_steps
    straight, turned = (washout.reach(settings.task, angle) for angle in (0.0, settings.task.rotation))
    start = Overlaps.random(washout.LAYOUT, key=jax.random.key(settings.task.seed), scale=settings.task.scale)
    first = GradientDescent(settings.learning_rate, before, rates=RATES)
    trained = protocol(washout.MODEL, [straight], start, first)[0].final
    rules = [GradientDescent(settings.learning_rate, n - 1, save_every=1, rates=RATES) for n in phases]
    tensor = weight_tensor(joined(protocol(washout.MODEL, [straight, turned, straight], trained, rules)))
    network = Network.sample(trained, settings.n_neurons, key=jax.random.key(settings.seed))
    lifted = tensor.lift(network)
    weights = np.stack([np.asarray(W) for W in lifted])
    n_targets, n_trials = settings.task.n_targets, len(weights)
    targets = np.arange(n_trials) % n_targets
    angles = 2 * np.pi * targets / n_targets
    state = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ np.asarray(network.m).T
    n_steps = round(settings.task.duration / settings.task.dt)
    course = [state]
    for _ in range(n_steps - 1):
        state = state + settings.task.dt * (np.einsum("kij,kj->ki", weights, state) - state)
        course.append(state)
    clean = np.stack(course[:: settings.stride], axis=1)
    noise = settings.noise * clean.std()
    activity = clean + noise * np.random.default_rng(settings.seed).normal(size=clean.shape)
    recordings = Recordings(
        activity,
        times=settings.task.dt * settings.stride * np.arange(clean.shape[1]),
        conditions=[f"{360 * number // n_targets} deg" for number in targets],
        epochs=np.repeat(washout.LETTERS, phases),
    )
    return Known(tensor, weights, recordings, float(noise**2))


def fitted(settings: Settings, known: Known, progress: bool | None) -> RankComparison:
    """Fits of several ranks: linear units, one for each neuron, whose time constant is known, and no inputs."""
    import optax

    n = settings.n_fit_steps
    return compare_ranks(
        known.recordings,
        settings.ranks,
        jax.random.key(settings.seed),
        time_constant=1.0,
        inputs=Inputs(until=-np.inf),
        activation=Linear(),
        decoder=OneToOne(),
        solver=Euler(settings.stride),
        rule=Optimiser(optax.adam(optax.cosine_decay_schedule(5e-2, n), b2=0.99), n, save_every=20),
        n_seeds=settings.n_seeds,
        progress=progress,
    )


def figure_recorded(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """What fits of several ranks find of a network whose learning is known, by its activity alone.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the fits; None: if a person is watching.

    Source: Pellegrino et al. 2023, the fit; the network is that of `p23-washout`, its input and readout fixed.
    """
    known = record(settings)
    comparison = fitted(settings, known, progress)
    chosen, ranks = comparison.fit, list(settings.ranks)
    key = jax.random.key(settings.seed)
    of_weights = known.tensor.unexplained(max(ranks), key=key, n_restarts=1)[np.array(ranks) - 1]
    of_change = known.tensor.change.unexplained(max(ranks), key=key, n_restarts=1)[np.array(ranks) - 1]
    of_activity = np.array([1 - fit.explained for fit in comparison.fits])
    similarity = [np.delete(fit.similarity, fit.best) for fit in comparison.fits]
    truth = known.tensor.eigenvalues[:, :2]
    nearest = [_nearest(fit, truth) for fit in comparison.fits]
    errors = [np.abs(values - truth).max() for values in nearest]
    angles = np.array([_angles(fit, known.weights) for fit in comparison.fits])

    title = f"P23: fits to {settings.n_neurons} recorded neurons of a linear network of rank 2 that learns a reach"
    figure, panels = page(title, 2, 3, height=4.1)
    plot.rank_scores(comparison, ax=panels[0])
    panels[0].axhline(known.noise, color="0.5", linestyle=":", label="variance of the noise")
    legend_above(panels[0], ncols=1)
    _draw_similarity(panels[1], ranks, similarity)
    plot.trial_factors(chosen, ax=panels[2])
    _draw_eigenvalues(panels[3], truth, comparison)
    _draw_shares(panels[4], ranks, of_activity, of_weights, of_change, known)
    if chosen.rank > 1:
        last = sum(settings.n_steps[1:3]) - 1
        plot.vector_field(chosen, float(chosen.trial_ids[last]), arrows=False, ax=panels[5])
    numbers = [
        Number("rank of each W, largest", float(known.tensor.matrix_ranks().max()), expected=2.0),
        Number("rank of the fit that is chosen", float(comparison.chosen)),
        *(
            Number(f"rank {fit.rank}: held-out squared error / noise", fit.score / known.noise,
                   fit.score_error / known.noise, 1.0)
            for fit in comparison.fits
        ),
        *(
            Number(f"rank {rank}: least similarity of starts to the best", float(values.min()))
            for rank, values in zip(ranks, similarity, strict=True) if len(values)
        ),
        *(
            Number(f"rank {rank}: eigenvalues of W, largest distance of the nearest", float(error))
            for rank, error in zip(ranks, errors, strict=True)
        ),
        *(
            Number(f"rank {rank}: leading {side} outside of those fitted, degrees", float(angles[i, j]))
            for i, rank in enumerate(ranks) for j, side in enumerate(("columns", "rows"))
        ),
        *(
            Number(f"{rank} terms of {what}: unexplained share", float(value))
            for what, values in (("the true W", of_weights), ("its change", of_change))
            for rank, value in zip(ranks, values, strict=True)
        ),
    ]  # fmt: skip
    notes = (
        "Claim: activity through learning is fitted by a recurrent network whose weights have low tensor rank. Here "
        "every W has rank 2; the rank that held-out blocks choose is that of a tensor, and higher.",
        "The fit is told that units are linear, one for each neuron, their time constant, and that nothing drives them "
        "after the cue. The paper's recordings are not public: these are of a network of the theory.",
    )
    arrays = {
        "score": (("rank",), comparison.scores, "mean squared error of held-out blocks"),
        "score_error": (("rank",), comparison.errors, "standard error of its distance to the best"),
        "similarity": (("rank", "other_start"), np.stack(similarity), "similarity of starts to the best"),
        "trials": (("trial", "component"), np.asarray(chosen.network.trials), "trial factors of the chosen rank"),
        "widths": (("trial", "component"), chosen.trial_widths, "their posterior widths, all else held fixed"),
        "eigenvalue": (("trial", "pair", "part"), _parts(truth), "leading eigenvalues of the true W"),
        "fitted_eigenvalue": (("rank", "trial", "pair", "part"),
                              np.stack([_parts(values) for values in nearest]), "nearest eigenvalues of the fits"),
        "unexplained_W": (("rank",), of_weights, "share of the true tensor"),
        "unexplained_change": (("rank",), of_change, "share of its change"),
        "unexplained_activity": (("rank",), of_activity, "share of held-out activity"),
    }  # fmt: skip
    return collect(figure, settings, numbers, notes, arrays=arrays | {"ranks": (("rank",), ranks, "rank")})


def _nearest(fit: Fit, truth: np.ndarray) -> np.ndarray:
    """Of the eigenvalues of its W those nearest to the true ones, shape [K, 2]."""
    found = fit.network.eigenvalues
    places = np.abs(found[:, None] - truth[:, :, None]).argmin(axis=2)
    return np.take_along_axis(found, places, axis=1)


def _parts(values: np.ndarray) -> np.ndarray:
    return np.stack([np.real(values), np.imag(values)], axis=-1)


def _angles(fit: Fit, weights: np.ndarray) -> tuple[float, float]:
    """Of the two leading directions of all columns (rows) of the true W to the span of the fitted ones, the largest."""
    found = []
    for flat, side in zip((np.hstack(list(weights)), np.vstack(list(weights)).T), fit.network.neurons, strict=True):
        leading = np.linalg.svd(flat, full_matrices=False)[0][:, : min(2, fit.rank)]
        found.append(float(np.degrees(subspace_angles(leading, side)).max()))
    return found[0], found[1]


def _draw_similarity(ax: "Axes", ranks: list[int], similarity: list[np.ndarray]) -> None:
    for rank, values in zip(ranks, similarity, strict=True):
        ax.plot(np.full(len(values), rank), values, color=COLOURS[0], marker="o", linestyle="none", markersize=5)
    ax.set_xticks(ranks)
    ax.set(xlabel="rank", ylabel="similarity of starts to the best", ylim=(min(0.0, *map(np.min, similarity)), 1.05))


def _draw_eigenvalues(ax: "Axes", truth: np.ndarray, comparison: RankComparison) -> None:
    shown = [(truth, "true", "k", 1.8)]
    for fit in comparison.fits:
        if fit.rank in (2, comparison.chosen):
            shown.append((_nearest(fit, truth), f"rank {fit.rank}", COLOURS[len(shown) - 1], 1.2))
    for values, label, colour, width in shown:
        ordered = np.sort_complex(values)
        ax.plot(np.real(ordered), color=colour, linewidth=width)
        ax.plot(np.abs(np.imag(ordered)[:, -1]), color=colour, linewidth=width, linestyle="--")
        ax.plot([], color=colour, label=label)
    ax.plot([], color="0.5", linestyle="--", label="imaginary part")
    ax.set(xlabel="trial", ylabel="two eigenvalues of W")
    legend_above(ax)


def _draw_shares(
    ax: "Axes", ranks: list[int], activity: np.ndarray, weights: np.ndarray, change: np.ndarray, known: Known
) -> None:
    for values, label, colour in (
        (activity, "held-out activity, by fits", COLOURS[0]),
        (weights, "true W, by as many terms", COLOURS[1]),
        (change, "its change", COLOURS[2]),
    ):
        ax.plot(ranks, values, color=colour, marker="o", label=label)
    share = known.noise / known.recordings.activity.var()
    ax.axhline(share, color="0.5", linestyle=":", label="noise")
    ax.set(yscale="log", xlabel="rank, or number of terms", ylabel="unexplained share")
    ax.set_xticks(ranks)
    legend_above(ax, ncols=2)
