"""Compiled programs that the program keeps for its next call."""

import os
import subprocess
import sys

#: Each command ends at once, as there is no such file, but not before the process is set up.
PROGRAM = """
import jax
import overlap_learning as ol
from overlap_learning.cli import main

def where(*options):
    assert main([*options, "integrate", "missing.toml"]) == 2
    return jax.config.jax_compilation_cache_dir

print(jax.config.jax_compilation_cache_dir, where("--no-cache"), where())
jax.jit(lambda x: jax.numpy.linalg.eigh(x @ x))(jax.numpy.eye(3))
jax.config.update("jax_compilation_cache_dir", "/a folder of one's own")
print(where())
"""


def run(home, **settings):
    """What the program prints, with the cache of the user below this folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= dict.fromkeys(("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"), str(home)) | settings
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_programs_are_kept_in_a_folder_of_the_user_unless_told_otherwise(tmp_path):
    first, own = run(tmp_path, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    imported, without, folder = first.split(" ")
    assert (imported, without) == ("None", "None")
    assert folder.startswith(str(tmp_path))
    assert any(name.endswith("-cache") for name in os.listdir(folder))
    if os.name == "posix":
        assert os.stat(folder).st_mode & 0o077 == 0
    assert own == "/a folder of one's own"


def test_programs_are_not_kept_if_the_environment_says_so_or_the_folder_can_not_be_made(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")[0] == "None None None"
    assert run(file)[0] == "None None None"
    assert list(tmp_path.iterdir()) == [file]
