"""Storage: files give back what was saved to the last bit, and what is no such file is refused with the reason."""

import functools
import json
import os
import pickle
import resource

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from dynamics_helpers import RANK_1, descent, make_network, make_overlaps, make_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import overlap_learning as ol
from benchmarks.survival import crafted
from overlap_learning.learning.files import SEAL, write
from overlap_learning.learning.hdf5 import check_heaps

# Every example writes a file of its own anew.
SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINEAR = ol.Model(RANK_1, ol.Linear())
TASK = make_task(RANK_1)
START = make_overlaps(RANK_1)


def softplus(x):
    return jax.nn.softplus(x) - np.log(2.0)


@functools.cache
def stepped():
    return ol.integrate(LINEAR, TASK, START, descent())


def flowing():
    return ol.integrate(LINEAR, TASK, START, ol.GradientFlow(3.0))


@functools.cache
def trained():
    return ol.train(LINEAR, TASK, make_network(START, 12), descent())


def trained_with_weights():
    weights = np.linspace(1.0, 2.0, 12)
    network = ol.Network(make_network(START, 12).vectors, RANK_1, weights / weights.sum())
    return ol.train(LINEAR, TASK, network, descent())


# What a file gives back does not depend on how a solution came about: these have the kinds of arrays of a run in single
# precision, of a batch (of which one member ended early), and of a run without a transfer matrix, without their time.


def trained_in_single_precision():
    return jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, trained())


def batch():
    ended_early = eqx.tree_at(
        lambda s: (s.time, s.result), stepped(), (stepped().time.at[7:].set(jnp.nan), diverged().result)
    )
    return jax.tree.map(lambda *members: jnp.stack(members), stepped(), ended_early, stepped())


def direct():
    return eqx.tree_at(lambda s: s.saved, stepped(), {"gram": stepped().overlaps.gram})


@functools.cache
def diverged():
    return ol.integrate(LINEAR, TASK, START, descent(20.0), throw=False)


def with_model(activation):
    """A solution of another model, without the time of another run."""
    known = stepped()
    return ol.Solution(
        model=ol.Model(RANK_1, activation),
        time=known.time,
        step=known.step,
        loss=known.loss,
        saved=known.saved,
        final=known.final,
        stats=known.stats | {"gain_error": jnp.asarray(1e-9)},
        result=known.result,
    )


def tanh():
    return with_model(ol.Tanh(ol.model.Trapezoid(64)))


def relu():
    return with_model(ol.ReLU())


def erf():
    return with_model(ol.Erf())


RUNS = [
    stepped, flowing, trained, trained_with_weights, trained_in_single_precision, batch, diverged, direct, tanh,
    relu, erf,
]  # fmt: skip


def assert_same(loaded, saved):
    """Every array to the last bit (NaN included), of the same dtype, and every setting."""
    assert loaded.model == saved.model
    assert loaded.overlaps.layout == saved.overlaps.layout
    assert type(loaded.final) is type(saved.final)
    assert set(loaded.stats) == set(saved.stats)
    assert np.array_equal(loaded.result == saved.result, np.ones(saved.loss.shape[:-1], bool))
    pairs = [
        (loaded.time, saved.time),
        (loaded.step, saved.step),
        (loaded.loss, saved.loss),
        (loaded.overlaps.gram, saved.overlaps.gram),
        (loaded.transfer, saved.transfer),
        *((loaded.stats[name], saved.stats[name]) for name in saved.stats),
        *zip(jax.tree.leaves(loaded.final), jax.tree.leaves(saved.final), strict=True),
    ]
    for new, old in pairs:
        if old is None:
            assert new is None
            continue
        new, old = np.asarray(new), np.asarray(old)
        assert new.dtype == old.dtype
        assert new.shape == old.shape
        assert new.tobytes() == old.tobytes()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_a_file_gives_back_the_solution_to_the_last_bit(run, tmp_path):
    saved = run()
    saved.save(tmp_path / "run.nc")
    assert_same(ol.load(tmp_path / "run.nc"), saved)


def test_a_path_may_be_a_string(tmp_path):
    saved = stepped()
    saved.save(str(tmp_path / "run.nc"))
    assert_same(ol.load(str(tmp_path / "run.nc")), saved)


