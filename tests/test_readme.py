"""The README's examples are run as they are written."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_python_example_runs_in_a_fresh_interpreter(tmp_path):
    blocks = _blocks("python")
    assert blocks, "README has no python example"
    # A fresh interpreter, because the example must itself turn on float64; its programs as users run them, who wait for
    # what they compute rather than for their compilation.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "confirmed" in done.stdout


def test_commands_that_the_readme_gives_are_the_two_of_the_contract():
    commands = [line for block in _blocks("bash") for line in block.splitlines() if line and not line.startswith("#")]
    assert "pip install . && overlap-learning demo" in commands
    assert "pip install '.[test]' && pytest" in commands
