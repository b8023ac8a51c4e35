"""BulkNetwork: the vectors of every neuron, and a matrix of connectivity beside them."""

import math
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import assembled, check_key, floating, is_traced, later
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork, Network, low_rank
from overlap_learning.model.overlaps import Overlaps, what_has_overlaps


class BulkNetwork(AbstractNetwork):
    """A network of N neurons with the connectivity `W + u v^T / N`, W a matrix: the bulk.

    Neurons have the weight 1/N each.

    Args:
        vectors: V, shape [..., N, d].
        layout: the `Layout` of its columns; `Layout(rank=0)`, with no u and v, leaves W alone.
        bulk: W, shape [..., N, N], row i the input weights of neuron i: an array, or, of one network, a sparse matrix
            of scipy or jax (BCOO). A sparse W that learns becomes dense.

    Raises:
        ValueError: if a shape is wrong or a value is not finite.

    Source: Schuessler et al. 2020, eq. 1, where `W_in = m` and `W_out = z / N`.

    Examples:
        >>> model = ol.Model(ol.Layout(rank=0), ol.Tanh(), bulk=ol.RandomBulk(0.9))
        >>> start = ol.Overlaps.from_entries(model.layout)
        >>> network = ol.BulkNetwork.sample(model, start, 100, key=jax.random.key(0))
        >>> network.vectors.shape, network.bulk.shape, abs(network.overlaps["z", "m"]).round(12).tolist()
        ((100, 2), (100, 100), [[0.0]])
    """

    vectors: jax.Array
    layout: Layout = eqx.field(static=True)
    weights: jax.Array
    bulk: Any

    def __init__(self, vectors: ArrayLike, layout: Layout, bulk: Any):
        neurons = Network(vectors, layout)
        self.vectors, self.layout, self.weights = neurons.vectors, layout, neurons.weights
        self.bulk = _matrix(bulk).astype(self.vectors.dtype)
        shape = [*self.vectors.shape[:-1], self.n_neurons]
        if list(self.bulk.shape) != shape or (is_sparse(self.bulk) and self.bulk.n_batch):
            raise ValueError(
                f"BulkNetwork: bulk must have shape {shape} for vectors {list(self.vectors.shape)}, got "
                f"{list(self.bulk.shape)}."
            )
        entries = self.bulk.data if is_sparse(self.bulk) else self.bulk
        if not is_traced(entries) and not np.all(np.isfinite(np.asarray(entries))):
            bad = np.sum(~np.isfinite(np.asarray(entries)))
            raise ValueError(f"BulkNetwork: bulk must be finite; {bad} of {entries.size} values are not.")
        if is_traced(entries) and not is_sparse(self.bulk):
            self.bulk = later(self.bulk, jnp.isfinite)

    @classmethod
    def sample(cls, model: Model, overlaps: Overlaps, n_neurons: int, *, key: jax.Array, exact: bool = True) -> Self:
        """A network of a model with a bulk: normal vectors with the given overlaps, and W0 independent of them.

        Args:
            model: the `Model`; its bulk says what W0 is drawn from.
            overlaps: the overlaps of the vectors, gram [d, d]; or [n, d, d] for n networks, each with a W0 of its own.
            n_neurons: N.
            key: a jax random key.
            exact: as in `Network.sample`.

        Raises:
            ValueError: if the model has no bulk, the layouts differ, or N is too small.
        """
        check_key(key, "BulkNetwork.sample")
        if not isinstance(model, Model) or model.bulk is None:
            raise ValueError(
                "BulkNetwork.sample: model must be an ol.Model with a bulk, such as ol.Model(layout, ol.Tanh(), "
                f"bulk=ol.RandomBulk(0.9)), got {model!r}."
            )
        if not isinstance(overlaps, Overlaps) or overlaps.layout != model.layout:
            raise ValueError(
                f"BulkNetwork.sample: overlaps must be ol.Overlaps of the model's {model.layout}, got "
                f"{what_has_overlaps(overlaps)}."
            )
        of_vectors, of_bulk = jax.random.split(key)
        vectors = Network.sample(overlaps, n_neurons, key=of_vectors, exact=exact).vectors
        ensemble, batch, n = model.bulk, vectors.shape[:-2], vectors.shape[-2]
        draws = jax.vmap(lambda key: ensemble.sample(n, key))(jax.random.split(of_bulk, math.prod(batch)))
        return cls(vectors, model.layout, draws.reshape(*batch, n, n))

    @property
    def dense_bulk(self) -> jax.Array:
        """W, shape [..., N, N], dense."""
        return self.bulk.todense() if is_sparse(self.bulk) else self.bulk

    @property
    def connectivity(self) -> jax.Array:
        """`W + u v^T / N`, shape [..., N, N], dense."""
        return self.dense_bulk + low_rank(self)


def bulk_network_of(vectors: jax.Array, layout: Layout, weights: jax.Array, bulk: Any) -> BulkNetwork:
    """A network with a bulk that is not checked: one that learning led to."""
    return assembled(BulkNetwork, vectors=vectors, layout=layout, weights=weights, bulk=bulk)


def is_sparse(bulk: Any) -> bool:
    """Whether a matrix is sparse, of scipy or jax."""
    return hasattr(bulk, "todense")


def check_bulk(model: Model, network: AbstractNetwork, caller: str) -> None:
    """Refuse a network without the bulk that its model has.

    Raises:
        ValueError: naming the caller.
    """
    if model.bulk is not None and not isinstance(network, BulkNetwork):
        raise ValueError(
            f"{caller}: the model has a bulk, {model.bulk!r}, and the network has none; make one with "
            "ol.BulkNetwork.sample(model, overlaps, n_neurons, key=key)."
        )


def _matrix(bulk: Any) -> Any:
    """A dense array, or a BCOO.

    Raises:
        ValueError: if it is neither.
    """
    if not is_sparse(bulk):
        return floating(bulk, "BulkNetwork: bulk")
    # Few networks are sparse, and jax's sparse matrices take long to import.
    from jax.experimental import sparse

    # What scipy's sparse formats have in common.
    if hasattr(bulk, "tocoo"):
        bulk = sparse.BCOO.from_scipy_sparse(bulk)
    if not isinstance(bulk, sparse.BCOO):
        raise ValueError(f"BulkNetwork: bulk must be an array, a sparse matrix of scipy or a BCOO, got {bulk!r}.")
    return bulk
