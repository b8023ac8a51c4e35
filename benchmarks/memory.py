"""Peak memory of each way to compute, every one in a process of its own."""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Peak:
    """The memory that a run needed.

    Args:
        name: what was run.
        peak_bytes: the largest resident memory of its process.
        before_bytes: that of the process before the run, with everything imported and the start at hand.
        device_bytes: the largest memory used on the device, where jax tells (on a GPU).
    """

    name: str
    peak_bytes: int
    before_bytes: int
    device_bytes: int | None = None


def flip_flop_at(n_neurons: int, n_times: int = 800) -> str:
    """The name of a run at full N."""
    return f"ol.train, erf flip-flop, 10 trials, N = {n_neurons:,}, T = {n_times}, float32"


def runs(quick: bool) -> dict[str, Callable[[], Callable[[], object]]]:
    """Each run's name, and what prepares it."""
    import overlap_learning as ol
    from benchmarks.cases import fit_tensor, full_n, setting, theory_many

    n_times, n_networks, n_middle, n_large = (100, 10, 50, 100) if quick else (800, 1000, 1000, 100_000)

    def integrate(model, task):
        rule = ol.GradientDescent(5e-3, 20, save_every=20)
        begin = setting.start(model)
        return lambda: ol.integrate(model, task, begin, rule, trust=False)

    def train(kind, n_neurons, n_times):
        # Without PyTorch, whose libraries alone take more than the run.
        return full_n.compared(kind, n_neurons, n_times, "float32", 0, 1).sides[-1].run

    def torch(n_neurons):
        network = setting.network(setting.erf(), n_neurons, "float32")
        return setting.torch_side(setting.erf(), setting.flip_flop(n_times), network, 5e-2, 1)[0].run

    found = {
        "ol.integrate, linear filter, T = 401, one network": lambda: integrate(setting.linear(), setting.filter_task()),
        f"ol.integrate, linear filter, T = 401, {n_networks:,} networks at once": lambda: (
            theory_many.batch(n_networks, 20).sides[-1].run
        ),
        f"ol.integrate, erf flip-flop, 10 trials, T = {n_times}": lambda: integrate(
            setting.erf(), setting.flip_flop(n_times)
        ),
        flip_flop_at(n_middle, n_times): lambda: train("erf", n_middle, n_times),
        flip_flop_at(n_large, n_times): lambda: train("erf", n_large, n_times),
    }
    sizes = (20, 2, 30, 8) if quick else fit_tensor.SIZES
    found[f"{fit_tensor.case(sizes, fit_tensor.FIXED).split(', dense')[0]}: ol.fitting"] = lambda: (
        fit_tensor.fit_side(sizes, 1).run
    )
    if setting.HAS_TORCH:
        for n_neurons in (n_middle, 10 * n_middle):
            name = f"PyTorch loop, erf flip-flop, 10 trials, N = {n_neurons:,}, T = {n_times}, float32"
            found[name] = lambda n_neurons=n_neurons: torch(n_neurons)
    return found


def peaks(quick: bool) -> Iterator[Peak]:
    """Every run in a process of its own, one after another."""
    for name in runs(quick):
        command = [sys.executable, "-m", "benchmarks.memory", name, *(["--quick"] if quick else [])]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"benchmarks.memory: {name!r} ended with {done.returncode}:\n{done.stderr}")
        yield Peak(**json.loads(done.stdout.splitlines()[-1]))


def resident_peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    try:
        # getrusage would also count what the parent held when it started this process.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Run one and print its `Peak` as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    run = runs(arguments.quick)[arguments.name]()
    before = resident_peak()
    jax.block_until_ready(run())
    stats = jax.devices()[0].memory_stats() or {}
    peak = Peak(arguments.name, resident_peak(), before, stats.get("peak_bytes_in_use"))
    print(json.dumps(dataclasses.asdict(peak)))


if __name__ == "__main__":
    main()
