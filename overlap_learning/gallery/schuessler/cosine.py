"""Cosine: a linear network learns to oscillate without an input (Schuessler et al. 2020, supplement)."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import learn_bulk, random_network
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.activity import simulate
from overlap_learning.model.bulk import RandomBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.plot.style import COLOURS
from overlap_learning.studies.connectivity import convergence_step
from overlap_learning.tasks import cosine

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERIOD = 5.0
#: Read off the published figure: where the loss falls, and the pair of eigenvalues at the end.
PUBLISHED_DROP, PUBLISHED_PAIR = 355, 0.95 + 1.25j


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        n_neurons: N.
        strengths: g.
        learning_rates: of W, for each g.
        n_steps: learning steps.
        save_every: steps between saved losses.
        spectrum_every: saved points between those whose eigenvalues are computed.
        seed: of the networks.
    """

    n_neurons: int = 256
    strengths: tuple[float, ...] = (0.0, 0.4, 0.8)
    learning_rates: tuple[float, ...] = (0.2, 0.15, 0.05)
    n_steps: int = 1000
    save_every: int = 5
    spectrum_every: int = 4
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=64)


def figure_cosine(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Loss, output and eigenvalues of networks that learn a cosine, by the strength of the bulk.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.

    Source: Schuessler et al. 2020, supplement.
    """
    task, layout, n = cosine(period=PERIOD), Layout(rank=0), settings.n_neurons
    figure, panels = page("Supplement: a linear network learns to oscillate", 2, 3)
    losses, outputs, paths, *planes = panels
    neutral = neutral_pair(PERIOD, float(task.dt))
    numbers = [Number("eigenvalue that neither grows nor decays, real part", neutral.real),
               Number("eigenvalue that neither grows nor decays, imaginary part", neutral.imag)]  # fmt: skip
    arrays: dict[str, Any] = {}
    for i, (g, rate, colour) in enumerate(zip(settings.strengths, settings.learning_rates, COLOURS, strict=False)):
        of_vectors, of_bulk = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), i))
        m = random_network(layout, n, of_vectors).m
        start = BulkNetwork(np.repeat(m, 2, axis=1), layout, RandomBulk(g).sample(n, of_bulk))
        run = learn_bulk(task, start, rate, settings.n_steps, settings.save_every, progress)
        spectra = _spectra(run, settings.spectrum_every)
        steps = np.asarray(run.step)[:: settings.spectrum_every]
        pair = np.take_along_axis(spectra, leading(spectra)[:, None], axis=1)[:, 0]
        y = np.asarray(simulate(Model(layout, Linear()), run.final, task))[0, :, 0]
        relative = np.asarray(run.loss / run.loss[0])
        losses.plot(np.asarray(run.step), relative, color=colour, label=f"g = {g:g}")
        outputs.plot(np.asarray(task.times), y, color=colour, label=f"g = {g:g}")
        paths.plot(steps, pair.real, color=colour, label=f"g = {g:g}")
        paths.plot(steps, pair.imag, "--", color=colour)
        _plane(planes[i], g, spectra, pair, neutral, colour)
        numbers += _numbers(settings, g, run, pair[-1])
        arrays |= {
            f"g{g:g}_loss": (("save",), np.asarray(run.loss), "loss"),
            f"g{g:g}_pair_real": (("spectrum",), pair.real, "real part of the eigenvalue of largest imaginary part"),
            f"g{g:g}_pair_imaginary": (("spectrum",), pair.imag, "its imaginary part"),
            f"g{g:g}_output": (("time",), y, "output of the trained network"),
        }
    counted = np.asarray(task.weights)[0, :, 0] > 0
    outputs.plot(
        np.asarray(task.times), np.where(counted, np.asarray(task.targets)[0, :, 0], np.nan),
        color="black", linewidth=2.5, alpha=0.35, label="target", zorder=0,
    )  # fmt: skip
    paths.plot([], [], color="0.4", label="real part")
    paths.plot([], [], "--", color="0.4", label="imaginary part")
    losses.set(xlabel="step", ylabel="loss / first loss", ylim=(0, None))
    outputs.set(xlabel="time in the trial", ylabel="output of the trained network", ylim=(-1.6, 2.2))
    paths.set(xlabel="step", ylabel="eigenvalue of largest imaginary part", ylim=(None, 2.1))
    losses.legend(frameon=False)
    outputs.legend(frameon=False, ncols=2, loc="upper right")
    paths.legend(frameon=False, ncols=2, loc="upper left")
    return collect(figure, settings, numbers, _NOTES, arrays=arrays)


def neutral_pair(period: float, dt: float) -> complex:
    """The eigenvalue of W whose mode turns once a period and keeps its size, `1 + (exp(2 pi i dt / period) - 1) / dt`.

    Args:
        period: in neuronal time constants.
        dt: the Euler step; for dt to 0 it is `1 + 2 pi i / period`.
    """
    return 1 + (np.exp(2j * math.pi * dt / period) - 1) / dt


def leading(spectra: NDArray[np.complex128]) -> np.ndarray:
    """Which eigenvalue of each spectrum [S, N] has the largest imaginary part; if all are real, the largest one."""
    return np.lexsort((spectra.real, spectra.imag), axis=-1)[:, -1]


def _spectra(run: Solution, every: int) -> NDArray[np.complex128]:
    """Eigenvalues of W at every so many saved points, shape [S, N]."""
    assert run.networks is not None
    return np.linalg.eigvals(np.asarray(run.networks.connectivity)[::every]).astype(np.complex128)


def _plane(
    ax: "Axes", g: float, spectra: NDArray[np.complex128], pair: NDArray[np.complex128], neutral: complex, colour: str
) -> None:
    first, last = spectra[0], spectra[-1]
    ax.plot(first.real, first.imag, ".", color="0.75", markersize=4, label="before learning")
    ax.plot(last.real, last.imag, ".", color=colour, markersize=3, label="after learning")
    ax.plot(pair.real, pair.imag, color=colour, linewidth=0.9)
    ax.plot([pair[-1].real] * 2, [pair[-1].imag, -pair[-1].imag], "o", color=colour, markersize=5)
    ax.plot(
        [neutral.real] * 2, [neutral.imag, -neutral.imag], "x", color="black", markersize=7, label="keeps oscillating"
    )
    ax.axvline(1.0, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    ax.set(title=f"g = {g:g}", xlabel="real part", ylabel="imaginary part", xlim=(-1.5, 1.5), ylim=(-1.8, 2.6))
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def _numbers(settings: Settings, g: float, run: Solution, last: complex) -> list[Number]:
    # What was published is of one network of the published size.
    as_published = g > 0 and settings.n_neurons == STANDARD.n_neurons and settings.n_steps == STANDARD.n_steps
    drop = convergence_step(run, 0.5)
    numbers = [Number(f"loss at the end / first loss, g = {g:g}", float(run.loss[-1] / run.loss[0]))]
    if drop is not None:
        numbers += [
            Number(f"step at which half of the loss is left, g = {g:g}", drop, None,
                   PUBLISHED_DROP if as_published else None),
            Number(f"eigenvalue at the end, real part, g = {g:g}", last.real, None,
                   PUBLISHED_PAIR.real if as_published else None),
            Number(f"eigenvalue at the end, imaginary part, g = {g:g}", last.imag, None,
                   PUBLISHED_PAIR.imag if as_published else None),
        ]  # fmt: skip
    return numbers


_NOTES = (
    "Input and readout are one vector. Without a bulk states stay along it, and so does the gradient: one real "
    "eigenvalue is all that learning can move, and a cosine needs a pair.",
    "Expected: read off the published figure, one network each; given for the published size only.",
)
