"""Model: a layout with an activation, and which overlaps its loss can see."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import described, floating, in_numpy, is_traced, later, listed
from overlap_learning.guides import guide
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.bulk import AbstractBulk
from overlap_learning.model.layout import Layout
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.module import Module

#: Overlaps, or neurons, which have them.
Start = TypeVar("Start")


class Model(Module):
    """What kind of network: how many vectors, and which single-neuron nonlinearity.

    Args:
        layout: the `Layout`.
        activation: `Linear()`, `Erf()`, `Tanh()`, `ReLU()` or `Activation(phi)`.
        bulk: random connectivity beside the low-rank one, `W = W0 + u v^T / N`, such as `ol.RandomBulk(0.9)`; None:
            there is none. `visible` and `invisible` are entries of G alone: with a bulk that learning has correlated
            with the vectors, the loss sees moments such as `z^T W0 m / N` too.
        tied: vectors that are another one and learn as it: `{"v2": "z"}` is an output that is fed back along u2. With
            C, which writes the free vectors to all their places, `V = V_free C`, and a step of descent is
            `V <- V (1 - eta S T)`, `T = C^T P_free C`. The two have one rate.
        time_constants: of every neuron its own, `tau_i dh_i/dt = -h_i + ...`, shape [N]; None: 1. Full networks alone.

    Raises:
        ValueError: if an argument is of another kind, no two vectors have the names that are tied, or a time constant
            is not positive.

    Source: Ger & Barak 2026, section 3 (visible and invisible overlaps).

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> model.visible_names
        ('vm', 'zm', 'vu', 'zu')
        >>> model.invisible_names
        ('mm', 'mu', 'uu', 'vv', 'vz', 'zz')
        >>> fed_back = ol.Model(ol.Layout(n_in=1, rank=2, n_out=1), ol.Tanh(), tied={"v2": "z"})
    """

    layout: Layout = eqx.field(static=True)
    activation: AbstractActivation
    bulk: AbstractBulk | None
    tied: tuple[tuple[str, str], ...] = eqx.field(static=True)
    time_constants: jax.Array | None

    def __init__(
        self,
        layout: Layout,
        activation: AbstractActivation,
        bulk: AbstractBulk | None = None,
        *,
        tied: Mapping[str, str] | None = None,
        time_constants: ArrayLike | None = None,
    ):
        if not isinstance(layout, Layout):
            raise ValueError(f"Model: layout must be an ol.Layout, got {layout!r}.")
        if not isinstance(activation, AbstractActivation):
            raise ValueError(
                f"Model: activation must be ol.Linear(), ol.Erf(), ol.Tanh(), ol.ReLU() or ol.Activation(phi), "
                f"got {activation!r}."
            )
        if bulk is not None and not isinstance(bulk, AbstractBulk):
            raise ValueError(
                f"Model: bulk must be ol.RandomBulk(g) or another ensemble of ol.model, or None, got {bulk!r}. A given "
                "matrix belongs to the network: ol.BulkNetwork(vectors, layout, bulk)."
            )
        pairs = tuple(tied.items()) if isinstance(tied, Mapping) else ()
        names = layout.vector_names
        free = [name for name in names if name not in dict(pairs)]
        if not (tied is None or isinstance(tied, Mapping)) or any(
            one not in names or other not in free for one, other in pairs
        ):
            raise ValueError(
                "Model: tied must map vectors to others, which are not tied themselves, such as "
                f'{{"v2": "z"}}, with names from {listed(names)}; got {tied!r}.'
            )
        self.layout = layout
        self.activation = activation
        self.bulk = bulk
        self.tied = pairs
        if time_constants is not None:
            time_constants = floating(time_constants, "Model: time_constants")
            if is_traced(time_constants):
                time_constants = later(time_constants, lambda x: x > 0)
            if time_constants.ndim != 1 or not (is_traced(time_constants) or np.all(np.asarray(time_constants) > 0)):
                got = f"shape {list(time_constants.shape)}" if time_constants.ndim != 1 else f"{time_constants.min():g}"
                raise ValueError(f"Model: time_constants must be positive, one for each neuron, shape [N]; got {got}.")
        self.time_constants = time_constants

    def __repr__(self) -> str:
        return described(self)

    @property
    def is_linear(self) -> bool:
        """Whether phi is linear: then the overlap theory is exact."""
        return self.activation.is_linear

    @property
    def visible(self) -> np.ndarray:
        """Mask [d, d] of the overlaps that the loss depends on: A-B, and B-B too if phi is nonlinear."""
        in_a = np.arange(self.layout.size) >= self.layout.n_fields
        mixed = in_a[:, None] != in_a[None, :]
        return mixed if self.is_linear else ~(in_a[:, None] & in_a[None, :])

    @property
    def invisible(self) -> np.ndarray:
        """Mask [d, d] of the overlaps that the loss does not depend on."""
        return ~self.visible

    @property
    def sources(self) -> np.ndarray:
        """Of each vector the column that it is, its own or that to which it is tied, shape [d]."""
        names = self.layout.vector_names
        return np.array([names.index(dict(self.tied).get(name, name)) for name in names])

    @property
    def ties(self) -> np.ndarray:
        """`C^T C`, shape [d, d]: 1 where two vectors are one, 0 elsewhere."""
        return (self.sources[:, None] == self.sources).astype(float)

    def free(self, columns: Any) -> Any:
        """Those of the columns [..., d] that are of free vectors, [..., f]."""
        return columns[..., np.unique(self.sources)] if self.tied else columns

    def written_out(self, free: jax.Array) -> jax.Array:
        """Columns of free vectors [..., f] at all their places, `V = V_free C`, [..., d]."""
        return free[..., np.unique(self.sources, return_inverse=True)[1]] if self.tied else free

    def summed_over_ties(self, slope: jax.Array) -> jax.Array:
        """A gradient [..., d] by every vector as that by the free ones, at all their places: `g C^T C`."""
        if not self.tied:
            return slope
        return jnp.matmul(slope, self.ties.astype(slope.dtype), precision="highest")

    def counted_once(self, change: jax.Array) -> jax.Array:
        """A change [..., d] whose squares add up to those of the free vectors."""
        return change / np.sqrt(self.ties.sum(axis=0)).astype(change.dtype) if self.tied else change

    @property
    def visible_names(self) -> tuple[str, ...]:
        """Names of the visible overlaps."""
        return self._names(self.visible)

    @property
    def invisible_names(self) -> tuple[str, ...]:
        """Names of the invisible overlaps."""
        return self._names(self.invisible)

    def _names(self, mask: np.ndarray) -> tuple[str, ...]:
        chosen = mask[self.layout.entry_indices]
        return tuple(name for name, keep in zip(self.layout.entry_names, chosen, strict=True) if keep)


def check_model(model: Model, caller: str, *, with_bulk: bool = False) -> None:
    """Refuse what is no model, and a model with a bulk where none is known of.

    Args:
        model: the model.
        caller: the function that a person called.
        with_bulk: whether it knows what a bulk does, and neurons with time constants of their own.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(model, Model):
        raise ValueError(f"{caller}: model must be an ol.Model, got {model!r}.")
    if not with_bulk:
        refuse_time_constants(model, caller)
    if model.bulk is not None and not with_bulk:
        raise ValueError(
            f"{caller}: the model has a bulk, {model.bulk!r}, which {caller} knows nothing of; full networks "
            "(ol.simulate, ol.train) do. Leave it out for the low-rank network alone: "
            f"ol.Model(model.layout, model.activation).{guide('bulk')}"
        )


