"""Network: the vectors of every neuron."""

import abc
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from overlap_learning.checks import (
    assembled,
    by_label,
    check_key,
    count,
    floating,
    in_jax,
    in_numpy,
    is_traced,
    later,
    namespace,
)
from overlap_learning.guides import guide
from overlap_learning.model.factor import standard_neurons, times_factor
from overlap_learning.model.layout import Layout
from overlap_learning.model.nodes import AbstractNodes, default_nodes
from overlap_learning.model.overlaps import Overlaps, what_has_overlaps
from overlap_learning.printed import as_html, matrix_rows

Kind = TypeVar("Kind", bound="AbstractNetwork")

#: The axis of a mesh of devices over which neurons are spread.
NEURONS = "neurons"


class AbstractNetwork(eqx.Module):
    """N neurons with their vectors; what else connects them, a kind of its own says.

    Attributes:
        vectors: V, shape [..., N, d].
        layout: the `Layout` of its columns.
        weights: the share of each neuron in every average over neurons, shape [..., N].
    """

    vectors: eqx.AbstractVar[jax.Array]
    layout: eqx.AbstractVar[Layout]
    weights: eqx.AbstractVar[jax.Array]

    @property
    def n_neurons(self) -> int:
        """N."""
        return self.vectors.shape[-2]

    @property
    def m(self) -> jax.Array:
        """Input vectors, shape [..., N, n_in]."""
        return self.vectors[..., self.layout.block("m")]

    @property
    def u(self) -> jax.Array:
        """Left (output) vectors of the recurrence, shape [..., N, rank]."""
        return self.vectors[..., self.layout.block("u")]

    @property
    def v(self) -> jax.Array:
        """Right (selection) vectors of the recurrence, shape [..., N, rank]."""
        return self.vectors[..., self.layout.block("v")]

    @property
    def z(self) -> jax.Array:
        """Readout vectors, shape [..., N, n_out]."""
        return self.vectors[..., self.layout.block("z")]

    @property
    @abc.abstractmethod
    def connectivity(self) -> jax.Array:
        """W, shape [..., N, N], row i the input weights of neuron i: with low rank alone `u v^T / N`."""

    @property
    def overlaps(self) -> Overlaps:
        """`G = sum_i w_i V_i V_i^T`."""
        return Overlaps(weighted_gram(self.vectors, self.weights), self.layout)

    def __repr__(self) -> str:
        kind, vectors = type(self).__name__, self.vectors
        # Of neurons that other processes hold, the values are not known here.
        is_known = not is_traced(vectors, self.weights) and getattr(vectors, "is_fully_addressable", True)
        if not is_known or vectors.ndim != 2:
            return f"{kind}({self.layout}, vectors of shape {list(vectors.shape)})"
        gram = np.asarray(weighted_gram(vectors, self.weights))
        about = f"{kind}: {self.n_neurons:,} neurons, {self.layout}, {vectors.dtype}; overlaps"
        return "\n".join([about, *matrix_rows(gram, self.layout.vector_names)])

    def _repr_html_(self) -> str:
        return as_html(repr(self))


