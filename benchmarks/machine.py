"""The machine that the results are of: versions, device, and what it can do at most."""

import os
import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

PACKAGES = ("overlap_learning", "jax", "jaxlib", "diffrax", "equinox", "numpy", "scipy", "torch")
#: Those that files, checkpoints and sweeps are written with.
WRITERS = ("h5py", "h5netcdf", "xarray", "orbax-checkpoint", "distributed")
#: Of the arrays that are copied: far beyond every cache.
COPY_BYTES = 2**28
MATMUL_SIZE = 2048


def describe() -> dict[str, Any]:
    """Versions, devices and limits, as they are now."""
    return {
        "versions": versions(PACKAGES),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "n_devices": len(jax.devices()),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "copy_bytes_per_second": copy_rate(),
        "matmul_flops": {name: matmul_rate(name) for name in ("float32", "float64")},
    }


def versions(packages: Iterable[str] = (*PACKAGES[:-1], *WRITERS)) -> dict[str, str | None]:
    """Of Python and of packages; None for one that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def memory_seconds(machine: Mapping[str, Any], work: Mapping[str, Any]) -> float:
    """The least time that the machine needs to move the bytes of some work.

    What fits into a cache is not held back by memory, and may be faster.
    """
    return work["bytes"] / machine["copy_bytes_per_second"]


def least_seconds(machine: Mapping[str, Any], work: Mapping[str, Any]) -> float:
    """The least time that it needs to move them, or to compute, whichever is longer."""
    return max(memory_seconds(machine, work), work["operations"] / machine["matmul_flops"][work["dtype"]])


def copy_rate() -> float:
    """Bytes per second, read and written together, of an array that is copied with 1 added to each entry."""
    array = jnp.zeros(COPY_BYTES // 4, jnp.float32)
    return 2 * COPY_BYTES / _fastest(jax.jit(lambda x: x + 1), array)


def matmul_rate(dtype: str) -> float:
    """Floating-point operations per second of the product of two large square matrices."""
    array = jnp.ones((MATMUL_SIZE, MATMUL_SIZE), dtype)
    return 2 * MATMUL_SIZE**3 / _fastest(jax.jit(lambda x: jnp.matmul(x, x, precision="highest")), array)


def _fastest(function, array: jax.Array) -> float:
    jax.block_until_ready(function(array))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(function(array))
        times.append(time.perf_counter() - start)
    return min(times)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