def refuse_time_constants(model: Model, caller: str) -> None:
    """Refuse neurons that leave the span of the input and recurrent vectors.

    Raises:
        ValueError: naming the caller.
    """
    if model.time_constants is not None:
        raise ValueError(
            f"{caller}: the model has time_constants of its neurons, whose states are in no small space that {caller} "
            "could follow; full networks (ol.simulate, ol.train) are simulated with them. With one time constant for "
            "all, measure time in units of it: divide dt."
        )


def refuse_ties(model: Model, caller: str) -> None:
    """Refuse a model with tied vectors where each is taken to learn by itself.

    Raises:
        ValueError: naming the caller.
    """
    if model.tied:
        raise ValueError(
            f"{caller}: the model has tied vectors, {dict(model.tied)!r}, and {caller} takes each to learn by itself; "
            f"ol.integrate and ol.train do not.{guide('ties')}"
        )


def check_tied(model: Model, start: Start, caller: str) -> Start:
    """The start, refused if its vectors are not tied as the model's, but for rounding; in a sweep when they are known.

    Args:
        model: the model.
        start: `Overlaps` or neurons, or a batch of them.
        caller: the function that a person called.

    Raises:
        ValueError: naming the vectors.
    """
    for one, other in model.tied:
        i, j = (model.layout.vector_names.index(name) for name in (one, other))
        # What is known stays so inside a compiled program.
        gram = in_numpy(start.gram if isinstance(start, Overlaps) else cast(Any, start).overlaps.gram)
        size = gram[..., i, i] + gram[..., j, j]
        apart = size - gram[..., i, j] - gram[..., j, i]
        # Rounding leaves some eps, and more of vectors that are small beside those that they were learned from.
        is_one = apart <= max(100 * float(jnp.finfo(gram.dtype).eps), 1e-12) * size
        if is_traced(gram):
            array = jax.tree.leaves(start)[0]
            start = eqx.tree_at(lambda s: jax.tree.leaves(s)[0], start, later(array, lambda _, is_one=is_one: is_one))
        elif not np.all(is_one):
            raise ValueError(
                f"{caller}: {one} is tied to {other}, and differs from it: |{one} - {other}|^2/N is {apart.max():.3g}. "
                "Start from vectors that are equal, such as "
                "ol.Network.from_vectors(m=m, u=np.stack([u, q], 1), v=np.stack([v, z], 1), z=z), or its overlaps."
                f"{guide('ties')}"
            )
    return start


def known_rates(model: Model, rates: Any, n_neurons: int | None = None) -> Any:
    """`Layout.known_rates`, in a sweep refused where those of tied vectors differ, when they are known."""
    found = model.layout.known_rates(rates, n_neurons)
    if not (model.tied and is_traced(found)):
        return found
    same = found == found[..., model.sources]
    return later(found, lambda _: same)
