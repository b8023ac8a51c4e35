"""demo: the theory of overlaps against full N, on two tasks of Ger & Barak 2026."""

import dataclasses

import jax

import overlap_learning as ol
from overlap_learning.cli.figures import filter_figure, flip_flop_figure
from overlap_learning.cli.folder import Folder
from overlap_learning.cli.table import print_table
from overlap_learning.plot.deviation import largest_deviation

#: Far above the rounding of 2,000 steps at N = 500 (some 1e-13), far below what a wrong theory leaves (an Euler step of
#: the flow: 1e-2).
AGREEMENT = 1e-10


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One question of the demo.

    Args:
        name: the beginning of the names of its files.
        title: what it is.
        model: the `Model`.
        task: the `Task`.
        start: the overlaps that all runs start from.
        learning_rate: eta.
        n_steps: steps of all runs.
        n_neurons: N.
    """

    name: str
    title: str
    model: ol.Model
    task: ol.Task
    start: ol.Overlaps
    learning_rate: float
    n_steps: int
    n_neurons: int


@dataclasses.dataclass(frozen=True)
class Runs:
    """Its three answers."""

    theory: ol.Solution
    full: ol.Solution
    direct: ol.Solution


def demo(folder: Folder, *, n_neurons: int = 500, filter_steps: int = 2000, flip_flop_steps: int = 500) -> bool:
    """Run both experiments; print tables, and write figures and solutions.

    Args:
        folder: where to write.
        n_neurons: N of the full networks.
        filter_steps: learning steps of the exponential filter.
        flip_flop_steps: learning steps of the flip-flop.

    Returns:
        Whether the linear theory and full N agree to rounding.
    """
    linear = exponential_filter(n_neurons, filter_steps)
    runs = _run(linear, folder)
    folder.draw(
        filter_figure(linear.title, linear.task, linear.start, runs.theory, runs.full, runs.direct), linear.name
    )
    distance = _report(linear, runs)
    agrees = distance < AGREEMENT
    if agrees:
        print("  The theory is the full network, to rounding. Descending the overlaps directly is another path.")
    else:
        print(f"  NOT CONFIRMED: theory and full N should agree to rounding (below {AGREEMENT:g}).")

    nonlinear = flip_flop(n_neurons, flip_flop_steps)
    runs = _run(nonlinear, folder)
    figure = flip_flop_figure(nonlinear.title, nonlinear.task, nonlinear.start, runs.theory, runs.full, runs.direct)
    folder.draw(figure, nonlinear.name)
    _report(nonlinear, runs)
    print(
        f"  Finite N explains a part of order N^(-1/2) = {n_neurons**-0.5:.2g}; another part grows with training, as\n"
        "  neurons stop being Gaussian. To tell them apart: overlap-learning validate examples/flip_flop.toml"
    )
    folder.report()
    return agrees


def exponential_filter(n_neurons: int, n_steps: int) -> Experiment:
    """The linear experiment: Ger & Barak 2026, Figs. 1, 5."""
    model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
    return Experiment(
        name="filter",
        title=f"Exponential filter: linear network of rank 1, N = {n_neurons:,}, {n_steps:,} learning steps",
        model=model,
        task=ol.tasks.exponential_filter(decay=0.2, duration=20.0, dt=0.05),
        # As random vectors of this many neurons have them.
        start=ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=n_neurons**-0.5),
        learning_rate=5e-3,
        n_steps=n_steps,
        n_neurons=n_neurons,
    )


def flip_flop(n_neurons: int, n_steps: int) -> Experiment:
    """The nonlinear experiment: Ger & Barak 2026, Fig. 4a-c, in fewer steps thanks to a start off the plateau."""
    model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Erf())
    return Experiment(
        name="flip_flop",
        title=f"Flip-flop: erf network of rank 1, N = {n_neurons:,}, {n_steps:,} learning steps on 10 trials",
        model=model,
        task=ol.tasks.flip_flop(key=jax.random.key(0), n_trials=10, duration=20.0, dt=0.05),
        start=ol.Overlaps.from_entries(model.layout, zm=0.25, zu=0.25, vm=0.25, vu=0.25),
        learning_rate=5e-2,
        n_steps=n_steps,
        n_neurons=n_neurons,
    )


def _run(experiment: Experiment, folder: Folder) -> Runs:
    """The three runs of an experiment, each saved as soon as it is done."""
    name, model, task, start = experiment.name, experiment.model, experiment.task, experiment.start
    rule = ol.GradientDescent(experiment.learning_rate, experiment.n_steps)
    contrast = ol.DirectDescent(experiment.learning_rate, experiment.n_steps)
    network = ol.Network.sample(start, experiment.n_neurons, key=jax.random.key(1))
    print(f"\n{experiment.title}", flush=True)
    return Runs(
        theory=folder.run(f"{name}_theory", lambda: ol.integrate(model, task, start, rule)),
        full=folder.run(f"{name}_full", lambda: ol.train(model, task, network, rule, progress=True)),
        direct=folder.run(f"{name}_direct", lambda: _as_it_ends(model, task, start, contrast)),
    )


def _as_it_ends(model: ol.Model, task: ol.Task, start: ol.Overlaps, rule: ol.DirectDescent) -> ol.Solution:
    """Direct descent is the wrong theory: if it diverges, that is a result and no error."""
    try:
        return ol.integrate(model, task, start, rule)
    except ol.LearningError as error:
        return error.solution


def _report(experiment: Experiment, runs: Runs) -> float:
    """Print the deviations from full N; the largest one of the theory."""
    rows = [[f"full N = {experiment.n_neurons:,}", f"{float(runs.full.loss[-1]):.3e}", "", "", ""]]
    tenth = max(1, len(runs.full.time) // 10)
    largest = []
    for label, solution in (("theory", runs.theory), ("direct descent", runs.direct)):
        distance = largest_deviation(runs.full, solution)
        largest.append(float(distance.max()))
        columns = [float(solution.loss[-1]), float(distance[:tenth].max()), largest[-1], float(distance[-1])]
        rows.append([label, *(f"{value:.1e}" if i else f"{value:.3e}" for i, value in enumerate(columns))])
    print()
    print_table(
        ["", "loss at end", "first tenth", "all learning", "at the end"],
        rows,
        over={2: "largest overlap deviation from full N"},
    )
    print()
    return largest[0]
