"""Twins: networks that start alike, learn different tasks, then the same one: what is left (Figs. 4d-f, 9, 10)."""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.checkpoint import Checkpoint, part_of
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.schedule import LossSchedule
from overlap_learning.model.activations import Erf
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.plot.style import FONT_SIZE, FULL, THEORY, legend_above, symbol
from overlap_learning.studies.memory.decoding import decode_history, decode_single_twins
from overlap_learning.studies.memory.twins import Twins, random_starts, train_twins
from overlap_learning.tasks.decision_making import decision_making
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.stream import stream
from overlap_learning.tasks.teacher import teacher

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL = Model(Layout(n_in=1, rank=1, n_out=1), Erf())


@dataclass(frozen=True)
class Settings:
    """The published settings; networks of full size are added to them.

    Args:
        n_pairs: pairs of twins.
        n_neurons: N.
        n_trials: trials per learning step.
        dt: the Euler step.
        learning_rate: eta of the first phase,
        threshold: until the loss is at or below this;
        drop: from then on it is multiplied by this.
        n_steps: learning steps of the first phase.
        common_learning_rate: eta of the common task.
        n_common_steps: its learning steps.
        training_noise: noise on the features that decoders are trained on: on standardised ones, and, as another case,
            on the overlaps as they are.
        n_flips: the most flips of signs of pairs that a p-value compares.
        seed: of starts, neurons and trials.
    """

    n_pairs: int = 10
    n_neurons: int = 500
    n_trials: int = 128
    dt: float = 0.05
    learning_rate: float = 0.01
    threshold: float = 0.015
    drop: float = 0.2
    n_steps: int = 30_000
    common_learning_rate: float = 0.001
    n_common_steps: int = 30_000
    training_noise: float = 0.3
    n_flips: int = 10_000
    seed: int = 0


PUBLISHED = Settings()
#: Fewer and larger steps, for a CPU: two thirds of the learning time of the first phase, all of the common task's.
#: Networks are smaller and pairs are more than published.
REDUCED = Settings(
    n_pairs=24,
    n_neurons=128,
    n_trials=16,
    dt=0.1,
    learning_rate=0.05,
    n_steps=4000,
    common_learning_rate=0.01,
    n_common_steps=3000,
)
STANDARD = REDUCED
QUICK = Settings(
    n_pairs=6,
    n_neurons=64,
    n_trials=8,
    dt=0.2,
    learning_rate=0.1,
    n_steps=300,
    common_learning_rate=0.02,
    n_common_steps=300,
)


class Runs(NamedTuple):
    """The same starts in theory and at full N."""

    theory: Twins
    full: Twins


