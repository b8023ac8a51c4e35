"""Fit: one iteration of a low-tensor-rank network beside the same with every weight matrix made."""

import functools
from collections.abc import Iterator

import jax
import numpy as np

import overlap_learning as ol
from benchmarks.cases import setting
from benchmarks.timing import Comparison, Side

FIT = "ol.fitting"
FIXED, ADAPTIVE = "the same steps", "the public program's steps"
#: Units (and neurons), rank, trials, times.
SIZES = (200, 5, 250, 21)


def case(sizes: tuple[int, int, int, int], steps: str) -> str:
    """The name of the comparison."""
    n, rank, trials, times = sizes
    return f"fit, n = N = {n}, R = {rank}, K = {trials}, T = {times}, float32, dense with {steps}"


@functools.cache
def prepared(sizes: tuple[int, int, int, int]):
    """The learner and a position of a fit to random activity."""
    from overlap_learning.fitting.fit import learner_of, rates_of
    from overlap_learning.fitting.learner import starts

    n, rank, trials, times = sizes
    rng = np.random.default_rng(0)
    latent = np.cumsum(rng.normal(size=(trials, times, rank)), axis=1)
    activity = (latent @ rng.normal(size=(rank, n)) + rng.normal(size=(trials, times, n))).astype(np.float32)
    recordings = ol.fitting.Recordings(activity, times=np.linspace(0, 2, times), conditions=np.arange(trials) % 8)
    masks = ol.fitting.block_masks(recordings, jax.random.key(0))
    learner = learner_of(recordings, masks, 1.0, None, None, None, None, None, None)
    positions = starts(learner, recordings, masks, (n, rank), 0.5, jax.random.key(0), 1)
    import equinox as eqx

    rates = rates_of(positions, float(activity[masks.train].std()))
    learner = eqx.tree_at(lambda tree: tree.rates, learner, rates, is_leaf=lambda leaf: leaf is None)
    return learner, jax.tree.map(lambda array: array[0], positions)


def fit_side(sizes: tuple[int, int, int, int], n_steps: int) -> Side:
    """So many steps of Adam on the engine; the loss at the start."""
    import optax

    from overlap_learning.learning.driver import learn

    learner, position = prepared(sizes)
    rule = ol.Optimiser(optax.adam(1e-6), n_steps, save_every=n_steps)
    # The gradient at the start is one more.
    return Side(FIT, lambda: learn(learner, learner.task, position, rule, progress=False).loss[0], n_steps + 1)


def dense_side(sizes: tuple[int, int, int, int], steps: str, n_steps: int) -> list[Side]:
    """The same in PyTorch with W [K, n, n]. Nothing without PyTorch."""
    if not setting.HAS_TORCH:
        return []
    import torch

    from benchmarks.baselines.dense_tensor import DenseTensor, adaptive_steps, dense_steps

    learner, position = prepared(sizes)

    def network(heun):
        return DenseTensor(
            position, learner.factor, learner.conditions, learner.times, float(learner.time_constant), heun
        )

    # A step that is accepted has two of half its size, through which the program propagates back.
    heun = None if steps == FIXED else 2 * adaptive_steps(network(None))
    train = np.asarray(learner.task.weights)
    return [
        Side(
            f"PyTorch, W made, {steps}",
            lambda: np.float32(dense_steps(network(heun), learner.task.targets, train, n_steps)),
            n_steps,
            {"threads": torch.get_num_threads(), "heun_steps": heun},
        )
    ]


def comparisons(quick: bool) -> Iterator[Comparison]:
    """What is to be compared."""
    sizes = (20, 2, 30, 8) if quick else SIZES
    for steps in (FIXED, ADAPTIVE):
        few = 2 if quick or steps == FIXED else 1
        sides = [*dense_side(sizes, steps, few), fit_side(sizes, 5 if quick else 20)]
        # Losses before the first step, which moves by a millionth; other steps make another loss.
        deviation = (lambda a, b: abs(float(a) - float(b))) if steps == FIXED else None
        yield Comparison(case(sizes, steps), "iteration", sides, deviation)
