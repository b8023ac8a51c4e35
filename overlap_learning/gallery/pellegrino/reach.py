"""Reach: an unconstrained network learns a rotated reach and unlearns it: W has full rank, and its change a low one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from overlap_learning.gallery.kit.page import mark_phases, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Tanh
from overlap_learning.model.activity import simulate
from overlap_learning.model.bulk import RandomBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.studies.tensor.sources import matrices_tensor
from overlap_learning.studies.tensor.weights import WeightTensor
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYOUT = Layout(n_in=2, rank=0, n_out=2)
LETTERS = ("baseline", "rotated", "washout")
#: All connections learn, and no others.
RATES = {"m": 0.0, "z": 0.0, "W": 1.0}


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment; the lengths of the phases are those of the published program.

    Args:
        n_targets: directions of a centre-out reach, one trial each.
        rotation: of the hand against the target in the perturbed phase, in degrees.
        duration: of a trial, in neuronal time constants.
        cue: how long the target is shown.
        begin: when the hand begins to move.
        movement: how long it moves, along a minimum-jerk course.
        dt: the Euler step.
        g: strength of the random connections at the start.
        n_neurons: N.
        n_before: learning steps before the first phase, with momentum 0.9.
        rate_before: their eta.
        n_steps: learning steps of each phase.
        learning_rate: their eta.
        n_kept: directions of neurons, on either side, in which terms are fitted.
        n_terms: the most CP terms.
        seed: of the network and the fits.
    """

    n_targets: int = 8
    rotation: float = 40.0
    duration: float = 8.0
    cue: float = 2.0
    begin: float = 1.0
    movement: float = 4.0
    dt: float = 0.2
    g: float = 0.9
    n_neurons: int = 200
    n_before: int = 4000
    rate_before: float = 0.05
    n_steps: tuple[int, int, int] = (50, 100, 100)
    learning_rate: float = 0.01
    n_kept: int = 12
    n_terms: int = 5
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=60, n_before=1000, n_steps=(20, 50, 50), n_kept=8, n_terms=3)


def reach(settings: Settings, rotation: float = 0.0) -> Task:
    """The position of a hand on its way from the centre to the target that was shown, turned by `rotation` degrees."""
    angles = 2 * np.pi * np.arange(settings.n_targets) / settings.n_targets
    times = settings.dt * np.arange(round(settings.duration / settings.dt))
    cues = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None] * (times < settings.cue)[:, None]
    done = np.clip((times - settings.begin) / settings.movement, 0, 1)
    course = 10 * done**3 - 15 * done**4 + 6 * done**5
    turned = angles - np.deg2rad(rotation)
    hand = np.stack([np.cos(turned), np.sin(turned)], axis=1)[:, None] * course[:, None]
    return Task(cues, hand, np.full(hand.shape, 1 / (settings.n_targets * len(times))), settings.dt)


class Runs(NamedTuple):
    """One network through three phases.

    Attributes:
        model: of it.
        before: learning up to the first phase.
        phases: the phases, with all connections saved.
        start: the connections before anything was learned, shape [N, N].
    """

    model: Model
    before: Solution
    phases: list[Solution]
    start: np.ndarray


def learn(settings: Settings, progress: bool | None) -> Runs:
    """The runs behind the figure."""
    model = Model(LAYOUT, Tanh(), bulk=RandomBulk(settings.g))
    drawn = Overlaps.from_entries(LAYOUT)
    network = BulkNetwork.sample(model, drawn, settings.n_neurons, key=jax.random.key(settings.seed))
    long = GradientDescent(settings.rate_before, settings.n_before, rates=RATES, momentum=0.9)
    before = train(model, reach(settings), network, long, progress=progress)
    phases, now = [], before.final
    for rotation, n_steps in zip((0.0, settings.rotation, 0.0), settings.n_steps, strict=True):
        rule = GradientDescent(settings.learning_rate, n_steps, rates=RATES, save_every=1)
        phases.append(train(model, reach(settings, rotation), now, rule, progress=progress, save_vectors=True))
        now = phases[-1].final
    return Runs(model, before, phases, np.asarray(network.dense_bulk))


