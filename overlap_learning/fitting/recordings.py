"""Recordings: the activity of neurons over time and trials, with what is known of the trials."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from numpy.typing import ArrayLike

from overlap_learning.checks import refuse_masked
from overlap_learning.guides import guide

if TYPE_CHECKING:
    import xarray

_CALL = "ol.fitting.Recordings(activity, times=times, conditions=conditions)"


class Recordings(eqx.Module):
    """Activity of N neurons at T times of K trials, and what is known of the trials.

    Args:
        activity: rates (any real numbers) or counts, shape [K, T, N]. An `xarray.DataArray` with dimensions `trial`,
            `time`, `neuron`, in any order, brings along those coordinates that are named as the arguments here, in the
            singular (`condition`, `epoch`, `trial_id`) or as its dimension (`time`).
        times: the time of each step from an event, such as the go cue, shape [T], increasing, in any unit, which is
            that of every time of a fit; None: 0, 1, 2, ...
        conditions: of each trial, as numbers or texts, shape [K]; None: all the same.
        epochs: of each trial, such as "baseline", "adaptation", "washout", shape [K]; None: no epochs.
        trial_ids: the number of each trial in the experiment, shape [K], increasing: trials that were dropped leave
            gaps, over which trial factors may change more; None: 0, 1, 2, ...
        mask: True where there are data, shape [K, T, N] or what broadcasts to it ([K, 1, N]: neurons recorded in some
            trials only); None: everywhere.

    Raises:
        ValueError: if shapes do not fit together, a value is missing that the mask does not leave out, no trial of an
            epoch has data, a neuron has none or never changes.

    Source: the data of Pellegrino et al. 2023 are such a tensor.

    Examples:
        >>> activity = np.random.default_rng(0).normal(size=(6, 5, 3))
        >>> ol.fitting.Recordings(activity, times=np.linspace(-0.1, 0.3, 5), conditions=list("ababab"))
        Recordings: 6 trials x 5 times x 3 neurons
          times -0.1 to 0.3, 2 conditions, no epochs
          trials 0 to 5, 100 % of entries recorded
    """

    activity: np.ndarray
    times: np.ndarray
    conditions: np.ndarray
    condition_names: tuple[str, ...] = eqx.field(static=True)
    epochs: tuple[str, ...] | None = eqx.field(static=True)
    trial_ids: np.ndarray
    mask: np.ndarray

    def __init__(
        self,
        activity: "ArrayLike | xarray.DataArray",
        *,
        times: ArrayLike | None = None,
        conditions: Sequence[Any] | ArrayLike | None = None,
        epochs: Sequence[Any] | ArrayLike | None = None,
        trial_ids: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ):
        if hasattr(activity, "dims"):
            activity, found = _from_xarray(activity)
            times = found.get("time") if times is None else times
            conditions = found.get("condition") if conditions is None else conditions
            epochs = found.get("epoch") if epochs is None else epochs
            trial_ids = found.get("trial_id") if trial_ids is None else trial_ids
        values = _array(activity, "activity")
        if values.ndim != 3 or 0 in values.shape:
            raise ValueError(
                f"Recordings: activity must have shape [trials, times, neurons], none of them 0, got "
                f"{list(values.shape)}: {_CALL}."
            )
        n_trials, n_times, _ = values.shape
        recorded = _mask(mask, values)
        self.mask = recorded
        self.activity = np.where(recorded, values, values.dtype.type(0))
        self.times = _increasing(times, n_times, "times")
        self.trial_ids = _increasing(trial_ids, n_trials, "trial_ids")
        names = ["all"] * n_trials if conditions is None else _labels(conditions, n_trials, "conditions")
        self.condition_names = tuple(dict.fromkeys(names))
        self.conditions = np.array([self.condition_names.index(name) for name in names])
        self.epochs = None if epochs is None else tuple(_labels(epochs, n_trials, "epochs"))
        self._check_contents()

    def _check_contents(self) -> None:
        has_data = np.asarray(self.mask.any(axis=(1, 2)))
        for kind, labels in (("epoch", self.epochs), ("condition", self._named_conditions)):
            for name in dict.fromkeys(labels or ()):
                if not has_data[[label == name for label in labels or ()]].any():
                    raise ValueError(
                        f"Recordings: no trial of {kind} {name!r} has data; leave its trials out of every argument."
                    )
        counts = self.mask.sum(axis=(0, 1))
        mean = self.activity.sum(axis=(0, 1)) / np.maximum(counts, 1)
        spread = np.where(self.mask, np.abs(self.activity - mean), 0).max(axis=(0, 1))
        still = np.flatnonzero(spread <= 8 * np.finfo(self.activity.dtype).eps * np.abs(mean))
        if still.size:
            raise ValueError(
                f"Recordings: {still.size} of {self.n_neurons} neurons have no data or never change, the first of them "
                f"number {still[0]}; leave them out: activity[:, :, keep] with keep = activity.std(axis=(0, 1)) > 0."
            )

    @property
    def n_trials(self) -> int:
        """K."""
        return self.activity.shape[0]

    @property
    def n_times(self) -> int:
        """T."""
        return self.activity.shape[1]

    @property
    def n_neurons(self) -> int:
        """N."""
        return self.activity.shape[2]

    @property
    def _named_conditions(self) -> tuple[str, ...]:
        return tuple(self.condition_names[number] for number in self.conditions)

    @property
    def are_counts(self) -> bool:
        """Whether every value is a whole number of at least 0."""
        values = self.activity[self.mask]
        return bool(np.all(values >= 0) and np.all(values == np.round(values)))

    def to_xarray(self) -> "xarray.DataArray":
        """The activity with labelled axes; NaN where the mask is False."""
        import xarray

        coords: dict[str, Any] = {
            "time": self.times,
            "trial_id": ("trial", self.trial_ids),
            "condition": ("trial", list(self._named_conditions)),
        }
        if self.epochs is not None:
            coords["epoch"] = ("trial", list(self.epochs))
        values = np.where(self.mask, self.activity, np.nan)
        return xarray.DataArray(values, coords, ("trial", "time", "neuron"), name="activity")

    @classmethod
    def from_mat(cls, path: str | os.PathLike[str], fields: Mapping[str, str], *, axes: str) -> "Recordings":
        """Recordings from a MATLAB file: up to version 7 by scipy, of version 7.3 (HDF5) by h5py.

        Args:
            path: the file.
            fields: the field of the file for each argument of `Recordings`: `{"activity": "rates", "times": "t"}`. A
                field within a struct is `"session.rates"`.
            axes: the order of the axes of the activity as MATLAB shows it, of the letters k (trials), t (times) and n
                (neurons): "nkt" for size(rates) = [neurons trials times].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a field is missing, which names those that there are.
        """
        from overlap_learning.fitting.readers import read_mat

        return cls(**read_mat(path, fields, axes))

    @classmethod
    def from_nwb(
        cls,
        path: str | os.PathLike[str],
        *,
        align: str,
        window: tuple[float, float],
        bin_width: float,
        condition: str | None = None,
        epoch: str | None = None,
    ) -> "Recordings":
        """Spike counts of the sorted units of an NWB file, in bins around an event of each trial.

        Needs pynwb. Trials whose event is missing are left out, and leave a gap in `trial_ids`. Entries of a unit
        outside its `obs_intervals`, if the file has them, are masked.

        Args:
            path: the file.
            align: the column of the trials table with the time of the event, such as "go_cue_time".
            window: the first and last edge of the bins, in seconds from the event.
            bin_width: in seconds.
            condition: the column with the condition of a trial; None: all the same.
            epoch: the column with its epoch; None: no epochs.

        Raises:
            ImportError: if pynwb is not installed.
            FileNotFoundError: if there is no such file.
            ValueError: if a table or a column is missing, which names those that there are.
        """
        from overlap_learning.fitting.readers import read_nwb

        return cls(**read_nwb(path, align, window, bin_width, condition, epoch))

    def __repr__(self) -> str:
        epochs = "no epochs" if self.epochs is None else f"epochs {', '.join(dict.fromkeys(self.epochs))}"
        n_conditions = len(self.condition_names)
        return "\n".join([
            f"Recordings: {self.n_trials} trials x {self.n_times} times x {self.n_neurons} neurons",
            f"  times {self.times[0]:g} to {self.times[-1]:g}, {n_conditions} condition{'s' * (n_conditions > 1)}, "
            f"{epochs}",
            f"  trials {self.trial_ids[0]:g} to {self.trial_ids[-1]:g}, {100 * self.mask.mean():.3g} % of entries "
            "recorded",
        ])  # fmt: skip


def check_recordings(recordings: Any, caller: str) -> None:
    """Refuse what is no `Recordings`.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(recordings, Recordings):
        raise ValueError(
            f"{caller}: recordings must be ol.fitting.Recordings, got {type(recordings).__name__}; make one: {_CALL}."
        )


