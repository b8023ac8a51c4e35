"""Nonlinear: tasks learned by all connections with and without a random bulk (Schuessler et al. 2020)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.kit.page import page, telling_trial
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import adam, random_network
from overlap_learning.gallery.schuessler.published import PUBLISHED, PUBLISHED_VALUES
from overlap_learning.learning.checkpoint import Checkpoint, part_of
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Tanh
from overlap_learning.model.activity import simulate
from overlap_learning.model.bulk import BULK, RandomBulk
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.neurons.arrays import Arrays
from overlap_learning.plot.style import COLOURS
from overlap_learning.studies.connectivity import (
    RankOfChange,
    connectivity_change,
    convergence_step,
    rank_of_change,
    shuffled_bulk_loss,
)
from overlap_learning.tasks import flip_flop_channels, mante, romo
from overlap_learning.tasks.stream import TaskStream, stream
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENERATORS = {"flip-flop": flip_flop_channels, "mante": mante, "romo": romo}
#: Of the loss before training: below it a network has learned, and a cut at a rank has kept what it learned.
SHARE = 0.05


@dataclass(frozen=True)
class Settings:
    """The published settings.

    Args:
        n_neurons: N.
        tasks: of "flip-flop", "mante" and "romo".
        n_steps: learning steps, of each task.
        strengths: g of each task, for Fig. 2.
        curves: g of Fig. 1.
        n_instances: networks for each g of Fig. 2.
        shown: which of them Fig. 1 shows.
        learning_rate: of Adam, times N.
        n_trials: fresh ones at each step.
        n_test_trials: on which losses of trained networks are measured.
        n_ranks: at which changes are cut off.
        seed: of the networks and the trials.
    """

    n_neurons: int = 256
    tasks: tuple[str, ...] = ("flip-flop", "mante", "romo")
    n_steps: tuple[int, ...] = (1000, 2000, 6000)
    strengths: tuple[tuple[float, ...], ...] = (
        (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1),
        (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7),
        (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7, 3.0),
    )
    curves: tuple[float, ...] = (0.0, 0.9)
    n_instances: int = 5
    shown: int = 3
    learning_rate: float = 0.05
    n_trials: int = 32
    n_test_trials: int = 512
    n_ranks: int = 26
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(
    n_neurons=128, tasks=("flip-flop",), n_steps=(300,), strengths=((0.0, 0.9, 1.5),), n_instances=2, shown=0,
    n_test_trials=64, n_ranks=13,
)  # fmt: skip


class Trained(NamedTuple):
    """A network before training, its model, and how it learned."""

    model: Model
    start: BulkNetwork
    solution: Solution

    @property
    def final(self) -> BulkNetwork:
        """The trained network."""
        assert isinstance(self.solution.final, BulkNetwork)
        return self.solution.final

    @property
    def first_loss(self) -> float:
        """The loss before the first step, on its trials."""
        return float(self.solution.loss[0])


def trained(
    settings: Settings, name: str, g: float, instance: int, progress: bool | None, checkpoint: Checkpoint | None
) -> Trained:
    """A network that learned a task: tanh, and Adam on `W_in`, `W` and `W_out`, in single precision, as published."""
    trials, n = _stream(settings, name), settings.n_neurons
    layout = Layout(trials.outline.n_in, 0, trials.outline.n_out)
    bulk = RandomBulk(g)
    model = Model(layout, Tanh(), bulk=bulk)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), instance), round(1000 * g))
    of_vectors, of_bulk, of_trials = jax.random.split(key, 3)
    vectors = random_network(layout, n, of_vectors).vectors.astype(jnp.float32)
    start = BulkNetwork(vectors, layout, bulk.sample(n, of_bulk))
    steps = settings.n_steps[settings.tasks.index(name)]
    rule = adam(settings.learning_rate / n, steps, save_every=1, rates={BULK: 1.0})
    solution = train(
        model, trials, start, rule, of_trials,
        arrays=Arrays({"z": n}, per_neuron=False), throw=False, progress=progress,
        checkpoint=part_of(checkpoint, f"{name}-g{g:g}-{instance}"),
    )  # fmt: skip
    return Trained(model, start, solution)


def figure_1(
    settings: Settings = STANDARD, *, progress: bool | None = None, checkpoint: Checkpoint | None = None
) -> Reproduction:
    """Output, loss, singular values of the change, and the loss with the change cut off at each rank, by task.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.
        checkpoint: where runs write down where they are.

    Source: Schuessler et al. 2020, Fig. 1.
    """
    title = "Fig. 1: all connections learn, and the change has low rank"
    figure, panels = page(title, len(settings.tasks), 4)
    numbers: list[Number] = []
    arrays: dict[str, Any] = {}
    for row, name in enumerate(settings.tasks):
        output, loss, values, cut = panels[4 * row : 4 * row + 4]
        test = _test_trials(settings, name)
        trial = telling_trial(test)
        for g, colour in zip(settings.curves, COLOURS, strict=False):
            run = trained(settings, name, g, settings.shown, progress, checkpoint)
            found = rank_of_change(run.start, run.final, run.model, test, ranks=settings.n_ranks)
            y = np.asarray(simulate(run.model, run.final, test.astype(jnp.float32)))[trial]
            relative = np.asarray(run.solution.loss) / run.first_loss
            case, label = f"{name}, g = {g:g}", f"g = {g:g}"
            _outputs(output, test, y, trial, colour, label, with_target=g == settings.curves[-1])
            loss.semilogy(relative, color=colour, linewidth=0.8, label=label)
            s = np.asarray(found.change.singular_values)[:10]
            values.plot(np.arange(1, s.size + 1), s, "o-", color=colour, markersize=3.5, label=label)
            cut.plot(found.ranks, found.loss / run.first_loss, "o-", color=colour, markersize=3, label=label)
            numbers += _numbers_1(settings, case, run, found)
            prefix = f"{name}_g{g:g}"
            arrays |= {
                f"{prefix}_loss": ((f"{name}_step",), np.asarray(run.solution.loss), "loss on each step's trials"),
                f"{prefix}_singular_values": (("value",), s, "of the change of W"),
                f"{prefix}_cut_loss": (("rank",), np.asarray(found.loss), "loss with the change cut off"),
                f"{prefix}_output": ((f"{name}_time", f"{name}_output"), y, "output in the trial shown"),
            }
        loss.axhline(SHARE, color="0.6", linewidth=0.8, linestyle=":")
        cut.axhline(SHARE, color="0.6", linewidth=0.8, linestyle=":")
        output.set(xlabel="time in the trial", ylabel=f"{name}: output")
        loss.set(xlabel="step", ylabel="loss / first loss")
        values.set(xlabel="index", ylabel=r"singular value of $\Delta W$", ylim=(0, None))
        cut.set(xlabel=r"rank of $\Delta W$ that is kept", ylabel="loss / first loss")
        for ax in (output, loss, values, cut):
            ax.legend(frameon=False, fontsize=8)
    return collect(figure, settings, numbers, _NOTES, arrays=arrays)


def figure_2(
    settings: Settings = STANDARD, *, progress: bool | None = None, checkpoint: Checkpoint | None = None
) -> Reproduction:
    """Steps to learn, norm of the change, loss with W0 shuffled, and functional rank, over the strength of the bulk.

    Args:
        settings: the sizes of the experiment.
        progress: show progress bars; None: if a person is watching.
        checkpoint: where runs write down where they are.

    Source: Schuessler et al. 2020, Fig. 2.
    """
    figure, panels = page("Fig. 2: what a random bulk does to learning with all connections", 2, 2)
    numbers: list[Number] = []
    arrays: dict[str, Any] = {}
    for name, strengths, colour in zip(settings.tasks, settings.strengths, COLOURS, strict=False):
        found = np.stack([
            [measured(settings, name, g, i, progress, checkpoint) for i in range(settings.n_instances)]
            for g in strengths
        ])  # fmt: skip
        arrays[f"{name}_g"] = ((f"{name}_g",), np.asarray(strengths), "strength of W0")
        # As published, a mean is over networks of a g all of which learned.
        all_learned = np.isfinite(found).all(axis=(1, 2))
        for k, (ax, measure) in enumerate(zip(panels, MEASURES, strict=True)):
            mean, spread = found[..., k].mean(axis=1), found[..., k].std(axis=1)
            x = np.asarray(strengths)[all_learned]
            ax.errorbar(x, mean[all_learned], spread[all_learned], color=colour, marker="o", markersize=3.5, label=name)
            table = PUBLISHED[name][measure]
            ax.plot(list(table), list(table.values()), "x", color=colour, markersize=5)
            arrays[f"{name}_{measure}"] = (
                (f"{name}_g", "instance"),
                found[..., k],
                f"{MEASURES[measure]}, each network",
            )
        for g, rows in zip(strengths, found, strict=True):
            numbers += _numbers_2(settings, name, g, rows)
    for ax, label in zip(panels, MEASURES.values(), strict=True):
        ax.set(xlabel="g", ylabel=label, ylim=(0, None))
    panels[0].plot([], [], "x", color="0.4", label="published")
    panels[0].set(yscale="log", ylim=(10, None))
    panels[0].legend(frameon=False)
    return collect(figure, settings, numbers, _NOTES, arrays=arrays)


def _stream(settings: Settings, name: str) -> TaskStream:
    return stream(GENERATORS[name], n_trials=settings.n_trials)


def _test_trials(settings: Settings, name: str) -> Task:
    key = jax.random.fold_in(jax.random.key(settings.seed), 10**6)
    return GENERATORS[name](key=key, n_trials=settings.n_test_trials)


def measured(
    settings: Settings, name: str, g: float, instance: int, progress: bool | None, checkpoint: Checkpoint | None
) -> list[float]:
    """The `MEASURES` of one network, by the definitions of the authors' program; NaN if it did not learn."""
    run = trained(settings, name, g, instance, progress, checkpoint)
    test = _test_trials(settings, name)
    step = convergence_step(run.solution, SHARE)
    rank = rank_of_change(run.start, run.final, run.model, test, ranks=settings.n_ranks).functional_rank(SHARE)
    if not step or not rank:
        return [math.nan] * len(MEASURES)
    key = jax.random.fold_in(jax.random.key(settings.seed), instance)
    shuffled = float(shuffled_bulk_loss(run.start, run.final, run.model, test, key)) / run.first_loss
    return [step, float(connectivity_change(run.start, run.final).norm), shuffled, rank]


