"""A program that is killed or interrupted at random moments ends, when called again, with the same numbers."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray

PROGRAM = Path(__file__).with_name("survival_program.py")
KILL, CTRL_C = signal.SIGKILL, signal.SIGINT
# Ctrl-C ends the program with a code of its own, after it has written a checkpoint.
CODES = {KILL: -KILL, CTRL_C: 130}


class Program:
    """Starts the program in a folder, and ends it."""

    def __init__(self, cache):
        self.server = subprocess.Popen(
            [sys.executable, PROGRAM, cache], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, folder):
        print(folder, file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def end(self):
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    started = Program(tmp_path_factory.mktemp("cache"))
    yield started
    # Closes its input, at the end of which it ends.
    started.server.communicate(timeout=60)


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """The folder of a run that nothing ended."""
    folder = tmp_path_factory.mktemp("whole")
    program.start(folder)
    assert program.end() == 0, (folder / "errors").read_text()
    return folder


def last_step(folder):
    with contextlib.suppress(FileNotFoundError):
        return max((int(p.name) for p in (folder / "checkpoints" / "long").iterdir() if p.name.isdigit()), default=0)
    return 0


def same(a, b):
    with xarray.open_dataset(a / "long.nc", engine="h5netcdf") as left, xarray.open_dataset(b / "long.nc") as right:
        # identical() compares values, names, dimensions and attributes, all exactly.
        return left.identical(right)


def test_a_program_ended_again_and_again_ends_with_the_same_numbers_to_the_last_bit(program, whole, tmp_path):
    """Checkpoints follow each other without pause, so that most ends fall into the writing of one."""
    moments, reached = random.Random(0), [0]
    for signal_sent in (KILL, CTRL_C, KILL, CTRL_C):
        process = program.start(tmp_path)
        deadline = time.monotonic() + 120
        while last_step(tmp_path) <= reached[-1] and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.15))
        os.kill(process, signal_sent)
        assert program.end() == CODES[signal_sent], (tmp_path / "errors").read_text()
        reached.append(last_step(tmp_path))
        # No result, not even a half of one, before there is one.
        assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "errors"}
        if signal_sent == CTRL_C:
            errors = (tmp_path / "errors").read_text()
            # Orbax may have said before what an interrupted write had left, and that it removes it.
            assert errors.endswith("overlap-learning: interrupted.\nKept: nothing.\n")
            assert "Traceback" not in errors
    # Each went on where the one before had ended, with nothing lost but the steps since its last checkpoint.
    assert sorted(set(reached)) == reached
    assert reached[-1] < 300
    program.start(tmp_path)
    assert program.end() == 0, (tmp_path / "errors").read_text()
    assert same(tmp_path, whole)
