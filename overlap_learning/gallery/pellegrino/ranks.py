"""Ranks: what decides how many components the weights of learning have, by the theory alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientDescent, GradientFlow
from overlap_learning.model.activations import Linear
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.studies.equivalence.members import members
from overlap_learning.studies.tensor.bounds import span_bounds
from overlap_learning.studies.tensor.sources import weight_tensor
from overlap_learning.studies.tensor.weights import WeightTensor
from overlap_learning.tasks.impulse import damped_oscillation
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The share of the squared norm of the change that counts as all of it.
SHARE = 0.999


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment, which no paper has published.

    Args:
        ranks: R of the networks of the first panel.
        decay: of the damped oscillation that is learned.
        frequency: of it.
        duration: of a trial, in neuronal time constants.
        dt: the Euler step.
        scale: of the starts' random overlaps.
        learning_time: of every run.
        n_starts: random starts of each kind.
        n_points: saved points.
        rates: learning rates of the second panel.
        laziness: by what the invisible overlaps are multiplied, third panel.
        n_members: networks that behave alike, fourth panel.
        seed: of all starts.
    """

    ranks: tuple[int, ...] = (1, 2, 3, 4)
    decay: float = 0.3
    frequency: float = 1.0
    duration: float = 10.0
    dt: float = 0.1
    scale: float = 0.3
    learning_time: float = 40.0
    n_starts: int = 8
    n_points: int = 400
    rates: tuple[float, ...] = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
    laziness: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    n_members: int = 60
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(
    ranks=(1, 2), duration=5.0, learning_time=20.0, n_starts=3, n_points=200, rates=(2e-3, 1e-2),
    laziness=(1.0, 4.0, 16.0), n_members=12,
)  # fmt: skip


