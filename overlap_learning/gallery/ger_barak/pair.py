"""Pair: functionally equivalent networks, and what sets them apart (Ger & Barak 2026, Fig. 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.gallery.kit.page import network, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import end_gram, largest_difference, random_network
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Linear
from overlap_learning.model.activity import simulate
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network, with_vectors
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, FULL, THEORY, legend_above, symbol
from overlap_learning.studies.equivalence.comparison import Comparison, compare
from overlap_learning.studies.equivalence.completion import equivalent
from overlap_learning.studies.equivalence.noise import output_noise
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train


@dataclass(frozen=True)
class Settings:
    """The published settings, and a third network that the state noise can tell apart.

    Args:
        n_neurons: N.
        uu: norm of u in the second network.
        mu: overlap of m and u in the second network.
        vv: norm of v in the third network.
        zz: norm of z in the third network.
        state_noise: standard deviation of the noise per neuron and step.
        n_trials: trials over which the output's variance is measured.
        decay: c of the target `exp(-c t)`.
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        learning_rate: eta.
        n_steps: learning steps after which outputs are compared.
        seed: of the first network and of the noise.
    """

    n_neurons: int = 500
    uu: float = 32**2 / 500
    mu: float = 400 / 500
    vv: float = 2.0
    zz: float = 2.0
    state_noise: float = 0.5
    n_trials: int = 400
    decay: float = 0.2
    duration: float = 20.0
    dt: float = 0.05
    learning_rate: float = 5e-3
    n_steps: int = 300
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_neurons=100, n_trials=100, dt=0.1)
NAMES = ("first", "second", "third")


class Activity(NamedTuple):
    """What the networks do before learning.

    Attributes:
        task: white-noise input.
        outputs: output of each network without noise, shape [networks, T].
        recurrent: its recurrent current `v^T h / N`, shape [networks, T].
        variance: over trials of the output with state noise, shape [networks, T].
        ratio: measured over predicted variance, averaged over time, and its standard error, shape [networks, 2].
        predicted: the variance by `ol.studies.output_noise`, shape [networks, T].
    """

    task: Task
    outputs: np.ndarray
    recurrent: np.ndarray
    variance: np.ndarray
    ratio: np.ndarray
    predicted: np.ndarray


def figure_2(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Networks with equal visible overlaps: equal activity and output, told apart by state noise and by learning.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full networks; None: if a person is watching.

    Source: Ger & Barak 2026, Fig. 2; theory page, section 6.
    """
    model = Model(Layout(n_in=1, rank=1, n_out=1), Linear())
    network_key, noise_key = jax.random.split(jax.random.key(settings.seed))
    first_key, *keys = jax.random.split(network_key, 3)
    first = random_network(model.layout, settings.n_neurons, first_key)
    others = (
        equivalent(first.overlaps, model, uu=settings.uu, mu=settings.mu),
        equivalent(first.overlaps, model, vv=settings.vv, zz=settings.zz),
    )
    networks = [first, *(Network.sample(o, settings.n_neurons, key=k) for o, k in zip(others, keys, strict=True))]
    overlaps = [first.overlaps, *others]
    activity = _activity(model, networks, overlaps, settings, noise_key)
    task = exponential_filter(settings.decay, settings.duration, settings.dt)
    rule = GradientDescent(settings.learning_rate, settings.n_steps)
    theory = compare(model, task, overlaps, rule)
    full = [train(model, task, each, rule, progress=progress) for each in networks]

    figure = _draw(settings, task, activity, theory, full)
    runs = {f"{name}_theory": run for name, run in zip(NAMES, theory.solutions, strict=True)}
    runs |= {f"{name}_full": run for name, run in zip(NAMES, full, strict=True)}
    arrays = {
        "white_noise": (("time",), activity.task.inputs[0, :, 0], "input with which activities are compared"),
        "output": (("network", "time"), activity.outputs, "output before learning, full N, without state noise"),
        "variance": (("network", "time"), activity.variance, "variance of the output under state noise, full N"),
        "variance_predicted": (("network", "time"), activity.predicted, "the same, predicted"),
        "velocity": (("network", "overlap"), theory.velocity, "initial dsigma/dtau under gradient flow"),
        "output_after": (("network", "step"), theory.outputs_after[:, 0, :, 0], "answer to the impulse after learning"),
    }
    return collect(figure, settings, _numbers(activity, theory, full), _NOTES, runs=runs, arrays=arrays)


