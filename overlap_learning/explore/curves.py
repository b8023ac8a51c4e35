"""Curves: the numbers of the explorer's pictures."""

import dataclasses
import functools

import numpy as np

import overlap_learning as ol
from overlap_learning.explore.choices import RULES, TASKS
from overlap_learning.explore.state import State
from overlap_learning.gallery.kit.page import learned, telling_trial
from overlap_learning.learning.solution import has_failed


@dataclasses.dataclass(frozen=True)
class Curves:
    """What one network does and learns.

    Args:
        time: learning time of each saved point, shape [S].
        loss: shape [S]; NaN where it is 0, which has no logarithm.
        eigenvalues: of W = u v^T / N but for those that are 0, complex, shape [S, R].
        overlaps: each overlap by name, shape [S].
        before: the output of the trial shown before learning, shape [T].
        after: the same after learning.
        failure: how learning ended badly, in words; empty: it did not.
    """

    time: np.ndarray
    loss: np.ndarray
    eigenvalues: np.ndarray
    overlaps: dict[str, np.ndarray]
    before: np.ndarray
    after: np.ndarray
    failure: str


@dataclasses.dataclass(frozen=True)
class Trial:
    """The trial that is shown.

    Args:
        time: of each reading, in neuronal time constants, shape [T].
        target: shape [T]; NaN where it does not count in the loss.
    """

    time: np.ndarray
    target: np.ndarray


def run(state: State) -> tuple[Trial, list[Curves]]:
    """Integrate the networks of a state: `ol.integrate`, without the neurons that estimate its trust."""
    model, rule = state.model, RULES[state.rule].make(state.settings)
    task = _task(state.task, tuple(state.settings.items()))
    shown = telling_trial(task)
    counts = np.asarray(task.weights)[shown, :, 0] > 0
    trial = Trial(np.asarray(task.times), np.where(counts, np.asarray(task.targets)[shown, :, 0], np.nan))
    return trial, [_curves(model, task, state.overlaps(i), rule, shown) for i in range(len(state.networks))]


@functools.lru_cache(maxsize=1)
def _task(name: str, settings: tuple[tuple[str, float], ...]) -> ol.Task:
    return TASKS[name].make(dict(settings))


def _curves(model: ol.Model, task: ol.Task, start: ol.Overlaps, rule: ol.GradientDescent, shown: int) -> Curves:
    solution = ol.integrate(model, task, start, rule, trust=False, throw=False, progress=False)
    before, after = (
        np.asarray(ol.rollout(model, overlaps, task))[shown, :, 0] for overlaps in (start, learned(solution))
    )
    loss, gram, layout = np.asarray(solution.loss), np.asarray(solution.overlaps.gram), model.layout
    # Eigenvalues other than 0 of u v^T / N are those of v^T u / N.
    eigenvalues = np.sort_complex(np.linalg.eigvals(gram[:, layout.block("v"), layout.block("u")]))
    return Curves(
        time=np.asarray(solution.time),
        loss=np.where(loss > 0, loss, np.nan),
        eigenvalues=eigenvalues,
        overlaps={name: gram[:, i, j] for name, i, j in zip(layout.entry_names, *layout.entry_indices, strict=True)},
        before=before,
        after=after,
        failure=str(ol.RESULTS[solution.result]) if has_failed(solution.result) else "",
    )
