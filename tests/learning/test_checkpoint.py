"""Checkpoints: a run that was cut off goes on to the same numbers, and nothing else is ever picked up."""

import errno
import functools
import gc
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics_helpers import RANK_1, compilations, make_overlaps, make_task

import overlap_learning as ol
from overlap_learning.learning import fingerprint
from overlap_learning.learning.checkpoint import Store
from overlap_learning.learning.lock import held

MODEL, TASK, START = ol.Model(RANK_1, ol.Erf()), make_task(RANK_1), make_overlaps(RANK_1)
KEY = jax.random.key(3)
N_STEPS = 80


@functools.cache
def network(*batch):
    overlaps = ol.Overlaps(jnp.broadcast_to(START.gram, (*batch, 4, 4)), RANK_1)
    return ol.Network.sample(overlaps, 12, key=jax.random.key(1))


def rule(learning_rate=0.02, **settings):
    settings = {"momentum": 0.5, "label_noise": 0.1} | settings
    return ol.GradientDescent(learning_rate, N_STEPS, save_every=10, **settings)


def run(folder, *, start=None, by=None, key=KEY, every=20, **arguments):
    checkpoint = None if folder is None else ol.Checkpoint(folder, every=every)
    return ol.train(
        MODEL, TASK, network() if start is None else start, by or rule(), key, checkpoint=checkpoint, **arguments
    )


def steps_in(folder):
    return sorted(int(path.name) for path in Path(folder).iterdir() if path.name.isdigit())


