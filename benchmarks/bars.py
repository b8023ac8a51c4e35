"""The bars: what the package should reach, and whether the rows of a run say that it does."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.cases import (
    bulk,
    bulk_theory,
    fit_tensor,
    full_n,
    setting,
    theory_many,
    theory_nonlinear,
    theory_one,
)
from benchmarks.machine import memory_seconds
from benchmarks.memory import Peak, flip_flop_at
from benchmarks.texts import factor, size
from benchmarks.timing import Row

#: A row is of a steep or flat part of the cost over N only if its N is at least this.
LARGE = 10_000
GPU_NEURONS = 1_000_000
MEMORY_BAR = 8 * 2**30


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar.

    Args:
        name: what it is on.
        bar: what is to be reached.
        measured: what was measured; None: this run could not (`why`).
        met: whether it is.
        why: why it was not measured.
    """

    name: str
    bar: str
    measured: str | None
    met: bool | None
    why: str = ""


def judge(rows: Sequence[Row], peaks: Sequence[Peak], machine: Mapping[str, Any]) -> list[Bar]:
    """All bars, from what was timed."""
    n_steps = setting.FILTER_STEPS
    c = "C loop"
    on_gpu = [
        row
        for row in full_n.scaling(rows, "erf")
        if row.extra["n_neurons"] == GPU_NEURONS and machine["platform"] == "gpu"
    ]
    return [
        *(
            _share(rows, theory_one.case(n_steps, each), name, c, share, f"{name}, one network, {saved} saved")
            for name in (theory_one.COMPILED, theory_one.THEORY)
            for each, saved, share in ((False, "the end", 0.3), (True, "each step", 0.35))
        ),
        _share(
            rows, theory_many.case(1000, n_steps), theory_many.THEORY, c, 0.03, "theory, 1,000 networks, per network"
        ),
        _faster(rows, theory_nonlinear.case(800), theory_nonlinear.THEORY, 1000, "nonlinear theory against N = 1,000"),
        *(
            _faster(rows, full_n.case("linear", 500, 401, dtype), full_n.TRAIN, 50, f"full N, linear, N = 500, {dtype}")
            for dtype in full_n.DTYPES
        ),
        *(
            _faster(rows, full_n.case("erf", 1000, 800, dtype), full_n.TRAIN, 10, f"full N, erf, N = 1,000, {dtype}")
            for dtype in full_n.DTYPES
        ),
        *(_faster(rows, bulk.case(256, dtype), bulk.TRAIN, 2, f"W learns, N = 256, {dtype}") for dtype in bulk.DTYPES),
        _measured(
            "theory of a bulk, g = 0.6, 300 steps, compilation included",
            "under 3 s",
            [row.seconds for row in _find(rows, bulk_theory.case(300), bulk_theory.COLD)],
            lambda seconds: seconds < 3,
            lambda seconds: f"{seconds:.2f} s",
        ),
        *(
            _faster(
                rows,
                fit_tensor.case(fit_tensor.SIZES, steps),
                fit_tensor.FIT,
                20,
                f"fit of rank 5, {steps}",
                "all weights made in PyTorch",
            )
            for steps in (fit_tensor.FIXED, fit_tensor.ADAPTIVE)
        ),
        _memory(peaks),
        *(_exponent(rows, kind) for kind in full_n.MODELS),
        _measured(
            f"full N, erf, N = {GPU_NEURONS:,} on a GPU",
            "at least 40 % of what its memory traffic allows",
            [memory_seconds(machine, row.extra) / row.seconds for row in on_gpu],
            lambda share: share >= 0.4,
            lambda share: f"{100 * share:.0f} %",
            "no GPU in this run",
        ),
    ]


def _find(rows: Sequence[Row], case: str, name: str) -> list[Row]:
    return [row for row in rows if (row.case, row.name) == (case, name)]


def _share(rows: Sequence[Row], case: str, name: str, baseline: str, most: float, title: str) -> Bar:
    values = [1 / row.speedup for row in _find(rows, case, name) if row.speedup and row.baseline == baseline]
    return _measured(title, f"at most {most:g} of the C loop's time", values, lambda v: v <= most, factor)


def _faster(
    rows: Sequence[Row], case: str, name: str, least: float, title: str, baseline: str = "the PyTorch loop"
) -> Bar:
    values = [row.speedup for row in _find(rows, case, name) if row.speedup]
    bar = f"at least {least:,} times {baseline}"
    return _measured(title, bar, values, lambda v: v >= least, factor)


def _memory(peaks: Sequence[Peak]) -> Bar:
    values = [peak.peak_bytes for peak in peaks if peak.name == flip_flop_at(100_000)]
    return _measured(
        "full N, erf flip-flop, N = 100,000, T = 800, peak memory",
        "under 8 GiB",
        values,
        lambda v: v < MEMORY_BAR,
        size,
    )


def _exponent(rows: Sequence[Row], kind: str) -> Bar:
    found = [
        (row.extra["n_neurons"], row.seconds) for row in full_n.scaling(rows, kind) if row.extra["n_neurons"] >= LARGE
    ]
    values = []
    if len(found) > 1:
        n, seconds = np.log(np.array(found)).T
        values = [float(np.polyfit(n, seconds, 1)[0])]
    return _measured(
        f"full N, {kind}, cost over N from {LARGE:,}",
        "exponent 0.9 to 1.1",
        values,
        lambda v: 0.9 <= v <= 1.1,
        lambda v: f"{v:.2f}",
    )


def _measured(
    name: str,
    bar: str,
    values: Sequence[float],
    met: Callable[[float], bool],
    text: Callable[[float], str],
    why: str = "not in this run",
) -> Bar:
    if not values:
        return Bar(name, bar, None, None, why)
    return Bar(name, bar, text(values[0]), met(values[0]))
