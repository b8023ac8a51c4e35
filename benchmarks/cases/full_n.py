"""Full N: training every neuron beside the same in PyTorch, and how the time grows with the number of neurons."""

from collections.abc import Iterator, Sequence

import numpy as np

import overlap_learning as ol
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Row, Side

TRAIN = "ol.train"
LEARNING_RATE = {"linear": 5e-3, "erf": 5e-2}
MODELS = {"linear": setting.linear, "erf": setting.erf}
#: Time steps and trials of the runs over N, the same at every N.
SCALING_TIMES = 50
TRIALS = {"linear": 1, "erf": 10}
DTYPES = ("float32", "float64")
#: What PyTorch's backpropagation keeps: so many numbers per neuron, trial and time step.
TORCH_NUMBERS = 6
TORCH_BYTES = 2**30
#: A size that would take longer for one training step, by the size before, is left out.
LONGEST = 8.0


def case(kind: str, n_neurons: int, n_times: int, dtype: str) -> str:
    """The name of the comparison."""
    task = "linear filter, 1 trial" if kind == "linear" else f"erf flip-flop, {TRIALS[kind]} trials"
    return f"{task}, T = {n_times:,}, N = {n_neurons:,}, {dtype}"


def task_of(kind: str, n_times: int) -> ol.Task:
    """The filter for linear networks (T - 1 readings and one before them), the flip-flop for the others."""
    return setting.filter_task(n_times - 1) if kind == "linear" else setting.flip_flop(n_times, TRIALS[kind])


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    for dtype in DTYPES:
        yield compared(
            "linear", 50 if quick else 500, 101 if quick else 401, dtype, 1 if quick else 10, 2 if quick else 50
        )
    for dtype in DTYPES:
        yield compared(
            "erf", 50 if quick else 1000, 100 if quick else 800, dtype, 1 if quick else 4, 2 if quick else 20
        )
    few = 2 if quick else 5
    for kind in MODELS:
        per_neuron = 0.0
        for n_neurons in (100, 1000) if quick else (1000, 10_000, 100_000, 1_000_000):
            if n_neurons * per_neuron > LONGEST:
                break
            rows = yield compared(kind, n_neurons, SCALING_TIMES, "float32", few, few)
            per_neuron = 0.0 if rows is None else rows[-1].seconds / n_neurons


def compared(kind: str, n_neurons: int, n_times: int, dtype: str, torch_steps: int, n_steps: int) -> Comparison:
    """The PyTorch loop, where what it keeps fits into memory, and `ol.train`, for so many training steps each (0: not).

    `ol.train` also takes the time for the loss at the start and, to compare the overlaps, after each `torch_steps`.
    """
    model, task = MODELS[kind](), task_of(kind, n_times)
    rate = LEARNING_RATE[kind]
    network = setting.network(model, n_neurons, dtype)
    rule = ol.GradientDescent(rate, n_steps, save_every=torch_steps or n_steps)
    itemsize = network.vectors.dtype.itemsize
    kept = TORCH_NUMBERS * TRIALS[kind] * n_times * n_neurons * itemsize
    torch = setting.torch_side(model, task, network, rate, torch_steps) if torch_steps and kept <= TORCH_BYTES else []
    work = {
        "kind": kind,
        "n_neurons": n_neurons,
        "n_times": n_times,
        "dtype": dtype,
        **least_work(n_neurons, model.layout, n_times, TRIALS[kind], dtype),
    }

    def train():
        return ol.train(model, task, network, rule, progress=False)

    def deviation(trained, solution):
        return setting.furthest(trained, solution.overlaps.gram[1])

    sides = [*torch, Side(TRAIN, train, n_steps, work)]
    return Comparison(case(kind, n_neurons, n_times, dtype), "training step", sides, deviation)


def least_work(n_neurons: int, layout: ol.Layout, n_times: int, n_trials: int, dtype: str) -> dict[str, float]:
    """The least that a training step must move and compute.

    Bytes: at each time step the vectors [N, d] are read forwards, and backwards they are read again and their gradient
    read and written; the fields of the neurons need not leave the processor. Operations: the products of vectors with
    N x B numbers, forwards, recomputed (fields), and twice backwards.
    """
    d = layout.size
    return {
        "bytes": 4.0 * n_times * n_neurons * d * np.dtype(dtype).itemsize,
        "operations": 2.0 * n_times * n_neurons * n_trials * (3 * d + layout.n_fields),
    }


def scaling(rows: Sequence[Row], kind: str) -> list[Row]:
    """Of all rows, those of `ol.train` over N at one number of time steps."""
    return [
        row for row in rows if row.name == TRAIN and row.extra["kind"] == kind and row.extra["n_times"] == SCALING_TIMES
    ]
