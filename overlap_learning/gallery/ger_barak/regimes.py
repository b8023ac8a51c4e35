"""Regimes: small steps, large steps and Adam lead to other distributions of neurons (Ger & Barak 2026, Fig. 8)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

import overlap_learning.gallery.ger_barak.flip_flop as flip_flop
import overlap_learning.plot as plot
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import network, page, telling_trial
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import adam
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.neurons.gaussianity import Mismatch, effective_mismatch
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train
from overlap_learning.validation.gaussianity import excess_kurtosis, kurtosis_error


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        experiment: the flip-flop and the small step.
        large_rate: eta of the large step.
        adam_rate: the rate of Adam.
        n_held_out: trials on which effective and full networks are compared.
    """

    experiment: flip_flop.Settings = field(default_factory=flip_flop.Settings)
    large_rate: float = 5e-1
    adam_rate: float = 5e-3
    n_held_out: int = 50


STANDARD = Settings()
QUICK = Settings(flip_flop.QUICK, large_rate=1.0, adam_rate=2e-2, n_held_out=10)


class Regime(NamedTuple):
    """One way to learn.

    Attributes:
        title: what it is.
        full: full N.
        theory: the theory of its learning; None for Adam, which has none.
        mismatch: output of the full network minus that of the effective one (eq. 4 with the full network's own
            overlaps) on held-out trials.
    """

    title: str
    full: Solution
    theory: Solution | None
    mismatch: Mismatch


def figure_8(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """A flip-flop learned with small steps, large steps and Adam: loss, effective against full network, quantiles.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars of the full networks; None: if a person is watching.

    Raises:
        ModuleNotFoundError: without optax; the message says how to install it.

    Source: Ger & Barak 2026, Fig. 8.
    """
    experiment = settings.experiment
    # Missing optax is to be told before minutes of training.
    by_adam = adam(settings.adam_rate, experiment.n_steps)
    small = flip_flop.learn(experiment, progress)
    model, trials, key, start = flip_flop.erf_model(), small.trials, small.key, small.start
    held_out = flip_flop.trials_of(experiment, settings.n_held_out).sample(jax.random.key(experiment.seed + 1))
    large = GradientDescent(settings.large_rate, experiment.n_steps)
    # Large steps may diverge; that would be the result.
    runs = {
        "small": (small.full, small.theory),
        "large": (
            train(model, trials, start, large, key, throw=False, progress=progress),
            integrate(model, trials, start.overlaps, large, key, throw=False, trust=False),
        ),
        "adam": (train(model, trials, start, by_adam, key, throw=False, progress=progress), None),
    }
    titles = {
        "small": rf"small step, $\eta$ = {experiment.learning_rate:g}",
        "large": rf"large step, $\eta$ = {settings.large_rate:g}",
        "adam": f"Adam, rate {settings.adam_rate:g}",
    }
    regimes = {name: Regime(titles[name], full, theory, effective_mismatch(full.model, network(full), held_out))
               for name, (full, theory) in runs.items()}  # fmt: skip
    saved = {f"{name}_full": regime.full for name, regime in regimes.items()}
    saved |= {f"{name}_theory": regime.theory for name, regime in regimes.items() if regime.theory is not None}
    arrays = {"start_vectors": (("start_neuron", "vector"), start.vectors, "vectors before learning")}
    figure = _draw(experiment, regimes, held_out)
    return collect(figure, settings, _numbers(regimes), _NOTES, runs=saved, arrays=arrays)


def _numbers(regimes: Mapping[str, Regime]) -> list[Number]:
    numbers = []
    for name, regime in regimes.items():
        full, theory = regime.full, regime.theory
        numbers.append(Number(f"loss over the last tenth of learning, full N, {name}", flip_flop.recent_loss(full)))
        if theory is not None:
            numbers.append(Number(f"the same, theory, {name}", flip_flop.recent_loss(theory)))
        numbers.append(
            Number(f"output, full minus effective network, rms, share of the output's, {name}", regime.mismatch.share)
        )
        if theory is not None:
            gap = np.asarray(theory.overlaps.gram)[-1] - np.asarray(full.overlaps.gram)[-1]
            numbers.append(Number(f"overlaps at the end, theory minus full N, largest, {name}",
                                  float(np.abs(gap).max())))  # fmt: skip
        neurons = network(full)
        error = kurtosis_error(neurons.n_neurons)
        numbers += [
            Number(f"excess kurtosis of {vector} after learning, {name}", value, error, 0.0)
            for vector, value in excess_kurtosis(neurons).items()
        ]
    return numbers


def _draw(experiment: flip_flop.Settings, regimes: Mapping[str, Regime], held_out: Task):
    figure, panels = page(
        f"Fig. 8: flip-flop in three regimes, erf, rank 1, N = {experiment.n_neurons:,}, {experiment.n_steps:,} steps",
        3, 3,
    )  # fmt: skip
    for column, regime in enumerate(regimes.values()):
        loss, output, quantiles = panels[column::3]
        neurons = network(regime.full)
        plot.loss(*(run for run in (regime.theory, regime.full) if run is not None), ax=loss)
        loss.set_ylabel(f"loss, {regime.title}")
        if regime.theory is None:
            loss.set_xlabel("learning steps")
        plot.output(
            regime.full.model, held_out, neurons.overlaps, neurons, labels=["effective", "full"],
            trial=telling_trial(held_out), ax=output,
        )  # fmt: skip
        output.set_ylabel("output y on a held-out trial")
        plot.quantiles(neurons, ax=quantiles)
    return figure


_NOTES = (
    "All three see the same trials from the same start.",
    "The effective network has the overlaps of the full one and Gaussian neurons in infinite number, eq. (4): what it "
    "does otherwise is what the distribution of the neurons adds.",
    "Errors of the excess kurtosis are those of Gaussian neurons, sqrt(24 / N).",
)
