"""Threads of a sweep: the same numbers as one after another, and nothing in them that is not so in the first thread."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.sweeps import threads
from overlap_learning.sweeps.work import Work

GRID = {"a": np.linspace(0.5, 2.0, 9), "kind": ["plain", "odd"]}


def function(a, kind, key):
    x = jnp.sin(a) * jax.random.normal(key)
    return {"x": x if kind == "plain" else -x, "series": ("t", x * jnp.arange(3.0))}


@pytest.fixture
def seen(monkeypatch):
    """The names of the threads in which calls were made."""
    names, real = [], Work.run

    def run(self, chunk):
        names.append(threading.current_thread().name)
        return real(self, chunk)

    monkeypatch.setattr(Work, "run", run)
    return names


def test_threads_give_the_numbers_of_one_to_the_last_bit(seen):
    arguments = {"key": jax.random.key(0)}
    one = ol.sweep(function, GRID, ol.Batched(2, threads=1), **arguments)
    assert set(seen) == {"MainThread"}
    seen.clear()
    several = ol.sweep(function, GRID, ol.Batched(2, threads=3), **arguments)
    assert one.identical(several)
    # Five calls of each program; all of them in threads of the pool.
    assert len(seen) == 10
    assert all(name.startswith("sweep") for name in seen)


def test_there_are_as_many_threads_as_cores(monkeypatch):
    most, running, lock = [0], [0], threading.Lock()

    def run(self, chunk):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return real(self, chunk)

    real = Work.run
    monkeypatch.setattr(Work, "run", run)
    monkeypatch.setattr(threads, "cores", lambda: 3)
    ol.sweep(lambda a: a, {"a": np.arange(12.0)}, ol.Batched(1))
    assert most[0] == 3


def test_the_function_is_traced_once_for_each_program_and_in_the_first_thread():
    traced = []

    def counted(a, kind):
        traced.append((kind, threading.current_thread().name))
        return a if kind == "plain" else -a

    ol.sweep(counted, GRID, ol.Batched(2, threads=3))
    assert traced == [("plain", "MainThread"), ("odd", "MainThread")]


def test_settings_of_jax_within_a_with_hold_for_all_points(seen):
    grid = {"a": np.linspace(0.0, 1.0, 6)}
    with jax.enable_x64(False):
        data = ol.sweep(lambda a: jnp.sin(jnp.asarray(a, float)), grid, ol.Batched(2))
    assert data.value.dtype == np.float32
    assert set(seen) == {"MainThread"}


def test_threads_that_would_not_have_the_settings_are_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="leave out threads, or set them for all"):
        ol.sweep(lambda a: a, {"a": [1.0, 2.0]}, ol.Batched(1, threads=2))


def test_the_error_of_the_first_point_that_fails_is_raised():
    def risky(a):
        def refuse(x):
            # The first to fail is the last to end.
            time.sleep(0.2 if x == 1.0 else 0.0)
            if x >= 1.0:
                raise ValueError(f"{x:g} is too much")
            return x

        return jax.pure_callback(refuse, jax.ShapeDtypeStruct((), float), a, vmap_method="sequential")

    with pytest.raises(Exception, match="1 is too much"):
        ol.sweep(risky, {"a": [0.5, 1.0, 2.0, 3.0]}, ol.Batched(1, threads=2), throw=True)


def test_a_call_that_fails_is_made_point_by_point_and_the_others_go_on():
    def risky(a):
        def refuse(x):
            if x > 0.9:
                raise ValueError("too much")
            return x

        return jax.pure_callback(refuse, jax.ShapeDtypeStruct((), float), a, vmap_method="sequential")

    data = ol.sweep(risky, {"a": [0.1, 0.2, 0.3, 1.0, 0.4, 0.5]}, ol.Batched(2, threads=2))
    np.testing.assert_array_equal(data.value, [0.1, 0.2, 0.3, np.nan, 0.4, 0.5])
    assert "too much" in data.error.values[3]


def test_after_ctrl_c_no_further_call_begins_and_the_sweep_goes_on_from_its_folder(tmp_path, monkeypatch, seen):
    grid = {"a": np.arange(40.0)}

    def double(a):
        return 2 * a

    class Bar:
        """Stands for a person who presses Ctrl-C once something is done."""

        n = 0

        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    with pytest.raises(KeyboardInterrupt):
        ol.sweep(double, grid, ol.Batched(1, threads=2), folder=tmp_path)
    n = len(seen)
    # Two at a time, one that waits for each, and those that ended meanwhile.
    assert n <= 8
    assert not any(thread.name.startswith("sweep") for thread in threading.enumerate())
    monkeypatch.undo()
    data = ol.sweep(double, grid, ol.Batched(1, threads=2), folder=tmp_path)
    np.testing.assert_array_equal(data.value, 2 * grid["a"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "Batched: threads must be an integer of at least 1"),
        ({"threads": 1.5}, "Batched: threads must be an integer of at least 1"),
        ({"threads": 2, "client": object()}, "is for calls in this process"),
    ],
)
def test_a_number_of_threads_is_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        ol.Batched(**arguments)
