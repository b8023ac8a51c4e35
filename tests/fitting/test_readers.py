"""Recordings from files and labelled arrays."""

import datetime
import sys

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from overlap_learning import fitting

RATES = np.random.default_rng(0).normal(size=(4, 6, 5))


def test_a_labelled_array_comes_back():
    first = fitting.Recordings(
        RATES, times=np.arange(6) / 10, conditions=list("abab"), epochs=["x", "x", "y", "y"], trial_ids=[0, 1, 5, 6],
        mask=RATES < 2,
    )  # fmt: skip
    labelled = first.to_xarray().transpose("neuron", "time", "trial")
    again = fitting.Recordings(labelled, mask=np.isfinite(labelled.transpose("trial", "time", "neuron")))
    assert repr(again) == repr(first)
    np.testing.assert_array_equal(again.activity, first.activity)
    np.testing.assert_array_equal(again.trial_ids, [0, 1, 5, 6])


def test_matlab_files_are_read_in_both_formats(tmp_path):
    shown = RATES.transpose(2, 0, 1)
    savemat(tmp_path / "old.mat", {"session": {"rates": shown, "t": np.arange(6.0)}, "target": ["L", "R", "L", "R"]})
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["session/rates"], file["session/t"] = shown.T, np.arange(6.0)[:, None]
        references = []
        for i, text in enumerate("LRLR"):
            file[f"refs/{i}"] = np.array([[ord(text)]], np.uint16)
            references.append(file[f"refs/{i}"].ref)
        file.create_dataset("target", data=np.array([references], h5py.ref_dtype))
        file["target"].attrs["MATLAB_class"] = np.bytes_("cell")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    content = (tmp_path / "new.mat").read_bytes()
    (tmp_path / "new.mat").write_bytes(header.ljust(512, b"\0") + content[512:])
    fields = {"activity": "session.rates", "times": "session.t", "conditions": "target"}
    for name in ("old.mat", "new.mat"):
        found = fitting.Recordings.from_mat(tmp_path / name, fields, axes="nkt")
        np.testing.assert_array_equal(found.activity, RATES)
        assert found.condition_names == ("L", "R")
        with pytest.raises(ValueError, match=r"no field 'session.speed'; there are: rates, t"):
            fitting.Recordings.from_mat(tmp_path / name, {"activity": "session.speed"}, axes="nkt")


def test_spikes_of_an_nwb_file_are_counted_around_the_events_of_trials(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    file = pynwb.NWBFile("a session", "a", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    file.add_trial_column("go", "the cue")
    file.add_trial_column("side", "of the target")
    for go, side in ((1.0, "L"), (np.nan, "R"), (3.0, "R")):
        file.add_trial(start_time=0.0, stop_time=4.0, go=go, side=side)
    file.add_unit(spike_times=[0.95, 1.05, 1.06, 3.15], obs_intervals=[[0.0, 4.0]])
    file.add_unit(spike_times=[1.15, 2.0, 3.05], obs_intervals=[[0.0, 3.12]])
    with pynwb.NWBHDF5IO(tmp_path / "a.nwb", "w") as writer:
        writer.write(file)
    found = fitting.Recordings.from_nwb(
        tmp_path / "a.nwb", align="go", window=(0, 0.2), bin_width=0.1, condition="side"
    )
    np.testing.assert_array_equal(found.activity, [[[2, 0], [0, 1]], [[0, 1], [1, 0]]])
    np.testing.assert_array_equal(found.mask, [[[True, True], [True, True]], [[True, True], [True, False]]])
    np.testing.assert_array_equal(found.trial_ids, [0, 2])
    assert found.condition_names == ("L", "R")


def test_without_pynwb_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynwb", None)
    (tmp_path / "a.nwb").touch()
    with pytest.raises(ImportError, match=r"pip install 'overlap_learning\[fitting\]'"):
        fitting.Recordings.from_nwb(tmp_path / "a.nwb", align="go", window=(0, 1), bin_width=0.1)