def figure_ranks(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """How many components the change of W has: against d, the learning rate, laziness, and what the loss cannot see.

    Args:
        settings: the sizes of the experiment.
        progress: has no use here.

    Source: theory page, section 10.
    """
    task = damped_oscillation(settings.decay, settings.frequency, settings.duration, settings.dt)
    keys = jax.random.split(jax.random.key(settings.seed), settings.n_starts)
    figure, panels = page("P23: components of the change of W for 99.9 %, linear networks, theory", 2, 2)

    # Against d.
    models = [Model(Layout(rank=rank), Linear()) for rank in settings.ranks]
    sizes = np.array([model.layout.size for model in models])
    by_size = np.array([[_components(_flow(model, task, _start(model, key, settings), settings)) for key in keys]
                        for model in models])  # fmt: skip
    bounds = [span_bounds(model, settings.n_points + 1, change=True) for model in models]
    _draw_sizes(panels[0], sizes, by_size, np.array([tuple(b.multilinear) for b in bounds]))

    # Against the learning rate, at one learning time.
    model = models[min(1, len(models) - 1)]
    by_rate = np.array([[_components(_steps(model, task, _start(model, key, settings), rate, settings)) for key in keys]
                        for rate in settings.rates])  # fmt: skip
    _draw_means(panels[1], np.array(settings.rates), by_rate, r"learning rate $\eta$ (one learning time)")

    # From rich to lazy.
    lazy = [[_flow(model, task, _start(model, key, settings), settings, factor) for key in keys]
            for factor in settings.laziness]  # fmt: skip
    by_laziness = np.array([[_components(tensor) for tensor in row] for row in lazy])
    outside = np.array([[_beyond_lazy(model, tensor) for tensor in row] for row in lazy])
    moved = np.array([[tensor.change.norm[-1] / tensor.norm[0] for tensor in row] for row in lazy])
    _draw_lazy(panels[2], np.array(settings.laziness), outside, moved)

    # Networks that behave alike.
    start = _start(model, keys[0], settings)
    alike = members(start, model, settings.n_members, key=jax.random.key(settings.seed + 1))
    tensors = [_flow(model, task, Overlaps(gram, model.layout), settings) for gram in alike.gram]
    by_member = np.array([_components(tensor) for tensor in tensors])
    change = np.array([tensor.change.norm[-1] for tensor in tensors])
    leading = np.array([_leading(tensor) for tensor in tensors])
    _draw_members(panels[3], change, leading, by_member)

    modes = ("time", "post", "pre")
    numbers = [
        *(
            Number(f"d = {d}: components by {mode}, mean over starts", float(by_size[i, :, m].mean()),
                   _error(by_size[i, :, m]))
            for i, d in enumerate(sizes) for m, mode in enumerate(modes)
        ),
        *(
            Number(f"eta = {rate:g}: components by time, mean over starts", float(by_rate[i, :, 0].mean()),
                   _error(by_rate[i, :, 0]))
            for i, rate in enumerate(settings.rates)
        ),
        *(
            Number(f"invisible overlaps x {factor:g}: share beyond the lazy span", float(outside[i].mean()),
                   _error(outside[i]))
            for i, factor in enumerate(settings.laziness)
        ),
        *(
            Number(f"networks that behave alike: components by {mode}, least", float(by_member[:, m].min()))
            for m, mode in enumerate(modes)
        ),
        *(
            Number(f"networks that behave alike: components by {mode}, most", float(by_member[:, m].max()))
            for m, mode in enumerate(modes)
        ),
        Number("networks that behave alike: |change| at the end, most / least", float(change.max() / change.min())),
    ]  # fmt: skip
    notes = (
        "The exact ranks are d, d and, with enough points, d^2. How many components hold 99.9 % depends on the "
        "network, on what is learned and on overlaps that the loss cannot see.",
        "Multiplying the invisible overlaps makes learning lazier: W moves less relative to its size, and the change "
        "comes to lie in the span of (u, v, z) by (m, u, v).",
        "Networks of the last panel have the same output and loss at the start; their tensors differ.",
    )
    arrays = {
        "by_size": (("d", "start", "mode"), by_size, "components by d"),
        "by_rate": (("rate", "start", "mode"), by_rate, "components by learning rate"),
        "by_laziness": (("laziness", "start", "mode"), by_laziness, "components by laziness"),
        "beyond_lazy": (("laziness", "start"), outside, "share of the change beyond the lazy span"),
        "moved": (("laziness", "start"), moved, "norm of the change over that of W at the start"),
        "by_member": (("member", "mode"), by_member, "components of networks that behave alike"),
        "change": (("member",), change, "norm of the change"),
        "leading": (("member",), leading, "share of the change in its first component of learning time"),
    }
    return collect(figure, settings, numbers, notes, arrays=arrays)


def _start(model: Model, key: jax.Array, settings: Settings) -> Overlaps:
    return Overlaps.random(model.layout, key=key, scale=settings.scale)


def _flow(model: Model, task: Task, start: Overlaps, settings: Settings, laziness: float = 1.0) -> WeightTensor:
    """By gradient flow, invisible overlaps multiplied by a factor, and time divided by it."""
    gram = np.asarray(start.gram) * np.where(model.invisible, laziness, 1.0)
    times = np.linspace(0, settings.learning_time / laziness, settings.n_points + 1)
    rule = GradientFlow(settings.learning_time / laziness, save_at=times, rtol=1e-10, atol=1e-12, max_steps=100_000)
    return weight_tensor(integrate(model, task, Overlaps(gram, model.layout), rule))


def _steps(model: Model, task: Task, start: Overlaps, rate: float, settings: Settings) -> WeightTensor:
    n_steps = round(settings.learning_time / rate)
    every = max(1, n_steps // settings.n_points)
    return weight_tensor(integrate(model, task, start, GradientDescent(rate, n_steps, save_every=every)))


def _components(tensor: WeightTensor) -> tuple[int, int, int]:
    return tensor.change.effective_rank(SHARE)


def _beyond_lazy(model: Model, tensor: WeightTensor) -> float:
    """The share of the squared change outside the span of (u, v, z) by (m, u, v), where the lazy limit has it."""
    columns = [[model.layout.block(name) for name in names] for names in ("uvz", "muv")]
    post, pre = (np.linalg.qr(np.hstack([tensor.factor[:, c] for c in each]))[0] for each in columns)
    core = tensor.change.core
    inside = post.T @ core @ pre
    return float(1 - np.sum(inside**2) / np.sum(core**2))


def _leading(tensor: WeightTensor) -> float:
    squares = tensor.change.singular_values(0) ** 2
    return float(squares[0] / squares.sum())


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _draw_sizes(ax: "Axes", sizes: np.ndarray, found: np.ndarray, bounds: np.ndarray) -> None:
    for m, (name, marker) in enumerate((("time", "o"), ("post", "^"), ("pre", "v"))):
        mean, error = found[:, :, m].mean(axis=1), found[:, :, m].std(axis=1, ddof=1) / np.sqrt(found.shape[1])
        ax.errorbar(sizes + 0.12 * (m - 1), mean, error, color=COLOURS[m], marker=marker, linestyle="none", capsize=2,
                    label=f"99.9 %, by {name}")  # fmt: skip
    ax.plot(sizes, bounds[:, 0], color=COLOURS[0], linestyle=":", label=r"exact, by time: $d^2$")
    ax.plot(sizes, bounds[:, 1], color=COLOURS[1], linestyle=":", label="exact, by neurons: d")
    ax.set_yscale("log", base=2)
    ax.set_xticks(sizes)
    ax.set(xlabel="number of vectors d = 2 + 2R", ylabel="components of the change of W")
    legend_above(ax, ncols=2)


def _draw_means(ax: "Axes", x: np.ndarray, found: np.ndarray, label: str) -> None:
    for m, (name, marker) in enumerate((("time", "o"), ("post", "^"), ("pre", "v"))):
        mean, error = found[:, :, m].mean(axis=1), found[:, :, m].std(axis=1, ddof=1) / np.sqrt(found.shape[1])
        ax.errorbar(x, mean, error, color=COLOURS[m], marker=marker, capsize=2, label=f"by {name}")
    ax.set_xscale("log")
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.minorticks_off()
    ax.set_ylim(0, 1.1 * found.max())
    ax.set(xlabel=label, ylabel="components of the change of W")
    legend_above(ax, ncols=3)


def _draw_lazy(ax: "Axes", x: np.ndarray, outside: np.ndarray, moved: np.ndarray) -> None:
    for values, label, colour in (
        (outside, "share of the change beyond the lazy span", COLOURS[0]),
        (moved, r"$|W_\mathrm{end} - W_0| / |W_0|$", COLOURS[1]),
    ):
        ax.plot(x, values, color=colour, alpha=0.35, linewidth=0.8)
        ax.plot(x, np.exp(np.log(values).mean(axis=1)), color=colour, marker="o", label=label)
    ax.set_xscale("log", base=2)
    ax.set(yscale="log", xlabel="invisible overlaps multiplied by")
    legend_above(ax, ncols=1)


def _draw_members(ax: "Axes", change: np.ndarray, leading: np.ndarray, found: np.ndarray) -> None:
    counts = found[:, 0]
    for i, count in enumerate(sorted(set(counts.tolist()))):
        chosen = counts == count
        ax.plot(change[chosen], leading[chosen], linestyle="none", marker="o", color=COLOURS[i % len(COLOURS)],
                label=f"{count} by time")  # fmt: skip
    ax.set(
        xlabel=r"$|W_\mathrm{end} - W_0|$ of networks that behave alike at first",
        ylabel="share in its first component by time",
    )
    legend_above(ax, ncols=4)
