"""Configurations: examples are valid, a file means what its arguments mean in Python, and every mistake is named."""

import copy
import inspect
import tomllib
from pathlib import Path

import diffrax
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol
from overlap_learning.cli.config import RULES, TASKS, ConfigError, load_config, read_config
from overlap_learning.cli.values import keys_of

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
VALID = {
    "model": {"n_in": 1, "rank": 1, "n_out": 1, "activation": "linear"},
    "task": {"kind": "exponential_filter", "decay": 0.2, "duration": 3, "dt": 0.1},
    "start": {"entries": {"zu": 0.1, "vm": 0.1}},
    "rule": {"kind": "gradient_descent", "learning_rate": 0.05, "n_steps": 4},
}


def changed(table, **values):
    """The valid configuration with some values of one table set anew; None takes a key away."""
    document = copy.deepcopy(VALID)
    document.setdefault(table, {}).update(values)
    document[table] = {key: value for key, value in document[table].items() if value is not None}
    return document


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_configuration(path):
    config = load_config(path)
    assert config.name == path.stem
    assert config.folder == Path("results")


def test_examples_cover_every_rule_rank_2_erf_and_streams():
    configs = [load_config(path) for path in EXAMPLES]
    assert {type(config.rule) for config in configs} == {ol.GradientDescent, ol.GradientFlow}
    assert {config.model.layout.rank for config in configs} == {1, 2}
    assert {type(config.model.activation) for config in configs} >= {ol.Linear, ol.Erf}
    assert any(isinstance(config.task, ol.TaskStream) for config in configs)


def test_a_configuration_is_the_same_run_as_its_arguments_in_python():
    config = read_config(VALID, "run")
    assert config.model == ol.Model(ol.Layout(1, 1, 1), ol.Linear())
    np.testing.assert_array_equal(config.task.targets, ol.tasks.exponential_filter(0.2, 3.0, 0.1).targets)
    np.testing.assert_array_equal(config.start.gram, ol.Overlaps.from_entries(config.model.layout, zu=0.1, vm=0.1).gram)
    assert isinstance(config.rule, ol.GradientDescent)
    assert (float(config.rule.learning_rate), config.rule.n_steps) == (0.05, 4)


def test_task_seed_draws_the_batch_and_what_is_drawn_while_learning():
    config = read_config(changed("task", kind="flip_flop", decay=None, duration=10.0, n_trials=3, seed=7), "run")
    trial_key, run_key = jax.random.split(jax.random.key(7))
    expected = ol.tasks.flip_flop(key=trial_key, n_trials=3, duration=10.0, dt=0.1)
    np.testing.assert_array_equal(config.task.inputs, expected.inputs)
    assert config.run_key == run_key


def test_stream_is_the_stream_of_the_same_settings():
    config = read_config(changed("task", kind="flip_flop", decay=None, duration=10.0, n_trials=3, stream=True), "run")
    assert config.task == ol.tasks.stream(ol.tasks.flip_flop, duration=10.0, n_trials=3, dt=0.1)


def test_random_start_is_that_of_its_seed_and_scale():
    config = read_config(changed("start", entries=None, seed=3, scale=0.2), "run")
    expected = ol.Overlaps.random(config.model.layout, key=jax.random.key(3), scale=0.2)
    np.testing.assert_array_equal(config.start.gram, expected.gram)


def test_start_takes_blocks_and_single_entries_of_any_rank():
    document = changed("start", entries={"vu": [[0.1, 0.2], [0.3, 0.4]], "u1u2": 0.5})
    document["model"]["rank"] = 2
    start = read_config(document, "run").start
    np.testing.assert_array_equal(start["v", "u"], [[0.1, 0.2], [0.3, 0.4]])
    assert float(start.entries()["u1u2"]) == 0.5


def test_rates_solver_and_saved_times_reach_the_rule():
    rule = {"kind": "gradient_flow", "duration": 1.0, "solver": "kvaerno5", "save_at": [0, 0.5, 1], "rates": {"m": 0}}
    config = read_config(VALID | {"rule": rule}, "run")
    assert isinstance(config.rule.solver, diffrax.Kvaerno5)
    assert config.rule.rates == {"m": 0}
    np.testing.assert_array_equal(config.rule.save_at, [0, 0.5, 1])


