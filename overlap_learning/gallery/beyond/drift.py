"""Drift: what moves the numbers that gradient flow conserves, predicted and measured, rule by rule."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.dynamics.laws import AbstractLaw, Gauge
from overlap_learning.gallery.kit.page import page
from overlap_learning.gallery.kit.reproduction import Number, Reproduction, collect
from overlap_learning.gallery.kit.runs import adam
from overlap_learning.learning.rules import GradientDescent, GradientFlow
from overlap_learning.model.activations import Erf, Linear
from overlap_learning.model.activity import rollout
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.plot.style import COLOURS, legend_above
from overlap_learning.studies.memory.conserved import accumulated, drift_along, invariants_along, measured_drift
from overlap_learning.studies.memory.drift import invariant_drift
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.impulse import exponential_filter
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rules by their names: options of descent.
Rules = tuple[tuple[str, dict[str, Any]], ...]
#: Those that are compared.
RULES: Rules = (
    ("plain descent", {}),
    (r"momentum $\mu = 0.5$", {"momentum": 0.5}),
    (r"momentum $\mu = 0.9$", {"momentum": 0.9}),
    (r"Nesterov $\mu = 0.9$", {"momentum": 0.9, "nesterov": True}),
    ("m frozen, z at half rate", {"rates": {"m": 0.0, "z": 0.5}}),
)
#: Those that are compared on the nonlinear network, and what it conserves.
ERF_RULES = (RULES[0], RULES[2], RULES[3])
GAUGE = Gauge()
MARKS = ("o", "s", "^", "v", "D")


@dataclass(frozen=True)
class Settings:
    """The sizes of the experiment, which no paper has published.

    Args:
        decay: of the filter that is learned.
        duration: of the trial, in neuronal time constants.
        dt: the Euler step.
        seed: of the start, of noise and of networks.
        scale: of the start's random overlaps.
        learning_rates: effective learning rates eta / (1 - momentum) of noise-free learning.
        learning_time: how long that learning is, in effective learning time.
        label_noise: standard deviation of the noise on the targets.
        edges: learning rates of noisy learning, as shares of the edge of stability.
        n_paths: paths that are averaged.
        n_noisy_steps: steps of each path.
        weight_decay: lambda.
        parameter_noise: D.
        n_neurons: N, for parameter noise and Adam.
        short: of the trials of the nonlinear network, in neuronal time constants.
        weak_noise: on its targets, which are smaller.
        batch_rates: learning rates of minibatches, and of Adam beside them, over a tenfold range.
        batch_time: their learning time.
        n_batch_neurons: their N.
        n_trials: of the task from which they draw one at a time.
        n_seeds: runs per learning rate.
    """

    decay: float = 0.2
    duration: float = 20.0
    dt: float = 0.05
    seed: int = 0
    scale: float = 0.3
    learning_rates: tuple[float, ...] = (1e-3, 5e-4, 2.5e-4, 1.25e-4)
    learning_time: float = 0.5
    label_noise: float = 0.03
    edges: tuple[float, ...] = (0.03, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97)
    n_paths: int = 64
    n_noisy_steps: int = 1000
    weight_decay: float = 0.2
    parameter_noise: float = 0.05
    n_neurons: int = 1000
    short: float = 3.0
    weak_noise: float = 1e-3
    batch_rates: tuple[float, ...] = (0.03, 0.01, 0.003)
    batch_time: float = 1.5
    n_batch_neurons: int = 400
    n_trials: int = 6
    n_seeds: int = 16


STANDARD = Settings()
QUICK = Settings(
    duration=8.0,
    dt=0.1,
    learning_rates=(1e-3, 5e-4),
    edges=(0.1, 0.5, 0.9),
    n_paths=32,
    n_noisy_steps=300,
    n_neurons=100,
    batch_rates=(0.03, 0.01),
    n_batch_neurons=64,
    n_seeds=4,
)


class _Problem(NamedTuple):
    """A task and a start; a solution, and the task that it solves."""

    model: Model
    task: Task
    start: Overlaps
    learned: Overlaps
    solved: Task


class _Batches(NamedTuple):
    """The drift of u u - v v at full N: by minibatches, shape [rate, seed], and under Adam, shape [rate]."""

    measured: np.ndarray
    predicted: np.ndarray
    adam: np.ndarray

    @property
    def ratio(self) -> list[float]:
        """Measured over predicted, of their means over seeds."""
        return (self.measured.mean(axis=1) / self.predicted.mean(axis=1)).tolist()

    @property
    def ratio_error(self) -> list[float]:
        """Its standard error, which measured and predicted share most of."""
        off = self.measured - np.array(self.ratio)[:, None] * self.predicted
        return (off.std(axis=1, ddof=1) / np.sqrt(off.shape[1]) / np.abs(self.predicted.mean(axis=1))).tolist()


def figure_drift(settings: Settings = STANDARD, *, progress: bool | None = None) -> Reproduction:
    """What moves the numbers that gradient flow conserves, each cause against `ol.studies.invariant_drift`.

    First the spectrum K of a linear network, then `u^T u - v^T v` of an erf network, which has no other.

    Args:
        settings: the sizes of the experiment.
        progress: show a progress bar of the full networks; None: if a person is watching.

    Source: theory page, section 5.
    """
    problem = _problem(settings)
    steps, (noise, error) = _finite_steps(problem, settings), _label_noise(problem, settings, settings.label_noise)
    decay, diffusion = _weight_decay(problem, settings), _parameter_noise(problem, settings, progress)
    frozen, element = _frozen(problem, settings), _adam(problem, settings, progress)
    bent = _nonlinear(settings)
    bent_steps = _finite_steps(bent, settings, ERF_RULES, GAUGE)
    bent_noise, bent_error = _label_noise(bent, settings, settings.weak_noise, ERF_RULES, GAUGE)
    batches = _minibatches(settings, progress)
    figure, panels = page("What moves the numbers that gradient flow conserves: predicted and measured", 3, 3)
    _draw_ratio(panels[0], settings.learning_rates, steps, None, r"effective learning rate $\eta/(1-\mu)$")
    panels[0].set_title("finite steps", fontsize=10)
    _draw_ratio(panels[1], settings.edges, noise, error, "learning rate / edge of stability")
    panels[1].set_title("label noise", fontsize=10)
    panels[1].set_ylim(0.0, 2.0)
    for ax, title, (time, lines) in (
        (panels[2], "weight decay", decay),
        (panels[3], "parameter noise", diffusion),
        (panels[4], "m frozen, gradient flow", frozen),
    ):
        _draw_lines(ax, time, lines)
        # Above the legend.
        ax.set_title(title, fontsize=10, pad=26)
    _draw_adam(panels[5], settings, element)
    panels[5].set_title("element-wise rule", fontsize=10)
    label = r"effective learning rate $\eta/(1-\mu)$"
    _draw_ratio(panels[6], settings.learning_rates, bent_steps, None, label, ERF_RULES)
    panels[6].set_title(r"erf, $u^\top u - v^\top v$: finite steps", fontsize=10)
    _draw_ratio(panels[7], settings.edges, bent_noise, bent_error, "learning rate / edge of stability", ERF_RULES)
    panels[7].set_title(r"erf, $u^\top u - v^\top v$: label noise", fontsize=10)
    panels[7].set_ylim(0.0, 2.0)
    _draw_batches(panels[8], settings, batches)
    panels[8].set_title(rf"erf, $u^\top u - v^\top v$ at N = {settings.n_batch_neurons}", fontsize=10)
    numbers = [
        *(
            Number(f"finite steps, {_plain(name)}, eta/(1-mu) = {settings.learning_rates[-1]:g}: measured / predicted",
                   float(_typical(steps[i, -1])), expected=1.0)
            for i, (name, _) in enumerate(RULES)
        ),
        *_noise_numbers("label noise", RULES, settings, noise, error),
        *(
            Number(f"{label}: largest deviation from the prediction / change",
                   _deviation(lines[kind], lines["predicted"]), expected=0.0)
            for label, (_, lines), kind in (
                ("weight decay, flow", decay, "flow"),
                ("weight decay, momentum 0.9", decay, "momentum 0.9"),
                ("parameter noise, theory", diffusion, "theory"),
                (f"parameter noise, full N = {settings.n_neurons}", diffusion, "full N"),
            )
        ),
        Number("m frozen: largest change of the projected invariants", _span(frozen[1]["projected"]), expected=0.0),
        Number("m frozen: largest change of the eigenvalues of Sign G", _span(frozen[1]["all vectors"])),
        Number("Adam / descent: drift of the invariants at the smallest step", float(element[0, -1] / element[1, -1])),
        *(
            Number(f"erf, finite steps, {_plain(name)}, eta/(1-mu) = {eta:g}: measured / predicted",
                   float(_typical(bent_steps[i, j])), expected=1.0)
            for i, (name, _) in enumerate(ERF_RULES)
            for j, eta in enumerate(settings.learning_rates)
            if j in (0, len(settings.learning_rates) - 1)
        ),
        *_noise_numbers("erf, label noise", ERF_RULES, settings, bent_noise, bent_error),
        *(
            Number(f"erf, N = {settings.n_batch_neurons}, one trial at a time, eta = {eta:g}: measured / predicted",
                   batches.ratio[i], batches.ratio_error[i], 1.0)
            for i, eta in enumerate(settings.batch_rates)
        ),
        *(
            Number(f"erf, N = {settings.n_batch_neurons}, Adam, step size {eta:g}: drift of u u - v v",
                   float(batches.adam[i]))
            for i, eta in enumerate(settings.batch_rates)
        ),
    ]  # fmt: skip
    notes = (
        "The prediction of finite steps is of first order in the learning rate, that of label noise of first order in "
        "the covariance of the fluctuations: both become exact as the rate falls.",
        "Where no ratio of label noise is given, paths diverged: noise carried them over the edge of stability.",
        "Full N differs from the theory of parameter noise by finite-N fluctuations, which fall as N^(-1/2).",
        "A ratio is that of the invariant that is predicted to move most; the others are in the data.",
        "Minibatches of an erf network are predicted by the Gaussian theory, at the overlaps that the network had.",
    )
    dims = ("rule", "learning_rate", "invariant")
    arrays = {
        "steps_ratio": (dims, steps, "measured / predicted drift by finite steps"),
        "noise_ratio": (("rule", "edge", "invariant"), noise, "measured / predicted drift under label noise"),
        "noise_error": (("rule", "edge"), error, "its standard error, of the invariant that moves most"),
        "erf_steps_ratio": (
            ("erf_rule", "learning_rate", "gauge"),
            bent_steps,
            "measured / predicted drift of u u - v v by finite steps",
        ),
        "erf_noise_ratio": (("erf_rule", "edge", "gauge"), bent_noise, "the same under label noise"),
        "erf_noise_error": (("erf_rule", "edge"), bent_error, "its standard error"),
        "batch_measured": (("batch_rate", "seed"), batches.measured, "drift of u u - v v by minibatches, full N"),
        "batch_predicted": (("batch_rate", "seed"), batches.predicted, "the same, predicted"),
        "batch_adam": (("batch_rate",), batches.adam, "drift of u u - v v under Adam, full N"),
        "adam_drift": (("optimiser", "step_size"), element, "largest drift of an invariant under Adam, and descent"),
    }
    for name, (time, lines) in (("decay", decay), ("diffusion", diffusion), ("frozen", frozen)):
        arrays[f"{name}_time"] = ((f"{name}_time",), time, "learning time")
        for kind, values in lines.items():
            arrays[f"{name}_{kind.replace(' ', '_')}"] = ((f"{name}_time", "invariant"), values, f"invariants, {kind}")
    return collect(figure, settings, numbers, notes, arrays=arrays)


def _problem(settings: Settings) -> _Problem:
    model = Model(Layout(), Linear())
    task = exponential_filter(decay=settings.decay, duration=settings.duration, dt=settings.dt)
    start = Overlaps.random(model.layout, key=jax.random.key(settings.seed), scale=settings.scale)
    learned = integrate(model, task, start, GradientFlow(200.0, save_at=[200.0]), trust=False).final
    assert isinstance(learned, Overlaps)
    return _Problem(model, task, start, learned, task)


def _nonlinear(settings: Settings) -> _Problem:
    """An erf network that learns the filter; and what it does at its start as a task, which that solves."""
    model = Model(Layout(), Erf())
    task = exponential_filter(decay=settings.decay, duration=settings.short, dt=0.1)
    start = Overlaps.random(model.layout, key=jax.random.key(settings.seed), scale=settings.scale)
    return _Problem(model, task, start, start, task.replace(targets=rollout(model, start, task)))


def _minibatches(settings: Settings, progress: bool | None) -> _Batches:
    """An erf network at full N that learns a flip-flop one trial at a time, and with Adam."""
    model = Model(Layout(), Erf())
    key = jax.random.key(settings.seed)
    task = flip_flop(key=key, n_trials=settings.n_trials, duration=6.0, dt=0.1, wait_range=(1.0, 2.0))
    start = Overlaps.random(model.layout, key=key, scale=settings.scale)
    measured, predicted, by_adam = [], [], []
    for eta in settings.batch_rates:
        n_steps = round(settings.batch_time / eta)
        rule = GradientDescent(eta, n_steps, batch_size=1, save_every=max(1, n_steps // 25))
        for seed in range(settings.n_seeds):
            network = Network.sample(start, settings.n_batch_neurons, key=jax.random.key(seed))
            run = train(model, task, network, rule, key=jax.random.key(seed), progress=progress)
            values = np.asarray(invariants_along(run, law=GAUGE))[:, 0]
            measured.append(values[-1] - values[0])
            predicted.append(accumulated(drift_along(task, run, rule, GAUGE).total, run.time)[-1, 0])
        network = Network.sample(start, settings.n_batch_neurons, key=key)
        run = train(model, task, network, adam(eta, n_steps), progress=progress)
        values = np.asarray(invariants_along(run, law=GAUGE))[:, 0]
        by_adam.append(abs(values[-1] - values[0]))
    shape = (len(settings.batch_rates), settings.n_seeds)
    return _Batches(np.reshape(measured, shape), np.reshape(predicted, shape), np.array(by_adam))


def _finite_steps(
    problem: _Problem, settings: Settings, rules: Rules = RULES, law: AbstractLaw | None = None
) -> np.ndarray:
    """Measured / predicted drift along noise-free learning, shape [rule, learning rate, invariant]."""

    def ratio(options: dict[str, Any], effective: float) -> np.ndarray:
        n_steps = round(settings.learning_time / effective)
        eta = effective * (1 - options.get("momentum", 0.0))
        rule = GradientDescent(eta, n_steps, save_every=max(1, n_steps // 250), **options)
        run = integrate(problem.model, problem.task, problem.start, rule, trust=False)
        values = np.asarray(invariants_along(run, options.get("rates"), law))
        predicted = accumulated(drift_along(problem.task, run, rule, law).steps, run.time)[-1]
        return _ratio(values[-1] - values[0], predicted)

    return np.array([[ratio(options, eta) for eta in settings.learning_rates] for _, options in rules])


def _label_noise(
    problem: _Problem, settings: Settings, noise: float, rules: Rules = RULES, law: AbstractLaw | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Measured / predicted drift at the solution, shape [rule, edge, invariant], and its error, shape [rule, edge]."""
    n_steps = settings.n_noisy_steps

    def measure(options: dict[str, Any], edge: float) -> tuple[np.ndarray, float]:
        unit = GradientDescent(1.0, 1, **options)
        eta = edge / float(invariant_drift(problem.model, problem.solved, problem.learned, unit, law=law).edge)
        rule = GradientDescent(eta, n_steps, label_noise=noise, save_every=n_steps // 4, **options)
        predicted = invariant_drift(problem.model, problem.solved, problem.learned, rule, law=law).total
        key = jax.random.key(settings.seed)
        rates = measured_drift(
            problem.model, problem.solved, problem.learned, rule, key, n_paths=settings.n_paths, law=law
        )
        if not np.all(np.isfinite(rates)):
            # A path that diverged has no drift, and the others are no fair sample.
            return np.full(rates.shape[1], np.nan), np.nan
        most = int(np.argmax(np.abs(predicted)))
        error = rates[:, most].std(ddof=1) / np.sqrt(len(rates)) / abs(float(predicted[most]))
        return _ratio(rates.mean(axis=0), np.asarray(predicted)), error

    results = [[measure(options, edge) for edge in settings.edges] for _, options in rules]
    return np.array([[r[0] for r in row] for row in results]), np.array([[r[1] for r in row] for row in results])


def _weight_decay(problem: _Problem, settings: Settings) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Invariants under weight decay by effective learning time, predicted `exp(-2 lambda tau)`."""
    decay, duration, n_points, mu = settings.weight_decay, 5.0, 20, 0.9
    flow = integrate(
        problem.model, problem.task, problem.start,
        GradientFlow(duration, weight_decay=decay, save_every=duration / n_points),
    )  # fmt: skip
    effective = duration / (n_points * 250)
    # A step of the neurons with momentum, seen per effective learning time, forgets at the same rate.
    rule = GradientDescent(effective * (1 - mu), n_points * 250, weight_decay=decay, momentum=mu, save_every=250)
    heavy = integrate(problem.model, problem.task, problem.start, rule, trust=False)
    first = np.asarray(invariants_along(flow))[0]
    predicted = first * np.exp(-2 * decay * np.asarray(flow.time))[:, None]
    lines = {
        "predicted": predicted,
        "flow": np.asarray(invariants_along(flow)),
        "momentum 0.9": np.asarray(invariants_along(heavy)),
    }
    return np.asarray(flow.time), lines


def _parameter_noise(
    problem: _Problem, settings: Settings, progress: bool | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Invariants under diffusing vectors: the accumulated prediction, the theory, and full N."""
    eta, n_steps = 2e-3, 400
    rule = GradientDescent(eta, n_steps, parameter_noise=settings.parameter_noise, save_every=n_steps // 20)
    theory = integrate(problem.model, problem.task, problem.learned, rule, trust=False)
    network = Network.sample(problem.learned, settings.n_neurons, key=jax.random.key(settings.seed))
    full = train(problem.model, problem.task, network, rule, key=jax.random.key(settings.seed + 1), progress=progress)
    values = np.asarray(invariants_along(theory))
    predicted = values[0] + accumulated(drift_along(problem.task, theory, rule).total, theory.time)
    return np.asarray(theory.time), {
        "predicted": predicted,
        "theory": values,
        "full N": np.asarray(invariants_along(full)),
    }


def _frozen(problem: _Problem, settings: Settings) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Flow with m frozen: the invariants orthogonal to m, and what would be conserved were nothing frozen."""
    rates = {"m": 0.0}
    run = integrate(
        problem.model, problem.task, problem.start, GradientFlow(5.0, rates=rates, save_every=0.25), trust=False
    )
    return np.asarray(run.time), {
        "projected": np.asarray(invariants_along(run, rates)),
        "all vectors": np.asarray(invariants_along(run)),
    }


def _adam(problem: _Problem, settings: Settings, progress: bool | None) -> np.ndarray:
    """The largest drift of an invariant under Adam, and under descent, at full N, shape [2, n step sizes]."""
    network = Network.sample(problem.start, settings.n_neurons, key=jax.random.key(settings.seed))
    distance, drift = 0.4, []
    for size in _step_sizes(settings):
        n_steps = round(distance / size)
        rules = (adam(size, n_steps), GradientDescent(size, n_steps))
        runs = [train(problem.model, problem.task, network, rule, progress=progress) for rule in rules]
        drift.append([float(np.abs(v[-1] - v[0]).max()) for v in (np.asarray(invariants_along(r)) for r in runs)])
    return np.array(drift).T


def _step_sizes(settings: Settings) -> tuple[float, ...]:
    return tuple(2 * rate for rate in settings.learning_rates)


def _ratio(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Their ratio, NaN for what is not predicted to move."""
    moving = np.abs(predicted) > 1e-9 * np.abs(predicted).max()
    # What moves most comes first, so that the others follow in the order of the prediction.
    order = np.argsort(-np.abs(predicted))
    return np.where(moving, measured / np.where(moving, predicted, 1.0), np.nan)[order]


def _typical(ratios: np.ndarray) -> np.ndarray:
    return ratios[..., 0]


def _deviation(measured: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(measured - predicted).max() / np.abs(predicted - predicted[0]).max())


def _span(values: np.ndarray) -> float:
    return float(np.abs(values - values[0]).max())


def _plain(name: str) -> str:
    return name.replace(r"$\mu = ", "").replace("$", "")


def _noise_numbers(what: str, rules: Rules, settings: Settings, ratios: np.ndarray, error: np.ndarray) -> list[Number]:
    """Measured over predicted drift by label noise, of each rule at each edge where it is known."""
    return [
        Number(f"{what}, {_plain(name)}, at {edge:g} of the edge: measured / predicted",
               float(_typical(ratios[i, j])), float(error[i, j]), 1.0)
        for i, (name, _) in enumerate(rules)
        for j, edge in enumerate(settings.edges)
        if np.isfinite(error[i, j])
    ]  # fmt: skip


def _draw_ratio(
    ax: "Axes", x: tuple[float, ...], ratios: np.ndarray, error: np.ndarray | None, label: str, rules: Rules = RULES
) -> None:
    for i, rule in enumerate(rules):
        # A rule looks the same in every panel.
        look = RULES.index(rule)
        yerr = None if error is None else error[i]
        # Side by side, where error bars would lie over one another.
        shifted = np.asarray(x) * (1 + 0.02 * (look - 2))
        ax.errorbar(
            shifted, _typical(ratios[i]), yerr, marker=MARKS[look], markersize=5, linewidth=1.0,
            color=COLOURS[look], markerfacecolor="none", label=rule[0],
        )  # fmt: skip
    ax.axhline(1.0, color="0.5", linewidth=0.9, zorder=0)
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter("")
    ax.set(xlabel=label, ylabel="measured / predicted drift")
    if error is None:
        ax.legend(frameon=False, fontsize=8, loc="best")


def _draw_lines(ax: "Axes", time: np.ndarray, lines: dict[str, np.ndarray]) -> None:
    """Invariants through learning: the first kind as lines, the others as marks."""
    for i, (kind, values) in enumerate(lines.items()):
        for j, series in enumerate(values.T):
            style: dict[str, Any] = (
                {"linewidth": 1.4} if i == 0 else {"linestyle": "none", "marker": MARKS[i], "markersize": 4}
            )
            ax.plot(
                time, series, color=COLOURS[i], markerfacecolor="none", label=kind if j == 0 else f"_{kind}", **style
            )
    ax.set(xlabel=r"learning time $\tau$", ylabel=r"invariants, eigenvalues of $\Sigma G$")
    legend_above(ax, ncols=3)


def _draw_adam(ax: "Axes", settings: Settings, drift: np.ndarray) -> None:
    sizes = _step_sizes(settings)
    for i, name in enumerate(("Adam", "plain descent")):
        ax.plot(sizes, drift[i], marker=MARKS[i], color=COLOURS[i], markerfacecolor="none", linewidth=1.0, label=name)
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_minor_formatter("")
    ax.set(xlabel="step size", ylabel="largest drift of an invariant")
    ax.legend(frameon=False, fontsize=9)


def _draw_batches(ax: "Axes", settings: Settings, batches: _Batches) -> None:
    rates, n = settings.batch_rates, batches.measured.shape[1]
    mean, error = np.abs(batches.measured.mean(axis=1)), batches.measured.std(axis=1, ddof=1) / np.sqrt(n)
    predicted = np.abs(batches.predicted.mean(axis=1))
    ax.errorbar(
        rates, mean, error, color=COLOURS[0], marker="o", linestyle="none", markerfacecolor="none", label="minibatches"
    )
    ax.plot(rates, predicted, color=COLOURS[0], linewidth=1.2, label="predicted")
    ax.plot(rates, batches.adam, color=COLOURS[1], marker="s", markerfacecolor="none", linewidth=1.0, label="Adam")
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_minor_formatter("")
    ax.set(xlabel="learning rate", ylabel=r"drift of $u^\top u - v^\top v$")
    ax.legend(frameon=False, fontsize=9)
