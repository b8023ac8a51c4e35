"""Moments: what the loss of a linear network with a bulk can see."""

import jax
import jax.numpy as jnp

from overlap_learning.checks import count
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.reduced_network import ReducedNetwork


def visible_moments(network: BulkNetwork | ReducedNetwork, order: int) -> jax.Array:
    """The moments of W between readers and fields, `s^(j) = A^T W^j B / N`, A = (v, z), B = (m, u).

    With `R(s) = (1 + s - W)^-1` the outputs of a linear network follow its inputs, in Laplace transforms, as::

        y = [z^T R m + z^T R u (1 - v^T R u / N)^-1 v^T R m / N] x / N,    a^T R b = sum_j a^T W^j b / (1 + s)^(j + 1)

    so that these moments are all that any task sees; the rest of G, and of all words in W and W^T, is invisible, and
    enters learning. Order 0 is the visible block of G. A trial of T steps sees orders up to T - 2. For N to infinity
    the moments of a start whose W0 is independent of its vectors are, but for order 0, `tau g^2` times lower ones: all
    zero for independent entries, so that g itself is invisible before learning.

    Args:
        network: a `BulkNetwork`, or a `ReducedNetwork`, whose inner products have no 1/N.
        order: the highest j.

    Returns:
        The moments, shape [order + 1, rank + n_out, n_in + rank], with rows v, z and columns m, u.

    Raises:
        ValueError: if the network is of another kind.

    Source: own derivation (theory page, section 9).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear(), bulk=ol.RandomBulk(0.5))
        >>> start = ol.Overlaps.from_entries(model.layout, zm=0.3)
        >>> network = ol.BulkNetwork.sample(model, start, 50, key=jax.random.key(0))
        >>> moments = ol.model.visible_moments(network, 3)
        >>> moments.shape, bool(abs(moments[0, 1, 0] - 0.3) < 1e-12)
        ((4, 2, 2), True)
    """
    if not isinstance(network, (BulkNetwork, ReducedNetwork)):
        raise ValueError(
            f"visible_moments: network must be an ol.BulkNetwork or a ReducedNetwork, got {type(network).__name__}; "
            "without a bulk, overlaps are all there is: ol.Overlaps.replace, Model.visible."
        )
    n_fields, order = network.layout.n_fields, count(order, "visible_moments: order", 0)
    size = len(network.vectors)
    bulk, scale = (network.bulk, 1) if isinstance(network, ReducedNetwork) else (network.bulk, size)
    fields, readers = network.vectors[:, :n_fields], network.vectors[:, n_fields:]

    def applied(fields, _):
        moved = (bulk @ fields.reshape(bulk.shape[0], -1)).reshape(fields.shape)
        return moved, readers.T @ fields / scale

    return jax.lax.scan(applied, jnp.asarray(fields), length=order + 1)[1]
