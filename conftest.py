"""What every test and every docstring example starts with."""

import gc
import os
import signal
from importlib.metadata import version
from pathlib import Path

# Compilation is what most tests cost: programs are kept for other workers, for processes that tests start and for the
# next run, beside what pytest keeps. What is quick to compile is not worth a file. Before jax is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# The older of XLA's two ways to emit fused loops compiles in two thirds of the time; a program that is not cut into
# parts, to be compiled side by side, in four fifths of that of all its parts; machine code that is not optimised, a
# third sooner for a whole file of tests: what a test computes is soon computed. Numbers differ in rounding. XLA ends
# the process at a flag that it does not know, so only versions that know them are given them. `XLA_FLAGS= pytest` tests
# programs as users run them.
FLAGS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_backend_optimization_level=0",
)
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

import jax  # noqa: E402

# Theory is float64. Before any jax call.
jax.config.update("jax_enable_x64", True)

import hypothesis  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them raise.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A first example compiles, and a machine may have other work: no test ends by the clock.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

#: A worker that uses more than this part of the machine's memory forgets its compiled programs after a module.
ENOUGH = 1 / 6
_MEMORY = Path("/proc/self/statm")
# Tracing leaves much to Python's collector, which looks at all that a worker holds: as often as it does by itself, that
# is a fourteenth of the time.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True)
def _names_of_examples(doctest_namespace):
    import overlap_learning as ol

    doctest_namespace.update(jax=jax, jnp=jnp, np=np, ol=ol)


@pytest.fixture(autouse=True, scope="module")
def _memory():
    yield
    # Pages in memory are the second number of this file of Linux; elsewhere nothing is forgotten.
    if _MEMORY.exists() and int(_MEMORY.read_text().split()[1]) > ENOUGH * os.sysconf("SC_PHYS_PAGES"):
        jax.clear_caches()
