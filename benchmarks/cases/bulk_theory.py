"""The theory of a random bulk: learning in a few directions beside all words up to a length."""

from collections.abc import Iterator

import jax
import numpy as np

import overlap_learning as ol
from benchmarks.baselines.fock_words import fock_words
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

THEORY, COLD = "ol.integrate", "ol.integrate, nothing compiled"
STRENGTH, LEARNING_RATE, LENGTH = 0.6, 2e-2, 10


def case(n_steps: int) -> str:
    """The name of the comparison."""
    return f"filter with a bulk, g = {STRENGTH:g}, T = 81, {n_steps:,} steps, error under 1e-3"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    n_steps, length = (20, 6) if quick else (300, LENGTH)
    model = ol.Model(ol.Layout(), ol.Linear(), bulk=ol.RandomBulk(STRENGTH))
    task = ol.tasks.exponential_filter(duration=8.0, dt=0.1)
    start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(LEARNING_RATE, n_steps)
    gram = np.asarray(start.gram)

    def theory():
        return ol.integrate(model, task, start, rule).overlaps.gram[-1]

    def cold():
        jax.clear_caches()
        return theory()

    yield Comparison(
        case(n_steps),
        "run",
        [
            Side(f"words of up to {length} letters, a jax loop", lambda: fock_words(
                task, gram, STRENGTH, length, LEARNING_RATE, n_steps
            )),
            Side(THEORY, theory),
            Side(COLD, cold),
        ],
        setting.furthest,
    )  # fmt: skip
