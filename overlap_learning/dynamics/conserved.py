"""Conserved: all numbers that learning by gradient flow keeps, family by family."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import require_float64
from overlap_learning.dynamics.charges import Charges
from overlap_learning.dynamics.laws import AbstractLaw, Balance, laws_of
from overlap_learning.dynamics.metric import check_layout
from overlap_learning.model.factor import square_root
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations


class Conserved(eqx.Module):
    """What gradient flow conserves, whatever the task: the numbers of each family, and how they change with G.

    Each family is there for the models that have it, else of shape [0]. Numbers that frozen vectors or unequal rates
    take away read 0.

    Attributes:
        charges: the `Charges` of each family, by its name, for those there are.
        neurons: `k A P^-1 A - B P^-1 B` of each neuron of a `Network`, or the mean of it in each of the `Populations`,
            for homogeneous phi and all vectors trained; else shape [0].
        layout: the `Layout`.
    """

    charges: dict[str, Charges]
    neurons: jax.Array
    layout: Layout = eqx.field(static=True)

    @property
    def spectrum(self) -> jax.Array:
        """Eigenvalues of `Sign P^-1 G`, ascending, shape [d]: linear networks, and gains that do not vary."""
        return self._values("spectrum")

    @property
    def gauge(self) -> jax.Array:
        """`u_i u_j / sqrt(p_ui p_uj) - v_i v_j / sqrt(p_vi p_vj)`, i <= j, shape [R (R + 1) / 2]: every network."""
        return self._values("gauge")

    @property
    def balance(self) -> jax.Array:
        """`k tr A P^-1 A^T - tr B P^-1 B^T` over N, shape [1]: phi of degree k, or a gain that does not vary (k = 1).

        With all vectors trained it is the sum of the spectrum, where there is one.
        """
        return self._values("balance")

    @property
    def residual(self) -> jax.Array:
        """Overlaps of what is orthogonal to frozen B (or A), entries i <= j, shape [p]."""
        return self._values("residual")

    @property
    def frozen(self) -> jax.Array:
        """Overlaps of frozen vectors, entries i <= j, shape [p]."""
        return self._values("frozen")

    @property
    def slopes(self) -> jax.Array:
        """The Jacobian of all families with respect to the p distinct overlaps, shape [n, p]."""
        i, j = self.layout.entry_indices
        slopes = jnp.concatenate([c.slopes for c in self.charges.values()])
        return slopes[:, i, j] * np.where(i == j, 1.0, 2.0)

    @property
    def independent(self) -> np.ndarray:
        """Which numbers, of all families in order, are independent of those before them, mask [n]."""
        return _independent(np.asarray(self.slopes))

    @property
    def values(self) -> jax.Array:
        """The independent numbers of all families, in the order of `charges`."""
        return jnp.concatenate([c.values for c in self.charges.values()])[self.independent]

    def _values(self, name: str) -> jax.Array:
        return self.charges[name].values if name in self.charges else jnp.zeros(0)


def conserved(model: Model, state: Overlaps | Populations | Network, rates: Any = None) -> Conserved:
    """Every number that gradient flow conserves for all tasks: one family for each symmetry of the loss (Noether).

    Of `Overlaps`: what the Gaussian theory conserves. Of a `Network`, or `Populations`: what these conserve, which can
    be less in number (a gain that does not vary, as of ReLU, makes the theory a linear one, and the network none), and
    more in kind: homogeneous phi balances every neuron.

    Args:
        model: the `Model`.
        state: the network's `Overlaps`, its `Populations`, or the `Network` itself.
        rates: relative learning rates P.

    Returns:
        A `Conserved`.

    Raises:
        ValueError: if layouts differ.
        RuntimeError: if jax is not in 64-bit mode.

    Source: theory page, section 5.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> overlaps = ol.Overlaps.from_entries(model.layout, uu=2.0, zu=0.1, vm=0.3, zm=0.2)
        >>> kept = ol.conserved(model, overlaps)
        >>> kept.gauge, len(kept.spectrum), len(kept.values)
        (Array([1.], dtype=float64), 4, 5)
        >>> len(ol.conserved(ol.Model(ol.Layout(), ol.Erf()), overlaps).values)
        1
    """
    require_float64("ol.conserved", model=model, state=state)
    overlaps = state.overlaps if isinstance(state, (Populations, Network)) else state
    layout = check_layout(model, overlaps, "conserved")
    rates, root = layout.rates(rates), square_root(overlaps.gram)
    laws = laws_of(model, isinstance(state, Overlaps))
    charges = _charges(laws, layout, root, rates)
    neurons = jnp.zeros(0)
    balance = laws.get("balance")
    if isinstance(balance, Balance) and not isinstance(state, Overlaps):
        squares = jnp.square(state.vectors) if isinstance(state, Network) else _squares(state)
        neurons = jnp.where(jnp.all(rates > 0), squares @ balance.weights(layout, rates), 0.0)
    return Conserved(charges, neurons, layout)


@eqx.filter_jit
def _charges(laws: dict[str, AbstractLaw], layout: Layout, root: jax.Array, rates: jax.Array) -> dict[str, Charges]:
    return {name: law.charges(layout, root, rates) for name, law in laws.items()}


def _squares(populations: Populations) -> jax.Array:
    return jnp.diagonal(populations.moments[:, 1:, 1:], axis1=1, axis2=2)


def _independent(rows: np.ndarray, threshold: float = 1e-9) -> np.ndarray:
    basis, kept = np.zeros((0, rows.shape[1])), np.zeros(len(rows), bool)
    for n, row in enumerate(rows):
        size = np.linalg.norm(row)
        # Twice is enough: the second takes away what rounding left.
        rest = row - basis.T @ (basis @ row)
        rest -= basis.T @ (basis @ rest)
        if np.linalg.norm(rest) > threshold * size:
            kept[n] = True
            basis = np.vstack([basis, rest / np.linalg.norm(rest)])
    return kept
