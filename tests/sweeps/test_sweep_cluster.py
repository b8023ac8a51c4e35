"""Sweeps on a cluster of Dask: two real worker processes, which are killed."""

import os
import signal
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.sweeps import cluster, ram

distributed = pytest.importorskip("distributed")

KEY = jax.random.key(4)
GRID = {"a": np.linspace(0.0, 1.0, 4), "b": [1.0, 2.0, 3.0]}


def function(a, b, key):
    return {"x": jnp.sin(a) * b + jax.random.normal(key), "series": ("t", a * jnp.arange(3.0))}


def twice(a):
    return 2 * a


@pytest.fixture(scope="module")
def two_workers():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two_workers:
        yield two_workers


@pytest.fixture
def client(two_workers):
    with distributed.Client(two_workers) as client:
        yield client


def test_a_cluster_gives_the_numbers_of_one_process_to_the_last_bit(client):
    assert ol.sweep(function, GRID, client, key=KEY).identical(ol.sweep(function, GRID, key=KEY))


def test_batches_on_a_cluster_give_the_numbers_of_batches_in_process(client):
    data = ol.sweep(function, GRID, ol.Batched(5, client), key=KEY)
    assert data.identical(ol.sweep(function, GRID, ol.Batched(5), key=KEY))


def test_workers_find_out_how_many_points_fit_their_memory(client):
    # All twelve in a quarter of what is free, and one at a time in a byte.
    together = ol.sweep(function, GRID, ol.Batched(client=client), key=KEY)
    assert together.identical(ol.sweep(function, GRID, ol.Batched(12), key=KEY))
    single = ol.sweep(function, GRID, ol.Batched(client=client, memory=1), key=KEY)
    assert single.identical(ol.sweep(function, GRID, ol.Batched(1), key=KEY))


def test_a_worker_shares_what_dask_allows_it_among_its_threads(monkeypatch):
    worker = types.SimpleNamespace(
        memory_manager=types.SimpleNamespace(memory_limit=5000),
        monitor=types.SimpleNamespace(get_process_memory=lambda: 1000),
        state=types.SimpleNamespace(nthreads=2),
    )
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    monkeypatch.setattr(cluster, "_unpickled", lambda _: types.SimpleNamespace(fit=lambda group, allowed: allowed))
    assert cluster._fit(b"", {}, np.arange(3), None) == ram.FRACTION * 4000 / 2
    assert cluster._fit(b"", {}, np.arange(3), 7.0) == 7.0


def test_a_worker_that_is_killed_loses_nothing(client, tmp_path):
    def slow(a, b, key):
        time.sleep(0.1)
        return function(a, b, key) | {"process": os.getpid()}

    victims, reached = sorted(client.run(os.getpid).values()), []

    def kill():
        # In the middle: with two workers twelve points take 0.6 s.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list(tmp_path.glob("*.nc"))) < 2:
            time.sleep(0.005)
        reached.append(len(list(tmp_path.glob("*.nc"))))
        os.kill(victims[0], signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("overlap_learning.sweeps.folder.SECONDS", 0.0)
        killer = threading.Thread(target=kill)
        killer.start()
        data = ol.sweep(slow, GRID, client, key=KEY, folder=tmp_path)
        killer.join()
    assert 2 <= reached[0] < data.process.size
    assert data.drop_vars("process").identical(ol.sweep(function, GRID, key=KEY).assign_attrs(title=data.title))
    client.wait_for_workers(2)


def test_a_point_whose_workers_all_died_is_given_up_and_the_others_go_on(client, tmp_path, monkeypatch):
    """Dask gives a task up after its fourth worker; what it then says is said here without killing so many."""
    real = distributed.Future.result
    given_up = []

    def result(future):
        done = real(future)
        if isinstance(done, list) and done[0].piece.index[0] == 1 and not given_up:
            given_up.append(future)
            raise distributed.KilledWorker(future.key, types.SimpleNamespace(address="tcp://gone"), 3)
        return done

    monkeypatch.setattr(distributed.Future, "result", result)
    data = ol.sweep(twice, {"a": [1.0, 2.0, 3.0]}, client, folder=tmp_path)
    assert data.error[1].item().startswith("KilledWorker: ")
    assert np.array_equal(data.value, [2.0, np.nan, 6.0], equal_nan=True)
    # The next call tries again.
    assert ol.sweep(twice, {"a": [1.0, 2.0, 3.0]}, client, folder=tmp_path).value.values.tolist() == [2.0, 4.0, 6.0]


def test_where_the_cluster_is_gone_the_message_says_how_to_go_on(client, tmp_path, monkeypatch):
    def result(future):
        raise distributed.CancelledError(future.key)

    monkeypatch.setattr(distributed.Future, "result", result)
    with pytest.raises(RuntimeError, match=r"sweep: the cluster is gone .* with the client of a new cluster goes on"):
        ol.sweep(twice, {"a": [1.0, 2.0]}, client, folder=tmp_path)
    monkeypatch.undo()
    assert ol.sweep(twice, {"a": [1.0, 2.0]}, folder=tmp_path).value.values.tolist() == [2.0, 4.0]


def test_a_point_that_fails_says_why(client):
    def fails(a):
        if a > 0:
            raise ValueError("too large")
        return a

    data = ol.sweep(fails, {"a": [0.0, 1.0]}, client)
    assert data.error.values.tolist() == ["", "ValueError: too large"]
    with pytest.raises(RuntimeError, match=r"sweep: at a=1\.0: ValueError: too large"):
        ol.sweep(fails, {"a": [0.0, 1.0]}, client, throw=True)


def test_results_that_do_not_fit_are_refused_as_in_process(client):
    with pytest.raises(ValueError, match="which can't be labelled"):
        ol.sweep(lambda a: object(), {"a": [0.0]}, client)


def test_what_can_not_be_sent_is_refused(client):
    lock = threading.Lock()
    with pytest.raises(ValueError, match=r"can't be sent to the cluster .*lock.* inside it"):
        ol.sweep(lambda a: lock.locked(), {"a": [0.0]}, client)


@pytest.mark.parametrize("executor", ["processes", ol.Batched(2, client="cluster")])
def test_what_is_no_executor_is_refused(executor):
    with pytest.raises(ValueError, match=r"must be None .*, ol\.Batched\(\) or a dask\.distributed\.Client, got"):
        ol.sweep(function, GRID, executor, key=KEY)


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'overlap_learning\[dask\]'"):
        ol.sweep(function, GRID, "cluster", key=KEY)
