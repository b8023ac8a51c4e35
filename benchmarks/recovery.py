"""Recovery: what fits of several ranks find of a known network whose weights change in few components.

`python -m benchmarks.recovery` (some 4 minutes of CPU time): held-out score over noise by rank, the rank that is
chosen, and how far its columns, rows and trial factors are from the true ones.
`python -m benchmarks.recovery --coverage`: how many true trial factors lie within two widths of the fitted ones.
"""

import argparse
import time
from typing import NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy.linalg import subspace_angles  # noqa: E402

import overlap_learning as ol  # noqa: E402
from overlap_learning import fitting  # noqa: E402

TIME_CONSTANT = 0.3


class Known(NamedTuple):
    """A known network, its recordings, and their noise.

    Attributes:
        network: with three components or less.
        recordings: its activity with Gaussian noise.
        clean: its activity, shape [K, T, N].
        noise: the standard deviation.
    """

    network: fitting.TensorNetwork
    recordings: fitting.Recordings
    clean: np.ndarray
    noise: float


def known(seed: int, n: int = 100, rank: int = 3, n_trials: int = 120, share: float = 0.1) -> Known:
    """A tanh network with as many neurons as units, four conditions and 20 times.

    One trial factor falls in the middle of the trials and returns at once, one rises, one turns slowly. Rows lie only
    in part in the span of the columns.

    Args:
        seed: of the network and the noise.
        n: units and neurons.
        rank: components, at most 3.
        n_trials: trials.
        share: standard deviation of the noise, of that of the activity.
    """
    rng = np.random.default_rng(seed)
    times, n_conditions = np.linspace(0, 1, 20), 4
    columns = _unit(rng.normal(size=(n, rank)))
    mixing = np.eye(rank) + 0.6 * rng.normal(size=(rank, rank))
    rows = _unit(columns @ mixing + 0.5 * _unit(rng.normal(size=(n, rank))))
    k = np.arange(n_trials) * 120 / n_trials
    lowered = (k > 30) & (k <= 80)
    trials = np.stack(
        [
            1.6 - 0.9 * lowered * (1 - np.exp(-(k - 30) / 10)),
            1.2 + 0.6 * np.tanh((k - 60) / 20),
            1.3 + 0.5 * np.sin(2 * np.pi * k / 120),
        ],
        axis=1,
    )[:, :rank]
    inputs = np.empty((n_conditions, len(times), rank))
    for condition in range(n_conditions):
        for r in range(rank):
            decaying, later = np.exp(-times / 0.3) * rng.normal(), 0.6 * rng.normal()
            inputs[condition, :, r] = decaying + later * np.exp(-(((times - rng.uniform(0.2, 0.8)) / 0.15) ** 2))
    start = 0.7 * rng.normal(size=(n_conditions, rank))
    readout = {"matrix": np.linalg.qr(rng.normal(size=(n, n)))[0], "log_gain": np.zeros(()), "offset": np.zeros(n)}
    conditions = np.arange(n_trials) % n_conditions
    network = fitting.TensorNetwork(
        *map(jnp.asarray, (columns, rows, trials, np.zeros((n, 0)), 0.7 * inputs, start)),
        readout=jax.tree.map(jnp.asarray, readout),
        times=jnp.asarray(times),
        conditions=jnp.asarray(conditions),
        time_constant=jnp.asarray(TIME_CONSTANT),
        activation=ol.Tanh(),
        decoder=fitting.Orthonormal(),
        solver=fitting.Euler(),
    )
    clean = np.asarray(network.signal())
    noise = share * clean.std()
    activity = clean + noise * rng.normal(size=clean.shape)
    return Known(network, fitting.Recordings(activity, times=times, conditions=conditions), clean, noise)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=0)


