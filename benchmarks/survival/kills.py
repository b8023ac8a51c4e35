"""Kills: long commands that are ended from outside at random moments, and called again until they end."""

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import distributed
import jax
import orbax.checkpoint  # noqa: F401
import xarray

import overlap_learning as ol
import overlap_learning.cli.run
import overlap_learning.sweeps.folder
from overlap_learning.cli import main

#: What the killed commands compute.
N_STEPS, N_POINTS, EVERY = 200, 24, 20
#: Seconds after which a process whose scheduler is gone hangs.
PATIENCE = 600.0


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


def closure_error(folder: Path) -> None:
    """Weighted neurons beside the theory, with checkpoints."""
    model, task, start = _parts()
    checkpoint = ol.Checkpoint(folder / "checkpoints", every=EVERY)
    rule = ol.GradientDescent(0.02, N_STEPS, save_every=EVERY)
    nodes = ol.model.HermiteGrid(3), ol.model.HermiteGrid(4)
    found = ol.closure_error(model, task, start, rule, nodes=nodes, checkpoint=checkpoint, progress=False)
    found.save(folder / "result.nc")


def sweep(folder: Path, executor=None) -> None:
    """A sweep with a folder."""
    model, task, start = _parts()

    def learn(learning_rate, n_steps):
        return ol.integrate(model, task, start, ol.GradientDescent(learning_rate, n_steps)).loss[-1]

    grid = {"learning_rate": [1e-3 * (1 + i) for i in range(N_POINTS // 2)], "n_steps": {"20": 20, "40": 40}}
    data = ol.sweep(learn, grid, executor, folder=folder / "points", progress=False)
    # The file of a dataset is not this package's: whole, or not there.
    data.to_netcdf(folder / "draft.nc", engine="h5netcdf")
    (folder / "draft.nc").rename(folder / "result.nc")


def _program(command: str, result: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        (folder / "run.toml").write_text(
            '[model]\nactivation = "linear"\n[task]\nkind = "exponential_filter"\nduration = 2.0\ndt = 0.2\n'
            "[start]\nentries = { zu = 0.3, vm = 0.3 }\n"
            f'[rule]\nkind = "gradient_descent"\nlearning_rate = 0.02\nn_steps = {N_STEPS}\nsave_every = {EVERY}\n'
            f"[validate]\nn_neurons = [20, 40]\nn_seeds = 2\ncheckpoint_every = {EVERY}\n"
        )
        if main(["--no-cache", command, str(folder / "run.toml"), "--out", str(folder)]) == 130:
            raise KeyboardInterrupt
        (folder / result).rename(folder / "result.nc")

    return run


# -- a cluster -------------------------------------------------------------------------------------------------------


def scheduler(folder: Path) -> None:
    """A scheduler of Dask, until it is ended."""
    asyncio.run(_stays(lambda: distributed.Scheduler(scheduler_file=str(folder / "scheduler"), dashboard_address=":0")))


def worker(folder: Path) -> None:
    """A worker of Dask, until it is ended."""
    _wait_for_scheduler(folder)
    asyncio.run(_stays(lambda: distributed.Worker(scheduler_file=str(folder / "scheduler"), nthreads=1)))


def sweep_on_cluster(folder: Path) -> None:
    """A sweep with a folder, on a cluster."""
    _wait_for_scheduler(folder)
    with distributed.Client(scheduler_file=str(folder / "scheduler")) as client:
        sweep(folder, client)


async def _stays(make):
    async with make() as server:
        await server.finished()


def _wait_for_scheduler(folder: Path) -> None:
    # Dask's file is there before what it says.
    while True:
        with contextlib.suppress(FileNotFoundError, ValueError):
            if json.loads((folder / "scheduler").read_text()).get("address"):
                return
        time.sleep(0.01)


# -- commands --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Command:
    """A long command.

    Args:
        run: what a person calls; it leaves `result.nc` in its folder.
        beside: what runs beside it, in processes of their own.
        victim: which of `beside` is ended; None: the command itself.
        goes_on: whether the command is to end well all the same.
    """

    run: Callable[[Path], None]
    beside: tuple[Callable[[Path], None], ...] = ()
    victim: int | None = None
    goes_on: bool = False


COMMANDS = {
    "train": Command(train),
    "sweep": Command(sweep),
    "integrate, the program": Command(_program("integrate", "run.nc")),
    "validate, the program": Command(_program("validate", "run-validation.nc")),
    "closure_error": Command(closure_error),
    "Dask's scheduler": Command(sweep_on_cluster, (scheduler, worker, worker), 0),
    "a worker of Dask": Command(sweep_on_cluster, (scheduler, worker, worker), 1, goes_on=True),
}
#: Those that end by themselves what they were doing.
ALONE = [name for name, command in COMMANDS.items() if not command.beside]


def survives(
    name: str,
    folder: Path,
    n: int,
    how: signal.Signals = signal.SIGKILL,
    *,
    compiling: bool = False,
    first: int = 0,
) -> int:
    """How many runs that were ended did not go on to the same numbers. Nothing of jax may have run before: it forks.

    Args:
        name: of the command.
        folder: an empty one.
        n: how often a process is ended while it runs.
        how: by which signal.
        compiling: whether each run compiles its programs anew.
        first: another number: other moments.
    """
    command, draw = COMMANDS[name], random.Random(f"{name} {first} {how}")
    cache = None if compiling else folder / "cache"
    whole = folder / "whole"
    for _ in range(1 if compiling else 2):
        # The second finds its programs compiled, as those do that are ended.
        shutil.rmtree(whole, ignore_errors=True)
        begin = time.monotonic()
        if (code := _Run(command, whole, cache).end()) != 0:
            raise RuntimeError(f"{name} ends with {code}: {(whole / 'errors').read_text()[-2000:]}")
        took = time.monotonic() - begin
    bad = ended = 0
    while ended < n:
        cut, fine = folder / f"run-{ended}", True
        # Again and again, until it ends before it is ended.
        while ended < n and fine and not (cut / "result.nc").exists():
            run = _Run(command, cut, cache)
            time.sleep(draw.uniform(0, took))
            ended += run.hit(how)
            code = run.end()
            fine = code is not None and (code == 0 or not command.goes_on)
        if fine and not (cut / "result.nc").exists():
            fine = _Run(command, cut, cache).end() == 0
        if fine:
            with xarray.open_dataset(whole / "result.nc") as a, xarray.open_dataset(cut / "result.nc") as b:
                fine = a.identical(b)
        if not fine:
            print(f"{name}, {cut.name}: {(cut / 'errors').read_text()[-2000:]}", file=sys.stderr, flush=True)
        bad += not fine
        shutil.rmtree(cut)
    return bad


class _Run:
    """A command that runs, each part of it in a process of its own."""

    def __init__(self, command: Command, folder: Path, cache: Path | None):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "scheduler").unlink(missing_ok=True)
        self.beside = [_begin(part, folder, cache, f"errors-{i}") for i, part in enumerate(command.beside)]
        self.main = _begin(command.run, folder, cache, "errors")
        self.victim = self.main if command.victim is None else self.beside[command.victim]

    def hit(self, how: signal.Signals) -> bool:
        """Send a signal to the one that is to be ended; whether the command was still running."""
        if self.beside:
            # What was never there can't be gone.
            _wait_for_scheduler(self.folder)
        running = os.waitid(os.P_PID, self.main, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        os.kill(self.victim, how)
        return running

    def end(self) -> int | None:
        """The exit code of the command, once it has ended; None if it hangs."""
        deadline = time.monotonic() + PATIENCE
        while (found := os.waitpid(self.main, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(found[1]) if found[0] else None
        for process in self.beside if found[0] else [self.main, *self.beside]:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        return code


def _begin(part: Callable[[Path], None], folder: Path, cache: Path | None, errors: str) -> int:
    """Start a part of a command in a process of its own; its number."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        # As a terminal starts programs; a shell in the background would have them ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream, target in ((1, os.devnull), (2, folder / errors)):
            os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        jax.config.update("jax_enable_x64", True)
        if cache is not None:
            jax.config.update("jax_compilation_cache_dir", str(cache))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        overlap_learning.sweeps.folder.SECONDS = 0.0
        part(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
