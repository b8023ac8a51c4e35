"""The program: what it writes, what it prints, and the code it ends with."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import pytest
import tqdm.auto
from matplotlib.text import Text

import overlap_learning as ol
from overlap_learning.cli import main, waiting
from overlap_learning.cli.config import load_config
from overlap_learning.cli.demo import demo, flip_flop, held_output
from overlap_learning.cli.folder import Folder
from overlap_learning.cli.main import EXAMPLES as EXAMPLE_LINES
from overlap_learning.cli.main import _parser

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """
[model]
activation = "linear"
[task]
kind = "exponential_filter"
duration = 3.0
dt = 0.1
[start]
entries = {{ zu = 0.1, vm = 0.1 }}
[rule]
kind = "gradient_descent"
learning_rate = {learning_rate}
n_steps = 20
[validate]
n_neurons = {n_neurons}
n_seeds = 1
"""


@pytest.fixture
def write(tmp_path):
    """Writes a configuration and gives its path."""

    def write(learning_rate=0.05, n_neurons=(10,)):
        path = tmp_path / "run.toml"
        path.write_text(CONFIG.format(learning_rate=learning_rate, n_neurons=list(n_neurons)), encoding="utf-8")
        return path

    return write


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_integrate_writes_the_solution_and_a_picture_and_prints_both(write, tmp_path, capsys):
    config = write()
    assert run("integrate", config, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "Learning ran to its end." in printed
    for name in ("run.nc", "run.png"):
        assert str(tmp_path / "out" / name) in printed
    assert (tmp_path / "out" / "run.png").read_bytes().startswith(b"\x89PNG")
    saved, loaded = ol.load(tmp_path / "out" / "run.nc"), load_config(config)
    again = ol.integrate(loaded.model, loaded.task, loaded.start, loaded.rule)
    assert jnp.array_equal(saved.overlaps.gram, again.overlaps.gram)


@pytest.mark.parametrize("name", ["flow", "frozen_input"])
def test_small_examples_run_as_they_are(name, tmp_path):
    assert run("integrate", EXAMPLES / f"{name}.toml", "--out", tmp_path) == 0
    solution = ol.load(tmp_path / f"{name}.nc")
    if name == "flow":
        assert solution.result == ol.RESULTS.loss_reached
    else:
        # Frozen vectors keep their norm, to the last bit; the others learned.
        assert jnp.all(solution.invisible["mm"] == 1.0)
        assert solution.loss[-1] < 1e-3 * solution.loss[0]


def test_output_goes_where_the_file_says_unless_told_otherwise(write, tmp_path, monkeypatch):
    config = write()
    config.write_text(config.read_text() + '[output]\ndir = "there"\nname = "other"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run("integrate", config) == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["other.nc", "other.png"]


def test_a_stream_is_drawn_from_the_seed_and_pictured(tmp_path):
    config = tmp_path / "stream.toml"
    config.write_text(
        '[model]\nactivation = "linear"\n[task]\nkind = "flip_flop"\nstream = true\nseed = 1\nn_trials = 2\n'
        "duration = 6.0\ndt = 0.1\n[start]\nseed = 0\nscale = 0.2\n"
        '[rule]\nkind = "direct_descent"\nlearning_rate = 0.01\nn_steps = 5\n',
        encoding="utf-8",
    )
    assert run("integrate", config, "--out", tmp_path) == 0
    assert (tmp_path / "stream.png").exists()
    loaded = load_config(config)
    again = ol.integrate(loaded.model, loaded.task, loaded.start, loaded.rule, key=loaded.run_key)
    assert jnp.array_equal(ol.load(tmp_path / "stream.nc").loss, again.loss)


def test_validate_confirms_a_linear_theory_with_code_0_and_writes_it(write, tmp_path, capsys):
    import xarray

    assert run("validate", write(), "--out", tmp_path) == 0
    assert "confirmed: The theory of a linear network is exact" in capsys.readouterr().out
    with xarray.open_dataset(tmp_path / "run-validation.nc", engine="h5netcdf") as data:
        assert data["deviation"].sizes["n_neurons"] == 1
    assert (tmp_path / "run-validation.png").exists()


def test_validate_ends_with_code_1_if_the_verdict_is_negative(write, tmp_path, capsys):
    # Networks that do not start from the theory's overlaps, only near them.
    config = write()
    config.write_text(config.read_text() + "exact = false\n", encoding="utf-8")
    assert run("validate", config, "--out", tmp_path) == 1
    assert "NOT confirmed" in capsys.readouterr().out


def test_impossible_validation_settings_are_named_with_code_2(write, tmp_path, capsys):
    assert run("validate", write(n_neurons=(20, 10)), "--out", tmp_path) == 2
    assert "[validate] n_neurons: must be one or more increasing numbers" in capsys.readouterr().err
    config = write()
    config.write_text(config.read_text() + "checkpoint_every = 0\n", encoding="utf-8")
    assert run("validate", config, "--out", tmp_path) == 2
    assert "[validate] checkpoint_every: must be an integer of at least 1, got 0" in capsys.readouterr().err


def test_validate_writes_checkpoints_if_told_how_often_and_goes_on_from_them(write, tmp_path, capsys, monkeypatch):
    from overlap_learning.learning import descent

    config = write()
    config.write_text(config.read_text() + "checkpoint_every = 10\n", encoding="utf-8")
    assert run("validate", config, "--out", tmp_path) == 0
    folder = tmp_path / "checkpoints" / "run-validation"
    assert {"theory", "nudged", "networks"} == {path.name for path in folder.iterdir()}
    first = (tmp_path / "run-validation.nc").read_bytes()
    # Nothing is learned again.
    monkeypatch.delattr(descent, "_advance")
    assert run("validate", config, "--out", tmp_path) == 0
    assert (tmp_path / "run-validation.nc").read_bytes() == first
    config.write_text(config.read_text().replace("0.05", "0.06"), encoding="utf-8")
    assert run("validate", config, "--out", tmp_path) == 2
    assert "learning_rate was float64 0.05 and is float64 0.06" in capsys.readouterr().err


def test_a_bad_file_ends_with_code_2_and_one_line(write, tmp_path, capsys):
    for config, message in (
        (lambda: tmp_path / "nothing.toml", "can't read"),
        (lambda: write(learning_rate='"fast"'), "[rule] learning_rate: must be a number, got 'fast'."),
        (lambda: write(learning_rate=-1), "[rule] learning_rate: must be positive"),
    ):
        assert run("integrate", config()) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1


def test_a_folder_that_cannot_be_made_ends_with_code_2(write, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run("integrate", write(), "--out", tmp_path / "file" / "folder") == 2
    assert "can't write to the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["integrat"], "invalid choice: 'integrat'"),
        (["demo", "--out", ""], "argument --out: must be a path in utf-8, without NUL, got ''"),
        (["demo", "--out", "a\0b"], r"argument --out: must be a path in utf-8, without NUL, got 'a\x00b'"),
        (
            ["demo", "--out", os.fsdecode(b"a\xff")],
            r"argument --out: must be a path in utf-8, without NUL, got 'a\udcff'",
        ),
        (["integrate", "a\0b"], r"argument CONFIG.toml: must be a path in utf-8, without NUL, got 'a\x00b'"),
    ],
    ids=["command", "empty", "NUL", "bytes", "configuration"],
)
def test_what_is_no_argument_ends_with_code_2_and_its_name(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_divergence_ends_with_code_1_and_keeps_the_solution_up_to_there(write, tmp_path, capsys):
    assert run("integrate", write(learning_rate=100.0), "--out", tmp_path) == 1
    error = capsys.readouterr().err
    assert "Learning diverged" in error
    assert str(tmp_path / "run.nc") in error
    kept = ol.load(tmp_path / "run.nc")
    assert kept.result == ol.RESULTS.diverged
    assert jnp.all(jnp.isfinite(kept.overlaps.gram))


def test_a_full_disk_is_one_line_and_keeps_what_was_written_before(write, tmp_path, capsys):
    config, out = write(), tmp_path / "out"
    assert run("integrate", config, "--out", out) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    # Files can't grow beyond this many bytes: what a full disk does, by the operating system itself.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert run("integrate", config, "--out", out) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.splitlines() == [
        f"overlap-learning: save: {str(out / 'run.nc')!r} could not be written (File too large).",
        "Kept: nothing.",
    ]
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_what_no_memory_holds_is_one_line(write, tmp_path, capsys, monkeypatch):
    # Eight terabytes.
    monkeypatch.setattr(ol, "integrate", lambda *arguments, **settings: jnp.zeros((10**6, 10**6)))
    assert run("integrate", write(), "--out", tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "overlap-learning: out of memory; fewer trials, steps or neurons take less "
        "(RESOURCE_EXHAUSTED: Out of memory allocating 8000000000000 bytes.).",
        "Kept: nothing.",
    ]


def test_an_error_that_nobody_expected_is_one_line_and_debug_says_where(write, tmp_path, capsys, monkeypatch):
    def fails(*arguments, **settings):
        raise TypeError("no such luck\nat all")

    monkeypatch.setattr(ol, "integrate", fails)
    for options in ((), ("--debug",)):
        assert run(*options, "integrate", write(), "--out", tmp_path) == 1
        error = capsys.readouterr().err
        assert error.endswith("overlap-learning: TypeError: no such luck (--debug says where)\nKept: nothing.\n")
        assert ("Traceback" in error, "in fails" in error) == (bool(options), bool(options))


def test_demo_confirms_the_linear_theory_and_writes_every_run_and_figure(tmp_path, capsys, monkeypatch):
    folder = Folder()
    folder.open(tmp_path)
    # A second call into the same folder replaces the files.
    (tmp_path / "filter.png").write_text("old")
    figures, draw = [], folder.draw
    monkeypatch.setattr(folder, "draw", lambda figure, name: (figures.append(figure), draw(figure, name)))
    assert demo(folder, n_neurons=20, filter_steps=20, flip_flop_steps=10)
    names = [
        f"{task}{run}" for task in ("filter", "flip_flop") for run in ("_theory.nc", "_full.nc", "_direct.nc", ".png")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert sorted(path.name for path in folder.written) == sorted(names)
    assert (tmp_path / "filter.png").read_bytes().startswith(b"\x89PNG")
    runs = {name: ol.load(tmp_path / name) for name in names if name.endswith(".nc")}
    assert runs["filter_full.nc"].final.n_neurons == 20
    gap = jnp.abs(runs["filter_theory.nc"].overlaps.gram - runs["filter_full.nc"].overlaps.gram).max()
    printed = capsys.readouterr().out
    assert f"{float(gap):.1e}" in printed
    assert "The theory is the full network, to rounding." in printed
    assert "NOT CONFIRMED" not in printed
    # Why the output misses its target, by the numbers of this run: the trial shown, from where it first counts.
    first, last = held_output(flip_flop(20, 10), runs["flip_flop_theory.nc"])
    assert f"from {first:.2f} to {last:.2f}" in " ".join(printed.split())
    for figure in figures:
        check_symbols(figure)


def check_symbols(figure):
    """What a figure of the demo draws, it explains."""
    words = figure.get_supxlabel()
    drawn = " ".join({text.get_text() for text in figure.findobj(Text)} - {words})
    letters = set(re.sub(r"\\[a-z]+|[\W\d_]", "", "".join(re.findall(r"\$(.*?)\$", drawn))))
    assert letters >= set("muvz")
    assert all(f"${letter}$" in words for letter in letters)
    for name in (r"$\sigma_{ab}$", "kurtosis", "rms", "Direct descent", "Visible"):
        assert name in words or name.lower() not in drawn.lower()


def test_demo_says_so_if_the_linear_theory_is_not_confirmed(tmp_path, capsys, monkeypatch):
    folder = Folder()
    folder.open(tmp_path)
    exact = ol.Network.sample
    # Networks with other overlaps than the theory starts from.
    monkeypatch.setattr(ol.Network, "sample", lambda overlaps, n, *, key: exact(overlaps, n, key=key, exact=False))
    # What is drawn is that of the demo above.
    monkeypatch.setattr(folder, "draw", lambda figure, name: None)
    assert not demo(folder, n_neurons=20, filter_steps=20, flip_flop_steps=10)
    assert "NOT CONFIRMED" in capsys.readouterr().out


def test_what_takes_long_shows_every_second_that_it_lives(capsys, monkeypatch):
    monkeypatch.setattr(waiting, "INTERVAL", 0.01)
    with waiting.waiting("something"):
        time.sleep(0.2)
    printed = capsys.readouterr().out
    assert re.fullmatch(r"  something \.{2,20} 0 s\n", printed)


def test_help_has_an_example_of_every_command_that_parses(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    for command, example in EXAMPLE_LINES.items():
        assert f"  overlap-learning {example}\n" in printed
        assert _parser().parse_args(example.split()).command == command
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"example: overlap-learning {example}" in capsys.readouterr().out


def test_interrupt_ends_with_code_130_and_tells_what_was_kept(tmp_path, capsys, monkeypatch):
    # Ctrl-C when the progress bar of full N moves first.
    monkeypatch.setattr(tqdm.auto.tqdm, "update", lambda self, n=1: signal.raise_signal(signal.SIGINT))
    module = sys.modules[demo.__module__]
    monkeypatch.setattr(module, "demo", lambda folder: demo(folder, n_neurons=20, filter_steps=20, flip_flop_steps=10))
    assert run("demo", "--out", tmp_path) == 130
    error = capsys.readouterr().err
    assert "interrupted." in error
    assert "Traceback" not in error
    kept = [tmp_path / "filter_theory.nc", tmp_path / "filter_full.nc"]
    assert [line.strip() for line in error.splitlines()[-2:]] == [str(path) for path in kept]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    partial = ol.load(kept[1])
    assert partial.result == ol.RESULTS.interrupted
    # Ten points a call.
    assert len(partial.time) == 11


def test_doctor_of_the_installed_program_turns_on_64_bit_and_passes_its_check():
    program = Path(sys.executable).with_name("overlap-learning")
    done = subprocess.run([program, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = {line[:18].strip(): line[18:] for line in done.stdout.splitlines()}
    assert lines["64-bit"] == "on"
    assert lines["self-check"].startswith("passed")
    assert lines["overlap_learning"] == ol.__version__
    assert lines["devices"]
