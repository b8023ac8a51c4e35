"""Points per call by memory: what a program is measured to take is held against arrays of known size."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.sweeps import batched, ram
from overlap_learning.sweeps.grid import Grid
from overlap_learning.sweeps.work import Work

# Numbers that a point returns.
N = 1000
# A point's results and its argument.
BYTES = 8 * N + 8
POINTS = np.linspace(0.0, 1.0, 200)


def series(a):
    return {"series": ("t", a * jnp.arange(float(N)))}


def middle(a):
    """Returns one number, and needs a sorted array of N for it."""
    return jnp.sort(jnp.sin(a * jnp.arange(float(N))))[N // 2]


def work_of(function):
    return Work(function, Grid.of({"a": POINTS}), None)


@pytest.fixture
def calls(monkeypatch):
    """The numbers of points in the calls that were made."""
    sizes, real = [], Work.run

    def run(self, chunk):
        sizes.append(chunk.size)
        return real(self, chunk)

    monkeypatch.setattr(Work, "run", run)
    return sizes


class TestMeasure:
    def test_a_program_takes_what_its_results_and_arguments_take(self):
        work = work_of(series)
        small, large = (work._memory(np.arange(n)) for n in (16, 64))
        # Beyond them only what does not grow with the points: counters and tables of buffers.
        assert 0 <= small - 16 * BYTES < 1000
        assert large - small == 48 * BYTES

    def test_what_lies_between_arguments_and_results_counts_too_and_grows_in_proportion(self):
        work = work_of(middle)
        sizes = [work._memory(np.arange(n)) for n in (16, 32, 64)]
        first, second = np.diff(sizes)
        # Buffers begin at multiples of 64 bytes.
        assert abs(second - 2 * first) <= 10 * 64
        assert first >= 16 * 8 * N

    def test_what_a_backend_can_not_tell_is_unknown(self):
        numbers = {"argument_size_in_bytes": 1, "output_size_in_bytes": 20, "temp_size_in_bytes": 300}
        for found in (None, types.SimpleNamespace(**numbers)):
            assert ram.of_program(types.SimpleNamespace(memory_analysis=lambda found=found: found)) is None
        whole = types.SimpleNamespace(**numbers, alias_size_in_bytes=20)
        assert ram.of_program(types.SimpleNamespace(memory_analysis=lambda: whole)) == 301


class TestPointsPerCall:
    @pytest.mark.parametrize(("n_points", "expected"), [(40, 32), (20, 16), (3.5, 2)])
    def test_as_many_as_fit_the_memory_in_powers_of_two(self, n_points, expected, calls):
        data = ol.sweep(series, {"a": POINTS}, ol.Batched(memory=n_points * BYTES))
        # As even as can be: 200 points in calls of 32 are seven of 29.
        assert set(calls) == {batched.even(len(POINTS), expected)}
        assert work_of(series)._memory(np.arange(expected)) <= n_points * BYTES
        assert np.array_equal(data.series, np.multiply.outer(POINTS, np.arange(float(N))))

    def test_one_where_not_even_one_fits(self, calls):
        data = ol.sweep(series, {"a": POINTS[:3]}, ol.Batched(memory=10))
        assert calls == [1, 1, 1]
        assert np.array_equal(data.series, np.multiply.outer(POINTS[:3], np.arange(float(N))))

    def test_no_more_than_gain_speed(self, calls):
        ol.sweep(middle, {"a": POINTS}, ol.Batched(memory=1e12))
        # Seven calls of at most 32.
        assert calls == [29] * 7
        assert max(calls) <= batched.MOST_ON_CPU

    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_quarter_of_what_is_free_for_all_calls_at_a_time(self, threads, calls, monkeypatch):
        monkeypatch.setattr(ram, "available", lambda: 4 * threads * 10 * BYTES)
        ol.sweep(series, {"a": POINTS}, ol.Batched(threads=threads))
        assert set(calls) == {8}

    def test_a_size_is_taken_as_it_is(self, calls, monkeypatch):
        monkeypatch.delattr(Work, "fit")
        ol.sweep(middle, {"a": POINTS}, ol.Batched(100))
        assert calls == [100, 100]

    def test_the_program_that_is_measured_is_the_one_that_is_called(self, caplog):
        def function(a):
            return jnp.cos(a) + 1

        with jax.log_compiles():
            ol.sweep(function, {"a": POINTS}, ol.Batched())
        compiled = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling jit(call)")]
        assert len(compiled) == 1

    def test_each_program_has_its_own_number(self, calls):
        def function(n, a):
            return a * jnp.arange(float(n))[-1] + jnp.sum(jnp.sort(jnp.sin(a * jnp.arange(float(n)))))

        ol.sweep(function, {"n": {10: 10, 10_000: 10_000}, "a": POINTS[:32]}, ol.Batched(memory=1e6))
        # Twelve sorted arrays of 10,000 numbers fit into a million bytes.
        assert calls == [32, 8, 8, 8, 8]

    def test_where_memory_is_unknown_a_number_that_is_known_to_fit_mostly(self, monkeypatch):
        group = np.arange(len(POINTS))
        assert work_of(middle).fit(group, None) == batched.MOST_ON_CPU
        monkeypatch.setattr(ram, "device", lambda: types.SimpleNamespace(platform="gpu"))
        monkeypatch.setattr(ram, "of_program", lambda compiled: None)
        assert work_of(middle).fit(group, 1e9) == work_of(middle).fit(group, None) == 256

    def test_what_is_wrong_with_the_function_is_said_as_ever(self):
        with pytest.raises(RuntimeError, match=r"failed at all 2 points; at a=1\.0: KeyError: 'x'"):
            ol.sweep(lambda a: {}["x"], {"a": [1.0, 2.0]}, ol.Batched())


class TestFree:
    def write(self, root, files):
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    MACHINE = {"proc/meminfo": "MemTotal:  9000 kB\nMemAvailable:    1000 kB\n"}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            ({}, 1024_000),
            ({"proc/self/cgroup": "0::/a/b\n"}, 1024_000),
            (
                {
                    "proc/self/cgroup": "0::/a/b\n",
                    "sys/fs/cgroup/a/b/memory.max": "max\n",
                    "sys/fs/cgroup/a/b/memory.current": "300\n",
                    "sys/fs/cgroup/a/memory.max": "1000\n",
                    "sys/fs/cgroup/a/memory.current": "700\n",
                    "sys/fs/cgroup/a/memory.stat": "anon 600\ninactive_file 100\n",
                },
                400,
            ),
            (
                {
                    "proc/self/cgroup": "5:cpu:/x\n4:memory:/elsewhere\n0::/\n",
                    "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",
                    "sys/fs/cgroup/memory/memory.usage_in_bytes": "500\n",
                    "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 10\n",
                },
                1510,
            ),
        ],
        ids=["the machine", "groups without limits", "a limit of a group above", "a container of the first version"],
    )
    def test_it_is_the_least_of_what_machine_and_groups_leave(self, files, expected, tmp_path):
        self.write(tmp_path, self.MACHINE | files)
        assert ram.available(tmp_path) == expected

    def test_without_the_files_of_linux_it_is_all_there_is(self, tmp_path):
        assert ram.available(tmp_path) >= ram.available() > 0

    def test_a_device_tells_of_its_own_memory(self, monkeypatch):
        for stats, expected in (({"bytes_limit": 1000, "bytes_in_use": 200}, 100), ({}, None), (None, None)):
            device = types.SimpleNamespace(platform="gpu", memory_stats=lambda stats=stats: stats)
            monkeypatch.setattr(ram, "device", lambda device=device: device)
            assert ram.budget(limit=8, share=2) == expected
