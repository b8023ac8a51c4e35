"""Gradient flow: accuracy against time, solver by solver, where the flow is stiff and where it is not."""

from collections.abc import Iterator

import diffrax
import numpy as np

import overlap_learning as ol
from benchmarks.baselines import scipy_flow
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

SOLVERS = (diffrax.Tsit5, diffrax.Dopri8, diffrax.Kvaerno5)
SCIPY_METHODS = ("DOP853", "LSODA")
TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10)
#: atol of each rtol, as in `ol.GradientFlow`.
ATOL_SHARE = 1e-2
#: Learning times. The output is learned at about 1.5; from there on the steps of an explicit solver are limited by the
#: largest curvature of the loss, and not by accuracy.
NOT_STIFF, STIFF = 2.0, 100.0
#: Time steps of the task: what is compared is the number of evaluations, which does not depend on it.
N_TIMES = 100
#: Tolerance of the run that the others are measured against.
REFERENCE = 1e-13


def case(duration: float) -> str:
    """The name of the comparison over so much learning time."""
    kind = "stiff" if duration >= STIFF else "not stiff"
    return f"filter, T = {N_TIMES + 1}, gradient flow to time {duration:g}, {kind}: error by solver"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    model, task = setting.linear(), setting.filter_task(N_TIMES)
    begin = setting.start(model)
    for duration in (NOT_STIFF,) if quick else (NOT_STIFF, STIFF):
        times = np.linspace(0, duration, 11)

        def side(solver, rtol, duration=duration, times=times):
            rule = ol.GradientFlow(
                duration, solver=solver(), rtol=rtol, atol=ATOL_SHARE * rtol, save_at=times, max_steps=1_000_000
            )
            extra = {"solver": solver.__name__, "rtol": rtol}
            return Side(
                f"{solver.__name__}, rtol {rtol:g}",
                lambda: ol.integrate(model, task, begin, rule).overlaps.gram,
                1,
                extra,
            )

        def scipy_side(method, rtol, times=times):
            filtering, gram = scipy_flow.Filter(task), np.asarray(begin.gram)
            settings = {
                "slopes": scipy_flow.slopes_by_filter,
                "method": method,
                "rtol": rtol,
                "atol": ATOL_SHARE * rtol,
            }
            extra = {"solver": f"scipy {method}", "rtol": rtol}
            return Side(
                f"scipy {method}, rtol {rtol:g}",
                lambda: scipy_flow.scipy_flow(filtering, gram, times, **settings),
                1,
                extra,
            )

        tolerances = TOLERANCES[:2] if quick else TOLERANCES
        sides = [side(diffrax.Dopri8, REFERENCE)]
        sides += [side(solver, rtol) for solver in (SOLVERS[1:] if quick else SOLVERS) for rtol in tolerances]
        sides += [scipy_side(method, rtol) for method in SCIPY_METHODS for rtol in tolerances]
        yield Comparison(case(duration), "run", sides, setting.furthest)
