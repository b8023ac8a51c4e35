"""Scan: a task learned by all connections at several numbers of neurons (Schuessler et al. 2020, supplement)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.schuessler import nonlinear
from overlap_learning.gallery.schuessler.nonlinear import MEASURES, measured
from overlap_learning.gallery.schuessler.published import PUBLISHED_SCAN
from overlap_learning.learning.checkpoint import Checkpoint, part_of
from overlap_learning.plot.style import COLOURS

TASK = "flip-flop"
#: Steps of the published runs, after which norms and ranks were taken.
PUBLISHED_STEPS = 1000


@dataclass(frozen=True)
class Settings:
    """Of the published settings: fewer and smaller networks.

    Args:
        sizes: N; published: up to 1,024.
        strengths: g.
        n_instances: networks for each N and g; published: five.
        n_steps: learning steps.
        n_test_trials: on which losses of trained networks are measured.
        n_ranks: at which changes are cut off.
        seed: of the networks and the trials.
    """

    sizes: tuple[int, ...] = (64, 128, 256)
    strengths: tuple[float, ...] = (0.0, 0.9, 1.8)
    n_instances: int = 3
    n_steps: int = PUBLISHED_STEPS
    n_test_trials: int = 512
    n_ranks: int = 26
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(sizes=(32, 64), n_instances=1, n_steps=300, n_test_trials=64, n_ranks=13)


def figure_scan(
    settings: Settings = STANDARD, *, progress: bool | None = None, checkpoint: Checkpoint | None = None
) -> Reproduction:
    """Steps to learn, norm of the change, loss with W0 shuffled, and functional rank, over the number of neurons.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.
        checkpoint: where runs write down where they are.

    Source: Schuessler et al. 2020, supplement.
    """
    found = np.stack([_measured(settings, n, progress, checkpoint) for n in settings.sizes])
    figure, panels = page("Supplement: the change does not grow with the network", 2, 2)
    numbers: list[Number] = []
    sizes = np.asarray(settings.sizes)
    for k, (ax, measure) in enumerate(zip(panels, MEASURES, strict=True)):
        for j, (g, colour) in enumerate(zip(settings.strengths, COLOURS, strict=False)):
            values = found[:, j, :, k]
            # A size at which no network learned has no point.
            shown = np.isfinite(values).any(axis=1)
            mean, spread = (np.array([of(row) for row in values[shown]]) for of in (np.nanmean, np.nanstd))
            ax.errorbar(sizes[shown], mean, spread, color=colour, marker="o", markersize=3.5, label=f"g = {g:g}")
            table = PUBLISHED_SCAN.get(measure, {}).get(g, {})
            ax.plot(list(table), list(table.values()), "x", color=colour, markersize=5)
        ax.set_xscale("log", base=2)
        ticks = sorted({*settings.sizes, *PUBLISHED_SCAN["step"][0.0]})
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.set(xlabel="neurons N", xlim=(0.85 * ticks[0], 1.18 * ticks[-1]), ylabel=MEASURES[measure], ylim=(0, None))
    panels[0].set(yscale="log", ylim=(10, None))
    panels[1].plot([], [], "x", color="0.4", label="published")
    panels[1].legend(frameon=False)
    for j, g in enumerate(settings.strengths):
        numbers += _numbers(settings, g, found[:, j])
    arrays: dict[str, Any] = {"n_neurons": (("size",), sizes, "N"), "g": (("g",), settings.strengths, "strength of W0")}
    for k, (measure, meaning) in enumerate(MEASURES.items()):
        arrays[measure] = (("size", "g", "instance"), found[..., k], f"{meaning}, each network")
    return collect(figure, settings, numbers, _NOTES, arrays=arrays)


def _measured(settings: Settings, n: int, progress: bool | None, checkpoint: Checkpoint | None) -> np.ndarray:
    """The `MEASURES` of all networks of a size, [g, instance, measure]; NaN of those that did not learn."""
    own = nonlinear.Settings(
        n_neurons=n, tasks=(TASK,), n_steps=(settings.n_steps,), strengths=(settings.strengths,),
        n_instances=settings.n_instances, n_test_trials=settings.n_test_trials, n_ranks=settings.n_ranks,
        seed=settings.seed,
    )  # fmt: skip
    part = part_of(checkpoint, f"N{n}")
    instances = range(settings.n_instances)
    return np.array([[measured(own, TASK, g, i, progress, part) for i in instances] for g in settings.strengths])


def _numbers(settings: Settings, g: float, found: np.ndarray) -> list[Number]:
    """The numbers of one g, from its measures [size, instance, measure]."""
    numbers = []
    for n, rows in zip(settings.sizes, found, strict=True):
        learned = rows[np.isfinite(rows[:, 0])]
        case = f"g = {g:g}, N = {n}"
        numbers.append(Number(f"networks that learned, {case}", len(learned), None, len(rows)))
        if not len(learned):
            continue
        for k, (measure, name) in enumerate(MEASURES.items()):
            error = learned[:, k].std(ddof=1) / math.sqrt(len(learned)) if len(learned) > 1 else None
            table = PUBLISHED_SCAN.get(measure, {}).get(g, {}) if settings.n_steps == PUBLISHED_STEPS else {}
            numbers.append(Number(f"{name}, {case}", learned[:, k].mean(), error, table.get(n)))
    exponent = _exponent(settings.sizes, found[..., list(MEASURES).index("norm")])
    if exponent is not None:
        numbers.append(Number(f"norm of the change as a power of N, g = {g:g}", *exponent, 0))
    return numbers


def _exponent(sizes: Sequence[int], norms: np.ndarray) -> tuple[float, float] | None:
    """The slope of log norm over log N, and its standard error; None of fewer than three networks or one size."""
    at, instance = np.nonzero(np.isfinite(norms))
    if len(at) < 3 or np.unique(at).size < 2:
        return None
    (slope, _), covariance = np.polyfit(np.log(np.asarray(sizes)[at]), np.log(norms[at, instance]), 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


_NOTES = (
    "Expected: read off the published figure, the mean of five networks; of some curves only their ends were read.",
    "Sizes are 64 to 256, with three networks each; published are five of each size up to 1,024.",
    "The learning rate of Adam is 0.05 / N. Norms and ranks are those at the end of learning.",
)
