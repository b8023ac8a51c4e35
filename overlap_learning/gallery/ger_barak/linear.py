"""Linear: a network of rank 1 learns an exponential filter (Ger & Barak 2026, Figs. 1, 5)."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

import overlap_learning.plot as plot
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import comparison, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import random_network
from overlap_learning.learning.rules import DirectDescent, GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.plot.deviation import largest_deviation
from overlap_learning.plot.style import symbol
from overlap_learning.studies.modes import filter_solution
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        n_neurons: N.
        decay: c of the target `exp(-c t)`.
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        learning_rate: eta.
        n_steps: learning steps.
        seed: of the network's start.
    """

    n_neurons: int = 500
    decay: float = 0.2
    duration: float = 20.0
    dt: float = 0.05
    learning_rate: float = 5e-3
    n_steps: int = 2000
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=100, dt=0.1, n_steps=1000)


class Runs(NamedTuple):
    """One start, learned in three ways."""

    task: Task
    theory: Solution
    full: Solution
    direct: Solution


def figure_1(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Loss, output and overlaps of a linear network that learns: theory, full N, and descent of the overlaps.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full network; None: if a person is watching.

    Source: Ger & Barak 2026, Fig. 1.
    """
    runs = _learn(settings, progress)
    theory, full, direct = runs.theory, runs.full, runs.direct
    start = jax.tree.map(lambda array: array[0], theory.overlaps)
    figure, panels = comparison(_title("Fig. 1", settings), runs.task, start, theory, full, direct)
    plot.final_overlaps(full, theory, direct, ax=panels[5])
    return collect(figure, settings, _numbers(settings, runs), _NOTES, runs=_named(runs))


def figure_5(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Each of the ten overlaps through learning: theory, full N, and descent of the overlaps.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full network; None: if a person is watching.

    Source: Ger & Barak 2026, Fig. 5.
    """
    runs = _learn(settings, progress)
    figure, panels = page(_title("Fig. 5", settings), 2, 5, width=3.0, height=2.9)
    model = runs.theory.model
    handles = []
    for ax, name in zip(panels, (*model.visible_names, *model.invisible_names), strict=True):
        plot.overlaps(runs.theory, runs.full, runs.direct, names=[name], ax=ax)
        legend = ax.get_legend()
        assert legend is not None
        # The legend of a visible overlap serves the page.
        handles = handles or legend.legend_handles
        legend.remove()
        # One overlap needs no name at its end.
        for text in list(ax.texts):
            if text.get_text() == symbol(name):
                text.remove()
        kind = "visible" if name in model.visible_names else "invisible"
        ax.set(ylabel=f"{symbol(name)} ({kind})", xlabel=r"learning time $\tau$")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return collect(figure, settings, _numbers(settings, runs), _NOTES, runs=_named(runs))


@functools.lru_cache(maxsize=1)
def _learn(settings: Settings, progress: bool | None) -> Runs:
    """The runs behind both figures."""
    model = Model(Layout(n_in=1, rank=1, n_out=1), Linear())
    task = exponential_filter(settings.decay, settings.duration, settings.dt)
    network = random_network(model.layout, settings.n_neurons, jax.random.key(settings.seed))
    start = network.overlaps
    rule = GradientDescent(settings.learning_rate, settings.n_steps)
    contrast = DirectDescent(settings.learning_rate, settings.n_steps)
    return Runs(
        task,
        integrate(model, task, start, rule),
        train(model, task, network, rule, progress=progress),
        # Direct descent is the wrong theory: if it diverges, that is a result and no error.
        integrate(model, task, start, contrast, throw=False),
    )


def _numbers(settings: Settings, runs: Runs) -> list[Number]:
    theory, full, direct = runs.theory, runs.full, runs.direct
    last = {name: float(values[-1]) for name, values in full.overlaps.entries().items()}
    zm, product, vu = filter_solution(settings.decay, settings.dt)
    far = largest_deviation(full, direct)
    return [
        Number("largest deviation of any overlap, theory from full N, all learning", _largest(full, theory), None, 0.0),
        Number("largest deviation of any overlap, direct descent from full N, all learning", float(far.max())),
        Number("loss at the end, full N", float(full.loss[-1])),
        Number("loss at the end, theory", float(theory.loss[-1])),
        Number("loss at the end, direct descent", float(direct.loss[-1])),
        Number("zm at the end, full N", last["zm"], None, zm),
        Number("zu vm at the end, full N", last["zu"] * last["vm"], None, product),
        Number("vu at the end, full N", last["vu"], None, vu),
        *(Number(f"{name} at the end, full N (invisible)", last[name]) for name in theory.model.invisible_names),
    ]


def _largest(reference: Solution, solution: Solution) -> float:
    return float(np.max(largest_deviation(reference, solution)))


def _named(runs: Runs) -> dict[str, Solution]:
    return {"theory": runs.theory, "full": runs.full, "direct": runs.direct}


def _title(figure: str, settings: Settings) -> str:
    return (
        f"{figure}: exponential filter, linear network of rank 1, N = {settings.n_neurons:,}, "
        f"{settings.n_steps:,} learning steps"
    )


_NOTES = (
    "The theory is the exact map of gradient descent, so it differs from full N by rounding only. The published loop "
    "updates one overlap after another in place.",
    "The expected final values are those of Euler's steps; in continuous time they are 1, 1 - c and 1 - c.",
)
