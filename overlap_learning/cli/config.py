"""Config: a run that a TOML file describes.

`[model]` n_in, rank, n_out, activation ("linear", "erf", "tanh", "relu").
`[task]` kind (a generator of `ol.tasks`) and its arguments, or kind "arrays" and file (an own task: the path of an .npz
file, from the folder of the configuration); seed (of trials, minibatches and label noise); stream (true: fresh trials
at every step).
`[start]` entries (overlaps by name, all others as of orthonormal vectors), or seed and scale of random overlaps.
`[rule]` kind ("gradient_descent", "gradient_flow", "direct_descent") and its arguments.
`[validate]` n_neurons, n_seeds, seed, exact, early; checkpoint_every (steps between checkpoints; without it none).
`[output]` dir, name.
"""

import dataclasses
import functools
import inspect
import tomllib
from pathlib import Path
from typing import Any

import jax

import overlap_learning as ol
from overlap_learning.checks import as_path
from overlap_learning.cli.trials import arrays
from overlap_learning.cli.values import (
    BOOLEAN,
    FILE,
    FILE_NAME,
    FOLDER,
    INTEGER,
    INTEGERS,
    LONGEST,
    NAMED_NUMBERS,
    NUMBER,
    NUMBERS,
    OVERLAPS,
    RATES,
    SEED,
    ConfigError,
    Key,
    call,
    choice,
    convert,
    keys_of,
    read_table,
    require_table,
    suggest,
)
from overlap_learning.learning.driver import check_run
from overlap_learning.learning.rules import AbstractRule

__all__ = ["Config", "ConfigError", "ValidationSettings", "load_config", "read_config"]

TABLES = ("model", "task", "start", "rule", "validate", "output")
ACTIVATIONS = choice({"linear": ol.Linear, "erf": ol.Erf, "tanh": ol.Tanh, "relu": ol.ReLU})
TASKS = choice(
    {
        name: getattr(ol.tasks, name)
        for name in ("exponential_filter", "damped_oscillation", "flip_flop", "decision_making", "teacher")
    }
    | {"arrays": arrays}
)
RULES = choice(
    {
        "gradient_descent": ol.GradientDescent,
        "gradient_flow": ol.GradientFlow,
        "direct_descent": ol.DirectDescent,
    }
)


def _solver(name: str) -> Any:
    """A solver of diffrax, which takes long to import and which descent does without."""
    import diffrax

    return getattr(diffrax, name)()


SOLVERS = choice({name.lower(): functools.partial(_solver, name) for name in ("Dopri8", "Tsit5", "Kvaerno5")})


@dataclasses.dataclass(frozen=True)
class ValidationSettings:
    """The [validate] table: arguments of `ol.validate`."""

    n_neurons: tuple[int, ...]
    n_seeds: int
    key: jax.Array
    exact: bool
    early: float
    checkpoint_every: int | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """A run: the arguments of `ol.integrate` and `ol.validate`, and where results go."""

    model: ol.Model
    task: ol.Task | ol.TaskStream
    start: ol.Overlaps
    rule: AbstractRule
    run_key: jax.Array
    validation: ValidationSettings
    folder: Path
    name: str


