"""Learning, as an animation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import count
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activity import reduced_outputs, simulate
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.plot.curves import curves
from overlap_learning.plot.loss import loss
from overlap_learning.plot.output import check_networks
from overlap_learning.plot.style import COLOURS, legend_above, row_of_axes
from overlap_learning.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes


def learning_animation(
    solution: Solution,
    task: Task,
    *,
    trial: int = 0,
    n_frames: int = 60,
    frames_per_second: float = 15.0,
    ax: "Sequence[Axes] | None" = None,
) -> "FuncAnimation":
    """Learning in pictures: the output through one trial over its target, and where on the curve of the loss it is.

    Frames are saved points, evenly spaced. Save it with `animation.save("learning.gif", writer="pillow")`, or with
    another of matplotlib's writers; a notebook shows `animation.to_jshtml()`.

    Args:
        solution: a `Solution` of `ol.integrate` or `ol.train`. Of a nonlinear trained network the neurons at each saved
            point are needed, `ol.train(..., save_vectors=True)`.
        task: the `Task`.
        trial: which trial, from 0.
        n_frames: at most so many saved points.
        frames_per_second: how fast it is shown.
        ax: two Axes to draw on, for the output and for the loss; None: those of a new figure.

    Returns:
        matplotlib's `FuncAnimation`; keep it until it has been shown or saved.

    Raises:
        ValueError: if an argument is of another kind, there is no such trial, or the neurons were not saved.

    Source: Ger & Barak 2026, Fig. 1.

    Examples:
        >>> import pathlib, tempfile
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task = ol.tasks.exponential_filter()
        >>> solution = ol.integrate(model, task, start, ol.GradientDescent(5e-3, 20))
        >>> animation = ol.plot.learning_animation(solution, task, n_frames=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     animation.save(pathlib.Path(folder) / "learning.gif", writer="pillow", dpi=50)
        ...     (pathlib.Path(folder) / "learning.gif").read_bytes()[:6]
        b'GIF89a'
    """
    from matplotlib.animation import FuncAnimation

    (curve,) = curves([solution], None, "learning_animation")
    check_networks(task, [solution.final], None, "learning_animation")
    if not 0 <= trial < task.n_trials:
        raise ValueError(f"learning_animation: trial must be from 0 to {task.n_trials - 1}, got {trial}.")
    first, second = row_of_axes(ax, 2, "learning_animation")
    n = count(n_frames, "learning_animation: n_frames")
    shown = np.unique(np.linspace(0, curve.end, min(n, curve.end + 1)).round().astype(int))
    outputs = _outputs(solution, task, trial, shown)
    times, targets = np.asarray(task.times), np.asarray(task.targets)[trial]
    drawn = []
    for i, channel in enumerate(targets.T):
        which = f" {i + 1}" if targets.shape[1] > 1 else ""
        first.plot(times, channel, color="0.6", linewidth=3.5, solid_capstyle="butt", label=f"target{which}")
        drawn += first.plot(times, outputs[0, :, i], color=COLOURS[i % len(COLOURS)], linewidth=1.8,
                            label=f"output{which}")  # fmt: skip
    every = np.concatenate([outputs.ravel(), targets.ravel()])
    low, high = np.nanmin(every), np.nanmax(every)
    beside = 0.06 * (high - low or 1.0)
    first.set(xlabel="time (neuronal time constants)", ylabel="output y", ylim=(low - beside, high + beside))
    first.margins(x=0.02)
    legend_above(first)
    loss(solution, labels=["loss"], ax=second)
    (here,) = second.plot(curve.time[:1], np.asarray(solution.loss)[:1], color=COLOURS[1], marker="o",
                          linestyle="none", label="_here")  # fmt: skip

    def draw(frame: int):
        for i, line in enumerate(drawn):
            line.set_ydata(outputs[frame, :, i])
        here.set_data(curve.time[shown[frame] : shown[frame] + 1], np.asarray(solution.loss)[shown[frame]][None])
        return [*drawn, here]

    return FuncAnimation(first.figure, draw, frames=len(shown), interval=1e3 / frames_per_second)  # pyright: ignore[reportArgumentType]


def _outputs(solution: Solution, task: Task, trial: int, shown: np.ndarray) -> np.ndarray:
    """The outputs through one trial at some saved points, shape [frames, T, n_out].

    Raises:
        ValueError: if they depend on neurons that were not saved.
    """
    model = solution.model
    one = task.replace(**{n: getattr(task, n)[trial : trial + 1] for n in ("inputs", "targets", "weights")})
    if isinstance(solution.final, AbstractNetwork) and not model.is_linear:
        if solution.networks is None:
            raise ValueError(
                "learning_animation: what a trained nonlinear network did on the way depends on its neurons; train "
                "with save_vectors=True, or animate the theory, ol.integrate."
            )
        found = [simulate(model, jax.tree.map(lambda a, i=i: a[i], solution.networks), one) for i in shown]
        return np.stack([np.asarray(each)[0] for each in found])
    return np.asarray(_every(model, jnp.asarray(solution.overlaps.gram)[shown], one))[:, 0]


@eqx.filter_jit
def _every(model: Model, grams: jax.Array, task: Task) -> jax.Array:
    return jax.vmap(lambda gram: reduced_outputs(model, gram, task))(grams)
