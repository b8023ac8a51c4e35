"""Types: what a type checker knows of a program that uses the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import overlap_learning as ol

PROGRAM = """
import jax
import overlap_learning as ol

jax.config.update("jax_enable_x64", True)
model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
task = ol.tasks.exponential_filter(decay=0.2)
start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
solution = ol.integrate(model, task, start, ol.GradientDescent(learning_rate=5e-3, n_steps=2000))
reveal_type(solution)
reveal_type(solution.overlaps.entries())
reveal_type(ol.plot.loss(solution))
reveal_type(ol.studies.weight_tensor(solution))
ol.integrate(model, task, start, ol.GradientDescent(5e-3, 2000), thorw=False)
"""


@pytest.mark.skipif(shutil.which("pyright") is None, reason="needs pyright, which the test extra installs")
def test_a_type_checker_knows_what_calls_return_and_which_arguments_there_are(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    # Types guessed from code do not count: mypy and others take those of packages with a file py.typed only.
    (tmp_path / "pyrightconfig.json").write_text('{"useLibraryCodeForTypes": false}')
    done = subprocess.run(
        ["pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=tmp_path,
        # The package under test, though another one may be installed.
        env=os.environ | {"PYTHONPATH": str(Path(ol.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    types = [each["message"].rsplit(" ", 1)[-1] for each in found if each["severity"] == "information"]
    assert types == ['"Solution"', 'Array]"', '"Axes"', '"WeightTensor"']
    assert [each["message"] for each in found if each["severity"] == "error"] == ['No parameter named "thorw"']
