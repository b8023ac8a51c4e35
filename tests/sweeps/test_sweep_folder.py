"""Sweeps on disk: one that was ended in any way goes on to the same dataset, and nothing else is ever picked up."""

import errno
import json
import logging
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.learning.lock import LOCK, held
from overlap_learning.sweeps import folder as folders
from overlap_learning.sweeps.folder import Folder
from overlap_learning.sweeps.work import Work

GRID = {"a": [0.5, 1.0], "kind": ["plain", "odd"], "b": [0.1, 0.4, 1.0]}
N = 12
KEY = jax.random.key(2)


def function(a, kind, b, key):
    if not isinstance(a, jax.core.Tracer):
        LOG.calls.append((a, kind, b))
    if kind == "odd" and isinstance(a, float) and a == 1.0 and b > 0.9:
        raise ValueError("a point that fails")
    x = jnp.sin(a) * jax.random.normal(key) + b
    return {"x": x, "series": ("t", x * jnp.arange(3.0)), "n": 3, "name": kind}


#: What a function has met, out of sight of fingerprints, which see of a logger its name.
LOG: Any = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    LOG.calls = []
    monkeypatch.setattr(folders, "SECONDS", 0.0)


def run(folder, executor=None, *, grid=GRID, by=function, key=KEY, **arguments):
    return ol.sweep(by, grid, executor, key=key, folder=folder, **arguments)


def files(folder):
    return sorted(Path(folder).glob("*.nc"))


def cut_off(folder, after, executor=None):
    """A sweep that is ended by Ctrl-C when it writes its piece number `after`."""
    keep, n = Folder.keep, []

    def kept(self, piece):
        n.append(piece)
        if len(n) == after:
            raise KeyboardInterrupt
        keep(self, piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "keep", kept)
        with pytest.raises(KeyboardInterrupt):
            run(folder, executor)


class TestResumption:
    @pytest.mark.parametrize("executor", [None, ol.Batched(2)], ids=["one by one", "batched"])
    def test_an_interrupted_sweep_goes_on_to_the_same_dataset_to_the_last_bit(self, executor, tmp_path, monkeypatch):
        whole = run(None, executor)
        cut_off(tmp_path, 3, executor)
        # The clock went back: what was written last looks oldest.
        for i, file in enumerate(sorted(tmp_path.iterdir(), reverse=True)):
            os.utime(file, (i, i))
        before = {file: file.stat().st_mtime_ns for file in files(tmp_path)}
        assert len(before) == 2
        chunks, real = [], Work.run
        monkeypatch.setattr(Work, "run", lambda self, chunk: chunks.append(chunk) or real(self, chunk))
        assert run(tmp_path, executor).identical(whole)
        assert all(file.stat().st_mtime_ns == then for file, then in before.items())
        assert len(chunks) == (N if executor is None else N / 2) - 2

    def test_a_finished_sweep_is_read_without_computing_or_writing(self, tmp_path):
        first = run(tmp_path)
        before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
        LOG.calls.clear()
        again = run(tmp_path)
        assert again.identical(first)
        assert [again[name].dtype for name in again] == [first[name].dtype for name in first]
        assert LOG.calls == []
        assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
        assert again.error.sel(a=1.0, kind="odd", b=1.0) == "ValueError: a point that fails"

    def test_a_folder_changes_no_number(self, tmp_path):
        assert run(tmp_path).identical(run(None))

    def test_another_executor_may_go_on(self, tmp_path):
        cut_off(tmp_path, 5)
        LOG.calls.clear()
        mixed = run(tmp_path, ol.Batched(2))
        whole = run(None)
        # Two numbers of order 1 are added in another program, in which no point fails.
        np.testing.assert_allclose(mixed.x.where(whole.error == ""), whole.x, rtol=0, atol=4 * np.finfo(float).eps)

    def test_a_sweep_cut_off_in_calls_of_one_size_goes_on_in_those_of_another(self, tmp_path):
        cut_off(tmp_path, 3, ol.Batched(2))
        before = {file: file.stat().st_mtime_ns for file in files(tmp_path)}
        mixed, whole = run(tmp_path, ol.Batched(memory=1e9)), run(None, ol.Batched(4))
        assert mixed.sizes == whole.sizes
        # As above.
        np.testing.assert_allclose(mixed.x, whole.x, rtol=0, atol=4 * np.finfo(float).eps)
        # What was there is taken and stays, also where a call computed it once more; so the third call has the same.
        assert all(file.stat().st_mtime_ns == then for file, then in before.items())
        assert run(tmp_path, ol.Batched(3)).identical(mixed)

    def test_where_a_member_fails_what_was_there_already_is_not_taken_twice(self, tmp_path):
        def fails(a):
            if isinstance(a, float) and a == 3.0:
                raise ValueError("too large")
            # One member of a call fails, and with it the call: each on its own then.
            return eqx.error_if(jnp.asarray(a), jnp.asarray(a) == 3.0, "too large") + 1.0

        grid, keep = {"a": [0.0, 1.0, 2.0, 3.0]}, Folder.keep
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Folder, "keep", lambda self, piece: keep(self, piece) if piece.index[0] < 2 else None)
            first = run(tmp_path, by=fails, grid=grid, key=None)
        for executor in (ol.Batched(4), None):
            assert run(tmp_path, executor, by=fails, grid=grid, key=None).value.equals(first.value)
        assert first.value.values.tolist()[:3] == [1.0, 2.0, 3.0]

    def test_points_that_end_close_together_share_a_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(folders, "SECONDS", 1e6)
        first = run(tmp_path)
        # Those with results, and the one that failed.
        assert len(files(tmp_path)) == 2
        LOG.calls.clear()
        assert run(tmp_path).identical(first)
        assert LOG.calls == []

    def test_what_learned_and_what_diverged_come_back_as_they_were(self, tmp_path):
        model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=2.0, dt=0.1)
        start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)

        def learn(rate):
            return ol.integrate(model, task, start, ol.GradientDescent(rate, 20, save_every=2))

        first = ol.sweep(learn, {"rate": [0.01, 100.0]}, folder=tmp_path)
        assert first.result.values.tolist() == [0, 2]
        assert ol.sweep(learn, {"rate": [0.01, 100.0]}, folder=tmp_path).identical(first)

    def test_failures_that_may_pass_are_tried_again(self, tmp_path):
        LOG.fails = True

        def flaky(a):
            if LOG.fails and a > 1:
                raise OSError("the network drive is away")
            return a

        first = ol.sweep(flaky, {"a": [1.0, 2.0]}, folder=tmp_path)
        assert first.error[1] == "OSError: the network drive is away"
        LOG.fails = False
        second = ol.sweep(flaky, {"a": [1.0, 2.0]}, folder=tmp_path)
        assert second.value.values.tolist() == [1.0, 2.0]
        assert second.error.values.tolist() == ["", ""]

    def test_a_failure_that_was_written_is_raised_by_throw(self, tmp_path):
        run(tmp_path)
        with pytest.raises(RuntimeError, match=r"at a=1\.0, kind=odd, b=1\.0: ValueError: a point that fails"):
            run(tmp_path, throw=True)


