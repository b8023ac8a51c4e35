"""Masks: which entries of recordings train a fit, which stop it, and which are reported."""

from typing import NamedTuple

import jax
import numpy as np
from scipy.ndimage import maximum_filter

from overlap_learning.checks import check_key, count, scalar
from overlap_learning.fitting.recordings import Recordings, check_recordings


class Masks(NamedTuple):
    """Three parts of the entries of recordings, no two of them neighbours: each part's blocks have a guard shell.

    Attributes:
        train: entries that a fit is made to, shape [K, T, N].
        stop: entries that tell it when to stop.
        report: entries of which a score is reported; seen by nothing else.
        blocks: the block that an entry of `report` belongs to, numbered from 0; -1 elsewhere. Blocks that overlap are
            one after another: an entry belongs to the last.
    """

    train: np.ndarray
    stop: np.ndarray
    report: np.ndarray
    blocks: np.ndarray

    def __repr__(self) -> str:
        shares = ", ".join(
            f"{name} {100 * part.mean():.3g} %" for name, part in zip(self._fields[:3], self, strict=False)
        )
        return f"Masks: {shares}; {self.blocks.max() + 1} blocks reported"


def block_masks(
    recordings: Recordings,
    key: jax.Array,
    *,
    half: tuple[int, int, int] = (2, 2, 1),
    guard: tuple[int, int, int] = (2, 2, 0),
    stop: float = 0.03,
    report: float = 0.06,
) -> Masks:
    """Blocks of neighbouring entries, held out with a guard shell around each.

    A block is a box of `2 half + 1` trials, times and neurons around a random entry (less where recordings end).
    Within the guard around a block, no entry is in another part, so that smoothness over trials and time does not carry
    what is held out into what is fitted. Entries that were not recorded are in no part.

    Args:
        recordings: the `Recordings`.
        key: a jax random key.
        half: half-widths of a block in trials, times and neurons.
        guard: widths of the shell, likewise.
        stop: volume of all blocks that stop a fit, as a share of all entries (some of it overlaps).
        report: the same of blocks that are reported.

    Returns:
        `Masks`.

    Raises:
        ValueError: if an argument is out of range, or too little is left of a part.

    Source: the block masks of Pellegrino et al. 2023, with a third part, so that what stops a fit is not reported.

    Examples:
        >>> recordings = ol.fitting.Recordings(np.random.default_rng(0).normal(size=(60, 20, 30)))
        >>> ol.fitting.block_masks(recordings, jax.random.key(0))
        Masks: train 81.5 %, stop 1.69 %, report 5.01 %; 29 blocks reported
    """
    check_recordings(recordings, "block_masks")
    check_key(key, "block_masks")
    shape = recordings.activity.shape
    halves, guards = _widths(half, "half"), _widths(guard, "guard")
    wanted = [
        max(1, round(float(scalar(value, f"block_masks: {name}", "a share above 0 and below 1", 0, 1 - 1e-9))
                     * np.prod(shape) / np.prod([2 * h + 1 for h in halves])))
        for name, value in (("stop", stop), ("report", report))
    ]  # fmt: skip
    rng = np.random.default_rng(np.asarray(jax.random.bits(key, (4,), "uint32")))
    stops, reports = (rng.integers(shape, size=(n, 3)) for n in wanted)
    blocks = np.full(shape, -1)
    for number, centre in enumerate(reports):
        blocks[_box(centre, halves)] = number
    reported = blocks >= 0
    stopping = np.zeros(shape, bool)
    for centre in stops:
        stopping[_box(centre, halves)] = True
    stopping &= ~_widened(reported, guards)
    train = ~_widened(reported | stopping, guards)
    recorded = recordings.mask
    masks = Masks(train & recorded, stopping & recorded, reported & recorded, np.where(recorded, blocks, -1))
    _check_left(masks, recordings)
    return masks


def check_masks(masks: object, recordings: Recordings, caller: str) -> None:
    """Refuse masks of other recordings, or whose parts share entries.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(masks, Masks):
        raise ValueError(
            f"{caller}: masks must be ol.fitting.block_masks(recordings, key), or ol.fitting.Masks(...) of your own, "
            f"got {type(masks).__name__}."
        )
    shape = recordings.activity.shape
    for name, part in zip(masks._fields, masks, strict=True):
        if np.shape(part) != shape:
            raise ValueError(f"{caller}: masks.{name} must have shape {list(shape)}, got {list(np.shape(part))}.")
    train, stop, report = (np.asarray(part, bool) & recordings.mask for part in masks[:3])
    if (train & (stop | report)).any() or (stop & report).any():
        raise ValueError(f"{caller}: an entry is in two parts of the masks; train, stop and report must not overlap.")
    _check_left(masks, recordings)


def _check_left(masks: Masks, recordings: Recordings) -> None:
    for name, part in zip(masks._fields[:3], masks, strict=False):
        if not part.any():
            raise ValueError(f"block_masks: no entry is left to {name}; use smaller or fewer blocks, or another key.")
    unseen = np.flatnonzero(~masks.train.any(axis=(0, 1)) & recordings.mask.any(axis=(0, 1)))
    if unseen.size:
        raise ValueError(
            f"block_masks: neuron {unseen[0]} (and {unseen.size - 1} more) is never trained on; use smaller half, "
            "guard, stop or report."
        )


def _widths(value: tuple[int, int, int], name: str) -> list[int]:
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise ValueError(f"block_masks: {name} must be three numbers, of trials, times and neurons, got {value!r}.")
    return [count(number, f"block_masks: {name}", least=0) for number in value]


def _box(centre: np.ndarray, half: list[int]) -> tuple[slice, ...]:
    return tuple(slice(max(0, c - h), c + h + 1) for c, h in zip(centre, half, strict=True))


def _widened(mask: np.ndarray, by: list[int]) -> np.ndarray:
    """Entries within a box of half-widths `by` around an entry of the mask."""
    return maximum_filter(mask, size=[2 * b + 1 for b in by], mode="constant", cval=False)
