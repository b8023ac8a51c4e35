"""Washout: a rotated reach is learned and unlearned, and the weights of all trials are one tensor."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from overlap_learning.gallery.kit.page import mark_phases, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import adam
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear, Tanh
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, FULL, THEORY, legend_above
from overlap_learning.studies.memory.course import joined
from overlap_learning.studies.memory.protocol import protocol
from overlap_learning.studies.tensor.bounds import span_bounds
from overlap_learning.studies.tensor.components import Components
from overlap_learning.studies.tensor.sources import weight_tensor
from overlap_learning.studies.tensor.weights import WeightTensor
from overlap_learning.tasks.impulse import impulse_response
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYOUT = Layout(n_in=2, rank=2, n_out=2)
MODEL = Model(LAYOUT, Linear())
LETTERS = ("baseline", "rotated", "washout")


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment, which the paper's abstract does not give; the phases are those of its program.

    Args:
        n_targets: directions of a centre-out reach, one trial each.
        rotation: of the outputs against the targets in the perturbed phase, in degrees.
        decay: of the velocity that is asked for.
        duration: of a trial, in neuronal time constants.
        dt: the Euler step.
        scale: of the start's random overlaps.
        learning_rate: eta.
        n_steps: learning steps before the first phase, and of each phase.
        n_neurons: N.
        n_terms: the most CP terms.
        n_restarts: random starts of each fit.
        lopsided: by what the twin's readers A are longer, and its B shorter.
        adam_rate: of the control.
        seed: of start, neurons and fits.
    """

    n_targets: int = 8
    rotation: float = 40.0
    decay: float = 0.2
    duration: float = 10.0
    dt: float = 0.1
    scale: float = 0.3
    learning_rate: float = 5e-3
    n_steps: tuple[int, int, int, int] = (6000, 50, 100, 100)
    n_neurons: int = 200
    n_terms: int = 6
    n_restarts: int = 2
    lopsided: float = 1.4
    adam_rate: float = 1e-2
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(duration=6.0, dt=0.2, n_steps=(2000, 20, 50, 50), n_neurons=60, n_terms=4, n_restarts=1)


def reach(settings: Settings, rotation: float = 0.0) -> Task:
    """A velocity `exp(-c t)` towards each target after a cue there; outputs are seen turned by `rotation` degrees."""
    angles = 2 * np.pi * np.arange(settings.n_targets) / settings.n_targets
    cues = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.sqrt(2 / settings.n_targets)
    turned = angles - np.deg2rad(rotation)
    answers = np.stack([np.cos(turned), np.sin(turned)], axis=1) * np.sqrt(2 / settings.n_targets)
    return impulse_response(
        answers[:, None], np.array([settings.decay]), impulses=cues, duration=settings.duration, dt=settings.dt
    )


class Runs(NamedTuple):
    """One network through three phases, by the theory and in other ways.

    Attributes:
        theory: the theory.
        full: the same at full N.
        twin: the theory from a network that behaves alike, with longer A and shorter B.
        adam: full N, by Adam.
        tanh: full N, with tanh.
        settled: the theory, the end of washout once all has been learned again.
    """

    theory: Solution
    full: Solution
    twin: Solution
    adam: Solution
    tanh: Solution
    settled: Solution


def learn(settings: Settings, progress: bool | None) -> Runs:
    """The runs behind the figure."""
    straight, turned = reach(settings), reach(settings, settings.rotation)
    start_key, neuron_key = jax.random.split(jax.random.key(settings.seed))
    before, *phases = settings.n_steps
    start = Overlaps.random(LAYOUT, key=start_key, scale=settings.scale)
    rule = GradientDescent(settings.learning_rate, before, save_every=1)
    run = protocol(MODEL, [straight], start, rule)[0]
    base = run.overlaps.gram[-1]
    scale = np.where(LAYOUT.signature > 0, settings.lopsided, 1 / settings.lopsided)
    rules = [GradientDescent(settings.learning_rate, n, save_every=1) for n in phases]
    tasks = [straight, turned, straight]
    neurons = Network.sample(Overlaps(base, LAYOUT), settings.n_neurons, key=neuron_key)

    def course(model: Model, begin: Overlaps | Network, rules: list) -> Solution:
        return joined(protocol(model, tasks, begin, rules, progress=progress, save_vectors=True))

    nonlinear = Model(LAYOUT, Tanh())
    first = GradientDescent(settings.learning_rate, phases[-1], save_every=1)
    trained = train(nonlinear, straight, neurons, first, progress=progress, save_vectors=True)
    assert isinstance(trained.final, Network)
    begin = Overlaps(base, LAYOUT)
    long = [*rules[:2], GradientDescent(settings.learning_rate, before, save_every=1)]
    return Runs(
        theory=course(MODEL, begin, rules),
        full=course(MODEL, neurons, rules),
        twin=course(MODEL, Overlaps(base * np.outer(scale, scale), LAYOUT), rules),
        adam=course(MODEL, neurons, [adam(settings.adam_rate, n, 1) for n in phases]),
        tanh=course(nonlinear, trained.final, rules),
        settled=course(MODEL, begin, long),
    )


