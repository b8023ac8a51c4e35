"""Kills: long commands that are ended by `kill -9` at random moments, and called again until they end."""

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import jax
import orbax.checkpoint  # noqa: F401
import xarray

import overlap_learning as ol
import overlap_learning.cli.run

#: What the killed commands compute.
N_STEPS, N_POINTS, EVERY = 400, 60, 20


def _parts():
    model, task = ol.Model(ol.Layout(), ol.Erf()), ol.tasks.exponential_filter(duration=2.0, dt=0.2)
    return model, task, ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.3)


def train(folder: Path) -> None:
    """A full network with checkpoints."""
    model, task, start = _parts()
    rule = ol.GradientDescent(0.02, N_STEPS, save_every=EVERY, label_noise=0.1, momentum=0.5)
    network = ol.Network.sample(start, 12, key=jax.random.key(1))
    checkpoint = ol.Checkpoint(folder / "checkpoints", every=EVERY)
    ol.train(model, task, network, rule, jax.random.key(3), checkpoint=checkpoint).save(folder / "result.nc")


def sweep(folder: Path) -> None:
    """A sweep with a folder."""
    model, task, start = _parts()

    def learn(learning_rate, n_steps):
        return ol.integrate(model, task, start, ol.GradientDescent(learning_rate, n_steps)).loss[-1]

    grid = {"learning_rate": [1e-3 * (1 + i) for i in range(N_POINTS // 2)], "n_steps": {"20": 20, "40": 40}}
    data = ol.sweep(learn, grid, folder=folder / "points", progress=False)
    data.to_netcdf(folder / "result.nc", engine="h5netcdf")


def validate(folder: Path) -> None:
    """`overlap-learning validate` with checkpoints."""
    from overlap_learning.cli import main

    (folder / "run.toml").write_text(
        '[model]\nactivation = "linear"\n[task]\nkind = "exponential_filter"\nduration = 2.0\ndt = 0.2\n'
        "[start]\nentries = { zu = 0.3, vm = 0.3 }\n"
        f'[rule]\nkind = "gradient_descent"\nlearning_rate = 0.02\nn_steps = {N_STEPS}\nsave_every = {EVERY}\n'
        f"[validate]\nn_neurons = [20, 40]\nn_seeds = 2\ncheckpoint_every = {EVERY}\n"
    )
    main(["validate", str(folder / "run.toml"), "--out", str(folder)])
    (folder / "run-validation.nc").rename(folder / "result.nc")


COMMANDS: dict[str, Callable[[Path], None]] = {"train": train, "sweep": sweep, "validate": validate}


def survives(name: str, folder: Path, n: int) -> int:
    """How many of n killed commands did not go on to the same numbers. Nothing of jax may have run before: it forks."""
    whole = folder / f"{name}-whole"
    begin = time.monotonic()
    if _end(_begin(name, whole, folder)) != 0:
        raise RuntimeError(f"{name} fails: {(whole / 'errors').read_text()[-2000:]}")
    took, draw, bad, killed = time.monotonic() - begin, random.Random(name), 0, 0
    while killed < n:
        cut = folder / f"{name}-{killed}"
        for _ in range(min(draw.randint(1, 4), n - killed)):
            process = _begin(name, cut, folder)
            time.sleep(draw.uniform(0, took))
            os.kill(process, signal.SIGKILL)
            _end(process)
            killed += 1
        if not (cut / "result.nc").exists() and _end(_begin(name, cut, folder)) != 0:
            print((cut / "errors").read_text()[-2000:], file=sys.stderr)
            bad += 1
            continue
        with xarray.open_dataset(whole / "result.nc") as a, xarray.open_dataset(cut / "result.nc") as b:
            bad += not a.identical(b)
    return bad


def _begin(name: str, folder: Path, cache: Path) -> int:
    """Start a command in a process of its own; its number."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        for stream, target in ((1, os.devnull), (2, folder / "errors")):
            os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_compilation_cache_dir", str(cache / "cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        COMMANDS[name](folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _end(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