def _activity(
    model: Model, networks: Sequence[Network], overlaps: Sequence[Overlaps], settings: Settings, key: jax.Array
) -> Activity:
    input_key, *keys = jax.random.split(key, 1 + len(networks))
    n = round(settings.duration / settings.dt)
    # The same white noise in every trial, so that trials differ by the state noise alone.
    white = jax.random.normal(input_key, (1, n, 1))

    def trials(count: int) -> Task:
        nothing = jnp.zeros((count, n, 1))
        return Task(jnp.tile(white, (count, 1, 1)), nothing, nothing, settings.dt)

    once, often = trials(1), trials(settings.n_trials)
    outputs, recurrent, variance, ratio, predicted = [], [], [], [], []
    v, z = model.layout.block("v"), model.layout.block("z")
    for each, member, noise_key in zip(networks, overlaps, keys, strict=True):
        output = np.asarray(simulate(model, each, once))[0, :, 0]
        outputs.append(output)
        # Read out through v, the network shows its recurrent current.
        reading = with_vectors(each, each.vectors.at[:, z].set(each.vectors[:, v]))
        recurrent.append(np.asarray(simulate(model, reading, once))[0, :, 0])
        noisy = np.asarray(simulate(model, each, often, state_noise=settings.state_noise, key=noise_key))[..., 0]
        expected = np.asarray(output_noise(model, member, once, settings.n_neurons, settings.state_noise))[:, 0, 0]
        square = (noisy - output) ** 2
        variance.append(square.mean(axis=0))
        predicted.append(expected)
        # The state at the first reading is 0, without noise.
        shares = (square[:, 1:] / expected[1:]).mean(axis=1)
        ratio.append((shares.mean(), shares.std(ddof=1) / np.sqrt(len(shares))))
    return Activity(once, *(np.stack(part) for part in (outputs, recurrent, variance, ratio, predicted)))


def _numbers(activity: Activity, theory: Comparison, full: Sequence[Solution]) -> list[Number]:
    numbers = []
    for i in (1, 2):
        name = NAMES[i]
        numbers += [
            Number(
                f"output on white noise, {name} minus first network at full N, largest",
                largest_difference(activity.outputs[i], activity.outputs[0]),
                None,
                0.0,
            ),
            Number(
                f"recurrent current, {name} minus first, largest",
                largest_difference(activity.recurrent[i], activity.recurrent[0]),
                None,
                0.0,
            ),
        ]
    for i, name in enumerate(NAMES):
        value, error = activity.ratio[i]
        numbers.append(
            Number(f"output variance under state noise, {name}: measured / predicted", float(value), float(error), 1.0)
        )
    for i in (1, 2):
        numbers.append(
            Number(
                f"output variance at the trial's end, {NAMES[i]} / first, predicted",
                activity.predicted[i, -1] / activity.predicted[0, -1],
            )
        )
    for i in (1, 2):
        direction = {name: float(values[i]) for name, values in theory.direction.items()}
        fastest = max(direction, key=lambda name: abs(direction[name]))
        numbers += [
            Number(f"initial velocity of {fastest} (the one that differs most), {NAMES[i]} minus first",
                   direction[fastest]),
            Number(f"learning time at which a visible overlap is 0.01 off, {NAMES[i]} from first",
                   float(theory.told_apart(0.01)[i])),
            Number(f"visible overlaps after learning, {NAMES[i]} minus first, largest",
                   float(theory.difference[i, -1])),
            Number(f"output after learning, {NAMES[i]} minus first, largest",
                   largest_difference(theory.outputs_after[i], theory.outputs_after[0])),
        ]  # fmt: skip
    for name, run, truth in zip(NAMES, theory.solutions, full, strict=True):
        numbers.append(
            Number(f"overlaps after learning, {name}: theory minus full N, largest",
                   largest_difference(end_gram(run), end_gram(truth)), None, 0.0)
        )  # fmt: skip
    return numbers


