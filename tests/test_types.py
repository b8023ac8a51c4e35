"""Types: what mypy knows of a program that uses the package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import overlap_learning as ol

PROGRAM = """
import jax
import jax.numpy as jnp
import overlap_learning as ol

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
layout = ol.Layout(n_in=1, rank=1, n_out=1)
model = ol.Model(layout, ol.Linear())
task = ol.tasks.exponential_filter(decay=0.2)
start = ol.Overlaps.from_entries(layout, zu=0.1, vm=0.1)
network = ol.Network.sample(start, n_neurons=500, key=jax.random.key(0))
rule = ol.GradientDescent(learning_rate=5e-3, n_steps=2000, rates={"m": 0.0})
theory = ol.integrate(model, task, start, rule, closure=ol.Gaussian())
flow = ol.integrate(model, task, start, ol.GradientFlow(10.0))
full = ol.train(model, task, network, rule, throw=False)
nested = ol.BulkNetwork.sample(ol.Model(layout, ol.Erf(), bulk=ol.RandomBulk(0.5)), start, 100, key=jax.random.key(1))


def shifted(*, key: jax.Array, n_trials: int = 4) -> ol.Task:
    inputs = jax.random.normal(key, (n_trials, 10, 1))
    return ol.Task(inputs, jnp.roll(inputs, 1, axis=1), jnp.ones((n_trials, 10), bool), dt=0.1)


trials = ol.tasks.stream(shifted, n_trials=8)
reveal_type(trials.sample(jax.random.key(2)))
reveal_type(theory)
reveal_type(full.loss)
reveal_type(theory.overlaps)
reveal_type(flow.trust)
reveal_type(theory.overlaps.entries())
reveal_type(start["z", "u"])
reveal_type(start.replace(uu=2.0))
reveal_type(network.overlaps)
reveal_type(ol.rollout(model, start, task))
reveal_type(ol.metric(model, start))
reveal_type(ol.feasible(start, model, "uu").low)
reveal_type(ol.equivalent(start, model, uu=2.0))
reveal_type(ol.compare(model, task, [start, start], rule))
reveal_type(ol.protocol(model, [task, task], start, rule))
reveal_type(ol.validate(model, task, start, rule, n_neurons=(100,), key=jax.random.key(3)))
reveal_type(ol.plot.loss(theory))
reveal_type(ol.studies.weight_tensor(theory))
reveal_type(ol.load("run.nc"))
reveal_type(nested.overlaps)
ol.integrate(model, task, start, rule, thorw=False)
"""
KNOWN = [
    *("Task", "Solution", "Array", "Overlaps", "Trust", "dict[str,Array]", "Array", "Overlaps", "Overlaps", "Array"),
    *("Array", "float", "Overlaps", "Comparison", "list[Solution]", "Validation", "Axes", "WeightTensor", "Solution"),
    "Overlaps",
]
# Packages that this one imports take most of the time, and say nothing of the program's types.
SETTINGS = """
[mypy]
strict = true
[mypy-bokeh.*,dask.*,diffrax.*,distributed.*,equinox.*,h5py.*,IPython.*,jaxlib.*,optax.*,orbax.*,scipy.*,xarray.*]
follow_imports = skip
"""


def test_mypy_knows_what_calls_return_and_which_arguments_there_are(tmp_path):
    pytest.importorskip("mypy", reason="needs mypy, which the test extra installs")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "program.py"],
        cwd=tmp_path,
        # The package under test, though another one may be installed.
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(ol.__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall('Revealed type is "(.*)"', done.stdout)
    assert [re.sub(r"[\w.]+\.| ", "", each) for each in found] == KNOWN
    assert re.findall("error: (.*?)[;\n]", done.stdout) == ['Unexpected keyword argument "thorw" for "integrate"']