class Network(AbstractNetwork):
    """A low-rank network of N neurons: one row of `V = [m | u | v | z]` per neuron.

    Args:
        vectors: V, shape [..., N, d].
        layout: the `Layout` of its columns.
        weights: w, shape [..., N], the share of each neuron in every average over neurons, positive with sum 1;
            None for 1/N each.

    Raises:
        ValueError: if a shape is wrong, a value is not finite, or the weights are not positive with sum 1.

    Source: Ger & Barak 2026, eq. 1.

    Examples:
        >>> layout = ol.Layout(n_in=1, rank=1, n_out=1)
        >>> overlaps = ol.Overlaps.from_entries(layout, zu=0.5)
        >>> network = ol.Network.sample(overlaps, n_neurons=100, key=jax.random.key(0))
        >>> network.u.shape
        (100, 1)
        >>> bool(jnp.allclose(network.overlaps.gram, overlaps.gram, atol=1e-13))
        True
    """

    vectors: jax.Array
    layout: Layout = eqx.field(static=True)
    weights: jax.Array

    def __init__(self, vectors: ArrayLike, layout: Layout, weights: ArrayLike | None = None):
        if not isinstance(layout, Layout):
            raise ValueError(f"Network: layout must be an ol.Layout, got {layout!r}.")
        self.vectors = floating(by_label(vectors, "Network: vectors", layout.vector_names), "Network: vectors")
        self.layout = layout
        shape = self.vectors.shape
        if self.vectors.ndim < 2 or shape[-1] != layout.size or shape[-2] < 1:
            raise ValueError(f"Network: vectors must have shape [N, {layout.size}] for {layout}, got {list(shape)}.")
        if weights is None:
            self.weights = in_jax(np.full(shape[:-1], 1 / shape[-2], self.vectors.dtype))
        else:
            self.weights = floating(weights, "Network: weights").astype(self.vectors.dtype)
            if self.weights.shape != shape[:-1]:
                raise ValueError(
                    f"Network: weights must have shape {list(shape[:-1])}, got {list(self.weights.shape)}."
                )
        # Of neurons that other processes hold, the values are not known here.
        if not is_traced(self.vectors, self.weights) and self.vectors.is_fully_addressable:
            _check(np.asarray(self.vectors), np.asarray(self.weights))
        elif is_traced(self.vectors, self.weights):
            self.vectors = later(self.vectors, jnp.isfinite)
            self.weights = later(self.weights, are_weights)

    @classmethod
    def sample(cls, overlaps: Overlaps, n_neurons: int, *, key: jax.Array, exact: bool = True) -> Self:
        """Neurons drawn from the Gaussian with covariance `overlaps.gram`.

        `V = X F` with `F^T F = G`, and X an N x d Gaussian matrix; if exact, its columns are first made orthonormal
        (`X^T X = N`) by the polar decomposition, the smallest such change.

        Args:
            overlaps: the target overlaps.
            n_neurons: N.
            key: a jax random key.
            exact: True: the network's Gram matrix is the given one to rounding. False: independent neurons, whose
                Gram matrix is off by O(N^-1/2).

        Raises:
            ValueError: if exact and N is smaller than d (d vectors need d neurons to be independent).
        """
        if not isinstance(overlaps, Overlaps):
            raise ValueError(f"Network.sample: overlaps must be ol.Overlaps, got {what_has_overlaps(overlaps)}.")
        check_key(key, "Network.sample")
        layout = overlaps.layout
        d = layout.size
        n = count(n_neurons, "Network.sample: n_neurons", each=4 * 8 * d)
        if exact and n < d:
            raise ValueError(
                f"Network.sample: {d} vectors with given overlaps need at least {d} neurons, got n_neurons={n}. "
                "Use more neurons, or exact=False."
            )
        frame = standard_neurons(key, (*overlaps.gram.shape[:-2], n, d), overlaps.gram.dtype, exact=exact)
        return cls(times_factor(frame, overlaps.gram), layout)

    @classmethod
    def from_vectors(cls, *, m: ArrayLike, u: ArrayLike, v: ArrayLike, z: ArrayLike) -> Self:
        """The network `dh/dt = -h + u v^T phi(h) / N + m x`, `y = z^T phi(h) / N`, from its vectors.

        Args:
            m: input vectors, shape [N, n_in], or [N] of one.
            u: left vectors of the recurrence, shape [N, R], or [N].
            v: right vectors of the recurrence, likewise.
            z: readout vectors, shape [N, n_out], or [N].

        Raises:
            ValueError: if they are not of one N, or u and v of different ranks.

        Source: Ger & Barak 2026, eq. 1.

        Examples:
            >>> vectors = np.random.default_rng(0).normal(size=(4, 50))
            >>> network = ol.Network.from_vectors(m=vectors[0], u=vectors[1], v=vectors[2], z=vectors[3])
            >>> network.layout, network.vectors.shape
            (Layout(n_in=1, rank=1, n_out=1), (50, 4))
        """
        return cls(*_columns({"m": m, "u": u, "v": v, "z": z}, "Network.from_vectors"))

    @classmethod
    def from_ostojic(cls, *, I: ArrayLike, m: ArrayLike, n: ArrayLike, w: ArrayLike) -> Self:  # noqa: E741
        """The same in the symbols of Mastrogiuseppe & Ostojic: `J = m n^T / N`, input I, readout `w^T phi / N`.

        Their I, m, n, w are m, u, v, z here; the factors 1/N are the same. A program whose readout or recurrence has no
        1/N has it in the vectors: pass N times its w, or its n.

        Args:
            I: input vectors, shape [N, n_in], or [N].
            m: left vectors of the recurrence, shape [N, R], or [N].
            n: right vectors of the recurrence (input selection), likewise.
            w: readout vectors, shape [N, n_out], or [N].

        Raises:
            ValueError: as for `from_vectors`.

        Source: Mastrogiuseppe & Ostojic 2018, Neuron 99; Dubreuil et al. 2022, Nature Neuroscience 25.

        Examples:
            >>> vectors = np.random.default_rng(0).normal(size=(4, 50))
            >>> network = ol.Network.from_ostojic(I=vectors[0], m=vectors[1], n=vectors[2], w=vectors[3])
            >>> bool(jnp.allclose(network.connectivity, np.outer(vectors[1], vectors[2]) / 50))
            True
        """
        return cls(*_columns({"I": I, "m": m, "n": n, "w": w}, "Network.from_ostojic"))

    @classmethod
    def from_weights(
        cls, *, inputs: ArrayLike, recurrence: ArrayLike, readout: ArrayLike, rank: int, rtol: float = 1e-6
    ) -> Self:
        """The network of a plain program, `dh/dt = -h + W phi(h) + W_in x`, `y = W_out phi(h)`, with no 1/N anywhere.

        `m = W_in`, `z = N W_out^T`, and `u v^T / N = W` by a singular value decomposition whose singular values u and v
        share equally. From PyTorch, pass `layer.weight.detach().numpy()`. Biases are constant inputs: further columns
        of W_in.

        Args:
            inputs: W_in, shape [N, n_in].
            recurrence: W, shape [N, N], row i the input weights of neuron i.
            readout: W_out, shape [n_out, N].
            rank: R.
            rtol: the share of W's norm that may be left over.

        Raises:
            ValueError: if a shape is wrong, or W is not of this rank: the message says which rank would do.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> left, right = rng.normal(size=(2, 50, 2))
            >>> w = left @ right.T / 50
            >>> network = ol.Network.from_weights(
            ...     inputs=rng.normal(size=(50, 1)), recurrence=w, readout=np.ones((1, 50)) / 50, rank=2)
            >>> bool(jnp.allclose(network.connectivity, w)), network.z[0].tolist()
            (True, [1.0])
        """
        caller = "Network.from_weights"
        matrices = {"inputs": inputs, "recurrence": recurrence, "readout": readout}
        given = {name: np.asarray(floating(value, f"{caller}: {name}")) for name, value in matrices.items()}
        n = len(np.atleast_1d(given["recurrence"]))
        wanted = {"recurrence": (n, n), "inputs": (n, -1), "readout": (-1, n)}
        for name, shape in wanted.items():
            found = given[name].shape
            if len(found) != 2 or any(size not in (-1, there) for size, there in zip(shape, found, strict=True)):
                text = str(list(shape)).replace("-1", "n_in" if name == "inputs" else "n_out")
                raise ValueError(f"{caller}: {name} must have shape {text}, got {list(found)}.")
            if bad := int(np.sum(~np.isfinite(given[name]))):
                raise ValueError(f"{caller}: {name} must be finite; {bad} of {given[name].size} values are not.")
        rank = count(rank, f"{caller}: rank", most=n)
        left, values, right = np.linalg.svd(given["recurrence"])
        rest = np.sqrt(np.cumsum(values[::-1] ** 2))[::-1]
        if rank < n and rest[rank] > rtol * rest[0]:
            enough = int(np.sum(rest > rtol * rest[0]))
            raise ValueError(
                f"{caller}: recurrence is not of rank {rank}: {rest[rank] / rest[0]:.2g} of its norm is left over, and "
                f"rank {enough} leaves less than rtol={rtol:g}. Use that rank, a larger rtol, or ol.BulkNetwork, for "
                f"a W of full rank.{guide('network')}"
            )
        roots = np.sqrt(n * values[:rank])
        return cls.from_vectors(
            m=given["inputs"], u=left[:, :rank] * roots, v=right[:rank].T * roots, z=n * given["readout"].T
        )

    @property
    def as_weights(self) -> dict[str, jax.Array]:
        """The same network as a plain program has it: `inputs`, `recurrence` and `readout`, as `from_weights` takes."""
        readout = jnp.swapaxes(self.weights[..., None] * self.z, -1, -2)
        return {"inputs": self.m, "recurrence": self.connectivity, "readout": readout}

    @classmethod
    def quadrature(cls, overlaps: Overlaps, nodes: AbstractNodes | None = None) -> Self:
        """Weighted neurons that stand for infinitely many, drawn from the Gaussian with covariance `overlaps.gram`.

        `V = X F` with `F^T F = G`, and nodes X, weights w of the standard normal distribution in as many dimensions as
        G has rank. Averages over neurons become sums with weights w, in `ol.simulate` and `ol.train` alike, so that a
        few hundred neurons give the limit of infinitely many, without sampling noise: `ol.limit` does that with an
        estimate of its error. For linear phi `ol.model.MinimalNodes()` are enough: d neurons, exact.

        Args:
            overlaps: the target overlaps; the Gram matrix of the network is theirs to rounding.
            nodes: `ol.model.HermiteGrid`, `Cubature`, `SobolNodes`, `WhitenedNodes` or `MinimalNodes`; None: what was
                found best for up to 600 nodes, a grid in up to four dimensions, else a cubature. Nodes with
                `folded=True` need half as many neurons, and are right for odd phi only (`model.activation.is_odd`).

        Raises:
            ValueError: if nodes is something else, or there would be too many.

        Source: theory page, section 7.

        Examples:
            >>> overlaps = ol.Overlaps.from_entries(ol.Layout(), zu=0.5)
            >>> network = ol.Network.quadrature(overlaps, ol.model.HermiteGrid(4, folded=True))
            >>> network.n_neurons
            128
            >>> bool(jnp.allclose(network.overlaps.gram, overlaps.gram, atol=1e-13))
            True
        """
        layout = overlaps.layout
        factor = triangular_factor(overlaps)
        dimension = factor.shape[-2]
        n_fields = min(layout.n_fields, dimension)
        nodes = default_nodes(dimension, n_fields) if nodes is None else nodes
        if not isinstance(nodes, AbstractNodes):
            raise ValueError(
                "Network.quadrature: nodes must be ol.model.Cubature(), HermiteGrid(), SobolNodes(), WhitenedNodes() "
                f"or MinimalNodes(), got {nodes!r}."
            )
        return jax.tree.map(in_jax, weighted_network(factor, layout, nodes))

    def sharded(self, devices: Sequence[Any] | Mesh | None = None) -> Self:
        """The same network with its neurons spread over devices: each holds and simulates N / n_devices of them.

        `ol.train` and `ol.simulate` then run on all of them: sums over neurons are added up across devices (the B x d
        currents and outputs of a time step, the d x d overlaps), and nothing of size N is ever exchanged. Results are
        those of one device up to rounding.

        Args:
            devices: the devices, or a `jax.sharding.Mesh`, over all axes of which neurons are spread; None: all that
                jax has, of every process of a program that called `jax.distributed.initialize()` (each process then
                makes the same network and calls this).

        Raises:
            ValueError: if N is not a multiple of the number of devices.

        Examples:
            >>> network = ol.Network.sample(ol.Overlaps.from_entries(ol.Layout()), 100, key=jax.random.key(0))
            >>> len(network.sharded(jax.devices()[:1]).vectors.sharding.device_set)
            1
        """
        if is_traced(self.vectors):
            raise ValueError("Network.sharded: call it outside jit and vmap, where arrays have a place.")
        chosen = devices if devices is not None else jax.devices()
        # A mesh of the kind on which the compiler works out what lies where.
        mesh = (
            Mesh(chosen.devices, chosen.axis_names)
            if isinstance(chosen, Mesh)
            else Mesh(np.asarray(chosen), (NEURONS,))
        )
        n = self.n_neurons
        if n % mesh.size:
            raise ValueError(
                f"Network.sharded: {n} neurons can't be spread evenly over {mesh.size} devices; use a multiple of "
                f"{mesh.size}, such as {n - n % mesh.size or mesh.size}."
            )
        axes = [None] * (self.vectors.ndim - 2)
        vectors = _place(self.vectors, NamedSharding(mesh, PartitionSpec(*axes, mesh.axis_names, None)))
        weights = _place(self.weights, NamedSharding(mesh, PartitionSpec(*axes, mesh.axis_names)))
        return eqx.tree_at(lambda network: (network.vectors, network.weights), self, (vectors, weights))

    @property
    def connectivity(self) -> jax.Array:
        """`W = u v^T / N` (of weighted neurons `u (w v)^T`), shape [..., N, N]."""
        return low_rank(self)

    def gathered(self) -> Self:
        """The same network with all its neurons in this process, on one device: the way back from `sharded`.

        Of a program of several processes, every one has to call it.
        """
        from jax.experimental.multihost_utils import process_allgather

        def here(array):
            known = np.asarray(array) if array.is_fully_addressable else process_allgather(array, tiled=True)
            return jax.device_put(known, jax.local_devices()[0])

        return jax.tree.map(here, self)


