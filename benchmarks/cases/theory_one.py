"""The theory of one network: GB's filter task beside a C loop, scipy's integrators and training every neuron."""

from collections.abc import Iterator

import jax
import numpy as np

import overlap_learning as ol
from benchmarks.baselines import scipy_flow
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

THEORY, COMPILED = "ol.integrate", "ol.integrate inside jax.jit"


def case(n_steps: int, each_step: bool) -> str:
    """The name of the comparison with the C loop."""
    saved = "loss and overlaps saved at each step" if each_step else "the end saved"
    return f"filter, T = 401, {n_steps:,} steps, {saved}"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    model, task = setting.linear(), setting.filter_task()
    begin = setting.start(model)
    n_steps = 100 if quick else setting.FILTER_STEPS

    for each_step in (True, False):
        save_every = 1 if each_step else n_steps
        rule = ol.GradientDescent(setting.LEARNING_RATE, n_steps, save_every=save_every)

        def descend(rule=rule):
            return ol.integrate(model, task, begin, rule)

        compiled = jax.jit(lambda begin, rule=rule: _learned(ol.integrate(model, task, begin, rule, throw=False)))
        sides = [
            *setting.c_side(task, begin, n_steps, save_every),
            Side(COMPILED, lambda compiled=compiled: compiled(begin)),
            Side(THEORY, lambda descend=descend: _learned(descend())),
        ]
        yield Comparison(case(n_steps, each_step), "run", sides, lambda c, theory: setting.furthest(c.gram, theory[0]))

    yield _flow(model, task, begin, 1.0 if quick else 10.0)

    n_neurons, few = (50, 2) if quick else (500, 5)
    torch = setting.torch_side(model, task, setting.network(model, n_neurons, "float32"), setting.LEARNING_RATE, few)
    rule = ol.GradientDescent(setting.LEARNING_RATE, n_steps, save_every=n_steps)
    theory = Side(THEORY, lambda: ol.integrate(model, task, begin, rule), n_steps)
    yield Comparison("filter, T = 401, beside training every neuron", "training step", [*torch, theory])


def _learned(solution: ol.Solution) -> tuple[jax.Array, jax.Array]:
    """What the C loop returns: overlaps and losses at the saved points."""
    return solution.overlaps.gram, solution.loss


def _flow(model: ol.Model, task: ol.Task, begin: ol.Overlaps, duration: float) -> Comparison:
    """Gradient flow at equal tolerances."""
    rule = ol.GradientFlow(duration)
    rtol, atol = float(rule.rtol), float(rule.atol)
    filtering, gram, times = scipy_flow.Filter(task), np.asarray(begin.gram), np.asarray(rule.save_at)

    def solve_ivp(slopes):
        return scipy_flow.scipy_flow(filtering, gram, times, slopes=slopes, method="DOP853", rtol=rtol, atol=atol)

    sides = [
        Side("solve_ivp, DOP853, numpy and lfilter", lambda: solve_ivp(scipy_flow.slopes_by_filter)),
        Side("solve_ivp, DOP853, numpy and a loop over time", lambda: solve_ivp(scipy_flow.slopes_by_loop)),
        Side(f"{THEORY}, Dopri8", lambda: ol.integrate(model, task, begin, rule).overlaps.gram),
    ]
    return Comparison(
        f"filter, T = 401, gradient flow to time {duration:g}, rtol {rtol:g}, atol {atol:g}",
        "run",
        sides,
        setting.furthest,
    )
