"""Every side of every comparison at its quick size, under pytest-benchmark: `pytest benchmarks --benchmark-only`."""

import jax
import pytest

from benchmarks.cases import CASES

SIDES = [
    pytest.param(comparison, side, id=f"{name}-{side.name}")
    for name, case in CASES.items()
    for comparison in case.comparisons(quick=True)
    for side in comparison.sides
]


@pytest.mark.parametrize(("comparison", "side"), SIDES)
def test_time(benchmark, comparison, side):
    benchmark.group = f"{comparison.case} ({side.units:g} x {comparison.unit})"
    benchmark.extra_info.update(case=comparison.case, units=side.units, unit=comparison.unit, **side.extra)
    benchmark.pedantic(lambda: jax.block_until_ready(side.run()), warmup_rounds=1, rounds=3)
