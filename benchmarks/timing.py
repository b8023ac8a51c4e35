"""Timing of several ways to compute the same thing, in turns, so that what else the machine does slows all of them."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Side:
    """One way to compute something.

    Args:
        name: what it is, for the table; unique in its comparison.
        run: runs it once. What it returns is waited for.
        units: how many of the comparison's units one run does (a baseline may do 3 training steps, to be scaled).
        extra: what else the results should say of it, by name.
    """

    name: str
    run: Callable[[], Any]
    units: float = 1.0
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Sides that are timed in turns; the first is the baseline of the others.

    Args:
        case: what is computed, for the table.
        unit: what the seconds are per: "run", "training step", "network".
        sides: the ways to do it.
        deviation: given what the baseline and a side returned, how far their results are apart; None: not comparable.
    """

    case: str
    unit: str
    sides: Sequence[Side]
    deviation: Callable[[Any, Any], float] | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the results.

    Args:
        case: what was computed.
        name: by which side.
        unit: what the seconds are per.
        seconds: the median.
        low: the lower quartile.
        high: the upper quartile.
        repeats: how many runs were timed.
        units: how many units one run did.
        baseline: the side that it is compared with; None for the baseline itself.
        speedup: the baseline's median over this one's.
        deviation: how far its result is from the baseline's.
        extra: what else is known of it.
    """

    case: str
    name: str
    unit: str
    seconds: float
    low: float
    high: float
    repeats: int
    units: float
    baseline: str | None = None
    speedup: float | None = None
    deviation: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def compare(comparison: Comparison, *, repeats: int, limit: float) -> list[Row]:
    """Time the sides in turns.

    The first run of each side compiles and is not counted.

    Args:
        comparison: what to compare.
        repeats: the most counted runs of each side.
        limit: seconds after which a side is not run again; each is counted once at least.
    """
    sides = comparison.sides
    results = [_timed(side.run)[1] for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for k, side in enumerate(sides):
            if not times[k] or sum(times[k]) < limit:
                times[k].append(_timed(side.run)[0])
    rows = []
    for side, own, result in zip(sides, times, results, strict=True):
        low, median, high = np.quantile(np.array(own) / side.units, [0.25, 0.5, 0.75]).tolist()
        row = Row(comparison.case, side.name, comparison.unit, median, low, high, len(own), side.units)
        if rows:
            apart = None if comparison.deviation is None else float(comparison.deviation(results[0], result))
            row = dataclasses.replace(row, baseline=sides[0].name, speedup=rows[0].seconds / median, deviation=apart)
        rows.append(dataclasses.replace(row, extra=dict(side.extra)))
    return rows


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - start, result
