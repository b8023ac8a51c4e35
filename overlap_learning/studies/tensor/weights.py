"""Weights: the recurrent connectivity of a network through its learning, as one tensor that is never written out."""

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import count
from overlap_learning.learning.result import AbstractResult
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.studies.tensor.components import Components, fit_components
from overlap_learning.studies.tensor.multilinear import (
    Compressed,
    MultilinearRank,
    Tucker,
    compress,
    fit_tucker,
    rounding,
)

if TYPE_CHECKING:
    import xarray

#: Numbers that a block of an unfolding may have.
BLOCK = 2**22
#: How far, relative to the largest, the overlaps of a network may be from those that a tensor started from.
SAME = 1e-8


class Lifted:
    """The weights of a network at each saved point, `W_k = left_k right_k^T`, each made when it is asked for.

    A sequence of arrays [N, N]; `np.asarray(lifted)` makes all of them, [S, N, N].

    Args:
        left: shape [S, N, r].
        right: shape [S, N, r].
    """

    def __init__(self, left: np.ndarray, right: np.ndarray):
        self.left, self.right = left, right

    @property
    def shape(self) -> tuple[int, ...]:
        """[S, N, N]."""
        return (*self.left.shape[:-1], self.right.shape[-2])

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, point: Any) -> np.ndarray:
        return self.left[point] @ np.swapaxes(self.right[point], -1, -2)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


