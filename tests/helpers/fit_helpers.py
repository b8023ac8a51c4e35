"""A fit to recordings that was never made."""

import jax
import jax.numpy as jnp
import numpy as np

import overlap_learning as ol
from overlap_learning import fitting

K, T, N, TAU = 12, 8, 15, 0.4
TIMES = np.linspace(-0.2, 0.5, T)
EPOCHS = ("before", "after")
CONDITIONS = np.arange(K) % 2


def invented_fit(rank, gain=3.0):
    """A fit whose network is drawn at random; its recurrent weights are strong enough for stable states beside 0."""
    rng = np.random.default_rng(rank)
    columns = rng.normal(size=(N, rank))
    columns = columns / np.linalg.norm(columns, axis=0)
    rows = columns + 0.2 * rng.normal(size=(N, rank)) / np.sqrt(N)
    arrays = (
        columns, rows / np.linalg.norm(rows, axis=0), gain * np.exp(0.2 * rng.normal(size=(K, rank))),
        np.zeros((N, 0)), rng.normal(size=(2, T, rank)) * (TIMES < 0)[:, None], rng.normal(size=(2, rank)),
    )  # fmt: skip
    network = fitting.TensorNetwork(
        *map(jnp.asarray, arrays),
        readout={"log_gain": jnp.asarray(0.0), "offset": jnp.zeros(N)},
        times=jnp.asarray(TIMES),
        conditions=jnp.asarray(CONDITIONS),
        time_constant=jnp.asarray(TAU),
        activation=ol.Tanh(),
        decoder=fitting.OneToOne(),
        solver=fitting.Euler(),
    )
    few, nothing = np.ones((1, 2)), np.zeros((K, T, N), bool)
    return fitting.Fit(
        networks=jax.tree.map(lambda array: array[None], network),
        best=0,
        step=np.arange(2),
        course={"train": few, "stop": few},
        deviance={name: np.ones(1) for name in ("train", "stop", "report")},
        block_deviance=np.ones(2),
        block_null=np.ones(2),
        block_sizes=np.ones(2, int),
        results=("successful",),
        curvature=np.broadcast_to(np.eye(rank), (K, rank, rank)),
        prior=fitting.GaussianProcess(),
        likelihood=fitting.Gaussian(),
        inputs=fitting.Inputs(until=0.0),
        masks=fitting.Masks(~nothing, nothing, nothing, np.full(nothing.shape, -1, np.int32)),
        level=0.5,
        trial_ids=np.arange(10.0, 10 + K),
        condition_names=("left", "right"),
        epochs=tuple(np.repeat(EPOCHS, K // 2).tolist()),
    )
