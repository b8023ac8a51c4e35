"""Leaks: memory that calls leave behind."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import jax

import overlap_learning as ol

#: A call that leaves more bytes than this behind, on average, leaks: an entry of a few numbers in a list of Python.
ALLOWED = 1000
#: Calls before the first look: what is compiled and kept once is no leak.
FIRST = 10


def trainings(n: int) -> float:
    """Bytes that a training leaves behind, on average over n."""
    model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=2.0, dt=0.1)
    start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
    network = ol.Network.sample(start, 20, key=jax.random.key(0))
    return _left(lambda i: ol.train(model, task, network, ol.GradientDescent(1e-3 + 1e-6 * i, 10), progress=False), n)


def points(n: int) -> float:
    """Bytes that a point of a sweep leaves behind, on average over n."""
    model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=2.0, dt=0.1)

    def loss(vm):
        return ol.loss(model, task, ol.Overlaps.from_entries(model.layout, vm=vm))

    each = 10
    grid = [0.9 * i / each for i in range(each)]
    return _left(lambda i: ol.sweep(loss, {"vm": grid}, progress=False), max(1, n // each)) / each


def _left(call: Callable[[int], object], n: int) -> float:
    for i in range(FIRST):
        call(i)
    before = _memory()
    for i in range(n):
        call(i)
    return (_memory() - before) / n


def _memory() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
