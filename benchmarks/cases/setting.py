"""The tasks, networks and sides that several cases share."""

import functools
import importlib.util
import shutil

import jax
import jax.numpy as jnp
import numpy as np

import overlap_learning as ol
from benchmarks.baselines import filter_loop as c_loop
from benchmarks.timing import Side

LEARNING_RATE = 5e-3
FILTER_STEPS = 2000
HAS_COMPILER = shutil.which(c_loop.compiler()) is not None
HAS_TORCH = importlib.util.find_spec("torch") is not None
#: Of a filter task's readings, without the one before the impulse acts.
N_TIMES = 400


def left_out() -> list[str]:
    """What can't be timed here, and why."""
    reasons = {
        f"the C loop: no compiler {c_loop.compiler()!r} (set CC)": HAS_COMPILER,
        "the PyTorch loop: PyTorch is not installed (pip install '.[benchmark]')": HAS_TORCH,
    }
    return [reason for reason, there in reasons.items() if not there]


def linear(rank: int = 1) -> ol.Model:
    """A linear network with one input and one output."""
    return ol.Model(ol.Layout(rank=rank), ol.Linear())


def erf(rank: int = 1) -> ol.Model:
    """An erf network with one input and one output."""
    return ol.Model(ol.Layout(rank=rank), ol.Erf())


@functools.cache
def filter_task(n_times: int = N_TIMES) -> ol.Task:
    """The exponential filter of Ger and Barak, over 20 neuronal time constants in so many steps."""
    return ol.tasks.exponential_filter(decay=0.2, duration=20.0, dt=20.0 / n_times)


@functools.cache
def flip_flop(n_times: int, n_trials: int = 10) -> ol.Task:
    """The flip-flop of Ger and Barak, over 20 neuronal time constants in so many steps."""
    return ol.tasks.flip_flop(key=jax.random.key(0), n_trials=n_trials, duration=20.0, dt=20.0 / n_times)


def start(model: ol.Model) -> ol.Overlaps:
    """Random overlaps, as 500 independent neurons have."""
    return ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=500**-0.5)


def network(model: ol.Model, n_neurons: int, dtype: str) -> ol.Network:
    """A network with these overlaps."""
    vectors = ol.Network.sample(start(model), n_neurons, key=jax.random.key(1), exact=False).vectors
    return ol.Network(vectors.astype(dtype), model.layout)


def c_side(task: ol.Task, overlaps: ol.Overlaps, n_steps: int, save_every: int, units: float = 1.0) -> list[Side]:
    """The C loop; nothing where there is no compiler."""
    if not HAS_COMPILER:
        return []
    gram = np.asarray(overlaps.gram)
    c_loop.filter_loop(task, gram, LEARNING_RATE, 1, 1)
    return [Side("C loop", lambda: c_loop.filter_loop(task, gram, LEARNING_RATE, n_steps, save_every), units)]


def torch_side(model: ol.Model, task: ol.Task, start: ol.Network, learning_rate: float, n_steps: int) -> list[Side]:
    """The PyTorch loop, timed over a few steps; it returns the overlaps after them. Nothing without PyTorch."""
    if not HAS_TORCH:
        return []
    import torch

    from benchmarks.baselines.torch_loop import TorchNetwork, torch_loop

    vectors = np.asarray(start.vectors)
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"

    def run():
        trained = TorchNetwork(vectors, model.layout, linear=model.is_linear, device=device)
        torch_loop(trained, task, learning_rate, n_steps)
        return trained.gram()

    name = f"PyTorch loop, N = {len(vectors):,}, {vectors.dtype}"
    return [
        Side(
            name,
            run,
            n_steps,
            {"n_neurons": len(vectors), "dtype": str(vectors.dtype), "threads": torch.get_num_threads()},
        )
    ]


def furthest(a, b) -> float:
    """The largest distance of two arrays of overlaps."""
    return float(jnp.max(jnp.abs(jnp.asarray(a) - jnp.asarray(b))))
