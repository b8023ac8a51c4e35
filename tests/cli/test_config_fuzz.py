"""Configurations at random: each is a run, or one line that says what is wrong with which table."""

import copy
import datetime
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap_learning as ol
from overlap_learning.cli.config import TABLES, Config, ConfigError, load_config, read_config

VALID = {
    "model": {"n_in": 1, "rank": 1, "n_out": 1, "activation": "linear"},
    "task": {"kind": "exponential_filter", "decay": 0.2, "duration": 3, "dt": 0.1, "seed": 0},
    "start": {"entries": {"zu": 0.1, "vm": 0.1}},
    "rule": {"kind": "gradient_descent", "learning_rate": 0.05, "n_steps": 4, "save_every": 2, "momentum": 0.5},
    "validate": {"n_neurons": [10, 20], "n_seeds": 1, "seed": 0, "exact": True, "early": 0.1, "checkpoint_every": 2},
    "output": {"dir": "results", "name": "run"},
}
OTHER = {
    "task": {"kind": "flip_flop", "n_trials": 2, "duration": 4.0, "dt": 0.1, "wait_range": [1.0, 2.0], "seed": 1},
    "start": {"seed": 0, "scale": 0.2},
    "rule": {"kind": "gradient_flow", "duration": 0.2, "solver": "dopri8", "rtol": 1e-6, "save_at": [0.1, 0.2]},
}
KEYS = [(table, key) for document in (VALID, OTHER) for table in document for key in document[table]]
# What TOML can write: also dates, and integers beyond 64 bits, which Python reads.
NUMBERS = [-1, 0, 1, 2, 3, 10**30, -(10**30), 2**63, 0.0, -0.5, 0.5, 1e-300, 1e300, math.inf, -math.inf, math.nan]
VALUES = st.sampled_from(
    [*NUMBERS, True, "", "linear", "a/b", "\0", datetime.date(2026, 1, 1), [], [1], [2, 1], [0.1, "a"],
     [[1]], [math.nan, 1.0], {}, {"zm": 0.1}, {"zm": 10**30}, {"zm": [[0.1]]}, {"m": math.inf}, {"": {}}]
)  # fmt: skip
CHANGES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(KEYS), VALUES),
    st.tuples(st.just("drop"), st.sampled_from(KEYS), st.none()),
    st.tuples(st.just("take"), st.sampled_from(list(OTHER)), st.none()),
    st.tuples(st.just("table"), st.sampled_from([*TABLES, "more"]), VALUES),
)


def changed(changes):
    document: dict = copy.deepcopy(VALID)
    for kind, where, value in changes:
        if kind == "take":
            document[where] = copy.deepcopy(OTHER[where])
        elif kind == "table":
            document[where] = value
        elif isinstance(document.get(where[0]), dict):
            table, key = where
            if kind == "set":
                document[table][key] = value
            else:
                document[table].pop(key, None)
    return document


def outcome(read):
    """What a file gives: a configuration, or a message."""
    try:
        return read(), ""
    except ConfigError as error:
        return None, str(error)


def is_clear(message):
    """One line that begins with where it is wrong."""
    known = "|".join(TABLES)
    return len(message.splitlines()) == 1 and re.match(rf"\[({known}|more)\]|the tables do not fit together: ", message)


@settings(max_examples=80, deadline=None)
@given(changes=st.lists(CHANGES, min_size=1, max_size=3))
def test_a_configuration_changed_at_random_is_valid_or_named(changes):
    config, error = outcome(lambda: read_config(changed(changes), "run"))
    if config is None:
        assert is_clear(error), error
        return
    assert bool(jnp.all(jnp.isfinite(config.start.gram)))
    batch = config.task if isinstance(config.task, ol.Task) else jax.eval_shape(config.task.sample, config.run_key)
    assert batch.n_in == config.model.layout.n_in


TEXT = (Path(__file__).parents[2] / "examples" / "flow.toml").read_bytes()


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), length=st.integers(0, 40), put=st.binary(max_size=3))
def test_a_file_changed_at_random_is_valid_or_named(share, length, put, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    first = int(share * len(TEXT))
    path.write_bytes(TEXT[:first] + put + TEXT[first + length :])
    config, error = outcome(lambda: load_config(path))
    assert isinstance(config, Config) or (len(error.splitlines()) == 1 and "fuzz.toml" in error)