def load_config(path: Path) -> Config:
    """Read a configuration.

    Args:
        path: a TOML file.

    Raises:
        ConfigError: if there is no such file, it is no TOML, or something in it is unknown, of a wrong type or
            impossible.
    """
    text = ""
    try:
        with as_path(path).open("rb") as file:
            text = file.read().decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"can't read {str(path)!r}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: {_longest(text)}: has a value that is nested too deep.") from error
    except ValueError as error:
        # Python reads no number of more than some thousand digits.
        raise ConfigError(f"{path}: {_longest(text)}: has a number of too many digits.") from error
    try:
        return read_config(document, path.stem, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _longest(text: str) -> str:
    """The table and key of the longest line of a file: where a value is that can't be read for its size."""
    lines = text.split("\n")
    place = max(range(len(lines)), key=lambda i: len(lines[i]))
    headers = [line.strip() for line in lines[: place + 1] if line.strip().startswith("[") and len(line) < LONGEST]
    return f"{headers[-1] if headers else 'line ' + str(place + 1)} {lines[place].partition('=')[0].strip()[:LONGEST]}"


def read_config(document: dict[str, Any], name: str, folder: Path = Path()) -> Config:
    """A configuration from the tables of a file.

    Args:
        document: the tables.
        name: the name of results, if [output] gives none.
        folder: where relative paths of an own task start.

    Raises:
        ConfigError: if something in it is unknown, of a wrong type or impossible.
    """
    for table in document:
        if table not in TABLES:
            raise ConfigError(f"[{table}]: there is no such table. {suggest(table, TABLES, noun='tables')}")
    for table in ("model", "task", "start", "rule"):
        if table not in document:
            raise ConfigError(f"[{table}] is missing; the tables of a configuration are: {', '.join(TABLES)}.")
    model = _model(document["model"])
    task, run_key = _task(document["task"], folder)
    rule = _rule(document["rule"], model)
    try:
        check_run(model, task, rule, run_key, "integrate")
    except ValueError as error:
        raise ConfigError(f"the tables do not fit together: {error}") from error
    output = read_table(document.get("output", {}), {"dir": Key(FOLDER, "."), "name": Key(FILE_NAME, name)}, "output")
    return Config(
        model=model,
        task=task,
        start=_start(document["start"], model),
        rule=rule,
        run_key=run_key,
        validation=_validation(document.get("validate", {})),
        folder=Path(output["dir"]),
        name=output["name"],
    )


def _model(table: Any) -> ol.Model:
    keys = {**keys_of(ol.Layout, {}), "activation": Key(ACTIVATIONS)}
    values = read_table(table, keys, "model")
    activation = values.pop("activation")
    return ol.Model(call(ol.Layout, values, "model"), activation())


def _task(table: Any, folder: Path) -> tuple[ol.Task | ol.TaskStream, jax.Array]:
    """The task, and the key of what is drawn while learning."""
    kind, rest = _of_kind(table, "task", TASKS)
    draws = "key" in inspect.signature(kind).parameters
    keys = keys_of(kind, {"visible": NAMED_NUMBERS, "file": FILE}) | {
        "seed": Key(SEED, 0),
        "stream": Key(BOOLEAN, False),
    }
    values = read_table(rest, keys, "task")
    trial_key, run_key = jax.random.split(jax.random.key(values.pop("seed")))
    if "file" in values:
        values["file"] = folder / as_path(values["file"])
    if values.pop("stream"):
        if not draws:
            raise ConfigError(f"[task] stream: must be false, as {kind.__name__} draws nothing at random, got true.")
        # A stream draws inside compiled code, where values are no longer checked; so one batch is drawn here.
        call(kind, values | {"key": trial_key}, "task")
        return ol.tasks.stream(kind, **values), run_key
    return call(kind, values | ({"key": trial_key} if draws else {}), "task"), run_key


def _start(table: Any, model: ol.Model) -> ol.Overlaps:
    keys = {"entries": Key(OVERLAPS, None), "seed": Key(SEED, None), "scale": Key(NUMBER, None)}
    values = read_table(table, keys, "start")
    layout = model.layout
    if ("entries" in values) == ("scale" in values) or ("seed" in values) != ("scale" in values):
        raise ConfigError(
            "[start] must give either entries (overlaps by name, such as entries = { zm = 0.1 }) or both scale and "
            f"seed (of random overlaps), got {', '.join(values) or 'nothing'}."
        )
    if "scale" in values:
        settings = {"layout": layout, "key": jax.random.key(values["seed"]), "scale": values["scale"]}
        return call(ol.Overlaps.random, settings, "start")
    try:
        for name in values["entries"]:
            layout.locate(name)
        return ol.Overlaps.from_entries(layout, **values["entries"])
    except ValueError as error:
        raise ConfigError(f"[start] entries: {error}") from error


def _rule(table: Any, model: ol.Model) -> AbstractRule:
    kind, rest = _of_kind(table, "rule", RULES)
    values = read_table(rest, keys_of(kind, {"rates": RATES, "save_at": NUMBERS, "solver": SOLVERS}), "rule")
    if "solver" in values:
        values["solver"] = values["solver"]()
    if "rates" in values:
        call(model.layout.rates, {"rates": values["rates"]}, "rule")
    return call(kind, values, "rule")


def _of_kind(table: Any, name: str, kinds: Any) -> tuple[Any, dict[str, Any]]:
    """What a table's `kind` stands for, and the rest of the table."""
    require_table(table, name)
    if "kind" not in table:
        raise ConfigError(f"[{name}] kind: is missing; it must be {kinds.allowed}.")
    return convert(table["kind"], kinds, name, "kind"), {key: value for key, value in table.items() if key != "kind"}


def _validation(table: Any) -> ValidationSettings:
    defaults = {name: parameter.default for name, parameter in inspect.signature(ol.validate).parameters.items()}
    keys = {
        "n_neurons": Key(INTEGERS, defaults["n_neurons"]),
        "n_seeds": Key(INTEGER, defaults["n_seeds"]),
        "seed": Key(SEED, 0),
        "exact": Key(BOOLEAN, defaults["exact"]),
        "early": Key(NUMBER, defaults["early"]),
        "checkpoint_every": Key(INTEGER, None),
    }
    values = read_table(table, keys, "validate")
    return ValidationSettings(key=jax.random.key(values.pop("seed")), **values)