def _columns(blocks: Mapping[str, ArrayLike], caller: str) -> tuple[jax.Array, Layout]:
    """V and its layout, from the vectors of the blocks m, u, v, z, by whatever names.

    Raises:
        ValueError: if they do not fit together.
    """
    arrays = [np.asarray(floating(value, f"{caller}: {name}")) for name, value in blocks.items()]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in zip(blocks, arrays, strict=True))
    if any(array.ndim != 2 for array in arrays) or len({len(array) for array in arrays}) > 1:
        raise ValueError(f"{caller}: each must have shape [N, number of vectors], or [N], of one N; got {shapes}.")
    n_in, left, right, n_out = (array.shape[1] for array in arrays)
    if left != right:
        _, u, v, _ = blocks
        raise ValueError(f"{caller}: {u} and {v} must have as many columns, the rank; got {shapes}.")
    return in_jax(np.concatenate(arrays, axis=1)), Layout(n_in=n_in, rank=left, n_out=n_out)


def triangular_factor(overlaps: Overlaps) -> Any:
    """F, shape [..., r, d], with `F^T F = G`, and r the rank of G: the first vectors need the first dimensions only.

    In numpy, if it is known. Of a batch, r is the largest rank; inside jit or vmap, where it is not known, r = d.
    """
    gram = in_numpy(overlaps.gram)
    xp = namespace(gram)
    values, axes = xp.linalg.eigh(gram)
    size = gram.shape[-1]
    if xp is np:
        noise = 10 * size * np.finfo(values.dtype).eps * values[..., -1:]
        # Of no overlaps at all one dimension is left, so that there is a neuron.
        size = max(1, int(np.max(np.sum(values > noise, axis=-1))))
    root = xp.sqrt(xp.clip(values[..., -size:], 0, None))[..., :, None] * xp.swapaxes(axes[..., -size:], -1, -2)
    return xp.linalg.qr(root, mode="r")