def test_teacher_takes_its_visible_overlaps_as_a_table():
    task = {"kind": "teacher", "visible": {"zm": 0.5, "zu": 2}, "n_trials": 2, "duration": 10.0, "dt": 0.1, "seed": 0}
    config = read_config(VALID | {"task": task, "model": {"activation": "erf"}}, "run")
    trial_key, _ = jax.random.split(jax.random.key(0))
    expected = ol.tasks.teacher(key=trial_key, visible=(("zm", 0.5), ("zu", 2)), n_trials=2, duration=10.0, dt=0.1)
    np.testing.assert_array_equal(config.task.targets, expected.targets)


def test_validation_defaults_are_those_of_validate():
    settings = read_config(VALID, "run").validation
    defaults = inspect.signature(ol.validate).parameters
    for name in ("n_neurons", "n_seeds", "exact", "early"):
        assert getattr(settings, name) == defaults[name].default


@pytest.mark.parametrize(
    "name", ["exponential_filter", "damped_oscillation", "flip_flop", "decision_making", "teacher"]
)
def test_every_setting_of_a_generator_can_be_written_in_a_file(name):
    generator = TASKS.convert(name)
    special = {"visible"} & set(inspect.signature(generator).parameters)
    keys = set(keys_of(generator, {})) | special
    assert keys == set(inspect.signature(generator).parameters) - {"key"}


@pytest.mark.parametrize("name", ["gradient_descent", "gradient_flow", "direct_descent"])
def test_every_setting_of_a_rule_can_be_written_in_a_file(name):
    rule = RULES.convert(name)
    special = {"rates", "save_at", "solver"} & set(inspect.signature(rule).parameters)
    assert set(keys_of(rule, {})) | special == set(inspect.signature(rule).parameters)


