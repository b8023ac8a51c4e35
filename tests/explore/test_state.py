"""The explorer's state: what its address says, what its sliders allow, and the lines of Python that make it."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.explore.choices import ACTIVATIONS, RULES, TASKS, settings_of
from overlap_learning.explore.curves import run
from overlap_learning.explore.program import program
from overlap_learning.explore.state import DIGITS, LARGEST_NORM, RANKS, State, StateError


def two_networks():
    """Two equivalent networks, the first of which is near the edge of what is feasible."""
    return State.default(task="damped_oscillation").moved(0, "mu", -0.7).moved(0, "zu", 0.4).with_equivalent(0)


def test_an_address_says_the_state_and_only_what_is_not_default():
    for rank, activation, task, rule in itertools.product(RANKS, ACTIVATIONS, TASKS, RULES):
        state = State.default(rank, activation, task, rule)
        assert State.from_query(state.to_query()) == state
    assert State.default().to_query() == ""
    state = two_networks().chosen(settings={"decay": 0.5, "frequency": 3.0, "learning_rate": 0.01, "n_steps": 500})
    assert State.from_query(state.to_query()) == state
    # Orthonormal vectors, of which nothing has to be said, are not the default.
    assert State.from_query("a=").entries(State.from_query("a=").networks[0]) == {}


@pytest.mark.parametrize(
    "query",
    [
        "rank=9", "task=__import__('os')", "decay=0.21", "rank=1&rank=1", "frequency=2.0", "a=zu", "a=zu:nan",
        "a=zu:1e999", "a=zu:0.1,zu:0.2", "a=ab:1", "a=zu:5", "b=uu:-1", "x" * 5000, "&&%00=%ff",
    ],
)  # fmt: skip
def test_a_damaged_address_is_refused(query):
    with pytest.raises(StateError):
        State.from_query(query)


def test_sliders_end_where_no_network_has_the_next_value():
    state, step = two_networks(), 10.0**-DIGITS
    for name, (low, high) in state.ends(0).items():
        exact = ol.feasible(state.overlaps(0), state.model, name)
        # Both ends are feasible, and less than a step within what is; norms end somewhere.
        assert exact.low <= low < exact.low + step
        assert high <= min(exact.high, LARGEST_NORM) < high + step
        for far in (low - step, high + step, float("nan"), float("inf")):
            moved = state.moved(0, name, far)
            moved.overlaps(0)
            assert moved.networks[0][state.layout.entry_names.index(name)] in (low, high)


def test_the_second_network_does_the_same_and_differs_where_nobody_sees():
    state = two_networks()
    assert state.difference == []
    assert state.networks[0] != state.networks[1]
    _, (first, second) = run(state)
    assert np.array_equal(first.before, second.before)
    assert not np.array_equal(first.loss, second.loss)
    assert state.moved(1, "zu", 0.0).difference == ["zu"]
    assert state.alone().networks == state.networks[:1]
    assert len(state.chosen(rank=2).networks) == 1


def test_the_lines_of_python_give_the_numbers_of_the_page():
    state, made = two_networks(), {}
    exec(program(state), made)
    for solution, curves in zip(made["solutions"], run(state)[1], strict=True):
        assert np.array_equal(solution.time, curves.time)
        assert np.array_equal(solution.loss, curves.loss)
        for name, values in curves.overlaps.items():
            assert np.array_equal(solution.overlaps.entries()[name], values)


def test_the_lines_of_python_make_every_choice():
    for rank, activation, task, rule in zip(
        itertools.cycle(RANKS), ACTIVATIONS, TASKS, itertools.islice(itertools.cycle(RULES), len(TASKS)), strict=False
    ):
        # The last value of each setting, none of which is the default.
        last = {name: values[-1] for name, values in settings_of(task, rule).items()}
        state, made = State.default(rank, activation, task, rule).chosen(settings=last), {}
        exec(program(state).partition("solutions =")[0], made)
        assert repr(made["model"]) == repr(state.model)
        assert repr(made["rule"]) == repr(RULES[rule].make(state.settings))
        for name in ("inputs", "targets"):
            assert jnp.array_equal(getattr(made["task"], name), getattr(TASKS[task].make(last), name))
        assert jnp.array_equal(made["starts"][0].gram, state.overlaps(0).gram)


def test_learning_that_diverges_is_said_and_drawn_up_to_there():
    state = State.default()
    for name in ("zz", "uu", "vv", "mm"):
        state = state.moved(0, name, LARGEST_NORM)
    state = state.moved(0, "zu", 3.0).moved(0, "vm", 3.0).moved(0, "vu", 3.0)
    _, (curves,) = run(state.chosen(settings={**state.settings, "learning_rate": 0.2}))
    assert curves.failure.startswith("Learning diverged")
    assert all(np.isfinite(values).all() for values in (curves.after, curves.eigenvalues))