def network_of(vectors: Any, layout: Layout, weights: Any) -> Network:
    """A network that is not checked: one that learning led to."""
    return assembled(Network, vectors=vectors, layout=layout, weights=weights)


def weighted_network(factor: Any, layout: Layout, nodes: AbstractNodes) -> Network:
    """`Network.quadrature` of the overlaps that have this triangular factor; in numpy, if it is known."""
    dimension = factor.shape[-2]
    points, weights, factor = in_numpy((*nodes.standard(dimension, min(layout.n_fields, dimension)), factor))
    xp = namespace(points, factor)
    with jax.default_matmul_precision("highest"):
        vectors = xp.asarray(points, factor.dtype) @ factor
    return network_of(vectors, layout, xp.broadcast_to(xp.asarray(weights, factor.dtype), vectors.shape[:-1]))


def with_vectors(network: Kind, vectors: jax.Array) -> Kind:
    """The same network with other vectors, not checked."""
    return eqx.tree_at(lambda n: n.vectors, network, vectors)


def low_rank(network: AbstractNetwork) -> jax.Array:
    """`u (w v)^T`, shape [..., N, N]."""
    return network.u @ jnp.swapaxes(network.weights[..., None] * network.v, -1, -2)


@functools.partial(jax.jit, inline=True)
def weighted_gram(vectors: jax.Array, weights: jax.Array) -> jax.Array:
    """`sum_i w_i V_i V_i^T`, shape [..., d, d], of vectors [..., N, d] and weights [..., N]."""
    with jax.default_matmul_precision("highest"):
        gram = jnp.swapaxes(vectors, -1, -2) @ (weights[..., None] * vectors)
    return (gram + jnp.swapaxes(gram, -1, -2)) / 2


