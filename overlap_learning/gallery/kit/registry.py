"""Registry: the figures of the gallery by name, each imported when it is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any

from overlap_learning.gallery.kit.reproduction import Reproduction
from overlap_learning.learning.checkpoint import Checkpoint


@dataclass(frozen=True)
class Sheet:
    """One picture of the gallery. Its module is imported when it is made, or its settings are looked up.

    Args:
        title: what it shows, in one line.
        module: where it is made; one that begins with a dot is in `overlap_learning.gallery`. It has the function, and
            the settings `STANDARD` and `QUICK`.
        function: the name of what makes it, from settings and `progress=`.
        resumable: the name of the long run that it shows, whose checkpoints it can write and go on from; None: it
            is quick enough to begin anew.
    """

    title: str
    module: str
    function: str
    resumable: str | None = None

    @property
    def draw(self) -> Callable[..., Reproduction]:
        """Makes it, from settings and `progress=`."""
        return getattr(self._imported(), self.function)

    @property
    def standard(self) -> Any:
        """The published settings, or a size that a CPU can run in minutes where they are beyond that."""
        return self._imported().STANDARD

    @property
    def quick(self) -> Any:
        """Settings that take less than a minute."""
        return self._imported().QUICK

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

    def _imported(self) -> ModuleType:
        return import_module(self.module, "overlap_learning.gallery")


#: The sheets of each figure, by the names of their files: Ger & Barak 2026, Schuessler et al. 2020 (s20), Pellegrino et
#: al. 2023 (p23), and beyond.
FIGURES: Mapping[str, Mapping[str, Sheet]] = MappingProxyType({
    "fig1": {"fig1": Sheet("a linear network learns: theory, full N, direct descent", ".ger_barak.linear", "figure_1")},
    "fig2": {"fig2": Sheet("equivalent networks, and what sets them apart", ".ger_barak.pair", "figure_2")},
    "fig3": {"fig3": Sheet("tasks A, B, A, B, and A with noise: what returns", ".ger_barak.history", "figure_3")},
    "fig4": {
        "fig4": Sheet("an erf network learns a flip-flop (a-c)", ".ger_barak.flip_flop", "figure_4"),
        "fig4_twins": Sheet("which task did twins learn first? (d-f)", ".ger_barak.twins", "figure_4d", "twins"),
    },
    "fig5": {"fig5": Sheet("each of the ten overlaps of fig1", ".ger_barak.linear", "figure_5")},
    "fig6": {"fig6": Sheet("the invariants of learning through fig3", ".ger_barak.history", "figure_6")},
    "fig7": {"fig7": Sheet("tasks A, B, A, B, A under Adam", ".ger_barak.adam", "figure_7")},
    "fig8": {"fig8": Sheet("small steps, large steps, Adam: neurons after learning", ".ger_barak.regimes", "figure_8")},
    "fig9": {"fig9": Sheet("each overlap of twins with different histories", ".ger_barak.twins", "figure_9", "twins")},
    "fig10": {
        "fig10": Sheet("which single overlaps tell the history of twins", ".ger_barak.twins", "figure_10", "twins")
    },
    "fig11": {"fig11": Sheet("the metric of learning: which overlaps enter", ".ger_barak.metric", "figure_11")},
    "fig12": {"fig12": Sheet("rank 2: 9 visible and 12 invisible overlaps", ".ger_barak.rank_two", "figure_12")},
    # Schuessler et al. 2020.
    "s20-fig1": {
        "s20-fig1": Sheet("three tasks: the change has low rank", ".schuessler.nonlinear", "figure_1", "random-bulk")
    },
    "s20-fig2": {
        "s20-fig2": Sheet("three tasks: what a random bulk changes", ".schuessler.nonlinear", "figure_2", "random-bulk")
    },
    "s20-fig3": {"s20-fig3": Sheet("a linear task: loss and singular values", ".schuessler.linear", "figure_3")},
    "s20-fig4": {"s20-fig4": Sheet("a linear task: what a random bulk changes", ".schuessler.linear", "figure_4")},
    "s20-fig5": {
        "s20-fig5": Sheet("an LSTM: a change of low rank, of a W that is not", ".schuessler.lstm", "figure_5", "lstm")
    },
    "s20-supplement": {
        "s20-supplement_cosine": Sheet("a linear network learns to oscillate", ".schuessler.cosine", "figure_cosine"),
        "s20-supplement_scan": Sheet(
            "a flip-flop at several numbers of neurons", ".schuessler.scan", "figure_scan", "random-bulk-scan"
        ),
        "s20-supplement_divergence": Sheet(
            "a linear task near the edge of stability", ".schuessler.divergence", "figure_divergence"
        ),
    },
    # Pellegrino et al. 2023.
    "p23-washout": {
        "p23-washout": Sheet("a reach learned and washed out: one tensor", ".pellegrino.washout", "figure_washout")
    },
    "p23-reach": {"p23-reach": Sheet("a reach learned by all connections", ".pellegrino.reach", "figure_reach")},
    "p23-fit": {"p23-fit": Sheet("fits to recordings of known learning", ".pellegrino.recorded", "figure_recorded")},
    "p23-ranks": {"p23-ranks": Sheet("how many components learning has", ".pellegrino.ranks", "figure_ranks")},
    # Beyond the papers.
    "bulk-learning": {"bulk-learning": Sheet("low rank learned in a random bulk", ".beyond.bulk", "figure_bulk")},
    "drift": {"drift": Sheet("what moves conserved numbers, predicted and measured", ".beyond.drift", "figure_drift")},
    "geometry": {
        "geometry": Sheet("activity and learning as flows in planes", ".beyond.geometry", "figure_geometry")
    },
    "holonomy": {"holonomy": Sheet("a loop of tasks leaves a trace", ".beyond.holonomy", "figure_holonomy")},
    "savings": {"savings": Sheet("learning again: what history saves", ".beyond.savings", "figure_savings")},
    "trust": {
        "trust": Sheet("when to trust the Gaussian theory", ".beyond.trust", "figure_trust"),
        "trust_calibration": Sheet("what a solution says it is off by", ".beyond.calibration", "figure_calibration"),
    },
})  # fmt: skip
