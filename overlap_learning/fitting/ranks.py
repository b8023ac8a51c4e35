"""Ranks: fits of several ranks, and the smallest that is as good as the best."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np

from overlap_learning.checks import check_key
from overlap_learning.fitting.fit import fit_low_tensor_rank
from overlap_learning.fitting.masks import Masks, block_masks
from overlap_learning.fitting.recordings import Recordings, check_recordings
from overlap_learning.fitting.result import Fit, mean_error
from overlap_learning.learning.checkpoint import Checkpoint, part_of
from overlap_learning.learning.result import AbstractResult

if TYPE_CHECKING:
    import xarray


class RankComparison(AbstractResult):
    """Fits of several ranks to the same parts of the same recordings.

    Attributes:
        fits: a `Fit` for each rank.
    """

    table: ClassVar[str] = "score"

    fits: tuple[Fit, ...]

    @property
    def ranks(self) -> np.ndarray:
        """Shape [n]."""
        return np.array([fit.rank for fit in self.fits])

    @property
    def scores(self) -> np.ndarray:
        """The mean deviance per entry of the reported blocks, shape [n]: the smaller, the better."""
        return np.array([fit.score for fit in self.fits])

    @property
    def errors(self) -> np.ndarray:
        """The standard error of the distance of each score to the best, from its differences between blocks; 0 there.

        Blocks differ more from each other than fits of one block do, so that the errors of two scores say little of
        their distance.
        """
        best = self.fits[int(self.scores.argmin())]
        return np.array([mean_error(fit.block_deviance - best.block_deviance, fit.block_sizes) for fit in self.fits])

    @property
    def chosen(self) -> int:
        """The smallest rank whose score is within one standard error of the best."""
        scores = self.scores
        good = scores - scores.min() <= np.nan_to_num(self.errors)
        return int(self.ranks[good].min())

    @property
    def fit(self) -> Fit:
        """The `Fit` of the chosen rank."""
        return self.fits[int(np.flatnonzero(self.ranks == self.chosen)[0])]

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset of scores by rank (the fits have their own)."""
        import xarray

        explained = [fit.explained for fit in self.fits]
        variables: dict[str, Any] = {
            "score": ("rank", self.scores, {"long_name": "mean deviance of held-out blocks"}),
            "error": ("rank", self.errors, {"long_name": "standard error of the distance to the best score"}),
            "explained": ("rank", explained, {"long_name": "explained share of the deviance of held-out blocks"}),
        }
        return xarray.Dataset(variables, coords={"rank": self.ranks}, attrs={"chosen": self.chosen})

    def __repr__(self) -> str:
        rows = [f"RankComparison: rank {self.chosen} is the smallest within one standard error of the best"]
        rows += [
            f"  rank {fit.rank:<3} {100 * fit.explained:7.3f} % explained, score {fit.score:.5g}, "
            f"behind the best by {fit.score - self.scores.min():.2g} +- {error:.2g}"
            for fit, error in zip(self.fits, self.errors, strict=True)
        ]
        return "\n".join(rows)


def compare_ranks(
    recordings: Recordings,
    ranks: Sequence[int],
    key: jax.Array,
    *,
    masks: Masks | None = None,
    checkpoint: Checkpoint | None = None,
    **settings: Any,
) -> RankComparison:
    """`fit_low_tensor_rank` at each of several ranks, with the same masks and from the same key.

    Args:
        recordings: the `Recordings`.
        ranks: the ranks.
        key: a jax random key.
        masks: as of `fit_low_tensor_rank`.
        checkpoint: of each fit in a folder of its own within this one.
        **settings: what else `fit_low_tensor_rank` takes.

    Returns:
        A `RankComparison`.

    Raises:
        ValueError: if there are no ranks, or as `fit_low_tensor_rank` does.

    Source: the rule of one standard error is that of Breiman et al. 1984.
    """
    check_recordings(recordings, "compare_ranks")
    check_key(key, "compare_ranks")
    if isinstance(ranks, int) or len(ranks) == 0 or len(set(ranks)) != len(ranks):
        raise ValueError(f"compare_ranks: ranks must be one or more different ranks, such as [1, 2, 3], got {ranks!r}.")
    mask_key, fit_key = jax.random.split(key)
    masks = block_masks(recordings, mask_key) if masks is None else masks
    fits = [
        fit_low_tensor_rank(
            recordings, rank, fit_key, masks=masks, checkpoint=part_of(checkpoint, f"rank_{rank}"), **settings
        )
        for rank in ranks
    ]
    return RankComparison(tuple(fits))
