"""The flow of the reduced activity in a plane."""

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.model.activity import Moments, reduced_flow
from overlap_learning.model.fixed_points import FixedPoints, checked_flow, fixed_points
from overlap_learning.model.model import Model
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.plot.plane import N_ARROWS, Limits, checked_limits, draw_fixed_points, draw_flow, grid_of
from overlap_learning.plot.style import COLOURS, axes_of, legend_above, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points of the nullclines' grid for each arrow.
_FINER = 8
#: Their colours.
_NULLCLINES = (COLOURS[0], COLOURS[2])


def phase_portrait(
    model: Model,
    overlaps: Overlaps | Populations,
    inputs: ArrayLike = 0.0,
    *,
    limits: Any = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The flow dk/dt of the reduced activity under a constant input x, its nullclines and its fixed points.

    `dk_m/dt = -k_m + x`, `dk_u/dt = -k_u + g(D) (s_vm k_m + s_vu k_u)`. The plane is that of the last two coordinates
    of `k = (k_m, k_u)`: the input's and the recurrent one at rank 1, both recurrent ones at rank 2, where all `k_m` are
    at rest, `k_m = x`, and stay there. Arrows have one length; darker ones are faster. On a nullcline one coordinate
    stands still. Full dots are stable fixed points.

    Args:
        model: the `Model`, of rank 1 or 2.
        overlaps: the network's `Overlaps`, or its `Populations`.
        inputs: x, a number for all inputs, or shape [n_in].
        limits: ((low, high), (low, high)) of the two coordinates; None: around the fixed points.
        ax: the Axes to draw on; None: those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: if an argument is of another kind or shape, or the rank is neither 1 nor 2.

    Source: theory page, eq. (3); the phase portraits of Mastrogiuseppe & Ostojic 2018, Dubreuil et al. 2022.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Erf())
        >>> bistable = ol.Overlaps.from_entries(model.layout, vu=2.0, uu=2.0, vv=4.0)
        >>> ax = ol.plot.phase_portrait(model, bistable)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['$dk_{m}/dt = 0$', '$dk_{u}/dt = 0$', 'stable fixed point', 'unstable fixed point']
    """
    ax = axes_of(ax, "phase_portrait")
    flow = flow_of(model, overlaps, inputs, "phase_portrait")
    draw_portrait(ax, flow, flow.limits if limits is None else checked_limits(limits, "phase_portrait"))
    legend_above(ax, ncols=2)
    return ax


class Flow(NamedTuple):
    """The flow of one network under one input.

    Attributes:
        model: the `Model`.
        moments: of its neurons.
        inputs: x, shape [n_in].
        rest: its fixed points.
    """

    model: Model
    moments: Moments
    inputs: jax.Array
    rest: FixedPoints

    @property
    def points(self) -> np.ndarray:
        """The fixed points in the plane, shape [points, 2]."""
        return self.rest.states[:, -2:]

    @property
    def limits(self) -> Limits:
        """A square around the fixed points; of a single one, of the size that the selection vectors have."""
        selecting = self.model.layout.block("v")
        size = np.sqrt(np.abs(np.diagonal(self.moments.covariances, axis1=-2, axis2=-1)[..., selecting]).max())
        points = self.points if len(self.points) else np.zeros((1, 2))
        low, high = points.min(axis=0), points.max(axis=0)
        half = max(0.75 * (high - low).max(), 0.5 * size)
        (a, b), (c, d) = np.stack([(low + high) / 2 - half, (low + high) / 2 + half], axis=1).tolist()
        return (a, b), (c, d)

    def at(self, points: np.ndarray) -> np.ndarray:
        """dk/dt in the plane, at points [..., 2] of it."""
        states = np.zeros((*points.shape[:-1], self.model.layout.n_fields))
        states[..., : self.model.layout.n_in] = self.inputs
        states[..., -2:] = points
        flow = _flow(self.model, self.moments, jnp.asarray(states, self.inputs.dtype), self.inputs)
        return np.asarray(flow)[..., -2:]


def flow_of(model: Model, overlaps: Overlaps | Populations, inputs: ArrayLike, caller: str) -> Flow:
    """The flow of a network of rank 1 or 2.

    Raises:
        ValueError: naming the caller, as `phase_portrait` says.
    """
    moments, x = checked_flow(model, overlaps, inputs, caller)
    if model.layout.rank > 2:
        raise ValueError(
            f"{caller}: the activity of a network of rank {model.layout.rank} does not stay in a plane; ranks 1 and 2 "
            "have phase portraits. ol.model.fixed_points(model, overlaps, inputs) finds where it stands still."
        )
    return Flow(model, moments, x, fixed_points(model, overlaps, inputs))


def draw_portrait(ax: "Axes", flow: Flow, limits: Limits) -> None:
    """A portrait without its legend."""
    fine = grid_of(limits, _FINER * (N_ARROWS - 1) + 1)
    change = flow.at(fine)
    draw_flow(ax, fine[::_FINER, ::_FINER], change[::_FINER, ::_FINER])
    n_fields = flow.model.layout.n_fields
    names = [symbol(name).strip("$") for name in flow.model.layout.vector_names[n_fields - 2 : n_fields]]
    for i, (name, colour, label) in enumerate(zip(names, _NULLCLINES, (ax.set_xlabel, ax.set_ylabel), strict=True)):
        if change[..., i].min() < 0 < change[..., i].max():
            ax.contour(*np.moveaxis(fine, -1, 0), change[..., i], levels=[0], colors=[colour], linewidths=1.4)
        ax.plot([], [], color=colour, linewidth=1.4, label=f"$dk_{{{name}}}/dt = 0$")
        label(f"activity $k_{{{name}}}$ along ${name}$")
    draw_fixed_points(ax, flow.points, flow.rest.growth)


_flow = eqx.filter_jit(reduced_flow)