def _place(array: jax.Array, sharding: NamedSharding) -> jax.Array:
    """The array laid out so; each process keeps its part of what all of them have."""
    if not array.is_fully_addressable:
        return jax.device_put(array, sharding)
    known = np.asarray(array)
    return jax.make_array_from_callback(known.shape, sharding, lambda index: known[index])


def are_weights(weights: jax.Array) -> jax.Array:
    """Whether `_check` finds nothing, of weights that are traced."""
    tolerance = 4 * np.sqrt(weights.shape[-1]) * jnp.finfo(weights.dtype).eps
    return jnp.all(weights > 0) & jnp.all(jnp.abs(weights.sum(-1) - 1) <= tolerance)


def _check(vectors: np.ndarray, weights: np.ndarray) -> None:
    if not np.all(np.isfinite(vectors)):
        raise ValueError(
            f"Network: vectors must be finite; {np.sum(~np.isfinite(vectors))} of {vectors.size} values are not."
        )
    total = weights.sum(-1, dtype=float)
    # Rounding of a sum of N terms.
    tolerance = 4 * np.sqrt(weights.shape[-1]) * np.finfo(weights.dtype).eps
    if not np.all(weights > 0) or np.any(np.abs(total - 1) > tolerance):
        raise ValueError(
            "Network: weights must be positive with sum 1; "
            f"the smallest is {weights.min():.6g} and the sum {total.ravel()[0]:.12g}. Pass weights / weights.sum()."
        )