def learn(settings: Settings, *, progress: bool | None = None, checkpoint: Checkpoint | None = None) -> Runs:
    """Twins learn the flip-flop (A) or decision making (B), and then both a teacher (C): in theory and at full N.

    Theory and networks have the same starts and see the same trials. Networks learn in single precision.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.
        checkpoint: where to write down, every so many steps, where the runs are; a run that was cut off goes on there.
    """
    start_key, neuron_key, key = jax.random.split(jax.random.key(settings.seed), 3)
    starts = random_starts(MODEL.layout, settings.n_pairs, key=start_key)
    neurons = Network.sample(starts, settings.n_neurons, key=neuron_key)
    neurons = Network(neurons.vectors.astype(jnp.float32), MODEL.layout)
    shared = {"n_trials": settings.n_trials, "dt": settings.dt}
    first = (
        stream(flip_flop, **shared, wait_range=(1.0, 2.0), input_amplitude=2.0, target_amplitude=1.0),
        stream(decision_making, **shared),
    )
    rate = LossSchedule(settings.learning_rate, below=settings.threshold, factor=settings.drop)
    rules = (
        GradientDescent(rate, settings.n_steps, save_every=max(1, settings.n_steps // 100)),
        GradientDescent(
            settings.common_learning_rate, settings.n_common_steps, save_every=max(1, settings.n_common_steps // 100)
        ),
    )
    theory, full = (
        train_twins(
            MODEL, first, stream(teacher, **shared), begin, rules, key=key, progress=progress,
            checkpoint=part_of(checkpoint, name),
        )
        for name, begin in (("theory", starts), ("full", neurons))
    )  # fmt: skip
    return Runs(theory, full)


@functools.lru_cache(maxsize=1)
def experiment(
    settings: Settings = PUBLISHED, *, progress: bool | None = None, checkpoint: Checkpoint | None = None
) -> "xarray.Dataset":
    """The learning of all twins, and how well their history is decoded from what is left of it.

    Args:
        settings: the sizes of the experiment.
        progress: as in `learn`.
        checkpoint: as in `learn`.

    Returns:
        A dataset. The variables of the twins begin with `theory_` and `full_`; `accuracy` of decoders of the difference
        of twins, its confidence interval from `low` to `high`, `p_value` of sign flips, and `single_accuracy` of the
        published decoders of single twins have the dimensions `kind` (theory, full), `after` (the first or the common
        task), `noise` on the training features (none, standardised, raw) and `features`: "visible", "invisible", and
        each overlap alone.
    """
    return dataset(settings, learn(settings, progress=progress, checkpoint=checkpoint))


def dataset(settings: Settings, runs: Runs) -> "xarray.Dataset":
    """The dataset of `experiment`, from what was learned."""
    import xarray

    groups = {"visible": MODEL.visible_names, "invisible": MODEL.invisible_names}
    groups |= {name: (name,) for name in (*MODEL.visible_names, *MODEL.invisible_names)}
    sigma = settings.training_noise
    noises = {"none": {}, "standardised": {"training_noise": sigma}, "raw": {"measurement_noise": sigma}}

    cells = itertools.count()

    def decode(twins, after_common, noise, names):
        features = twins.features(names, after_common=after_common)
        # Another key, and so other noise, for each number.
        key = jax.random.fold_in(jax.random.key(settings.seed), next(cells))
        pairs = decode_history(*features, key=key, n_flips=settings.n_flips, **noise)
        # Its p-value would take most of the time and finds less.
        single = decode_single_twins(*features, key=key, n_permutations=1, **noise)
        return *pairs, single.accuracy

    found = np.array(
        [
            [
                [[decode(twins, after_common, noise, names) for names in groups.values()] for noise in noises.values()]
                for after_common in (False, True)
            ]
            for twins in runs
        ]
    )
    dims = ("kind", "after", "noise", "features")
    meanings = {
        "accuracy": "share of held-out pairs of which it was decoded which twin had which history",
        "low": "lower end of the 95 % confidence interval of the accuracy",
        "high": "upper end of the 95 % confidence interval of the accuracy",
        "p_value": "share of flips of the signs of pairs that look at least as much like a history",
        "n_pairs": "pairs of twins whose learning ended well",
        "single_accuracy": "share of held-out twins whose history was decoded without the other twin of its pair",
    }
    decoding = xarray.Dataset(
        {
            name: (dims, found[..., i], {"long_name": meaning, "units": "1"})
            for i, (name, meaning) in enumerate(meanings.items())
        },
        coords={
            "kind": list(runs._fields),
            "after": ["first", "common"],
            "noise": list(noises),
            "features": list(groups),
        },
    )
    parts = []
    for name, twins in zip(runs._fields, runs, strict=True):
        data = twins.to_xarray()
        parts.append(data.rename({old: f"{name}_{old}" for old in data.data_vars}))
    data = xarray.merge([decoding, *parts], combine_attrs="drop", join="exact", compat="equals")
    return data.assign_attrs(n_neurons=settings.n_neurons)


# -- figures ---------------------------------------------------------------------------------------------------------


def _figure(draw: "Callable[[xarray.Dataset], Figure]", number: str) -> Callable[..., Reproduction]:
    """The function of the gallery that makes a figure, from the one that draws the data of `experiment`."""

    def figure(
        settings: Settings = PUBLISHED, *, progress: bool | None = None, checkpoint: Checkpoint | None = None
    ) -> Reproduction:
        import xarray

        data = experiment(settings, progress=progress, checkpoint=checkpoint)
        found = collect(draw(data), settings, _numbers(data), _notes(data))
        return found._replace(
            data=xarray.merge([found.data, data], combine_attrs="override", join="exact", compat="equals")
        )

    figure.__doc__ = f"""{draw.__doc__}

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.
        checkpoint: where to write down, every so many steps, where the runs are; a run that was cut off goes on there.

    Source: Ger & Barak 2026, Fig. {number}.
    """
    return figure


def _numbers(data: "xarray.Dataset") -> list[Number]:
    numbers = []
    for kind in KINDS:
        for phase, tasks in (("first", ("A", "B")), ("common", ("C after A", "C after B"))):
            # Each loss is that of its own step's trials: the mean over the last tenth.
            loss = data[f"{kind}_{phase}_loss"].values
            ends = loss[:, data[f"{kind}_good"].values == 1, -max(1, loss.shape[-1] // 10) :].mean(axis=-1)
            for task, values in zip(tasks, ends, strict=True):
                error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
                numbers.append(Number(f"loss, {task}, {KINDS[kind]}", float(values.mean()), error))
    for kind in KINDS:
        for after, when in (("first", "after A or B"), ("common", "after C")):
            for noise, text in NOISES.items():
                for features in ("visible", "invisible"):
                    here = data.sel(kind=kind, after=after, noise=noise, features=features)
                    name = f"accuracy, {features}, {when}, {text}, {KINDS[kind]}"
                    # The half width of the interval is two standard errors.
                    numbers.append(Number(name, float(here["accuracy"]), float(here["high"] - here["low"]) / 4))
                    numbers.append(Number(name.replace("accuracy", "p"), float(here["p_value"])))
                    numbers.append(
                        Number(name.replace("accuracy", "accuracy of single twins"), float(here["single_accuracy"]))
                    )
    return numbers


def _notes(data: "xarray.Dataset") -> tuple[str, ...]:
    return (
        f"{len(data['pair'])} pairs. Theory and networks have the same starts and see the same trials.",
        "Decoders are given the difference of the twins of a pair, and are tested on pairs that they did not see; "
        "chance is 1/2. Decoders of single twins are as published, but see neither twin of a pair that they are tested "
        "on. Errors of accuracies are a quarter of their 95 % confidence intervals, which the data hold. p-values are "
        "of flips of the signs of pairs: they are about other starts, on the same trials.",
        "Noise is on the features that a decoder is trained on: on standardised ones, in units of their spread over "
        "twins and pairs, or on raw ones, the overlaps themselves, where it hides differences below its own size.",
    )


# -- drawing ---------------------------------------------------------------------------------------------------------

KINDS = {"theory": "theory", "full": "full N"}
NOISES = {"none": "no noise", "standardised": "noise, standardised", "raw": "noise, raw"}
FACES = {"none": "full", "standardised": "none", "raw": "left"}
LOOKS: dict[str, dict[str, Any]] = {
    "theory": {"color": THEORY.colour, "marker": "o"},
    "full": {"color": FULL.colour, "marker": "s"},
}


def draw_decoding(data: "xarray.Dataset") -> "Figure":
    """Losses of both phases, and the accuracy from visible and invisible overlaps after each."""
    figure, panels = page(f"Fig. 4d-f: {_what(data)}", 2, 2, width=5.2)
    for ax, phase, labels in ((panels[0], "first", ("A", "B")), (panels[1], "common", ("C after A", "C after B"))):
        for kind in KINDS:
            time, loss = (data[f"{kind}_{phase}_{name}"].values for name in ("time", "loss"))
            for history, (label, style) in enumerate(zip(labels, ("-", (0, (4, 1.5))), strict=True)):
                ax.plot(
                    time[history].mean(axis=0), np.median(loss[history], axis=0), linestyle=style, linewidth=1.4,
                    color=LOOKS[kind]["color"], label=f"{label}, {KINDS[kind]}",
                )  # fmt: skip
        ax.set(yscale="log", xlabel=r"learning time $\tau$, mean over pairs", ylabel="loss, median over pairs")
        legend_above(ax, ncols=2)
    for ax, after, title in ((panels[2], "first", "after A or B"), (panels[3], "common", "after C")):
        _accuracies(ax, data.sel(after=after), ["visible", "invisible"], ["visible", "invisible"])
        ax.set_xlabel(f"overlaps decoded from, {title}")
    return figure


def draw_overlaps(data: "xarray.Dataset") -> "Figure":
    """Each overlap after the common task, twins with the second history against those with the first."""
    names = (*MODEL.visible_names, *MODEL.invisible_names)
    figure, panels = page(f"Fig. 9: after C, {_what(data)}", 2, 5, width=3.0, height=3.0)
    for ax, name in zip(panels, names, strict=True):
        every = []
        for kind in KINDS:
            values = data[f"{kind}_common_final"].sel(overlap=name).values
            ax.plot(*values, linestyle="none", markersize=4.5, markerfacecolor="none", label=KINDS[kind], **LOOKS[kind])
            every.append(values)
        ends = [np.min(every), np.max(every)]
        ax.plot(ends, ends, color="0.6", linewidth=0.9, zorder=0)
        ax.set_title(f"{symbol(name)}, {'visible' if name in MODEL.visible_names else 'invisible'}", fontsize=FONT_SIZE)
        ax.set(xlabel="C after A", ylabel="C after B")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_single_overlaps(data: "xarray.Dataset") -> "Figure":
    """The accuracy of decoders of one overlap each, after each phase, without and with noise."""
    names = [*MODEL.visible_names, *MODEL.invisible_names]
    figure, panels = page(f"Fig. 10: {_what(data)}", 2, 1, width=9.0, height=3.6)
    for ax, after, title in ((panels[0], "first", "after A or B"), (panels[1], "common", "after C")):
        _accuracies(ax, data.sel(after=after), names, [symbol(name) for name in names])
        ax.axvline(len(MODEL.visible_names) - 0.5, color="0.8", linewidth=0.9)
        ax.set_xlabel(f"overlap decoded from, {title} (visible left, invisible right of the line)")
    return figure


def _what(data: "xarray.Dataset") -> str:
    return f"{len(data['pair'])} pairs of twins, erf networks of rank 1, theory and N = {data.attrs['n_neurons']:,}"


def _accuracies(ax: "Axes", data: "xarray.Dataset", features: Sequence[str], labels: Sequence[str]) -> None:
    """Accuracies with their confidence intervals, of both kinds, without and with noise, and chance.

    Crosses are decoders of single twins.
    """
    looks = [(kind, noise) for kind in KINDS for noise in NOISES]
    for i, (kind, noise) in enumerate(looks):
        at = np.arange(len(features)) + 0.13 * (i - (len(looks) - 1) / 2)
        here = data.sel(kind=kind, noise=noise, features=list(features))
        accuracy = here["accuracy"].values
        ax.errorbar(
            at, accuracy, yerr=[accuracy - here["low"].values, here["high"].values - accuracy], linestyle="none",
            markersize=5, fillstyle=FACES[noise], markerfacecoloralt="white", capsize=2, linewidth=0.9,
            label=f"{KINDS[kind]}, {NOISES[noise]}", **LOOKS[kind],
        )  # fmt: skip
        ax.plot(
            at, here["single_accuracy"].values, "x", color=LOOKS[kind]["color"], markersize=4, markeredgewidth=0.9,
            label="single twins" if i == len(looks) - 1 else None,
        )  # fmt: skip
    ax.axhline(0.5, color="0.6", linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    ax.annotate("chance", (1.0, 0.5), xycoords=("axes fraction", "data"), xytext=(-3, 3), textcoords="offset points",
                ha="right", fontsize=FONT_SIZE - 1, color="0.4")  # fmt: skip
    ax.set_xticks(range(len(features)), list(labels))
    ax.set_xlim(-0.6, len(features) - 0.4)
    ax.set_ylim(0.0, 1.05)
    ax.set_ylabel("share decoded")
    legend_above(ax, ncols=3 if len(features) > 2 else 2)


figure_4d = _figure(draw_decoding, "4d-f")
figure_9 = _figure(draw_overlaps, "9")
figure_10 = _figure(draw_single_overlaps, "10")
