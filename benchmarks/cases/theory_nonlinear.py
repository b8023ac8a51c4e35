"""The theory of a nonlinear network beside training every neuron: a step of learning the flip-flop."""

from collections.abc import Iterator

import overlap_learning as ol
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

THEORY = "ol.integrate"
LEARNING_RATE = 5e-2


def case(n_times: int) -> str:
    """The name of the comparison."""
    return f"erf flip-flop, 10 trials, T = {n_times:,}, theory beside training every neuron"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared. The theory of a nonlinear network is an approximation: its results are others."""
    model = setting.erf()
    n_times, n_neurons, few, n_steps = (100, 50, 1, 5) if quick else (800, 1000, 2, 500)
    task, begin = setting.flip_flop(n_times), setting.start(model)
    rule = ol.GradientDescent(LEARNING_RATE, n_steps, save_every=n_steps)
    torch = setting.torch_side(model, task, setting.network(model, n_neurons, "float32"), LEARNING_RATE, few)
    theory = Side(THEORY, lambda: ol.integrate(model, task, begin, rule, trust=False), n_steps)
    told = Side(f"{THEORY}, with its trust", lambda: ol.integrate(model, task, begin, rule), n_steps)
    yield Comparison(case(n_times), "training step", [*torch, theory, told])