class WeightTensor(AbstractResult):
    """The connectivity `W_ij(tau_k)` through learning: a tensor of learning time, post- and presynaptic neurons.

    With V(tau) = V(0) M(tau) and F a factor of the overlaps at the start, `F^T F = G(0)`::

        W_k = (1/N) V(0) [M_u(tau_k) M_v(tau_k)^T] V(0)^T = Q T_k Q^T,    T_k = F M_u(tau_k) M_v(tau_k)^T F^T

    where `Q = V(0) F^-1 / sqrt(N)` has orthonormal columns. So the core T [S, d, d] has the singular values, ranks,
    norms and best low-rank approximations of W [S, N, N], whatever N is. Made by `ol.studies.weight_tensor`.

    Modes are numbered as the axes of the core: 0 is learning time, 1 the postsynaptic neuron i, 2 the presynaptic one
    j. A batch of solutions has the members as first axes.

    Attributes:
        time: learning time of each saved point, shape [S].
        outgoing: coefficients of u in the spanning vectors, M_u, shape [S, c, r]; r is R, or 2R of a change.
        incoming: coefficients of v, M_v, shape [S, c, r].
        factor: F, shape [p, c]: the spanning vectors in an orthonormal frame. Of the theory p = c = d.
        spanning: the spanning vectors over sqrt(N), shape [N, c]; None: those of any network that starts with
            the overlaps `start`.
        start: `Overlaps` at the start.
        n_start: how many axes of the core, the first ones, span the vectors at the start.

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> start = ol.Overlaps.random(model.layout, key=jax.random.key(0))
        >>> rule = ol.GradientDescent(1e-2, 300, save_every=1)
        >>> tensor = ol.studies.weight_tensor(ol.integrate(model, ol.tasks.exponential_filter(), start, rule))
        >>> tensor.core.shape, tensor.multilinear_rank()[1:]
        ((301, 4, 4), (4, 4))
        >>> int(tensor.matrix_ranks().max()), int(tensor.change.matrix_ranks().max())
        (1, 2)
    """

    table: ClassVar[str] = "matrix_singular_values"

    time: np.ndarray
    outgoing: np.ndarray
    incoming: np.ndarray
    factor: np.ndarray
    spanning: np.ndarray | None
    start: Overlaps | None
    n_start: int = eqx.field(static=True)

    # -- the tensor ----------------------------------------------------------------------------------------------------

    @property
    def left(self) -> np.ndarray:
        """`F M_u`, shape [S, p, r]: T_k is `left_k right_k^T`."""
        return self.factor[..., None, :, :] @ self.outgoing

    @property
    def right(self) -> np.ndarray:
        """`F M_v`, shape [S, p, r]."""
        return self.factor[..., None, :, :] @ self.incoming

    @property
    def core(self) -> np.ndarray:
        """T, shape [S, p, p]: of the theory [S, d, d]."""
        return self.left @ np.swapaxes(self.right, -1, -2)

    @property
    def change(self) -> "WeightTensor":
        """The tensor of `W_k - W_0`, the change since the first saved point."""

        def beside_first(array: np.ndarray, sign: int) -> np.ndarray:
            first = np.broadcast_to(sign * array[..., :1, :, :], array.shape)
            return np.concatenate([array, first], axis=-1)

        outgoing, incoming = beside_first(self.outgoing, -1), beside_first(self.incoming, 1)
        return eqx.tree_at(lambda t: (t.outgoing, t.incoming), self, (outgoing, incoming))

    # -- matrices ------------------------------------------------------------------------------------------------------

    @property
    def matrix_singular_values(self) -> np.ndarray:
        """The singular values of each W_k that can differ from 0, shape [S, min(r, p)]."""
        return np.linalg.svd(_triangle(self.left) @ _transposed(_triangle(self.right)), compute_uv=False)

    def matrix_ranks(self, rtol: float = 1e-10) -> np.ndarray:
        """The rank of each W_k, shape [S].

        Args:
            rtol: singular values count that exceed this share of the largest one of all saved points.
        """
        values = self.matrix_singular_values
        least = np.maximum(rtol * values.max(axis=(-2, -1), initial=0.0), rounding(self.left, self.right))
        return np.sum(values > least[..., None, None], axis=-1)

    @property
    def norm(self) -> np.ndarray:
        """|W_k|, the Frobenius norm of each, shape [S]."""
        return np.linalg.norm(self.matrix_singular_values, axis=-1)

    @property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues of each W_k that can differ from 0, those of `v^T u / N`, shape [S, r].

        All of W_k that the loss of a linear network sees by itself: equivalent networks have the same eigenvalues, and
        may differ in singular values, norms and ranks.
        """
        return np.linalg.eigvals(_transposed(self.right) @ self.left)

    @property
    def visible_share(self) -> np.ndarray:
        """`sum |eigenvalues|^2 / |W_k|^2`, shape [S]: what of the squared norm the visible overlaps ask for.

        By Schur's inequality no network with these eigenvalues has smaller weights. The rest depends on overlaps that
        the loss of a linear network does not see, `|W_k|^2 = tr[(u^T u / N)(v^T v / N)]`. 0 where W_k is 0.
        """
        return _share(np.sum(np.abs(self.eigenvalues) ** 2, axis=-1), self.norm**2)

    @property
    def outside_share(self) -> np.ndarray:
        """The share of |W_k|^2 that has left the span of the vectors at the start, shape [S]; 0 where W_k is 0.

        0 in the theory and for linear networks under every rule that the theory follows: gradient flow and descent,
        momentum, decay, clipping. Others leave: Adam, whatever the network, and networks of nonlinear neurons.
        """
        inner = slice(None, self.n_start), slice(self.n_start, None)
        left, right = self.left, self.right
        parts = [(left[..., inner[1], :], right), (left[..., inner[0], :], right[..., inner[1], :])]
        squares = [np.sum((_triangle(a) @ _transposed(_triangle(b))) ** 2, axis=(-2, -1)) for a, b in parts]
        return _share(squares[0] + squares[1], self.norm**2)

    # -- the tensor's ranks --------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one core: [S, p, p]."""
        size = self.factor.shape[-2]
        return self.outgoing.shape[-3], size, size

    def singular_values(self, mode: int) -> np.ndarray:
        """The singular values of an unfolding (of the higher-order SVD), largest first.

        They are those of the unfolded N x N x S tensor; all others of that are 0.

        Args:
            mode: 0 learning time, 1 postsynaptic, 2 presynaptic.

        Returns:
            Shape [min(S, p^2)] for learning time, [p] for neurons.

        Raises:
            ValueError: if there is no such mode.
        """
        n_times, p, _ = self.shape
        if isinstance(mode, bool) or mode not in (0, 1, 2):
            raise ValueError(
                f"WeightTensor.singular_values: mode must be 0 (learning time), 1 (postsynaptic neurons) or 2 "
                f"(presynaptic neurons), got {mode!r}."
            )
        if mode == 0:
            left, right = self.left, _transposed(self.right)
            rows = max(1, BLOCK // (n_times * p))
            # The unfolding has p^2 columns; its triangular factor grows out of blocks of them.
            triangle = np.zeros((*left.shape[:-3], 0, n_times))
            for first in range(0, p, rows):
                block = _transposed((left[..., first : first + rows, :] @ right).reshape(*left.shape[:-2], -1))
                triangle = np.linalg.qr(np.concatenate([triangle, block], axis=-2), mode="r")
            return np.linalg.svd(triangle, compute_uv=False)
        near, far = (self.left, self.right) if mode == 1 else (self.right, self.left)
        values = np.linalg.svd(beside(near @ _transposed(_triangle(far))), compute_uv=False)
        # Of few points an unfolding has less than p components.
        return np.concatenate([values, np.zeros((*values.shape[:-1], p - values.shape[-1]))], axis=-1)

    def multilinear_rank(self, rtol: float = 1e-10) -> MultilinearRank:
        """The ranks of the three unfoldings; the CP rank is at least the largest of them.

        Args:
            rtol: singular values count that exceed this share of the largest one.
        """
        spectra = [self.singular_values(mode) for mode in range(3)]
        noise = np.asarray(rounding(self.left, self.right))[..., None]
        counts = [np.sum(s > np.maximum(rtol * s[..., :1], noise), axis=-1) for s in spectra]
        return MultilinearRank(*(int(n) if n.ndim == 0 else n for n in counts))

    def effective_rank(self, share: float = 0.999) -> MultilinearRank:
        """How many components of each unfolding hold this share of the squared norm.

        The ranks to look at where no exact bound below N holds, as for a change of full-rank connectivity.

        Args:
            share: from 0 to 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"WeightTensor.effective_rank: share must be between 0 and 1, got {share!r}.")
        counts = []
        for mode in range(3):
            squares = self.singular_values(mode) ** 2
            # What is left by the components so far, added up from the smallest.
            left = np.cumsum(squares[..., ::-1], axis=-1)[..., ::-1]
            counts.append(np.sum(left > (1 - share) * left[..., :1], axis=-1))
        return MultilinearRank(*(int(n) if n.ndim == 0 else n for n in counts))

    # -- decompositions ------------------------------------------------------------------------------------------------

    def cp(self, rank: int, *, key: jax.Array | None = None, n_restarts: int = 4) -> Components:
        """The best sum of `rank` terms that is found, `T_kij ~ sum_s c_ks a_is b_js` (CP, or PARAFAC).

        The core is first compressed without loss to its multilinear rank, so that the time does not depend on the
        number of saved points. Starts are that of tensorly's SVD and random ones; each is improved by tensorly's
        alternating least squares and then by damped Gauss-Newton steps, which come out of the swamps that the
        former gets stuck in. The closest tensor of a given rank need not exist, and finding it is not a convex problem:
        look at `Components.reached`, `is_degenerate` and `freedom`.

        Args:
            rank: number of terms.
            key: a jax random key for the random starts; None: `jax.random.key(0)`.
            n_restarts: random starts.

        Returns:
            `Components` in the frame of the core; `basis(network) @ components.columns` are those of neurons.

        Raises:
            ValueError: if the rank is not an integer from 1 to what represents every tensor of this shape exactly, the
                tensor is 0, or a batch.

        Examples:
            >>> model = ol.Model(ol.Layout(), ol.Linear())
            >>> start = ol.Overlaps.random(model.layout, key=jax.random.key(0))
            >>> run = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(1e-2, 300))
            >>> found = ol.studies.weight_tensor(run).cp(2)
            >>> found.trials.shape, bool(found.unexplained < 1e-3)
            ((301, 2), True)
        """
        return fit_components(self._compressed("cp"), self._rank(rank, "cp"), key, n_restarts)

    def unexplained(self, max_rank: int, *, key: jax.Array | None = None, n_restarts: int = 4) -> np.ndarray:
        """The share of |T|^2 that 1, 2, ..., `max_rank` CP terms leave unexplained, shape [max_rank].

        Each number of terms also starts from the best with one term fewer, so that the curve never rises.

        Args:
            max_rank: the most terms.
            key: as in `cp`.
            n_restarts: as in `cp`.
        """
        compressed, most = self._compressed("unexplained"), self._rank(max_rank, "unexplained")
        found, before = [], None
        for rank in range(1, most + 1):
            before = fit_components(compressed, rank, key, n_restarts, before)
            found.append(before.unexplained)
        return np.array(found)

    def tucker(self, ranks: tuple[int, int, int]) -> Tucker:
        """The best Tucker approximation that tensorly's alternating iteration finds.

        Args:
            ranks: of learning time, post- and presynaptic neurons.

        Raises:
            ValueError: if they are not three integers from 1 to the sizes of the core.
        """
        if len(ranks) != 3:
            raise ValueError(f"WeightTensor.tucker: ranks must be three, (time, post, pre), got {ranks!r}.")
        for name, rank, most in zip(MultilinearRank._fields, ranks, self.shape, strict=True):
            count(rank, f"WeightTensor.tucker: the rank of {name}", most=most)
        return fit_tucker(self._compressed("tucker"), ranks)

    def _rank(self, rank: Any, caller: str) -> int:
        n_times, p, _ = self.shape
        exact = min(p * p, n_times * p)
        if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 1 <= rank <= exact:
            raise ValueError(
                f"WeightTensor.{caller}: rank must be an integer from 1 to {exact}, the terms that represent every "
                f"tensor of shape {list(self.shape)} exactly, got {rank!r}."
            )
        return int(rank)

    def _compressed(self, caller: str) -> Compressed:
        if self.outgoing.ndim > 3:
            raise ValueError(
                f"WeightTensor.{caller} takes one tensor, and this is a batch: "
                f"jax.tree.map(lambda array: array[0], tensor).{caller}(...) is its first."
            )
        found = compress(self.left, self.right)
        if found.norm == 0:
            raise ValueError(f"WeightTensor.{caller}: the tensor is 0 at every saved point.")
        return found

    # -- neurons -------------------------------------------------------------------------------------------------------

    def lift(self, network: Network | None = None) -> Lifted:
        """The weights of a network that started with these overlaps, at each saved point.

        Args:
            network: the network at the start; of a tensor that was made at full N, none is needed.

        Returns:
            A sequence of W_k [N, N], each made when it is asked for.

        Raises:
            ValueError: if there is no network, or its overlaps are not those at the start.

        Examples:
            >>> model = ol.Model(ol.Layout(), ol.Linear())
            >>> start = ol.Overlaps.random(model.layout, key=jax.random.key(0))
            >>> run = ol.integrate(model, ol.tasks.exponential_filter(), start, ol.GradientDescent(1e-2, 300))
            >>> network = ol.Network.sample(start, 50, key=jax.random.key(1))
            >>> weights = ol.studies.weight_tensor(run).lift(network)
            >>> weights.shape, bool(np.allclose(weights[0], network.u @ network.v.T / 50))
            ((301, 50, 50), True)
        """
        vectors = self._vectors(network)[..., None, :, :]
        return Lifted(vectors @ self.outgoing, vectors @ self.incoming)

    def basis(self, network: Network | None = None) -> np.ndarray:
        """Q, shape [N, p]: `W_k = Q T_k Q^T`, with orthonormal columns (0 where the start's vectors are dependent).

        Args:
            network: as in `lift`.
        """
        cut = np.sqrt(10 * self.factor.shape[-1] * np.finfo(float).eps)
        return self._vectors(network) @ np.linalg.pinv(self.factor, rcond=cut)

    def _vectors(self, network: Network | None) -> np.ndarray:
        if self.spanning is not None:
            return self.spanning
        if not isinstance(network, Network):
            raise ValueError(
                "WeightTensor: the theory knows no neurons; pass the network at the start, such as "
                f"tensor.lift(ol.Network.sample(overlaps, 200, key=jax.random.key(0))), got {network!r}."
            )
        assert self.start is not None
        if network.layout != self.start.layout:
            raise ValueError(f"WeightTensor: the network has {network.layout}, the tensor {self.start.layout}.")
        gram = np.asarray(self.start.gram)
        off = np.abs(np.asarray(network.overlaps.gram) - gram).max()
        if not off <= SAME * np.abs(gram).max():
            raise ValueError(
                "WeightTensor: the network must have the overlaps that learning started from; they differ by up to "
                f"{off:.3g}. ol.Network.sample(overlaps, n_neurons, key=key) has them."
            )
        return weighted(network)

    # -- tables --------------------------------------------------------------------------------------------------------

    def to_xarray(self) -> "xarray.Dataset":
        """The core, the singular values of its unfoldings and of its matrices, norms and shares."""
        import xarray

        batch = tuple(f"member_{i + 1}" if i else "member" for i in range(self.outgoing.ndim - 3))
        point = (*batch, "point")
        found: dict[str, Any] = {
            "time": (point, self.time, {"long_name": "learning time"}),
            "core": ((*point, "post", "pre"), self.core, {"long_name": "W in an orthonormal frame"}),
            "matrix_singular_values": ((*point, "matrix_component"), self.matrix_singular_values),
            "norm": (point, self.norm, {"long_name": "Frobenius norm of W"}),
            "outside_share": (point, self.outside_share, {"long_name": "share outside the span of the start"}),
        }
        for mode, name in enumerate(MultilinearRank._fields):
            dims = (*batch, f"{name}_component")
            found[f"singular_values_{name}"] = (dims, self.singular_values(mode), {"long_name": f"unfolding by {name}"})
        return xarray.Dataset(found, attrs={"title": "Weights through learning"})

    def __repr__(self) -> str:
        if self.outgoing.ndim > 3:
            return f"WeightTensor(cores of shape {[*self.outgoing.shape[:-3], *self.shape]}, a batch)"
        ranks, most = self.multilinear_rank(), self.effective_rank()
        rows = [f"WeightTensor: core {list(self.shape)} (learning time, post, pre)"]
        rows.append(f"  largest rank of a W_k:       {self.matrix_ranks().max()}")
        rows.append(f"  multilinear rank at 1e-10:   {tuple(ranks)}")
        rows.append(f"  components for 99.9 %:       {tuple(most)}")
        rows.append(f"  outside the start's span:    {self.outside_share.max():.2g}")
        return "\n".join(rows)


def weighted(network: Network) -> np.ndarray:
    """The vectors of neurons times the roots of their weights, `V / sqrt(N)`, in double precision."""
    return np.asarray(network.vectors, float) * np.sqrt(np.asarray(network.weights, float))[..., None]


def _transposed(array: np.ndarray) -> np.ndarray:
    return np.swapaxes(array, -1, -2)


def beside(slices: np.ndarray) -> np.ndarray:
    """Slices [..., S, p, n] beside each other, [..., p, S n]: an unfolding."""
    moved = np.moveaxis(slices, -3, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def _triangle(array: np.ndarray) -> np.ndarray:
    """R [..., min(p, r), r] of [..., p, r], with the same inner products."""
    return np.asarray(np.linalg.qr(array, mode="r"))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
