"""Sources: tensors of weights from the theory, from neurons at saved points, and from matrices one by one."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.learning.solution import Solution
from overlap_learning.model.bulk_network import BulkNetwork
from overlap_learning.model.network import Network
from overlap_learning.model.overlaps import unchecked
from overlap_learning.model.populations import Populations
from overlap_learning.studies.tensor.weights import WeightTensor, weighted

#: Directions of neurons below this many units of rounding, as a share of the largest, are rounding.
ROUNDING = 500
_TIMES = "learning times (of a batch, some ended early)"


def weight_tensor(solution: Solution) -> WeightTensor:
    """The weights `W(tau_k)` of a network through its learning, as a tensor: exact, and without an N x N array.

    Of the theory (`ol.integrate`) the tensor follows from the transfer matrices and the overlaps at the start; of full
    N from the vectors at the saved points, under any rule and for any phi.

    Args:
        solution: of `ol.integrate`, of `ol.train(..., save_vectors=True)`, or phases of either, `ol.studies.joined`;
            also several networks at once, which have to have reached all saved points.

    Returns:
        A `WeightTensor`.

    Raises:
        ValueError: if it has neither transfer matrices nor vectors, is of populations or of rank 0, or not finite.

    Source: theory page, section 10; the tensor is that of Pellegrino et al. 2023.

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> task, rule = ol.tasks.exponential_filter(), ol.GradientDescent(1e-2, 100)
        >>> start = ol.Overlaps.random(model.layout, key=jax.random.key(0))
        >>> theory = ol.studies.weight_tensor(ol.integrate(model, task, start, rule))
        >>> network = ol.Network.sample(start, 50, key=jax.random.key(1))
        >>> full = ol.studies.weight_tensor(ol.train(model, task, network, rule, save_vectors=True))
        >>> bool(np.allclose(full.norm, theory.norm)), bool(full.outside_share.max() < 1e-25)
        (True, True)
    """
    if not isinstance(solution, Solution) or solution.model is None:
        raise ValueError(
            "weight_tensor: solution must be an ol.Solution of a network, such as ol.integrate(model, task, overlaps, "
            f"rule) returns, got {type(solution).__name__}."
        )
    if solution.model.layout.rank == 0:
        raise ValueError(f"weight_tensor: {solution.model.layout} has no recurrent vectors, so that W is 0.")
    if isinstance(solution.final, Populations):
        raise ValueError(
            "weight_tensor: of populations each has a transfer matrix of its own. Train weighted neurons in their "
            "place: ol.train(model, task, ol.Network.quadrature(overlaps), rule, save_vectors=True)."
        )
    if isinstance(solution.final, BulkNetwork):
        raise ValueError(
            "weight_tensor: this network has a bulk, so that W has full rank. Give the change of its connectivity, "
            "saved with save_vectors=True: W = solution.networks.connectivity; ol.studies.matrices_tensor(W - W[0], "
            "solution.time)."
        )
    if isinstance(solution.networks, Network):
        return networks_tensor(solution.networks, solution.time)
    if solution.transfer is None:
        way = (
            "ol.train(..., save_vectors=True) keeps the vectors at its saved points"
            if isinstance(solution.final, Network)
            else "direct descent and parameter noise move overlaps without one, so follow ol.GradientDescent or "
            "ol.GradientFlow without parameter_noise, or full N: ol.train(..., save_vectors=True)"
        )
        raise ValueError(f"weight_tensor: the solution has no transfer matrices, from which weights follow; {way}.")
    time = _known(solution.time, _TIMES)
    transfer, gram = _known(solution.transfer, "transfer matrices"), _known(solution.overlaps.gram, "overlaps")
    layout = solution.model.layout
    # Of a run that saved its start, M is 1 there.
    back = np.linalg.inv(transfer[..., 0, :, :])
    gram = np.swapaxes(back, -1, -2) @ gram[..., 0, :, :] @ back
    gram = (gram + np.swapaxes(gram, -1, -2)) / 2
    # As in gram_factor, and in numpy, which compiles nothing.
    values, axes = np.linalg.eigh(gram)
    return WeightTensor(
        time=time,
        outgoing=transfer[..., layout.block("u")],
        incoming=transfer[..., layout.block("v")],
        factor=np.sqrt(np.clip(values, 0, None))[..., None] * np.swapaxes(axes, -1, -2),
        spanning=None,
        start=unchecked(jnp.asarray(gram), layout),
        n_start=layout.size,
    )


def networks_tensor(networks: Network, time: ArrayLike | None = None) -> WeightTensor:
    """The tensor of weights of neurons at several points of their learning, however they learned.

    The frame spans the vectors at the first point and then what else the vectors u and v of other points need; its size
    is at most `d + 2 R S`. Weighted neurons count by their weights, so that the tensor is that of the network which
    they stand for.

    Args:
        networks: vectors [S, N, d], `Solution.networks`; also a batch [members, S, N, d].
        time: learning times, shape [S]; None: 0, 1, 2, ...

    Raises:
        ValueError: if there is no axis of saved points, or a value is not finite.

    Examples:
        >>> layout = ol.Layout()
        >>> vectors = jax.random.normal(jax.random.key(0), (5, 30, layout.size))
        >>> ol.studies.networks_tensor(ol.Network(vectors, layout)).multilinear_rank()
        MultilinearRank(time=5, post=5, pre=5)
    """
    if not isinstance(networks, Network) or networks.vectors.ndim < 3:
        raise ValueError(
            "networks_tensor: networks must be an ol.Network with vectors [S, N, d], the saved points first, got "
            f"{list(networks.vectors.shape) if isinstance(networks, Network) else type(networks).__name__}."
        )
    vectors = _known(weighted(networks), "vectors")
    cut = ROUNDING * float(jnp.finfo(networks.vectors.dtype).eps)
    layout = networks.layout
    shape = vectors.shape[:-2]
    times = np.broadcast_to(np.arange(shape[-1], dtype=float), shape) if time is None else _known(time, _TIMES)
    if times.shape != shape:
        raise ValueError(f"networks_tensor: time must have shape {list(shape)}, got {list(times.shape)}.")
    u, v = vectors[..., layout.block("u")], vectors[..., layout.block("v")]
    if len(shape) > 1:
        members = [_framed(*each, cut) for each in zip(vectors, u, v, strict=True)]
        inner, outer = max(n for _, n in members), max(f.shape[1] - n for f, n in members)
        frames = np.stack([_padded(f, n, inner, outer) for f, n in members])
    else:
        frames, inner = _framed(vectors, u, v, cut)
    across = np.swapaxes(frames, -1, -2)[..., None, :, :]
    return WeightTensor(
        time=times,
        outgoing=across @ u,
        incoming=across @ v,
        factor=np.broadcast_to(np.eye(frames.shape[-1]), (*shape[:-1], *[frames.shape[-1]] * 2)),
        spanning=frames,
        start=None,
        n_start=inner,
    )


def matrices_tensor(
    matrices: Iterable[ArrayLike], time: ArrayLike | None = None, span: ArrayLike | None = None, rtol: float = 1e-12
) -> WeightTensor:
    """The tensor of weight matrices that are given one by one, of a network whose whole W learns.

    Each is read once and projected on a frame that grows where it has to, so that S matrices of low rank need the
    memory of one of them. Of connectivity of full rank give changes, `(W - W0 for W in saved)`, whose effective rank is
    low.

    Args:
        matrices: W_k, shape [N, N] each.
        time: learning times, shape [S]; None: 0, 1, 2, ...
        span: vectors whose span `outside_share` refers to, shape [N, q], such as the input and readout vectors; None:
            the rows and columns of the first matrix.
        rtol: what of a matrix is outside the frame counts as rounding below this share of the largest norm so far.

    Raises:
        ValueError: if there are none, or they are not square matrices of one size, or not finite.

    Examples:
        >>> a, b = np.random.default_rng(0).normal(size=(2, 40, 2))
        >>> tensor = ol.studies.matrices_tensor(a @ np.diag([1.0, t]) @ b.T for t in range(5))
        >>> tensor.core.shape, tensor.multilinear_rank()
        ((5, 4, 4), MultilinearRank(time=2, post=2, pre=2))
    """
    frame: np.ndarray | None = None if span is None else _axes(_known(span, "entries of span"), rtol)
    inner = None if frame is None else frame.shape[1]
    slices, scale = [], 0.0
    for number, given in enumerate(matrices):
        matrix = _known(given, f"entries of matrix {number}")
        size = len(matrix) if frame is None else len(frame)
        if matrix.shape != (size, size):
            raise ValueError(
                f"matrices_tensor: every matrix must have shape [N, N], here [{size}, {size}], got "
                f"{list(matrix.shape)} for number {number}."
            )
        frame = np.zeros((size, 0)) if frame is None else frame
        scale = max(scale, float(np.linalg.norm(matrix)))
        both = np.hstack([matrix, matrix.T])
        rest = both - frame @ (frame.T @ both)
        if np.linalg.norm(rest) > rtol * scale:
            axes, values, _ = np.linalg.svd(rest - frame @ (frame.T @ rest), full_matrices=False)
            frame = np.hstack([frame, axes[:, values > rtol * scale / np.sqrt(size)]])
        inner = frame.shape[1] if inner is None else inner
        slices.append(frame.T @ matrix @ frame)
    if frame is None or inner is None or not slices:
        raise ValueError("matrices_tensor: give at least one matrix.")
    size = frame.shape[1]
    core = np.stack([np.pad(part, (0, size - len(part))) for part in slices])
    times = np.arange(len(core), dtype=float) if time is None else _known(time, _TIMES)
    if times.shape != (len(core),):
        raise ValueError(f"matrices_tensor: time must have shape [{len(core)}], got {list(times.shape)}.")
    return WeightTensor(
        time=times,
        outgoing=core,
        incoming=np.broadcast_to(np.eye(size), core.shape),
        factor=np.eye(size),
        spanning=frame,
        start=None,
        n_start=inner,
    )


def _framed(vectors: np.ndarray, u: np.ndarray, v: np.ndarray, cut: float) -> tuple[np.ndarray, int]:
    """Orthonormal directions [N, p] that span the first vectors, then all u and v; and how many span the first."""
    start = _axes(vectors[0], cut)
    rest = np.concatenate([*u, *v], axis=1)
    scale = np.linalg.norm(rest, axis=0).max(initial=0.0)
    for _ in range(2):
        rest = rest - start @ (start.T @ rest)
    axes, values, _ = np.linalg.svd(rest, full_matrices=False)
    axes = axes[:, values > cut * scale]
    # What rounding left of the start in `rest` is a larger part of the directions of small singular values.
    for _ in range(2):
        axes, _ = np.linalg.qr(axes - start @ (start.T @ axes))
    return np.hstack([start, axes]), start.shape[1]


def _padded(frame: np.ndarray, n_start: int, inner: int, outer: int) -> np.ndarray:
    """A frame with columns of zeros, so that those of several members have one shape."""
    inside, outside = frame[:, :n_start], frame[:, n_start:]
    sizes = (inner - inside.shape[1], outer - outside.shape[1])
    return np.hstack([np.pad(part, ((0, 0), (0, n))) for part, n in zip((inside, outside), sizes, strict=True)])


def _axes(vectors: np.ndarray, cut: float) -> np.ndarray:
    """Orthonormal directions of the span of vectors [N, n]."""
    axes, values, _ = np.linalg.svd(vectors, full_matrices=False)
    return axes[:, values > cut * values.max(initial=0.0)]


def _known(values: Any, name: str) -> np.ndarray:
    """An array in numpy and double precision, all of it finite.

    Raises:
        ValueError: that counts what is not finite.
    """
    array = np.asarray(values, float)
    bad = ~np.isfinite(array)
    if bad.any():
        where = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"weight tensor: {int(bad.sum())} of {array.size} {name} are not finite, the first at index {where}."
        )
    return array
