"""The closures that are compared: what each must be equal to."""

import jax
import pytest

import overlap_learning as ol

MODEL = ol.Model(ol.Layout(), ol.Erf())
TASK = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=2, duration=5.0, dt=0.2, wait_range=(1.0, 2.0))
START = ol.Overlaps.from_entries(ol.Layout(), zm=0.3, zu=0.4, vm=0.4, vu=0.4)
RULE = ol.GradientDescent(0.2, 20, save_every=10)


def test_the_error_of_the_gaussian_theory_is_that_of_the_closure_report():
    grids = ((4, 2), (6, 2))
    nodes = (ol.model.HermiteGrid(*grids[0], folded=True), ol.model.HermiteGrid(*grids[1], folded=True))
    sizes = ol.validation.Sizes(
        populations=((2, 0.0),), degrees=(), grids=(grids[1],), whitened=(), corrected=(), expansions=(),
        reference=grids,
    )  # fmt: skip
    (gaussian, cut, fine), known = ol.validation.compare_closures(MODEL, TASK, START, RULE, sizes, progress=False)
    report = ol.closure_error(MODEL, TASK, START, RULE, nodes=nodes, progress=False)
    assert gaussian.error == pytest.approx(report.largest.max() / report.change, rel=1e-12)
    assert known == pytest.approx(report.limit.error.max() / report.change, rel=1e-12)
    assert gaussian.cost == 1
    # Nothing between the populations: the Gaussian theory again. The finer nodes are the limit itself.
    assert cut.error == pytest.approx(gaussian.error, rel=1e-9)
    assert (cut.kind, cut.size, fine.kind, fine.size, fine.error) == ("populations", 2, "grid", 72, 0)
