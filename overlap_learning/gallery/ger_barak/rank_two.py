"""Rank two: 21 overlaps, 9 of them visible, learn a damped oscillation (Ger & Barak 2026, Fig. 12)."""

from dataclasses import dataclass

import jax
import numpy as np

import overlap_learning.plot as plot
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import learned, network, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import random_network
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.plot.deviation import largest_deviation
from overlap_learning.studies.modes import slowest_mode
from overlap_learning.tasks.impulse import damped_oscillation
from overlap_learning.training.train import train


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        n_neurons: N.
        decay: c of the target `exp(-c t) cos(omega t)`.
        frequency: omega.
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        learning_rate: eta.
        n_steps: learning steps.
        seed: of the network's start.
    """

    n_neurons: int = 500
    decay: float = 0.3
    frequency: float = 2.0
    duration: float = 20.0
    dt: float = 0.05
    learning_rate: float = 5e-3
    n_steps: int = 10_000
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=100, duration=10.0, dt=0.1, n_steps=4000)


def figure_12(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """A linear network of rank 2 learns to oscillate: loss, output, 9 visible and 12 invisible overlaps.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full network; None: if a person is watching.

    Source: Ger & Barak 2026, Fig. 12.
    """
    model = Model(Layout(n_in=1, rank=2, n_out=1), Linear())
    task = damped_oscillation(settings.decay, settings.frequency, settings.duration, settings.dt)
    neurons = random_network(model.layout, settings.n_neurons, jax.random.key(settings.seed))
    rule = GradientDescent(settings.learning_rate, settings.n_steps)
    theory = integrate(model, task, neurons.overlaps, rule, trust=False)
    full = train(model, task, neurons, rule, progress=progress)

    figure, panels = page(
        f"Fig. 12: damped oscillation, linear network of rank 2, N = {settings.n_neurons:,}, "
        f"{settings.n_steps:,} learning steps", 2, 3,
    )  # fmt: skip
    norms = tuple(name for name in model.invisible_names if _is_norm(name))
    rest = tuple(name for name in model.invisible_names if not _is_norm(name))
    plot.loss(theory, full, ax=panels[0])
    plot.overlaps(theory, full, names=model.visible_names, ax=panels[1])
    plot.output(
        model, task, learned(theory), network(full), neurons.overlaps,
        labels=["theory", f"full N = {settings.n_neurons:,}", "before learning"], ax=panels[2],
    )  # fmt: skip
    plot.overlaps(theory, full, names=norms, ax=panels[3])
    panels[3].set_ylabel("invisible overlap: norms")
    plot.overlaps(theory, full, names=rest, ax=panels[4])
    panels[4].set_ylabel("invisible overlap: others")
    plot.deviation(full, theory, ax=panels[5])
    return collect(figure, settings, _numbers(settings, theory, full), _NOTES, runs={"theory": theory, "full": full})


def _is_norm(name: str) -> bool:
    half = len(name) // 2
    return name[:half] == name[half:]


def _numbers(settings: Settings, theory: Solution, full: Solution) -> list[Number]:
    model = theory.model
    rate, frequency = slowest_mode(full.overlaps["v", "u"][-1], settings.dt)
    return [
        Number("visible overlaps", len(model.visible_names), None, 9),
        Number("invisible overlaps", len(model.invisible_names), None, 12),
        Number("largest deviation of any overlap, theory from full N, all learning",
               float(np.max(largest_deviation(full, theory))), None, 0.0),
        Number("loss at the start", float(full.loss[0])),
        Number("loss at the end, full N", float(full.loss[-1])),
        Number("loss at the end, theory", float(theory.loss[-1])),
        Number("decay of the slowest mode of the trained network", rate, None, settings.decay),
        Number("frequency of the same mode", frequency, None, settings.frequency),
    ]  # fmt: skip


_NOTES = ("The theory is the exact map of gradient descent, so it differs from full N by rounding only.",)