def figure_reach(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """The weights of an unconstrained network that learns a rotated reach: full rank, and a change of low tensor rank.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the networks; None: if a person is watching.

    Source: Pellegrino et al. 2023, the experiment on a trained network; theory page, section 10.
    """
    runs = learn(settings, progress)
    bulk = np.concatenate([np.asarray(phase.saved["bulk"]) for phase in runs.phases])
    change = bulk - bulk[0]
    whole = matrices_tensor(change)
    small, left_out = _leading(change, settings.n_kept)
    key = jax.random.key(settings.seed)
    unexplained = left_out + (1 - left_out) * small.unexplained(settings.n_terms, key=key, n_restarts=1)
    fit = small.cp(2, key=key, n_restarts=1)
    loss = np.concatenate([np.asarray(phase.loss) for phase in runs.phases])
    edges = np.cumsum([0, *(n + 1 for n in settings.n_steps)]).tolist()
    ends = [edge - 1 for edge in edges[1:]]

    title = f"P23: an unconstrained tanh network, N = {settings.n_neurons:,}, learns a reach rotated by "
    figure, panels = page(f"{title}{settings.rotation:g} degrees, and washes it out", 2, 3, height=4.1)
    hands = _draw_hands(panels[0], settings, runs)
    panels[1].plot(loss, color=COLOURS[0], linewidth=1.6)
    panels[1].set_ylabel("loss (squared distance of the hand)")
    panels[2].plot(whole.norm, color=COLOURS[0], linewidth=1.6)
    panels[2].set_ylabel(r"norm of the change of W, $|W_k - W_0|$")
    for s in range(fit.trials.shape[1]):
        panels[3].plot(fit.trials[:, s], color=COLOURS[s], linewidth=1.6, label=f"term {s + 1}")
    panels[3].set_ylabel("trial factors of the change, 2 terms")
    legend_above(panels[3])
    for ax in panels[1:4]:
        ax.set_xlabel("learning step")
        mark_phases(ax, edges, LETTERS)
    terms = np.arange(1, settings.n_terms + 1)
    panels[4].plot(terms, unexplained, color=COLOURS[0], marker="o", markersize=4)
    panels[4].set(yscale="log", xlabel="number of terms (CP)", ylabel="unexplained share of the change")
    panels[4].set_xticks(terms)
    spectra = _draw_spectra(panels[5], whole, bulk)

    most = whole.effective_rank(0.999)
    after = float(np.linalg.norm(change[ends[2]]) / np.linalg.norm(change[ends[1]]))
    numbers = [
        Number("loss at the end of baseline", float(loss[ends[0]])),
        Number("loss at the first rotated step", float(loss[ends[0] + 1])),
        Number("loss at the end of the rotated phase", float(loss[ends[1]])),
        Number("loss at the first step of washout (aftereffect)", float(loss[ends[1] + 1])),
        Number("loss at the end of washout", float(loss[ends[2]])),
        Number("rank of W, N", float(settings.n_neurons)),
        *(Number(f"components by {name} for 99.9 % of the change", float(n)) for name, n in most._asdict().items()),
        *(Number(f"unexplained share of the change, {r} terms", float(unexplained[r - 1])) for r in terms),
        Number(f"share of the change outside {settings.n_kept} directions of neurons on either side", left_out),
        Number("change left after washout / change by the rotation", after),
        Number("norm of the change / norm of W, end of the rotated phase",
               float(whole.norm[ends[1]] / np.linalg.norm(bulk[0]))),
    ]  # fmt: skip
    notes = (
        "Claim (abstract): task learning in an unconstrained network has low tensor rank. Here W has rank N throughout "
        f"and {most.post}, {most.pre} and {most.time} components (neurons after and before, learning time) hold 99.9 % "
        "of what the three phases changed.",
        "The network, its task, its rates and the rotation are ours: the published sizes were not to be had. All "
        "connections learn, by plain gradient descent; input and output do not.",
        "Terms are fitted to the change within its leading directions of neurons; what lies outside counts as "
        "unexplained.",
    )
    arrays = {
        "loss": (("step",), loss, "loss at each step of the three phases"),
        "change_norm": (("step",), whole.norm, "norm of the change of W"),
        "trials": (("step", "term"), fit.trials, "trial factors of the change"),
        "unexplained": (("terms",), unexplained, "share of the squared norm of the change"),
        "hand": (("phase_end", "target", "time", "axis"), hands, "position of the hand at the end of each phase"),
        **{name: ((f"{name}_component",), values, "singular values") for name, values in spectra.items()},
    }
    return collect(figure, settings, numbers, notes, arrays=arrays)


def _leading(change: np.ndarray, n_kept: int) -> tuple[WeightTensor, float]:
    """The change within its leading directions of neurons on either side, and the share of it that lies outside."""
    n = change.shape[1]
    left, right = (
        np.linalg.svd(np.moveaxis(change, axis, 0).reshape(n, -1), full_matrices=False)[0][:, :n_kept]
        for axis in (1, 2)
    )
    inside = left.T @ change @ right
    return matrices_tensor(inside), float(1 - np.sum(inside**2) / np.sum(change**2))


def _draw_hands(ax: "Axes", settings: Settings, runs: Runs) -> np.ndarray:
    """Where the hand goes at the end of each phase, seen in the task's own axes, shape [3, targets, T, 2]."""
    hands = np.stack([np.asarray(simulate(runs.model, p.final, reach(settings))) for p in runs.phases])
    for i, (hand, letter) in enumerate(zip(hands, LETTERS, strict=True)):
        for k, course in enumerate(hand):
            ax.plot(*course.T, color=COLOURS[i], linewidth=1.2, linestyle=("-", "-", "--")[i],
                    label=f"after {letter}" if k == 0 else "_")  # fmt: skip
    angles = 2 * np.pi * np.arange(settings.n_targets) / settings.n_targets
    ax.plot(np.cos(angles), np.sin(angles), "k+", label="targets")
    ax.set(xlabel="hand, first output", ylabel="hand, second output", aspect="equal")
    legend_above(ax, ncols=2)
    return hands


def _draw_spectra(ax: "Axes", whole: WeightTensor, bulk: np.ndarray) -> dict[str, np.ndarray]:
    of_w = np.linalg.svd(bulk[-1], compute_uv=False)
    spectra = {"of_w": of_w / of_w[0]}
    ax.plot(np.arange(1, len(of_w) + 1), spectra["of_w"], color="0.6", linewidth=1.6, label="W, last step")
    for i, (mode, name) in enumerate(((1, "post"), (2, "pre"), (0, "time"))):
        values = whole.singular_values(mode)
        spectra[name] = values / values[0]
        kept = spectra[name][spectra[name] > 1e-6]
        ax.plot(np.arange(1, len(kept) + 1), kept, color=COLOURS[i], marker=".", linewidth=1.0,
                label=f"change, by {name}")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="component", ylabel="singular value / largest")
    legend_above(ax, ncols=2)
    return spectra