def warn_of_counts(recordings: Recordings, caller: str) -> None:
    """Warn that counts are given to a Gaussian likelihood."""
    if recordings.are_counts:
        warnings.warn(
            f"{caller}: the activity holds whole numbers, and the likelihood is Gaussian, whose noise is the same at "
            "every rate. For spike counts use likelihood=ol.fitting.Poisson(); or smooth them to rates first.",
            stacklevel=3,
        )


def _array(value: Any, name: str) -> np.ndarray:
    refuse_masked(value, f"Recordings: {name}")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
    except (TypeError, ValueError) as error:
        raise ValueError(f"Recordings: {name} must be an array of real numbers ({error}).") from None
    return array if array.dtype.kind == "f" else array.astype(float)


def _mask(mask: Any, values: np.ndarray) -> np.ndarray:
    """Where there are data, shape [K, T, N].

    Raises:
        ValueError: if it does not fit, or a value that is not finite is not left out.
    """
    if mask is None:
        recorded = np.ones(values.shape, bool)
    else:
        recorded = np.asarray(mask)
        if recorded.dtype != bool:
            raise ValueError(
                f"Recordings: mask must be True where there are data, and False elsewhere, got dtype {recorded.dtype}."
            )
        try:
            recorded = np.broadcast_to(recorded, values.shape)
        except ValueError:
            raise ValueError(
                f"Recordings: mask must have the shape of the activity, {list(values.shape)}, or broadcast to it, got "
                f"{list(recorded.shape)}."
            ) from None
    bad = recorded & ~np.isfinite(values)
    if bad.any():
        first = np.argwhere(bad)[0]
        parts = [len(np.unique(where)) for where in np.nonzero(bad)]
        raise ValueError(
            f"Recordings: {bad.sum():,} of {bad.size:,} values are NaN or infinite, in {parts[0]} trials, {parts[1]} "
            f"times and {parts[2]} neurons, the first at trial {first[0]}, time {first[1]}, neuron {first[2]} (counted "
            f"from 0). If they are missing data, say so: mask=np.isfinite(activity).{guide('recordings')}"
        )
    return recorded