def test_a_file_can_be_saved_again_and_is_still_the_same(tmp_path):
    saved = stepped()
    saved.save(tmp_path / "first.nc")
    ol.load(tmp_path / "first.nc").save(tmp_path / "second.nc")
    assert_same(ol.load(tmp_path / "second.nc"), saved)


def test_a_loaded_network_can_be_trained_on(tmp_path):
    trained().save(tmp_path / "run.nc")
    network = ol.load(tmp_path / "run.nc").final
    assert float(ol.train(LINEAR, TASK, network, descent()).loss[-1]) < float(trained().loss[-1])


def test_other_programs_read_the_file_as_netcdf(tmp_path):
    saved = stepped()
    saved.save(tmp_path / "run.nc")
    with xarray.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as data:
        assert np.array_equal(data["overlaps"].sel(overlap="zm"), saved.visible["zm"])
        assert data["time"].attrs["units"] == "sum of learning rates"


def test_the_file_is_no_pickle_and_none_is_ever_read(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, refuse)
    saved = stepped()
    saved.save(tmp_path / "run.nc")
    assert_same(ol.load(tmp_path / "run.nc"), saved)
    # The first bytes of an HDF5 file, on which NetCDF-4 is built.
    assert (tmp_path / "run.nc").read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"


class TestActivations:
    def test_a_function_of_ones_own_must_be_given_again(self, tmp_path):
        saved = with_model(ol.Activation(softplus))
        saved.save(tmp_path / "run.nc")
        with pytest.raises(
            ValueError, match=r"activation of its own.*ol\.load\(path, activation=ol\.Activation\(phi\)\)"
        ):
            ol.load(tmp_path / "run.nc")
        assert_same(ol.load(tmp_path / "run.nc", activation=ol.Activation(softplus)), saved)

    def test_another_kind_than_the_saved_one_is_refused(self, tmp_path):
        stepped().save(tmp_path / "run.nc")
        with pytest.raises(ValueError, match=r"was made with Linear, got activation=Tanh\("):
            ol.load(tmp_path / "run.nc", activation=ol.Tanh())

    def test_a_function_of_ones_own_is_refused_where_the_file_knows_better(self, tmp_path):
        """With another activation other overlaps would be called visible."""
        stepped().save(tmp_path / "run.nc")
        with pytest.raises(ValueError, match=r"was made with Linear, got activation=Activation\("):
            ol.load(tmp_path / "run.nc", activation=ol.Activation(softplus))


