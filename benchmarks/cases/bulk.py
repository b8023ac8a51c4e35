"""A bulk: training all N x N connections beside the same in PyTorch."""

from collections.abc import Iterator

import jax
import numpy as np

import overlap_learning as ol
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

TRAIN = "ol.train, W"
N_TRIALS, STRENGTH, LEARNING_RATE = 32, 0.9, 1e-2
DTYPES = ("float32", "float64")


def case(n_neurons: int, dtype: str) -> str:
    """The name of the comparison."""
    return f"flip-flop of Schuessler et al., W learns, {N_TRIALS} trials, T = 101, N = {n_neurons:,}, {dtype}"


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    for dtype in DTYPES:
        # Many steps share the loss at the start and the call.
        yield compared(64 if quick else 256, dtype, 2 if quick else 50)


def compared(n_neurons: int, dtype: str, n_steps: int) -> Comparison:
    """The PyTorch loop and `ol.train`, for so many training steps each; the latter also takes the loss at the start."""
    layout = ol.Layout(n_in=2, rank=0, n_out=2)
    model = ol.Model(layout, ol.Tanh(), bulk=ol.RandomBulk(STRENGTH))
    task = ol.tasks.flip_flop_channels(key=jax.random.key(0), n_trials=N_TRIALS)
    drawn = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(layout), n_neurons, key=jax.random.key(1))
    network = ol.BulkNetwork(drawn.vectors.astype(dtype), layout, drawn.bulk)
    arrays = ol.training.Arrays({"z": n_neurons}, per_neuron=False)
    rule = ol.GradientDescent(LEARNING_RATE, n_steps, save_every=n_steps, rates={"W": 1.0})

    def train():
        return ol.train(model, task, network, rule, arrays=arrays, progress=False).final.bulk

    sides = [*_torch_side(network, task, n_steps, dtype), Side(TRAIN, train, n_steps, {"dtype": dtype})]
    return Comparison(case(n_neurons, dtype), "training step", sides, setting.furthest)


def _torch_side(network: ol.BulkNetwork, task: ol.Task, n_steps: int, dtype: str) -> list[Side]:
    """The PyTorch loop; nothing without PyTorch."""
    if not setting.HAS_TORCH:
        return []
    import torch

    from benchmarks.baselines.torch_bulk import TorchBulkNetwork, torch_bulk_loop

    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"

    def run() -> np.ndarray:
        return torch_bulk_loop(TorchBulkNetwork(network, device), task, LEARNING_RATE, n_steps)

    extra = {"n_neurons": network.n_neurons, "dtype": dtype, "threads": torch.get_num_threads()}
    return [Side(f"PyTorch loop, W, N = {network.n_neurons:,}, {dtype}", run, n_steps, extra)]
