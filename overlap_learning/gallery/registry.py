"""Registry: the figures of the gallery by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from overlap_learning.gallery import (
    adam,
    drift,
    flip_flop,
    history,
    holonomy,
    linear,
    metric,
    pair,
    rank_two,
    regimes,
    savings,
    trust,
    twins,
)
from overlap_learning.gallery.reproduction import Reproduction
from overlap_learning.learning.checkpoint import Checkpoint


@dataclass(frozen=True)
class Sheet:
    """One picture of the gallery.

    Args:
        title: what it shows, in one line.
        draw: makes it, from settings and `progress=`.
        standard: the published settings, or a size that a CPU can run in minutes where they are beyond that.
        quick: settings that take less than a minute.
        resumable: the name of the long run that it shows, whose checkpoints it can write and go on from; None: it
            is quick enough to begin anew.
    """

    title: str
    draw: Callable[..., Reproduction]
    standard: Any
    quick: Any
    resumable: str | None = None

    def make(
        self, *, quick: bool = False, progress: bool | None = None, checkpoint: Checkpoint | None = None
    ) -> Reproduction:
        """The `Reproduction`.

        Args:
            quick: with the quick settings.
            progress: show progress bars of full networks; None: if a person is watching.
            checkpoint: where a resumable run writes down where it is; others have no use for it.
        """
        options = {} if self.resumable is None else {"checkpoint": checkpoint}
        return self.draw(self.quick if quick else self.standard, progress=progress, **options)


def _sheet(title: str, module: Any, draw: Callable[..., Reproduction]) -> Sheet:
    return Sheet(title, draw, module.Settings(), module.QUICK)


def _twins(title: str, draw: Callable[..., Reproduction]) -> Sheet:
    """A figure of the twins, whose published size takes a GPU."""
    return Sheet(title, draw, twins.REDUCED, twins.QUICK, resumable="twins")


#: The sheets of each figure, by the names of their files: those of Ger & Barak 2026, and three that go beyond them.
FIGURES: Mapping[str, Mapping[str, Sheet]] = MappingProxyType(
    {
        "fig1": {"fig1": _sheet("a linear network learns: theory, full N, direct descent", linear, linear.figure_1)},
        "fig2": {"fig2": _sheet("equivalent networks, and what sets them apart", pair, pair.figure_2)},
        "fig3": {"fig3": _sheet("tasks A, B, A, B, and A with noise: what returns", history, history.figure_3)},
        "fig4": {
            "fig4": _sheet("an erf network learns a flip-flop (a-c)", flip_flop, flip_flop.figure_4),
            "fig4_twins": _twins("which task did twins learn first? (d-f)", twins.figure_4d),
        },
        "fig5": {"fig5": _sheet("each of the ten overlaps of fig1", linear, linear.figure_5)},
        "fig6": {"fig6": _sheet("the invariants of learning through fig3", history, history.figure_6)},
        "fig7": {"fig7": _sheet("tasks A, B, A, B, A under Adam", adam, adam.figure_7)},
        "fig8": {"fig8": _sheet("small steps, large steps, Adam: neurons after learning", regimes, regimes.figure_8)},
        "fig9": {"fig9": _twins("each overlap of twins with different histories", twins.figure_9)},
        "fig10": {"fig10": _twins("which single overlaps tell the history of twins", twins.figure_10)},
        "fig11": {"fig11": _sheet("the metric of learning: which overlaps enter", metric, metric.figure_11)},
        "fig12": {"fig12": _sheet("rank 2: 9 visible and 12 invisible overlaps", rank_two, rank_two.figure_12)},
        # Beyond the paper.
        "drift": {"drift": _sheet("what moves the invariants, predicted and measured", drift, drift.figure_drift)},
        "holonomy": {"holonomy": _sheet("a loop of tasks leaves a trace", holonomy, holonomy.figure_holonomy)},
        "savings": {"savings": _sheet("learning again: what history saves", savings, savings.figure_savings)},
        "trust": {"trust": _sheet("when to trust the Gaussian theory", trust, trust.figure_trust)},
    }
)