@pytest.fixture
def path(tmp_path):
    stepped().save(tmp_path / "run.nc")
    return tmp_path / "run.nc"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a file."""
    path = tmp_path_factory.mktemp("content") / "run.nc"
    stepped().save(path)
    return path.read_bytes()


REFUSED = r"load: '.*run\.nc' (is damaged: its contents do not match|does not end with) the checksum"


class TestDamage:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"load: there is no file '.*absent\.nc'"):
            ol.load(tmp_path / "absent.nc")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="load: there is no file"):
            ol.load(tmp_path)

    def refuses(self, path, content, monkeypatch):
        """A changed file is refused, before HDF5 reads a byte of it: what its parser does with one, nobody knows."""
        path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(xarray, "open_dataset", None)
            with pytest.raises(ValueError, match=REFUSED):
                ol.load(path)

    @settings(SETTINGS, max_examples=50)
    @given(share=st.floats(0, 1, exclude_max=True))
    def test_a_file_cut_off_anywhere_is_refused(self, content, share, tmp_path, monkeypatch):
        self.refuses(tmp_path / "run.nc", content[: int(share * len(content))], monkeypatch)

    @settings(SETTINGS, max_examples=100)
    @given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), n_bytes=st.sampled_from([1, 4, 512]))
    def test_a_file_altered_anywhere_is_refused(self, content, share, bit, n_bytes, tmp_path, monkeypatch):
        changed = bytearray(content)
        first = int(share * len(changed))
        for place in range(first, min(first + n_bytes, len(changed))):
            changed[place] ^= 1 << bit
        self.refuses(tmp_path / "run.nc", bytes(changed), monkeypatch)

    @pytest.mark.parametrize("more", [b"\0", b"\n", SEAL, SEAL + b"0" * 64])
    def test_a_longer_file_is_refused(self, content, more, tmp_path, monkeypatch):
        self.refuses(tmp_path / "run.nc", content + more, monkeypatch)
        self.refuses(tmp_path / "run.nc", more + content, monkeypatch)

    def test_a_file_that_another_program_changed_is_refused(self, path):
        with h5py.File(path, "r+") as file:
            file["loss"][...] = 0.0
        with pytest.raises(ValueError, match=REFUSED):
            ol.load(path)

    def test_other_files_are_refused(self, path):
        xarray.Dataset({"loss": ("time", np.zeros(3))}).to_netcdf(path, engine="h5netcdf")
        for change in (lambda: None, lambda: path.write_text("loss,0.1\n"), lambda: path.write_bytes(b"")):
            change()
            with pytest.raises(ValueError, match=r"does not end with the checksum .*, or Solution\.save did not write"):
                ol.load(path)

    def test_results_that_are_no_solution_are_refused(self, path):
        write(stepped().to_xarray(), path)
        with pytest.raises(ValueError, match=r"a file of results, but none that Solution\.save wrote"):
            ol.load(path)

    def test_a_file_of_another_version_is_refused_with_both_numbers_and_what_wrote_it(self, path):
        with h5py.File(path, "r+") as file:
            file.attrs["overlap_learning_schema"] = 99
        crafted.seal(path)
        with pytest.raises(ValueError, match=r"has file version 99, this package reads version 2; .*jax"):
            ol.load(path)


class TestWriting:
    def test_a_full_disk_is_an_error_that_leaves_the_old_file_and_nothing_else(self, path):
        before, new = path.read_bytes(), diverged()
        # Files can't grow beyond this many bytes: what a full disk does, by the operating system itself.
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"^save: '.*run\.nc' could not be written \(File too large\)\.$"):
                new.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(path.parent.iterdir()) == [path]
        assert path.read_bytes() == before

    @pytest.mark.parametrize("name", ["fsync", "replace"])
    def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(self, name, path, monkeypatch):
        before = path.read_bytes()

        def interrupt(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            diverged().save(path)
        assert list(path.parent.iterdir()) == [path]
        assert path.read_bytes() == before

    def test_an_existing_file_is_replaced(self, path):
        new = diverged()
        new.save(path)
        assert_same(ol.load(path), new)
        assert list(path.parent.iterdir()) == [path]

    def test_the_file_is_readable_as_a_usual_new_file_is(self, path, tmp_path):
        """A temporary file is private; the finished one must not be."""
        usual = tmp_path / "usual"
        usual.touch()
        assert path.stat().st_mode == usual.stat().st_mode

    def test_home_is_where_a_shell_has_it_and_a_link_stays_one(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "runs").mkdir()
        (tmp_path / "link.nc").symlink_to(tmp_path / "runs" / "run.nc")
        trained().save("~/link.nc")
        assert (tmp_path / "link.nc").is_symlink()
        assert sorted(found.name for found in (tmp_path / "runs").iterdir()) == ["run.nc"]
        assert np.array_equal(ol.load("~/runs/run.nc").loss, trained().loss)

    @pytest.mark.parametrize(
        "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)], ids=["pipe", "dir", "loop"]
    )
    def test_what_is_no_file_is_not_written_over(self, make, tmp_path):
        make(tmp_path / "x")
        before = os.lstat(tmp_path / "x").st_ino
        with pytest.raises(OSError, match=r"^save: '.*x' could not be written \(it is there, and no file\)"):
            stepped().save(tmp_path / "x")
        assert os.lstat(tmp_path / "x").st_ino == before
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_does_not_exist_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"save: there is no folder '.*absent'; make it first"):
            stepped().save(tmp_path / "absent" / "run.nc")


class TestStrangers:
    """A checksum says that a file is whole; anybody can make one."""

    def test_bytes_of_other_files_are_not_read(self, path):
        secret = path.with_name("secret")
        secret.write_bytes(b"not yours" * 100)
        with h5py.File(path, "r+") as file:
            shape = file["loss"].shape
            del file["loss"]
            file.create_dataset("loss", shape, "f8", external=[(str(secret), 0, 8 * shape[0])])
        crafted.seal(path)
        with pytest.raises(
            ValueError, match=r"load: '.*run\.nc' has a valid checksum, but is no file .*: 'loss' is stored in"
        ):
            ol.load(path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda file: file.pop("loss"), "no solution that Solution.save wrote: it has no 'loss'"),
            (lambda file: file["result"].__setitem__((), 99), r"'result' holds \[99\], codes are 0 to 7"),
            (lambda file: file["final_gram"].__setitem__((0, 1), 0.5), "'final_gram' is not symmetric"),
            (lambda file: file["loss"].__setitem__(0, np.nan), "'loss' is not finite"),
            (
                lambda file: file.create_dataset("x", (10**13,), "f8"),
                "takes 80,000,000,000,000 bytes, of which 0 are there",
            ),
            (
                lambda file: file.__setitem__("step", file.pop("step") and file["loss"]),
                "'loss' and 'step' are two names",
            ),
            (lambda file: file.attrs.modify("model", file.attrs["model"].replace('"rank": 1', '"rank": 9')), "shape"),
        ],
        ids=["no loss", "unknown code", "not symmetric", "not finite", "size", "two names", "another layout"],
    )
    def test_what_is_wrong_is_said(self, change, words, path):
        with h5py.File(path, "r+") as file:
            change(file)
        crafted.seal(path)
        with pytest.raises(
            ValueError,
            match=f"load: '.*run\\.nc' has a valid checksum, but is {'' if 'no s' in words else 'no .*'}{words}",
        ):
            ol.load(path)

    def test_vectors_without_finite_overlaps_are_refused(self, path):
        trained().save(path)
        with h5py.File(path, "r+") as file:
            file["final_vectors"][0, 0] = 1e300
        crafted.seal(path)
        with pytest.raises(ValueError, match=r"load: '.*run\.nc' .*: the overlaps of 'final_vectors' are not finite"):
            ol.load(path)

    @pytest.mark.parametrize("early", [["a"], True, 10**30])
    def test_fields_that_are_not_what_their_class_says_are_refused(self, early, path):
        crafted.KINDS["report"].save(path)
        with h5py.File(path, "r+") as file:
            about = json.loads(file.attrs["overlap_learning_result"])
            about["fields"]["early"] = early
            file.attrs["overlap_learning_result"] = json.dumps(about)
        crafted.seal(path)
        with pytest.raises(ValueError, match=r"Validation\.load: '.*run\.nc' .*, but is no Validation"):
            ol.Validation.load(path)

    @pytest.mark.parametrize("kind", crafted.KINDS)
    def test_whatever_was_changed_the_file_is_refused_by_name_or_what_it_gives_is_sound(self, kind, tmp_path):
        path, outcomes = tmp_path / "crafted.nc", {}
        crafted.KINDS[kind].save(path)
        content = path.read_bytes()
        for seed in range(30):
            what = crafted.craft(content, path, seed)
            outcomes[f"{seed}: {what}"] = crafted.outcome(kind, path)
        assert {case: found for case, found in outcomes.items() if found not in ("refused", "sound")} == {}
        assert set(outcomes.values()) == {"refused", "sound"}

    def test_texts_that_lead_round_in_a_circle_are_refused_before_hdf5_follows_them(self, path):
        content = bytearray(path.read_bytes())
        check_heaps(content)
        first = content.find(b"GCOL") + 16
        # Free space of no length, after which HDF5 finds itself again.
        content[first : first + 16] = bytes(16)
        with pytest.raises(ValueError, match="one of its texts does not lead to the next"):
            check_heaps(content)


class TestPaths:
    @pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a" * 240 + ".nc"], ids=["255", "two bytes each", "243"])
    def test_any_name_that_the_disk_allows_is_written(self, name, tmp_path):
        stepped().save(tmp_path / name)
        assert_same(ol.load(tmp_path / name), stepped())
        assert [file.name for file in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize(
        ("path", "words"),
        [(None, "got None"), (b"run.nc", r"got b'run\.nc'; pass os\.fsdecode\(path\)"), ("a\0b", "without .* NUL"),
         ("", "got ''"), ("a" * 256, "at most 255 bytes, got one of 256"), (3, "got 3")],
        ids=repr,
    )  # fmt: skip
    @pytest.mark.parametrize("act", [lambda path: stepped().save(path), ol.load], ids=["save", "load"])
    def test_what_names_no_file_is_refused(self, act, path, words):
        with pytest.raises(ValueError, match=rf"^(save|load): path must be .* such as 'run\.nc'.*{words}"):
            act(path)