def same(a, b):
    """Whether two solutions agree to the last bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def cut_off(folder, after, monkeypatch, **arguments):
    """A run that is ended by Ctrl-C in the middle of its compiled call number `after`."""
    from overlap_learning.learning import descent

    real, calls = descent._advance, []

    def advance(run, limits, state, where, *size):
        # The start is looked at by one that ends with step -1.
        calls.extend([where] if where[0] >= 0 else [])
        if len(calls) == after:
            raise KeyboardInterrupt
        return real(run, limits, state, where, *size)

    with monkeypatch.context() as patch:
        patch.setattr(descent, "_advance", advance)
        with pytest.raises(ol.LearningInterrupted) as caught:
            run(folder, **arguments)
    return caught.value.solution


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the solution of a run that nothing ended."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


@pytest.fixture(scope="module")
def finished(whole):
    return whole[0]


@pytest.fixture
def copied(finished, tmp_path):
    """A folder of that run, to do something to."""
    return shutil.copytree(finished, tmp_path / "copied")


class TestResumption:
    @pytest.mark.parametrize(
        ("batch", "by"),
        [
            ((), rule()),
            ((2,), ol.Optimiser(optax.adam(1e-2), N_STEPS, save_every=10, label_noise=0.1)),
        ],
        ids=["one network, momentum", "two networks, adam"],
    )
    def test_a_run_that_was_cut_off_goes_on_to_the_same_numbers_to_the_last_bit(self, batch, by, tmp_path, monkeypatch):
        expected = run(tmp_path / "whole", start=network(*batch), by=by)
        partial = cut_off(tmp_path / "cut", 3, monkeypatch, start=network(*batch), by=by)
        assert np.all(partial.stats["n_steps"] == 40)
        assert steps_in(tmp_path / "cut") == [20, 40]
        # The clock went back: what was written last looks oldest.
        for i, file in enumerate(sorted((tmp_path / "cut").rglob("*"), reverse=True)):
            os.utime(file, (i, i))
        resumed = run(tmp_path / "cut", start=network(*batch), by=by)
        assert same(resumed, expected)
        assert float(jnp.max(jnp.abs(expected.overlaps.gram[..., -1, :, :] - START.gram))) > 0.01

    def test_checkpoints_change_no_number(self, whole):
        with_them, without = whole[1], run(None)
        # The same steps in compiled calls of other lengths.
        np.testing.assert_allclose(with_them.overlaps.gram, without.overlaps.gram, atol=1e-13)
        assert np.array_equal(with_them.step, without.step)

    def test_a_finished_run_is_returned_at_once_without_compiling_or_writing(self, whole):
        folder, first = whole
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        with compilations() as compiled:
            again = run(folder)
        assert same(first, again)
        assert not [name for name in compiled if "_advance" in name]
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    def test_ctrl_c_while_a_checkpoint_is_written_is_heard_when_it_is_whole(self, whole, tmp_path, monkeypatch):
        import orbax.checkpoint

        real, saved = orbax.checkpoint.CheckpointManager.save, []

        def save(manager, step, **arguments):
            if step == 40:
                signal.raise_signal(signal.SIGINT)
            saved.append(step)
            return real(manager, step, **arguments)

        handler = signal.getsignal(signal.SIGINT)
        with monkeypatch.context() as patch:
            patch.setattr(orbax.checkpoint.CheckpointManager, "save", save)
            with pytest.raises(ol.LearningInterrupted) as caught:
                run(tmp_path / "cut")
        assert saved == [20, 40] == steps_in(tmp_path / "cut")
        assert int(caught.value.solution.stats["n_steps"]) == 40
        assert signal.getsignal(signal.SIGINT) is handler
        assert same(run(tmp_path / "cut"), whole[1])

    def test_a_second_ctrl_c_is_not_kept_waiting(self, tmp_path, monkeypatch):
        import orbax.checkpoint

        def save(manager, step, **arguments):
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            pytest.fail("went on writing")

        monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "save", save)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)

    def test_the_last_two_checkpoints_are_kept(self, finished):
        assert steps_in(finished) == [60, 80]

    def test_steps_between_checkpoints_are_at_most_what_was_asked_for_also_between_saved_points(self, tmp_path):
        by = ol.GradientDescent(0.02, N_STEPS, save_every=N_STEPS)
        found = run(tmp_path / "a", by=by, every=30)
        assert steps_in(tmp_path / "a") == [54, 80]
        plain = run(None, by=by)
        np.testing.assert_allclose(found.final.vectors, plain.final.vectors, atol=1e-13)
        assert found.step.tolist() == [0, N_STEPS]

    def test_ctrl_c_leaves_a_checkpoint_of_where_the_run_was(self, tmp_path, monkeypatch):
        partial = cut_off(tmp_path, 2, monkeypatch, every=60)
        assert steps_in(tmp_path) == [40]
        assert partial.step.tolist() == [0, 10, 20, 30, 40]

    def test_a_run_that_diverged_or_reached_its_loss_is_returned_as_it_ended(self, tmp_path):
        for name, by in (("diverged", rule(1e6)), ("reached", rule(stop_loss=1e3))):
            first = run(tmp_path / name, by=by, throw=False)
            assert not bool(first.result == ol.RESULTS.successful)
            assert same(first, run(tmp_path / name, by=by, throw=False))


class TestOtherRuns:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"by": rule(0.03)}, r"rule\.learning_rate was float64 0\.02 and is float64 0\.03"),
            ({"by": rule(weight_decay=0.1)}, r"rule\.weight_decay was float64 0\.0 and is float64 0\.1"),
            (
                {"by": ol.GradientDescent(0.02, 90, save_every=10, momentum=0.5, label_noise=0.1)},
                r"rule\.n_steps was 80 and is 90",
            ),
            ({"key": jax.random.key(4)}, r"key was threefry2x32 \[0, 3\] and is threefry2x32 \[0, 4\]"),
            ({"start": network(2)}, r"network\.vectors was float64 \[12, 4\] \w+ and is float64 \[2, 12, 4\]"),
            ({"every": 40}, r"checkpoint\.every was 20 and is 40"),
        ],
        ids=lambda value: None if isinstance(value, dict) else value.split(" ")[0],
    )
    def test_other_arguments_are_refused_and_named(self, changed, message, finished):
        with pytest.raises(ValueError, match=rf"train: .*other arguments: .*{message}.*another folder"):
            run(finished, **changed)

    def test_another_version_is_named_before_all_else(self, finished, monkeypatch):
        monkeypatch.setattr(fingerprint, "this_package", lambda: "9.0")
        message = r"other arguments: overlap_learning was \d.* and is 9\.0; key was .* the same versions, to go on"
        with pytest.raises(ValueError, match=message):
            run(finished, key=jax.random.key(4))

    def test_checkpoints_of_an_earlier_version_that_named_no_folder_are_refused_and_untouched(self, finished, tmp_path):
        shutil.copytree(finished / "80", tmp_path / "80")
        with pytest.raises(ValueError, match=r"train: .* has checkpoints that an earlier version .* empty or a new"):
            run(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["80"]


# Reads of Orbax that a read error leaves behind report to an event loop that is closed by then; on a busy machine not
# before the next test.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestDamage:
    @pytest.fixture(autouse=True)
    def _quiet(self, monkeypatch):
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        yield
        gc.collect()

    def damage(self, folder, step):
        file = max((folder / str(step) / "arrays").rglob("d/*"), key=lambda path: path.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)

    def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(self, whole, copied):
        self.damage(copied, 80)
        assert same(run(copied), whole[1])

    def test_if_none_is_whole_that_is_said(self, copied):
        for step in (60, 80):
            self.damage(copied, step)
        with pytest.raises(ValueError, match=r"train: no checkpoint in .* can be read \(step 80: .*step 60: .*Delete"):
            run(copied)

    def test_a_folder_that_can_not_be_made_is_refused_before_anything_is_learned(self, tmp_path):
        (tmp_path / "file").write_text("")
        with compilations() as compiled, pytest.raises(ValueError, match=r"train: the checkpoint's folder .* can't be"):
            run(tmp_path / "file" / "folder")
        assert compiled == []

    @pytest.mark.parametrize("name", ["thesis.tex", "2024"])
    def test_a_folder_of_something_else_is_refused_and_untouched(self, name, tmp_path):
        (tmp_path / name).mkdir()
        with pytest.raises(
            ValueError, match=rf"train: the folder .* is no checkpoint \('{name}'\), which may not be lost"
        ):
            run(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == [name]

    def test_a_number_beside_checkpoints_that_is_none_is_refused(self, finished):
        (finished / "2024").mkdir()
        (finished / "2024" / "thesis.tex").write_text("")
        with pytest.raises(ValueError, match=r"no checkpoint \('2024'\)"):
            run(finished)
        shutil.rmtree(finished / "2024")

    def test_a_program_killed_while_an_old_checkpoint_is_deleted_goes_on(self, whole, copied):
        shutil.rmtree(copied / "60" / "arrays")
        assert same(run(copied), whole[1])

    def test_while_one_program_runs_another_is_told_who_it_is(self, finished):
        with held(finished, "train"), pytest.raises(ValueError, match=f"train: .* in use by process {os.getpid()} on "):
            run(finished)

    def test_a_disk_that_is_full_before_the_run_is_said(self, tmp_path, monkeypatch):
        def full(*arguments):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(ValueError, match=r"train: the checkpoint's folder .* can't be used .*No space left"):
            run(tmp_path)

    def test_a_full_disk_is_an_error_that_leaves_the_last_checkpoint_intact(self, whole, tmp_path, monkeypatch):
        real = Store.write

        def write(self, step, *arguments):
            if step < 60:
                return real(self, step, *arguments)
            # Files can't grow beyond this many bytes: what a full disk does, by the operating system itself.
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            try:
                return real(self, step, *arguments)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "write", write)
            with pytest.raises(OSError, match=r"checkpoint of step 60 could not be .*of step 40, is intact.*Make room"):
                run(tmp_path / "full")
        assert steps_in(tmp_path / "full") == [20, 40]
        assert same(run(tmp_path / "full"), whole[1])


class TestRefusals:
    def test_a_flow(self, tmp_path):
        with pytest.raises(ValueError, match=r"train: a GradientFlow is one call of its solver.*leave checkpoint out"):
            run(tmp_path, by=ol.GradientFlow(1.0))

    def test_inside_vmap(self, tmp_path):
        with pytest.raises(ValueError, match=r"train: a checkpoint can't be written inside jit or vmap"):
            jax.vmap(lambda eta: run(tmp_path, by=rule(eta)).loss)(jnp.array([0.01, 0.02]))

    def test_what_is_no_checkpoint(self):
        with pytest.raises(ValueError, match=r"train: checkpoint must be ol\.Checkpoint\(folder, every=500\), got 'a'"):
            ol.train(MODEL, TASK, network(), rule(), KEY, checkpoint="a")

    @pytest.mark.parametrize(("settings", "message"), [({"folder": 3}, "must be a text"), ({"every": 0}, "at least 1")])
    def test_bad_settings(self, settings, message):
        with pytest.raises(ValueError, match=f"Checkpoint: .*{message}"):
            ol.Checkpoint(**({"folder": "a"} | settings))
