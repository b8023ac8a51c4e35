"""doctor: what this installation is, and whether it computes what it should."""

import platform
from importlib.metadata import PackageNotFoundError, version

import jax
import numpy as np

import overlap_learning as ol

PACKAGES = (
    "overlap_learning", "jax", "jaxlib", "diffrax", "equinox", "numpy", "scipy", "xarray", "h5netcdf", "matplotlib",
)  # fmt: skip


def doctor() -> bool:
    """Print versions, devices and precision, and run a small check.

    Returns:
        Whether the check passed.
    """
    devices = ", ".join(f"{device.platform} {device.id} ({device.device_kind})" for device in jax.devices())
    _print("python", platform.python_version())
    for name in PACKAGES:
        _print(name, _version(name))
    _print("devices", devices)
    _print("64-bit", "on" if jax.config.read("jax_enable_x64") else "off")
    distance, allowed = self_check()
    passed = distance <= allowed
    _print("self-check", f"{'passed' if passed else 'FAILED'}: linear theory against full N = 50, 50 steps")
    _print("", f"largest deviation of an overlap {distance:.1e}; rounding explains {allowed:.1e}")
    return passed


def self_check() -> tuple[float, float]:
    """A short run of a linear network.

    Returns:
        The largest deviation of the theory from full N, and the largest that rounding explains.
    """
    model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
    result = ol.validate(
        model,
        ol.tasks.exponential_filter(decay=0.2, duration=5.0, dt=0.05),
        ol.Overlaps.from_entries(model.layout, zu=0.2, vm=0.2),
        ol.GradientDescent(learning_rate=5e-3, n_steps=50),
        n_neurons=(50,),
        n_seeds=1,
        key=jax.random.key(0),
        progress=False,
    )
    return float(np.max(result.largest)), float(np.max(result.tolerance))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _print(name: str, text: str) -> None:
    print(f"{name:<18}{text}")
