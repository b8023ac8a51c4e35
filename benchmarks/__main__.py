"""Time the theory beside full networks in one run; print a table and write it as JSON."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import overlap_learning as ol  # noqa: E402


def seconds(run: Callable[[], ol.Solution], repeats: int) -> float:
    """The median time of a run after a first one that compiles."""
    run().loss.block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run().loss.block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def cases() -> dict[str, tuple[str, Callable[[], ol.Solution], int]]:
    """Name: (the case it is a ratio of, the run, repeats)."""
    linear = ol.Model(ol.Layout(), ol.Linear())
    filter_task = ol.tasks.exponential_filter(decay=0.2, duration=20.0, dt=0.05)
    start = ol.Overlaps.random(linear.layout, key=jax.random.key(0), scale=500**-0.5)
    network = ol.Network.sample(start, 500, key=jax.random.key(1))
    descent = ol.GradientDescent(5e-3, 2000)

    erf = ol.Model(ol.Layout(), ol.Erf())
    flip_flop = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=10, duration=20.0, dt=0.05)
    on_flip_flop = ol.GradientDescent(5e-2, 20)
    erf_network = ol.Network.sample(start, 1000, key=jax.random.key(1))
    theory, flop = "filter, 2,000 steps, theory", "erf flip-flop, 20 steps, theory"
    return {
        theory: (theory, lambda: ol.integrate(linear, filter_task, start, descent), 7),
        "filter, learning time 10, flow": (
            theory,
            lambda: ol.integrate(linear, filter_task, start, ol.GradientFlow(10.0)),
            7,
        ),
        "filter, 2,000 steps, full N = 500": (theory, lambda: ol.train(linear, filter_task, network, descent), 1),
        flop: (flop, lambda: ol.integrate(erf, flip_flop, start, on_flip_flop), 7),
        "erf flip-flop, 20 steps, full N = 1,000": (
            flop,
            lambda: ol.train(erf, flip_flop, erf_network, on_flip_flop),
            3,
        ),
    }


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    found: dict[str, float] = {}
    rows = []
    for name, (reference, run, repeats) in cases().items():
        found[name] = seconds(run, repeats)
        rows.append({"case": name, "seconds": found[name], "ratio": found[name] / found[reference], "of": reference})
        print(f"{name:<44}{found[name]:>10.4f} s{rows[-1]['ratio']:>10.1f} x {reference}", flush=True)
    about = {
        "versions": {package: version(package) for package in ("overlap_learning", "jax", "diffrax", "equinox")},
        "python": platform.python_version(),
        "device": str(jax.devices()[0].device_kind),
        "machine": platform.machine(),
    }
    print(json.dumps(about))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