def _increasing(value: Any, n: int, name: str) -> np.ndarray:
    if value is None:
        return np.arange(n, dtype=float)
    array = _array(value, name).astype(float)
    if array.shape != (n,):
        raise ValueError(f"Recordings: {name} must have shape {[n]}, one for each, got {list(array.shape)}.")
    if not (np.all(np.isfinite(array)) and np.all(np.diff(array) > 0)):
        where = int(np.argmin(np.diff(array) > 0))
        raise ValueError(
            f"Recordings: {name} must increase, got {array[where]:g} and then {array[where + 1]:g} (numbers {where} "
            f"and {where + 1})."
        )
    return array


def _labels(value: Any, n: int, name: str) -> list[str]:
    labels = list(np.asarray(value).tolist())
    if len(labels) != n:
        raise ValueError(f"Recordings: {name} must have one entry for each of the {n} trials, got {len(labels)}.")
    missing = [i for i, label in enumerate(labels) if label is None or label == "" or label != label]
    if missing:
        raise ValueError(
            f"Recordings: {name} must say something of each trial; {len(missing)} entries are missing, the first of "
            f"trial {missing[0]} (counted from 0)."
        )
    return [f"{label:g}" if isinstance(label, float) else str(label) for label in labels]


def _from_xarray(data: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    wanted = ("trial", "time", "neuron")
    if set(data.dims) != set(wanted):
        raise ValueError(
            f"Recordings: a DataArray must have the dimensions {', '.join(wanted)}, got "
            f"{', '.join(map(str, data.dims))}; rename them: data.rename(...)."
        )
    names = ("time", "condition", "epoch", "trial_id")
    return data.transpose(*wanted).values, {name: data[name].values for name in names if name in data.coords}