MISTAKES = {
    # an unknown name
    "unknown table": (VALID | {"modle": {}}, r"\[modle\]: there is no such table. Did you mean 'model'\?"),
    "unknown key": (changed("rule", learning_rat=1), r"\[rule\] learning_rat: .* Did you mean 'learning_rate'\?"),
    "key of another kind": (changed("task", frequency=1.0), r"\[task\] frequency: there .* keys are: decay, "),
    "unknown activation": (changed("model", activation="tanhh"), r"\[model\] activation: .* Did you mean 'tanh'\?"),
    "unknown task": (changed("task", kind="filter"), r"\[task\] kind: must be one of 'exp.*, got 'filter'"),
    "unknown rule": (changed("rule", kind="adam"), r"\[rule\] kind: must be one of 'grad.*, got 'adam'"),
    "unknown overlap": (changed("start", entries={"zq": 0.1}), r"\[start\] entries: There is no overlap 'zq'"),
    "argument for overlap": (changed("start", entries={"layout": 1}), r"\[start\] entries: There is no .* 'layout'"),
    "unknown vector": (changed("rule", rates={"q": 0.0}), r"\[rule\] rates: must .* got the key 'q'"),
    # a wrong type
    "text for a number": (changed("rule", learning_rate="fast"), r"\[rule\] learning_rate: must be a number, got 'f"),
    "truth for a number": (changed("rule", learning_rate=True), r"\[rule\] learning_rate: must be a number, got True"),
    "fraction for an integer": (changed("rule", n_steps=1.5), r"\[rule\] n_steps: must be an integer, got 1.5"),
    "number for truth": (changed("rule", nesterov=1), r"\[rule\] nesterov: must be true or false, got 1"),
    "number for a list": (
        changed("validate", n_neurons=100),
        r"\[validate\] n_neurons: must be a list of integers, such as \[250, 500\], got 100",
    ),
    "three numbers for two": (
        changed("task", kind="flip_flop", decay=None, wait_range=[1, 2, 3]),
        r"\[task\] wait_range: must be two numbers, such as \[4.0, 10.0\], got \[1, 2, 3\]",
    ),
    "number for a table": (VALID | {"model": 3}, r"\[model\] must be a table of keys and values, got 3"),
    "number for a table with kinds": (VALID | {"rule": 3}, r"\[rule\] must be a table of keys and values, got 3"),
    "text among overlaps": (changed("start", entries={"zm": "a"}), r"\[start\] entries: must be a table of numbers"),
    "text among rates": (changed("rule", rates={"m": "no"}), r"\[rule\] rates: must be a table of numbers, such as"),
    "number for a name": (changed("output", name=3), r"\[output\] name: must be the name of a file, .* got 3"),
    # an impossible value
    "negative rate": (changed("rule", learning_rate=-1), r"\[rule\] learning_rate: must be positive.*, got -1"),
    "no number": (changed("rule", learning_rate=float("nan")), r"\[rule\] learning_rate: must be positive.*, got nan"),
    "no steps": (changed("rule", n_steps=0), r"\[rule\] n_steps: must be an integer of at least 1, got 0"),
    "negative rank": (changed("model", rank=-1), r"\[model\] rank: must be an integer of at least 0, got -1"),
    "unstable step": (changed("task", dt=2.5), r"\[task\] dt: must be 0 .*, or above 0 and below 2 .*, got 2.5"),
    "unstable decay": (changed("task", decay=30.0), r"\[task\]: decay \* dt must be below 2"),
    "infeasible overlap": (
        changed("start", entries={"zm": 3.0}),
        r"\[start\] entries: .*zm = 3 \(feasible with the others as given: -1 to 1\)",
    ),
    "ragged block": (changed("start", entries={"vu": [[1], [1, 2]]}), r"\[start\] entries: Overlap 'vu' must be"),
    "scale beyond 1": (changed("start", entries=None, seed=0, scale=2.0), r"\[start\] scale: must be in \(0, 1\]"),
    "negative seed": (changed("task", seed=-1), r"\[task\] seed: must be an integer of at least 0, got -1"),
    "more digits than a float": (
        changed("rule", learning_rate=10**400),
        r"\[rule\] learning_rate: must be a number, got an integer of 401 digits",
    ),
    "more digits than any integer": (
        changed("rule", n_steps=16**6000),
        r"\[rule\] n_steps: must be an integer, got an integer of 72",
    ),
    "more trials than memory": (
        changed("task", kind="flip_flop", decay=None, duration=10.0, n_trials=2_000_000_000),
        r"\[task\] n_trials: must be smaller: 2,000,000,000 would take 9.6 TB of memory, of which .* are free",
    ),
    "stream of nothing random": (changed("task", stream=True), r"\[task\] stream: must be false, as exp"),
    "impossible stream": (
        changed("task", kind="decision_making", decay=None, duration=None, stream=True, noise=-1.0),
        r"\[task\] noise: must be at least 0, got -1",
    ),
    "file name with a folder": (changed("output", name="a/b"), r"\[output\] name: must be .* got 'a/b'"),
    # something missing
    "missing table": ({k: v for k, v in VALID.items() if k != "start"}, r"\[start\] is missing; the tables .* model, "),
    "missing key": (changed("rule", n_steps=None), r"\[rule\] n_steps: is missing; it must be an integer"),
    "missing kind": (changed("task", kind=None), r"\[task\] kind: is missing; it must be one of"),
    "two starts": (changed("start", seed=0, scale=0.1), r"\[start\] must give .* got entries, seed, scale"),
    "seed without scale": (changed("start", entries=None, seed=0), r"\[start\] must give either entries .* got seed"),
    # tables that contradict each other
    "channels": (changed("model", n_in=2), "tables do not fit together: .* 1 input channels, the model has n_in=2"),
    "batch too large": (changed("rule", batch_size=2), "tables do not fit together: .* batch_size=2 is larger"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_an_error_that_names_it(mistake):
    document, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        read_config(document, "run")


@settings(max_examples=25, deadline=None)
@given(
    table=st.sampled_from(["model", "task", "start", "rule", "validate", "output"]),
    key=st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12).map("unknown_{}".format),
)
def test_no_table_ignores_an_unknown_key(table, key):
    with pytest.raises(ConfigError, match=rf"\[{table}\] {key}: there is no such key"):
        read_config(changed(table, **{key: 1}), "run")


def test_an_own_task_comes_from_a_file_beside_the_configuration(tmp_path):
    task = ol.tasks.exponential_filter(0.2, 3.0, 0.1)
    trials = {
        "inputs": np.float32(task.inputs),
        "targets": task.targets,
        "weights": np.isfinite(task.targets),
        "dt": 0.1,
    }
    np.savez(tmp_path / "trials.npz", **trials)
    document = changed("task", kind="arrays", file="trials.npz", decay=None, duration=None, dt=None)
    found = read_config(document, "run", tmp_path).task
    assert found.inputs.dtype == float
    np.testing.assert_array_equal(found.targets, task.targets)
    # A mask, which is a mean over what it lets through.
    np.testing.assert_array_equal(found.weights, 1 / task.targets.size)
    for change, message in (
        ({"weights": None}, "must hold the arrays inputs, targets, weights, dt; .* has inputs, targets, dt"),
        ({"inputs": np.array([print])}, "can't be read: Object arrays"),
        ({"dt": 3.0}, r"\[task\] dt: must be above 0"),
        ({"dt": "long"}, "can't be read: could not convert"),
    ):
        np.savez(tmp_path / "trials.npz", **{k: v for k, v in (trials | change).items() if v is not None})
        with pytest.raises(ConfigError, match=message):
            read_config(document, "run", tmp_path)
    (tmp_path / "trials.npz").write_bytes(b"PK")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"\[task\] file: must be one of np.savez, .*trials.npz' can't be read"):
            read_config(document, "run", folder)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"can't read '.*nothing.toml': No such file"):
        load_config(tmp_path / "nothing.toml")