def recovery(seed: int, ranks: list[int], n_seeds: int) -> None:
    """Fit several ranks, and print what is found."""
    truth = known(seed)
    masks = fitting.block_masks(truth.recordings, jax.random.key(5))
    begin, wall = time.process_time(), time.perf_counter()
    comparison = fitting.compare_ranks(
        truth.recordings, ranks, jax.random.key(0), masks=masks, n_seeds=n_seeds, time_constant=TIME_CONSTANT,
        progress=False,
    )  # fmt: skip
    seconds = time.process_time() - begin, time.perf_counter() - wall
    floor = np.mean((truth.recordings.activity - truth.clean)[masks.report] ** 2)
    print(comparison)
    for fit in comparison.fits:
        print(f"rank {fit.rank}: held-out / noise {fit.score / floor:.4g}, {int(fit.step[-1])} steps", fit, sep="\n")
    fit = comparison.fit
    for side, true, found in zip(("columns", "rows"), truth.network.neurons, fit.network.neurons, strict=True):
        print(f"principal angles of the {side}: {np.degrees(subspace_angles(true, found)).round(1)} degrees")
    found = matched(truth.network, fit)
    true = np.asarray(truth.network.trials)
    correlations = [np.corrcoef(a, b)[0, 1].round(4).item() for a, b in zip(true.T, found[0].T, strict=True)]
    print(f"correlations of trial factors: {correlations}")
    print(f"chosen rank {comparison.chosen}; {seconds[0]:.0f} s of CPU time, {seconds[1]:.0f} s")


def matched(truth: fitting.TensorNetwork, fit: fitting.Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trial factors of a fit in the order and at the size of the true ones; the order, and what they are divided by.

    The size of a component is not in the data: that of its row outside of all activity is free.
    """
    from scipy.optimize import linear_sum_assignment

    cosines = np.abs(truth.neurons[0].T @ fit.network.neurons[0])
    order = linear_sum_assignment(-cosines)[1]
    found, true = np.asarray(fit.network.trials)[:, order], np.asarray(truth.trials)
    sizes = np.sum(found**2, axis=0) / np.sum(found * true, axis=0)
    return found / sizes, order, sizes


def coverage(seeds: list[int], n_refits: int, n_steps: int = 600) -> None:
    """How many true trial factors lie within two widths of those of a fit, by Laplace and by the bootstrap.

    Small networks: 40 neurons and units, 60 trials, 3 components.
    """
    import optax

    rule = ol.Optimiser(optax.adam(optax.cosine_decay_schedule(5e-2, n_steps), b2=0.99), n_steps, save_every=20)
    inside = []
    for seed in seeds:
        truth = known(seed, n=40, n_trials=60)
        masks = fitting.block_masks(truth.recordings, jax.random.key(5))
        fit = fitting.fit_low_tensor_rank(
            truth.recordings, 3, jax.random.key(0), masks=masks, n_seeds=1, time_constant=TIME_CONSTANT, rule=rule,
            progress=False,
        )  # fmt: skip
        begin = time.process_time()
        refits = fit.bootstrap(jax.random.key(1), n_refits, rule=rule, progress=False)
        seconds = time.process_time() - begin
        found, order, sizes = matched(truth.network, fit)
        error = found - np.asarray(truth.network.trials)
        print(f"seed {seed}: root mean square error by component {np.sqrt(np.mean(error**2, axis=0)).round(3)}")
        row = []
        for name, widths in (("Laplace", fit.trial_widths), ("bootstrap", refits.trial_widths)):
            scaled = widths[:, order] / sizes
            row.append(np.abs(error) < 2 * scaled)
            print(f"  {name}: mean width {scaled.mean(axis=0).round(3)}, within two {row[-1].mean(axis=0).round(2)}")
        print(f"  {seconds:.0f} s of CPU time for {n_refits} refits", flush=True)
        inside.append(row)
    shares = np.array(inside).mean(axis=(0, 2, 3))
    print(
        f"within two widths: Laplace {shares[0]:.3f}, bootstrap {shares[1]:.3f}, of {3 * 60 * len(seeds)} trial factors"
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, default=2, help="starts of each fit")
    parser.add_argument("--seed", type=int, default=0, help="of the network")
    parser.add_argument(
        "--coverage", action="store_true", help="of the widths of trial factors, of three small networks"
    )
    parser.add_argument("--refits", type=int, default=20, help="of the bootstrap")
    arguments = parser.parse_args()
    if arguments.coverage:
        coverage([arguments.seed + i for i in range(3)], arguments.refits)
        return
    recovery(arguments.seed, arguments.ranks, arguments.seeds)


if __name__ == "__main__":
    main()
