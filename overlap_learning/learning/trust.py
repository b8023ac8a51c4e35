"""Trust: how far a run is off because neurons do not stay what its closure takes them for."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import in_jax, in_numpy, is_traced, namespace
from overlap_learning.guides import guide
from overlap_learning.module import Module

#: Deviations of overlaps, as parts of the largest change of one, up to which a run is trusted, and from which it fails;
#: and of the losses in the second half, as parts of their sum.
TRUSTED, FAILED = 0.1, 0.5
#: Losses that differ by more than this part of the first loss are held against each other.
SEEN = 0.05
#: The verdicts, from good to bad, and that on what was not estimated.
TRUST, DOUBT, FAILS, UNKNOWN = "trust", "doubt", "the theory fails here", "not known"
#: What to do where a theory is not trusted, and where neurons are not that were to do better.
ADVICE = "Use closure=ol.Cheapest(0.05), which looks for one that holds, or ol.train."
MORE = "Use more neurons; where the loss rises, a smaller learning rate."
#: The names, in what a solution saved, of the overlaps and the loss of the neurons that learned beside it.
BESIDE = ("beside_gram", "beside_loss")


class Trust(Module):
    """What `Solution.trust` returns: how far the overlaps of a run are estimated to be off, and the verdict.

    Of a batch every array has the members as its first axis.

    A few neurons are off themselves, the more the more dimensions they stand for. So beside a Gaussian theory they are
    followed twice: as they learn, and kept Gaussian, by the part of their gradient that is linear in them. What
    separates the two is the error of the theory, put upon few neurons.

    Attributes:
        time: learning time of each saved point, shape [S].
        deviation: the largest estimated error of an overlap there, shape [S]; NaN where it is not known, infinite where
            either of the two had diverged.
        change: how far learning moves the overlap that it moves most, without that error, shape [].
        loss: of the run, shape [S].
        loss_beside: what it is estimated to be without that error, shape [S].
        reason: why nothing is estimated; empty where something is.
        advice: what to do where the verdict is another than "trust".
    """

    time: Any
    deviation: Any
    change: Any
    loss: Any
    loss_beside: Any
    reason: str = eqx.field(static=True, default="")
    advice: str = eqx.field(static=True, default=ADVICE)

    @property
    def relative(self) -> Any:
        """`deviation` as a part of `change`, shape [S]; 0 where learning moves nothing."""
        change = self.change[..., None]
        xp = namespace(change)
        moved = self.deviation / xp.where(change > 0, change, 1.0)
        return xp.where((change > 0) | ~xp.isfinite(moved), moved, 0.0)

    @property
    def largest(self) -> Any:
        """The largest of `relative` over learning, shape []; NaN where none is known."""
        return _largest(self.relative)

    @property
    def loss_error(self) -> Any:
        """The largest estimated error of the loss over learning, as a part of the largest loss, shape []."""
        return _largest(self.loss - self.loss_beside) / _largest(_finite(self.loss_beside))

    @property
    def end(self) -> Any:
        """The index of the last saved point at which the error is known, shape []."""
        xp = namespace(self.deviation)
        return self.deviation.shape[-1] - 1 - xp.argmax(~xp.isnan(self.deviation)[..., ::-1], axis=-1)

    @property
    def loss_parted(self) -> Any:
        """The difference of the two losses as a part of their sum, its median over the second half, shape [].

        0 where it is hardly seen, below a twentieth of the first loss. Overlaps may be near where the loss is not: 0.5
        is a factor of 3. A single point may say something else: near the edge of stability losses jump.
        """
        xp = namespace(self.loss, self.loss_beside)
        off, size = xp.abs(self.loss - self.loss_beside), xp.abs(self.loss) + xp.abs(self.loss_beside)
        seen = (off > SEEN * self.loss_beside[..., :1]) & xp.isfinite(off)
        parted = xp.where(seen, off / xp.where(seen, size, 1.0), 0.0)
        late = ~xp.isnan(self.deviation) & (xp.arange(parted.shape[-1]) >= self.end[..., None] / 2)
        some = xp.any(late, axis=-1, keepdims=True)
        return xp.nanmedian(xp.where(late, parted, xp.where(some, xp.nan, 0.0)), axis=-1)

    @property
    def verdict(self) -> Any:
        """The verdict: "trust", "the theory fails here", or between them "doubt"; "not known" without an estimate.

        Trusted are errors of overlaps (`largest`) and of the loss late in learning (`loss_parted`) of a tenth; from a
        half of either the theory fails. Of a batch an array of verdicts.
        """
        return verdict_of(np.maximum(self.largest, self.loss_parted))

    @property
    def sentence(self) -> str:
        """The reason of the verdict, with its numbers, and what to do; not of a batch."""
        if self.reason:
            return self.reason
        relative, last = np.asarray(self.relative), int(self.end)
        if np.isnan(relative).all():
            return "the run and the neurons that learned beside it reached no saved point together."
        if np.isinf(relative).any():
            until = float(self.time[max(0, int(np.argmax(np.isinf(relative))) - 1)])
            return (
                f"after learning time {until:.4g} it or the neurons that learned beside it diverged, and the other did "
                f"not. {self.advice}"
            )
        found = (
            f"overlaps are off by up to an estimated {float(self.largest):.2g} of the largest change "
            f"({float(self.change):.3g}), as neurons that learned beside say; at learning time "
            f"{float(self.time[last]):.4g} by {relative[last]:.2g}, with loss {float(self.loss[last]):.3g} against "
            f"{float(self.loss_beside[last]):.3g}"
        )
        if self.verdict == TRUST:
            return f"{found}."
        if float(self.largest) <= TRUSTED:
            return f"{found}. {self.advice}"
        good = max(0, int(np.argmax(np.nan_to_num(relative) > TRUSTED)) - 1)
        return f"{found}; good to {TRUSTED:.0%} until {float(self.time[good]):.4g}. {self.advice}"

    def __repr__(self) -> str:
        if is_traced(self.deviation) or np.ndim(self.largest):
            return f"Trust(points of shape {self.deviation.shape}, a batch: index or vmap to read one)"
        needs_more = self.verdict in (DOUBT, FAILS)
        return f"{self.verdict}: {self.sentence}{guide('trust') if needs_more else ''}"


def verdict_of(relative: Any) -> Any:
    """The verdict on errors of overlaps, as parts of what learning moves: a word, or an array of them."""
    relative = np.asarray(relative)
    words = np.select([np.isnan(relative), relative <= TRUSTED, relative < FAILED], [UNKNOWN, TRUST, DOUBT], FAILS)
    return words.item() if words.ndim == 0 else words


def compared(time: Any, loss: Any, saved: Any, advice: str = ADVICE) -> Trust:
    """The trust in saved overlaps, from the neurons that were saved beside them."""
    time, loss, gram, beside, loss_beside = in_numpy((time, loss, saved["gram"], *(saved[name] for name in BESIDE)))
    xp, known = namespace(gram), _finite(beside)
    change = _largest(xp.max(xp.abs(known - known[..., :1, :, :]), axis=(-2, -1)))
    # A change by rounding is none.
    moved = change > 100 * np.finfo(float).eps * xp.max(xp.abs(beside[..., 0, :, :]), axis=(-2, -1))
    deviation = xp.max(xp.abs(gram - beside), axis=(-2, -1))
    # At the start the two are equal, which says nothing.
    some = xp.any(~xp.isnan(deviation[..., 1:]), axis=-1, keepdims=True)
    deviation = xp.where(some, deviation, xp.nan)
    return Trust(time, deviation, xp.where(moved, change, 0.0), loss, loss_beside, advice=advice)


def not_estimated(time: Any, loss: Any, off: Any, reason: str) -> Trust:
    """The trust in a run of which it is known that overlaps are `off` by no more at any point; NaN: it is not known."""
    time, loss, off = in_numpy((time, loss, off))
    xp = namespace(loss, off)
    deviation = xp.zeros(loss.shape) + xp.asarray(off)[..., None]
    return Trust(time, deviation, xp.ones(loss.shape[:-1]), loss, loss, reason)


def beside(record: Any, other: Any, failed: Any, other_failed: Any) -> dict[str, Any]:
    """What is saved of neurons that learned beside a run: at points that both reached, and NaN at others.

    Args:
        record: the `Record` of the run.
        other: that of the neurons.
        failed: whether the run ended badly; if it alone did, the last point that it reached is infinite.
        other_failed: whether the neurons did; if they alone did, all that they did not reach is infinite.
    """
    record, other, failed, other_failed = in_numpy((record, other, failed, other_failed))
    xp = namespace(record, other)
    # Of runs that end early, fewer points may have been saved.
    places = xp.minimum(xp.arange(len(record.time)), len(other.time) - 1)
    mine, theirs = (r.time if r.step is None else r.step for r in (record, other))
    reached = xp.isfinite(record.time)
    both = reached & xp.isfinite(other.time[places]) & (mine == theirs[places])
    is_last = xp.arange(len(reached)) == xp.sum(reached) - 1
    parted = xp.where(other_failed, reached & ~both & ~failed, is_last & failed)
    unknown = xp.where(parted, xp.inf, xp.nan)
    both = both & ~parted
    gram = xp.where(both[:, None, None], other.saved["gram"][places], unknown[:, None, None])
    return dict(zip(BESIDE, map(in_jax, (gram, xp.where(both, other.loss[places], unknown))), strict=True))


def corrected(record: Any, free: dict[str, Any], closed: dict[str, Any], scale: Any) -> dict[str, Any]:
    """A run without the error of its closure: that which the same neurons have where it is put upon them.

    Args:
        record: the `Record` of the run.
        free: what is saved of the neurons beside it.
        closed: the same of the neurons in its closure.
        scale: how many times the error is what separates the two.
    """
    own, free, closed, scale = in_numpy(
        (dict(zip(BESIDE, (record.saved["gram"], record.loss), strict=True)), free, closed, scale)
    )
    xp = namespace(own, free, closed, scale)

    def one(own, free, closed):
        lost = xp.isinf(free) | xp.isinf(closed)
        apart = xp.where(lost, 0.0, free) - xp.where(lost, 0.0, closed)
        return xp.where(lost, xp.inf, own + scale * apart)

    found = {name: one(own[name], free[name], closed[name]) for name in BESIDE}
    # All at once: each call takes as long.
    return found if xp is not np else jax.device_put(found)


def _largest(values: Any) -> Any:
    """The largest size at any saved point, NaN where none is known."""
    xp = namespace(values)
    known = ~xp.isnan(values)
    return xp.where(xp.any(known, axis=-1), xp.max(xp.where(known, xp.abs(values), 0.0), axis=-1), xp.nan)


def _finite(values: Any) -> Any:
    """The same, not known where they are infinite."""
    xp = namespace(values)
    return xp.where(xp.isfinite(values), values, xp.nan)