def figure_washout(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """The tensor of weights of a network that learns a rotated reach, and unlearns it.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the full networks; None: if a person is watching.

    Source: Pellegrino et al. 2023, the protocol; theory page, section 10.
    """
    runs = learn(settings, progress)
    tensors = {name: weight_tensor(run) for name, run in runs._asdict().items()}
    theory, full, twin = (tensors[name] for name in ("theory", "full", "twin"))
    key = jax.random.key(settings.seed)
    options = {"key": key, "n_restarts": settings.n_restarts}
    curves = {
        "W": theory.unexplained(settings.n_terms, **options),
        "change": theory.change.unexplained(settings.n_terms, **options),
        "twin": twin.change.unexplained(settings.n_terms, **options),
    }
    fits = [theory.cp(r, **options) for r in range(1, settings.n_terms + 1)]
    # Courses of terms that cancel mean nothing one by one.
    shown = next(fit for fit in [*fits[1:], fits[0]] if not fit.is_degenerate)
    measured = full.cp(shown.trials.shape[1], **options)

    title = f"P23: a reach rotated by {settings.rotation:g} degrees, learned and washed out; linear, rank 2, N = "
    figure, panels = page(f"{title}{settings.n_neurons:,}", 2, 3, height=4.1)
    edges = np.cumsum([0, *(n + 1 for n in settings.n_steps[1:])]).tolist()
    _draw_loss(panels[0], runs)
    _draw_trials(panels[1], shown, measured)
    _draw_curves(panels[2], curves, theory, settings)
    returns = _returns(runs.theory, theory)
    settled = {name: float(v[-1]) for name, v in _returns(runs.settled, tensors["settled"]).items()}
    _draw_returns(panels[3], returns, settled)
    for ax in (panels[0], panels[1], panels[3]):
        ax.set_xlabel("learning step")
        mark_phases(ax, edges, LETTERS)
    _draw_spectra(panels[4], tensors)
    _draw_twins(panels[5], theory, twin, edges)

    bounds = span_bounds(MODEL, len(theory.time))
    ends = [edge - 1 for edge in edges[1:]]
    numbers = [
        Number("rank of W, largest", float(theory.matrix_ranks().max()), expected=bounds.matrix),
        Number("rank of the change of W, largest", float(theory.change.matrix_ranks().max()), expected=4.0),
        *(
            Number(f"rank by {name}, W at 1e-13 (bound {most})", float(getattr(theory.multilinear_rank(1e-13), name)))
            for name, most in bounds.multilinear._asdict().items()
        ),
        Number("core against full N: singular values of the three unfoldings, largest difference",
               max(_difference(theory, full, mode) for mode in range(3)), None, 0.0),
        *(
            Number(f"unexplained share of {name}, {r} terms", float(curves[name][r - 1]))
            for name in ("W", "change") for r in range(1, settings.n_terms + 1)
        ),
        *(
            Number(f"terms of W cancel (1: degenerate), {r} terms", float(fit.is_degenerate))
            for r, fit in enumerate(fits, start=1)
        ),
        Number("trial factors, theory minus full N, largest as a share",
               float(np.abs(shown.trials - measured.trials).max() / np.abs(shown.trials).max()), None, 0.0),
        *(
            Number(f"{what}: distance from baseline, {letter}", float(values[end]))
            for what, values in returns.items()
            for letter, end in zip(LETTERS[1:], ends[1:], strict=True)
        ),
        *(Number(f"{what}: distance from baseline, washout to convergence", value) for what, value in settled.items()),
        Number("loss there", float(runs.settled.loss[-1])),
        Number("twin: share of the change in the first component of learning time", _leading(twin)),
        Number("first: the same", _leading(theory)),
        Number("twin / first: norm of the change at the end of the rotated phase",
               float(twin.change.norm[ends[1]] / theory.change.norm[ends[1]])),
        *(
            Number(f"{name}: share of the change outside the span of the start", float(each.change.outside_share.max()),
                   expected=0.0 if name == "full" else None)
            for name, each in tensors.items() if name in ("full", "adam", "tanh")
        ),
        *(
            Number(f"{name}: rank by postsynaptic neurons at 1e-10", float(each.multilinear_rank().post))
            for name, each in tensors.items() if name in ("adam", "tanh")
        ),
    ]  # fmt: skip
    spectra = {
        f"{name}_spectrum": ((f"{name}_component",), each.singular_values(1), "unfolding by postsynaptic neurons")
        for name, each in tensors.items()
    }
    arrays = spectra | {
        "trials": (("theory_time", "term"), shown.trials, "trial factors of W, theory"),
        "trials_full": (("theory_time", "term"), measured.trials, "trial factors of W, full N"),
        **{f"unexplained_{name}": (("terms",), values, "share of the squared norm") for name, values in curves.items()},
    }
    data_runs = {"theory": runs.theory, "twin": runs.twin}
    return collect(figure, settings, numbers, _notes(curves, theory, fits), runs=data_runs, arrays=arrays)


def _difference(first: WeightTensor, second: WeightTensor, mode: int) -> float:
    a, b = first.singular_values(mode), second.singular_values(mode)
    n = min(len(a), len(b))
    return float(np.abs(a[:n] - b[:n]).max() / a[0])


def _leading(tensor: WeightTensor) -> float:
    """The share of the squared norm of the change in its first component of learning time."""
    squares = tensor.change.singular_values(0) ** 2
    return float(squares[0] / squares.sum())


def _returns(run: Solution, tensor: WeightTensor) -> dict[str, np.ndarray]:
    """How far visible and invisible overlaps, and the weights, are from where they began, as a share of their size."""
    gram, invisible = np.asarray(run.overlaps.gram), MODEL.invisible

    def distance(values: np.ndarray) -> np.ndarray:
        return np.linalg.norm(values - values[0], axis=1) / np.linalg.norm(values[0])

    return {
        "visible overlaps": distance(gram[:, ~invisible]),
        "invisible overlaps": distance(gram[:, invisible]),
        "weights W": tensor.change.norm / tensor.norm[0],
    }


def _draw_loss(ax: "Axes", runs: Runs) -> None:
    steps = np.arange(len(runs.theory.time))
    ax.plot(steps, runs.theory.loss, color=THEORY.colour, linewidth=1.8, label="theory")
    ax.plot(steps, runs.full.loss, color=FULL.colour, label="full N", **FULL.settings(len(steps)))
    for name, colour in (("adam", COLOURS[1]), ("tanh", COLOURS[2])):
        ax.plot(steps, getattr(runs, name).loss, color=colour, linewidth=1.2, label=name.replace("adam", "Adam"))
    ax.set_yscale("log")
    ax.set_ylim(bottom=1e-6)
    ax.set_ylabel("loss")
    legend_above(ax, ncols=2)


def _draw_trials(ax: "Axes", theory: Components, full: Components) -> None:
    steps = np.arange(len(theory.trials))
    for s in range(theory.trials.shape[1]):
        ax.plot(steps, theory.trials[:, s], color=COLOURS[s], linewidth=1.8, label=f"term {s + 1}")
        marks = FULL.settings(len(steps))
        ax.plot(steps, full.trials[:, s], color=COLOURS[s], **marks)
    ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    ax.set_ylabel(f"trial factors $c_s$ of W ({theory.trials.shape[1]} terms)")
    legend_above(ax, ncols=3)


def _draw_curves(ax: "Axes", curves: dict[str, np.ndarray], theory: WeightTensor, settings: Settings) -> None:
    """Unexplained shares, and what no sum of so many terms can go below: the rest of an unfolding."""
    terms = np.arange(1, settings.n_terms + 1)
    for i, (name, tensor) in enumerate((("W", theory), ("change", theory.change))):
        label = "W" if name == "W" else "change of W"
        ax.plot(terms, curves[name], color=COLOURS[i], marker="o", markersize=4, label=f"{label}, CP")
        spectra = [tensor.singular_values(mode) ** 2 for mode in range(3)]
        least = [max(float(s[r:].sum() / s.sum()) for s in spectra) for r in terms]
        ax.plot(terms, least, color=COLOURS[i], linestyle=":", linewidth=1.4, label=f"{label}, least possible")
    ax.set(yscale="log", xlabel="number of terms", ylabel="unexplained share of the squared norm")
    ax.set_xticks(terms)
    legend_above(ax, ncols=2)


def _draw_returns(ax: "Axes", returns: dict[str, np.ndarray], settled: dict[str, float]) -> None:
    for i, (name, values) in enumerate(returns.items()):
        ax.plot(np.where(values > 1e-6, values, np.nan), color=COLOURS[i], linewidth=1.6, label=name)
        ax.axhline(settled[name], color=COLOURS[i], linestyle=":", linewidth=1.2)
    ax.set(yscale="log", ylabel="distance from baseline / size")
    legend_above(ax, ncols=2)


def _draw_spectra(ax: "Axes", tensors: dict[str, WeightTensor]) -> None:
    for name, label, colour, marker in (
        ("theory", "theory", COLOURS[0], "o"), ("full", "full N", "black", "x"), ("adam", "Adam", COLOURS[1], "."),
        ("tanh", "tanh", COLOURS[2], "."),
    ):  # fmt: skip
        values = tensors[name].singular_values(1)
        values = values / values[0]
        # What is 0 up to rounding has no place on a logarithmic axis.
        kept = values > 1e-13
        ax.plot(np.arange(1, len(values) + 1)[kept], values[kept], linestyle="none", marker=marker, color=colour,
                markerfacecolor="none", label=label)  # fmt: skip
    ax.axvline(LAYOUT.size + 0.5, color="0.6", linewidth=0.9)
    ax.annotate(f"d = {LAYOUT.size}", (LAYOUT.size + 0.5, 1), (5, -4), textcoords="offset points", fontsize=9)
    ax.set(yscale="log", xscale="log", xlabel="component by postsynaptic neurons", ylabel="singular value / largest")
    legend_above(ax, ncols=2)


def _draw_twins(ax: "Axes", theory: WeightTensor, twin: WeightTensor, edges: list[int]) -> None:
    for i, (tensor, label) in enumerate(((theory, "first"), (twin, "twin: longer A, shorter B"))):
        values = tensor.change.norm
        ax.plot(values, color=COLOURS[i], linewidth=1.8, label=label)
    ax.set(xlabel="learning step", ylabel=r"norm of the change of W, $|W_k - W_0|$")
    mark_phases(ax, edges, LETTERS)
    legend_above(ax)


def _notes(curves: dict[str, np.ndarray], theory: WeightTensor, fits: list[Components]) -> tuple[str, ...]:
    rank = theory.multilinear_rank(1e-13).time
    cancelling = [str(r) for r, fit in enumerate(fits, start=1) if fit.is_degenerate]
    return (
        "Claim (abstract): weights over learning have low tensor rank. Here every W has rank 2, its change rank 4, the "
        f"neurons of all W span 8 directions, and the exact tensor rank is at least {rank}: these are three different "
        "numbers, and a low tensor rank is a statement about approximation.",
        f"Two terms leave {curves['W'][1]:.2g} of W, and {curves['change'][1]:.2g} of what learning changed.",
        f"Terms cancel with {', '.join(cancelling) or 'no number'} of them: no closest tensor of that rank exists, and "
        "their courses mean nothing one by one. Two terms can stretch W along fixed directions, and not turn it.",
        "Dotted in the panel of what returns: washout to convergence.",
        "The two networks behave alike before learning, with the same W; they see the same trials and their tensors "
        "differ.",
        "The paper's task is an unconstrained network that reaches under a force field; its sizes were not to be had. "
        "This is a linear network of rank 2 with a rotation of its outputs.",
    )