def _outputs(ax: "Axes", test: Task, y: np.ndarray, trial: int, colour: str, label: str, *, with_target: bool) -> None:
    time = np.asarray(test.times)
    for channel in range(y.shape[1]):
        ax.plot(time, y[:, channel], color=colour, linewidth=1.2, label=label if channel == 0 else None)
        if with_target:
            counted = np.asarray(test.weights)[trial, :, channel] > 0
            target = np.where(counted, np.asarray(test.targets)[trial, :, channel], np.nan)
            ax.plot(time, target, color="black", linewidth=2.5, alpha=0.35, label="target" if channel == 0 else None)


def _published(settings: Settings, table: Mapping[float, float], g: float) -> float | None:
    """What was read off the published figure, for networks of the published size that learn for as long."""
    as_published = settings.n_neurons == STANDARD.n_neurons and all(
        STANDARD.n_steps[STANDARD.tasks.index(name)] == n
        for name, n in zip(settings.tasks, settings.n_steps, strict=True)
    )
    return table.get(g) if as_published else None


def _numbers_1(settings: Settings, case: str, run: Trained, found: RankOfChange) -> list[Number]:
    name, g = case.split(",")[0], float(run.model.bulk.g) if run.model.bulk is not None else 0.0
    step, rank = convergence_step(run.solution, SHARE), found.functional_rank(SHARE)
    s = np.asarray(found.change.singular_values)
    tables = PUBLISHED[name]
    numbers = [
        Number(f"steps to 5 % of the loss, {case}", math.nan if step is None else step, None,
               _published(settings, tables["step"], g)),
        Number(f"functional rank, {case}", math.nan if rank is None else rank, None,
               _published(settings, tables["rank"], g)),
        Number(f"loss with all of the change / first loss, {case}", float(found.trained_loss) / run.first_loss),
    ]  # fmt: skip
    shown = PUBLISHED_VALUES[name].get(g, ())
    for k in range(min(4, s.size)):
        numbers.append(Number(f"singular value {k + 1}, {case}", s[k], None,
                              _published(settings, dict(enumerate(shown)), k)))  # fmt: skip
    return numbers


def _numbers_2(settings: Settings, name: str, g: float, rows: np.ndarray) -> list[Number]:
    learned = rows[np.isfinite(rows[:, 0])]
    case = f"{name}, g = {g:g}"
    numbers = [Number(f"networks that learned, {case}", len(learned), None, len(rows))]
    for k, measure in enumerate(MEASURES):
        if len(learned):
            error = learned[:, k].std() / math.sqrt(len(learned))
            expected = _published(settings, PUBLISHED[name][measure], g)
            numbers.append(Number(f"{MEASURES[measure]}, {case}", learned[:, k].mean(), error, expected))
    return numbers


MEASURES = {
    "step": "steps to 5 % of the loss",
    "norm": "norm of the change of W",
    "shuffled": "loss with W0 shuffled / first loss",
    "rank": "functional rank",
}
_NOTES = (
    "Expected: read off the published figures, one network (Fig. 1) or the mean of five (Fig. 2); given for the "
    "published sizes only. Other random networks and trials are drawn here.",
    "The flip-flop is that of the published program: the output of a channel is to be 0 while the last pulse was on "
    "another one.",
    "The functional rank is the first at which the loss is below 5 % of that with W0 and the trained input and "
    "readout, as in the authors' program; the text says of the loss before training.",
)
