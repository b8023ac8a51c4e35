"""Model: a layout with an activation, and which overlaps its loss can see."""

import equinox as eqx
import numpy as np

from overlap_learning.checks import described
from overlap_learning.model.activations import AbstractActivation
from overlap_learning.model.bulk import AbstractBulk
from overlap_learning.model.layout import Layout


class Model(eqx.Module):
    """What kind of network: how many vectors, and which single-neuron nonlinearity.

    Args:
        layout: the `Layout`.
        activation: `Linear()`, `Erf()`, `Tanh()`, `ReLU()` or `Activation(phi)`.
        bulk: random connectivity beside the low-rank one, `W = W0 + u v^T / N`, such as `ol.RandomBulk(0.9)`; None:
            there is none. `visible` and `invisible` are entries of G alone: with a bulk that learning has correlated
            with the vectors, the loss sees moments such as `z^T W0 m / N` too.

    Raises:
        ValueError: if an argument is of another kind.

    Source: Ger & Barak 2026, section 3 (visible and invisible overlaps).

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> model.visible_names
        ('vm', 'zm', 'vu', 'zu')
        >>> model.invisible_names
        ('mm', 'mu', 'uu', 'vv', 'vz', 'zz')
    """

    layout: Layout = eqx.field(static=True)
    activation: AbstractActivation
    bulk: AbstractBulk | None

    def __init__(self, layout: Layout, activation: AbstractActivation, bulk: AbstractBulk | None = None):
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
        self.layout = layout
        self.activation = activation
        self.bulk = bulk

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
        with_bulk: whether it knows what a bulk does.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(model, Model):
        raise ValueError(f"{caller}: model must be an ol.Model, got {model!r}.")
    if model.bulk is not None and not with_bulk:
        raise ValueError(
            f"{caller}: the model has a bulk, {model.bulk!r}, which {caller} knows nothing of; full networks "
            "(ol.simulate, ol.train) do. Leave it out for the low-rank network alone: "
            "ol.Model(model.layout, model.activation)."
        )