class TestDamage:
    def test_a_damaged_file_is_never_right_but_computed_again(self, tmp_path):
        whole = run(tmp_path)
        draw, file = random.Random(0), files(tmp_path)[5]
        content = file.read_bytes()
        for n in range(6):
            broken = bytearray(content)
            if n < 3:
                broken = broken[: draw.randrange(len(broken))]
            else:
                broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
            file.write_bytes(broken)
            LOG.calls.clear()
            with pytest.warns(UserWarning, match=f"damaged, and their points are computed again: {file.name}"):
                assert run(tmp_path).identical(whole)
            assert len(LOG.calls) == 1

    def test_altered_numbers_are_noticed(self, tmp_path):
        import h5py

        whole = run(tmp_path)
        with h5py.File(files(tmp_path)[2], "r+") as opened:
            opened["x"][0] += 1e-9
        with pytest.warns(UserWarning, match="checksum"):
            assert run(tmp_path).identical(whole)

    def test_a_draft_that_was_being_written_is_not_picked_up(self, tmp_path):
        whole = run(tmp_path)
        file = files(tmp_path)[0]
        draft = file.rename(tmp_path / ".overlap_learning-abc.part")
        (tmp_path / ".overlap_learning-of-mine.part").mkdir()
        LOG.calls.clear()
        assert run(tmp_path).identical(whole)
        assert len(LOG.calls) == 1
        assert not draft.exists()

    def test_a_piece_of_another_sweep_is_not_picked_up(self, tmp_path):
        whole = run(tmp_path / "a")
        run(tmp_path / "b", key=jax.random.key(9))
        files(tmp_path / "b")[3].replace(files(tmp_path / "a")[3])
        with pytest.warns(UserWarning, match="it belongs to another sweep"):
            assert run(tmp_path / "a").identical(whole)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"key": jax.random.key(3)}, "key was"),
            ({"grid": GRID | {"a": [0.5, 3.0]}}, r"grid\['a'\]"),
            ({"grid": {name: GRID[name] for name in ("kind", "a", "b")}}, r"names\[0\] was 'a' and is 'kind'"),
            ({"by": lambda a, kind, b, key: a}, "function"),
        ],
        ids=["key", "values", "order", "function"],
    )
    def test_the_folder_of_another_sweep_is_refused(self, change, message, tmp_path):
        cut_off(tmp_path, 2)
        with pytest.raises(ValueError, match=f"sweep: the folder .* is that of another sweep: .*{message}"):
            run(tmp_path, **change)

    @pytest.mark.parametrize("name", ["thesis.tex", ".thesis.pdf.part", "0.nc"])
    def test_a_folder_with_something_else_in_it_is_refused_and_untouched(self, name, tmp_path):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=f"has files in it and is no sweep's \\('{name}'\\)"):
            run(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == [name]

    def test_a_file_of_somebody_else_in_the_folder_of_a_sweep_stays(self, tmp_path):
        whole = run(tmp_path)
        (tmp_path / ".notes.part").touch()
        assert run(tmp_path).identical(whole)
        assert (tmp_path / ".notes.part").exists()

    def test_while_one_program_sweeps_another_is_told_who_it_is(self, tmp_path):
        run(tmp_path)
        with (
            held(tmp_path, "sweep"),
            pytest.raises(ValueError, match=f"in use by process {os.getpid()} on .* since 20"),
        ):
            run(tmp_path)
        # One that ended in any way holds nothing, whatever its lock says; what another host does is not known.
        here = {"pid": 1, "host": platform.node(), "since": "2026-01-01"}
        (tmp_path / LOCK).write_text(json.dumps(here))
        run(tmp_path)
        (tmp_path / LOCK).write_text(json.dumps(here | {"host": "another"}))
        with pytest.raises(
            ValueError, match=r"process 1 on another since 2026-01-01; .*If it has ended there, delete '.*lock'"
        ):
            run(tmp_path)

    def test_a_lock_that_leads_to_a_file_of_somebody_else_is_not_written_through(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("mine")
        (tmp_path / "sweep").mkdir()
        (tmp_path / "sweep" / LOCK).symlink_to(tmp_path / "thesis.tex")
        with pytest.raises(ValueError, match=f"sweep: the folder .* can't be used .*{LOCK}"):
            run(tmp_path / "sweep")
        assert (tmp_path / "thesis.tex").read_text() == "mine"

    @pytest.mark.parametrize("content", ['{"schema', "[" * 100_000], ids=["cut off", "deep"])
    def test_a_folder_that_does_not_say_what_it_is_is_refused(self, content, tmp_path):
        run(tmp_path)
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(ValueError, match=r"sweep\.json', which says what sweep the folder is of, is damaged"):
            run(tmp_path)

    def test_a_folder_that_can_not_be_made_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="can't be used"):
            run(tmp_path / "file" / "folder")

    def test_on_a_full_disk_the_points_written_before_are_intact(self, tmp_path, monkeypatch):
        whole, write, n = run(None), folders.write, []

        def full(data, path):
            n.append(path)
            if len(n) > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(data, path)

        with monkeypatch.context() as patch:
            patch.setattr(folders, "write", full)
            with pytest.raises(OSError, match=r"No space left on device.*written before are intact. Make room and run"):
                run(tmp_path)
        assert len(files(tmp_path)) == 3
        LOG.calls.clear()
        assert run(tmp_path).identical(whole)
        assert len(LOG.calls) == N - 3

    def test_what_no_file_can_hold_is_refused_by_name(self, tmp_path):
        with pytest.raises(ValueError, match="'x/y', which can't be that of a variable in a file"):
            ol.sweep(lambda a: {"x/y": a}, {"a": [1.0]}, folder=tmp_path / "a")


LONG = """
import sys
sys.path.insert(0, sys.argv[2])
import jax
jax.config.update("jax_enable_x64", True)
import test_sweep_folder as test
test.folders.SECONDS = 0.0
test.long_run(sys.argv[1])
assert "distributed" not in sys.modules
"""


def long_run(folder):
    def slow(a, b):
        time.sleep(0.002)
        return {"series": ("t", np.arange(2000) * np.sin(a * b))}

    return ol.sweep(slow, {"a": np.linspace(0, 1, 5), "b": np.linspace(1, 2, 20)}, folder=folder, progress=False)


def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_dataset(tmp_path):
    """Pieces follow each other without pause, so that most kills fall into the writing of one."""
    folder, moments, reached = tmp_path / "killed", random.Random(0), [0]
    for _ in range(2):
        arguments = [sys.executable, "-c", LONG, str(folder), str(Path(__file__).parent)]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None and len(files(folder)) <= reached[-1]:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.3))
        assert process.poll() is None, "ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(len(files(folder)))
    # Each went on where the one before had been killed, and was killed before the end.
    assert sorted(set(reached)) == reached
    assert reached[-1] < 100
    assert json.loads((folder / "sweep.json").read_text())["schema"] == "2"
    assert long_run(folder).identical(long_run(None))