def test_invalid_toml_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[model]\nrank = \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken.toml' is not valid TOML: .*line 2"):
        load_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"broken.toml' is not valid TOML"):
        load_config(path)


def test_errors_of_a_file_begin_with_its_path(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[model]\nrang = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run.toml: \[task\] is missing"):
        load_config(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dir = " + "[" * 5000 + "]" * 5000, r"\[output\] dir: has a value that is nested too deep"),
        ("name = " + "[" * 80 + "]" * 80, r"\[output\] name: must be the name of a file"),
        ("dir = 1" + "0" * 5000, r"\[output\] dir: has a number of too many digits"),
        ('dir = "a\\u0000b"', r"\[output\] dir: must be the path of a folder, without the character NUL"),
        ('name = "' + "a" * 241 + '"', r"\[output\] name: must be the name of a file.* at most 240 bytes"),
    ],
    ids=["nested", "nested less", "digits", "NUL", "long name"],
)
def test_values_that_no_parser_or_disk_takes_are_refused_by_their_key(line, words, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(f"[model]\n[task]\n[start]\n[rule]\n[output]\n{line}\n")
    text = path.read_text()
    for name, table in VALID.items():
        rows = [f"{key} = {value!r}" for key, value in table.items() if not isinstance(value, dict)]
        text = text.replace(f"[{name}]", "\n".join([f"[{name}]", *rows]))
    path.write_text(text.replace("[start]", "[start]\nentries = { zu = 0.1 }"))
    with pytest.raises(ConfigError, match=rf"run\.toml: {words}"):
        load_config(path)


def test_more_saved_points_than_memory_holds_are_refused_before_anything_is_learned():
    config = read_config(changed("rule", n_steps=2_000_000_000, save_every=1), "run")
    with pytest.raises(ValueError, match=r"save_every must be larger or n_steps smaller: .* take \d+ GB of memory"):
        ol.integrate(config.model, config.task, config.start, config.rule)


def test_the_documented_tables_are_those_of_the_examples():
    used = {table for path in EXAMPLES for table in tomllib.loads(path.read_text(encoding="utf-8"))}
    assert used == {"model", "task", "start", "rule", "validate", "output"}