def _draw(settings: Settings, task: Task, activity: Activity, theory: Comparison, full: Sequence[Solution]):
    figure, panels = page(
        f"Fig. 2: equivalent networks, linear, rank 1, N = {settings.n_neurons:,}, {settings.n_steps:,} learning steps",
        2, 3,
    )  # fmt: skip
    before, noise, loss, apart, velocity, after = panels
    times = np.asarray(activity.task.times)
    line = {"first": {"linewidth": 3.5, "color": "0.7"}, "second": {"color": COLOURS[1], "linewidth": 1.4},
            "third": {"color": COLOURS[2], "linestyle": (0, (1, 2)), "linewidth": 1.8}}  # fmt: skip
    for name, values in zip(NAMES, activity.outputs, strict=True):
        before.plot(times, values, label=name, **line[name])
    before.set(xlabel="time (neuronal time constants)", ylabel="output y, white-noise input")
    legend_above(before)

    model = theory.model
    for i, name in enumerate(NAMES):
        colour = COLOURS[i] if i else "0.4"
        noise.plot(times, activity.variance[i], ".", color=colour, markersize=2.5, label=f"{name}, full N")
        noise.plot(times, activity.predicted[i], color=colour, linewidth=1.8, linestyle=("-", "--", "-")[i],
                   label=f"{name}, theory")  # fmt: skip
    noise.set(xlabel="time (neuronal time constants)", ylabel="variance of y under state noise")
    noise.set_ylim(bottom=0)
    legend_above(noise, markerscale=3)

    for i, (name, run, truth) in enumerate(zip(NAMES, theory.solutions, full, strict=True)):
        colour = COLOURS[i] if i else "0.4"
        marks = FULL.settings(len(truth.time))
        loss.plot(run.time, run.loss, color=colour, label=f"{name}, theory", **THEORY.settings(len(run.time)))
        loss.plot(truth.time, truth.loss, color=colour, label=f"{name}, full N", **marks)
        if i:
            shown = jnp.asarray(model.visible)
            distance = jnp.abs(truth.overlaps.gram - full[0].overlaps.gram) * shown
            apart.plot(run.time, theory.difference[i], color=colour, label=f"{name}, theory", linewidth=1.8)
            apart.plot(truth.time, distance.max(axis=(1, 2)), color=colour, label=f"{name}, full N", **marks)
    for ax, text in ((loss, "loss"), (apart, "largest visible-overlap difference\nfrom the first network")):
        ax.set(xlabel=r"learning time $\tau$ (sum of learning rates)", ylabel=text)
        legend_above(ax, ncols=3 if ax is loss else 2)

    names = model.visible_names
    for i in (1, 2):
        values = [float(theory.direction[name][i]) for name in names]
        velocity.bar(np.arange(len(names)) + 0.2 * (2 * i - 3), values, 0.36, color=COLOURS[i], label=NAMES[i])
    velocity.axhline(0, color="0.5", linewidth=0.8)
    velocity.set_xticks(range(len(names)), [symbol(name) for name in names])
    velocity.set(xlabel="visible overlap", ylabel="initial velocity minus that of the first")
    legend_above(velocity)

    after.plot(task.times, task.targets[0, :, 0], color="0.8", linewidth=5, label="target")
    for i, (name, run) in enumerate(zip(NAMES, full, strict=True)):
        output = simulate(model, network(run), task)[0, :, 0]
        after.plot(task.times, output, color=COLOURS[i] if i else "0.4", linestyle=("-", "--", ":")[i], label=name)
    after.set(xlabel="time (neuronal time constants)", ylabel=f"output y after {settings.n_steps:,} steps, full N")
    legend_above(after, ncols=4)
    return figure


_NOTES = (
    "First: random, all norms 1. Second: the published uu and mu, all else as in the first. Third: other vv and zz.",
    "At equal visible overlaps, state noise reaches the output through vv, vz and zz alone. The second network has "
    "those of the first, and so the same output noise; the published pair can differ there only because its v was "
    "readjusted.",
)
