"""Geometry: the pictures of what overlaps say about a network, on networks that have learned."""

from dataclasses import dataclass

import jax
import numpy as np

import overlap_learning.plot as plot
from overlap_learning.dynamics.gradient import loss
from overlap_learning.dynamics.integrate import integrate
from overlap_learning.gallery.kit.page import in_space, learned, page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.learning.rules import GradientDescent, GradientFlow
from overlap_learning.model.activations import Erf, Linear
from overlap_learning.model.activity import rollout, simulate
from overlap_learning.model.fixed_points import fixed_points
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.studies.equivalence.completion import equivalent, feasible
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.impulse import exponential_filter

#: Overlaps of a network of rank 2 that turns: a pair of complex eigenvalues above 1.
TURNING = {"v1u1": 1.8, "v2u2": 1.8, "v1u2": 1.0, "v2u1": -1.0, "u1u1": 2.0, "u2u2": 2.0, "v1v1": 4.0, "v2v2": 4.0}


@dataclass(frozen=True)
class Settings:
    """The sizes of the sheet, which no paper has published.

    Args:
        n_trials: of the flip-flop.
        duration: of its trials, in neuronal time constants.
        dt: the Euler step.
        learning_rate: of descent on it.
        n_steps: learning steps.
        save_every: steps between saved points.
        decay: of the filter that a linear network learns.
        learning_time: of the filter, by gradient flow.
        n_neurons: N of the full network that is held against the portrait.
        seed: of trials and neurons.
    """

    n_trials: int = 10
    duration: float = 20.0
    dt: float = 0.05
    learning_rate: float = 2e-2
    n_steps: int = 3000
    save_every: int = 25
    decay: float = 0.2
    learning_time: float = 60.0
    n_neurons: int = 4000
    seed: int = 0


STANDARD = Settings()
QUICK = Settings(n_trials=4, duration=12.0, dt=0.1, n_steps=1000, n_neurons=500)


def figure_geometry(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """Portraits of a flip-flop's activity through learning, and the space of overlaps of a filter, with its borders.

    Args:
        settings: the sizes of the sheet.
        progress: not used: no full network learns.

    Source: theory page, eqs. (3), (6), and section 6.
    """
    erf, linear = Model(Layout(), Erf()), Model(Layout(), Linear())
    key = jax.random.key(settings.seed)
    memory = flip_flop(key=key, n_trials=settings.n_trials, duration=settings.duration, dt=settings.dt)
    start = Overlaps.from_entries(erf.layout, zu=0.3, vm=0.3, vu=0.3)
    rule = GradientDescent(settings.learning_rate, settings.n_steps, save_every=settings.save_every)
    flip = integrate(erf, memory, start, rule, trust=False)
    impulse = exponential_filter(decay=settings.decay, duration=settings.duration, dt=settings.dt)
    begun = Overlaps.from_entries(linear.layout, zu=0.2, vm=-0.1, zm=0.2)
    flow = GradientFlow(settings.learning_time, save_every=settings.learning_time / 240)
    filtered = integrate(linear, impulse, begun, flow)
    after = learned(filtered)
    turning = Overlaps.from_entries(Layout(rank=2), **TURNING)

    figure, panels = page("Geometry: activity in the plane, learning in the space of overlaps", 3, 4)
    plot.phase_portraits(flip, ax=panels[:4])
    for panel, point in ((panels[4], 0), (panels[5], -1)):
        plot.learning_plane(filtered, impulse, ("zu", "vm"), point=point, ax=panel)
    plot.feasible_region(after, linear, ("mu", "vz"), ax=panels[7])
    plot.feasible_region_in_space(after, linear, ("mu", "vz", "uu"), ax=in_space(panels[6]))
    plot.gram(filtered, ax=panels[8])
    plot.trials(erf, memory, learned(flip), ax=panels[9])
    plot.phase_portrait(Model(turning.layout, Erf()), turning, ax=panels[10])
    rest = [fixed_points(erf, _at(flip.overlaps, i)) for i in range(len(flip.time))]
    stable = np.array([found.stable.sum() for found in rest])
    height = np.array([np.abs(found.states[found.stable, -1]).max() for found in rest])
    ax = panels[11]
    ax.plot(flip.time, height, color=COLOURS[1], label="stable")
    ax.plot(flip.time, np.where(stable > 1, 0.0, np.nan), color=COLOURS[1], linestyle="--", label="unstable")
    ax.set(xlabel=r"learning time $\tau$ (sum of learning rates)", ylabel="activity $|k_u|$ of fixed points")
    legend_above(ax)

    # A pulse, and then long rest: the network stays at what the portrait calls a stable point.
    held = memory.replace(inputs=memory.inputs.at[:, round(2 / settings.dt) :].set(0.0))
    network = Network.sample(learned(flip), settings.n_neurons, key=key)
    end, full = (np.asarray(run)[:, -1, 0] for run in (
        rollout(erf, learned(flip), held), simulate(erf, network, held)))  # fmt: skip
    gram, places = np.asarray(learned(flip).gram), erf.layout
    state = rest[-1].states[rest[-1].stable][-1]
    fields = gram[: places.n_fields, : places.n_fields]
    gain = float(erf.activation.gain(state @ fields @ state))
    output = gain * gram[-1, : places.n_fields] @ state
    interval = feasible(after, linear, "mu")
    edge = equivalent(after, linear, mu=interval.high)
    numbers = [
        Number("flip-flop: stable fixed points before learning", float(stable[0])),
        Number("flip-flop: stable fixed points after learning", float(stable[-1])),
        Number("flip-flop: learning time from which there are two", float(flip.time[int(np.argmax(stable > 1))])),
        Number("flip-flop: output at the stable fixed points, size", abs(float(output)), None, 0.5),
        Number("flip-flop: output long after a pulse, theory, size", float(np.abs(end).mean()), None,
               abs(float(output))),
        Number(f"flip-flop: the same at full N = {settings.n_neurons:,}", float(np.abs(full).mean()), None,
               abs(float(output))),
        Number("filter: largest feasible s_mu, smallest eigenvalue of G there",
               float(np.linalg.eigvalsh(np.asarray(edge.gram))[0]), None, 0.0),
        # Not over the loss after learning, which is rounding.
        Number("filter: loss there minus that after learning, over the first loss",
               float((loss(linear, impulse, edge) - loss(linear, impulse, after)) / filtered.loss[0]), None, 0.0),
    ]  # fmt: skip
    notes = (
        "Fields of learning and contours of the loss are those of networks whose other overlaps are as at the ring; "
        "the course leaves that plane.",
        "At the edge of the feasible region a network does the same; beyond it there is none.",
    )
    arrays = {
        "stable_points": (("flip_time",), stable, "number of stable fixed points of the flip-flop"),
        "flip_time": (("flip_time",), flip.time, "learning time of the flip-flop"),
        "flip_loss": (("flip_time",), flip.loss, "loss of the flip-flop"),
        "flip_gram": (("flip_time", "vector", "vector_2"), flip.overlaps.gram, "Gram matrix of the flip-flop"),
        "height": (("flip_time",), height, "largest recurrent activity of a stable fixed point"),
    }
    return collect(figure, settings, numbers, notes, runs={"filter": filtered}, arrays=arrays)


def _at(overlaps: Overlaps, point: int) -> Overlaps:
    return jax.tree.map(lambda a: a[point], overlaps)
