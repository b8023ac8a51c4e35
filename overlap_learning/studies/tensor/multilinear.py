"""Multilinear: ranks by unfolding, compression without loss, and Tucker's decomposition."""

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

#: Components of an unfolding are dropped below this share of the largest: rounding.
ROUNDING = 1e-14


class MultilinearRank(NamedTuple):
    """One number for each unfolding of a tensor of weights.

    Attributes:
        time: of learning time by (post, pre).
        post: of postsynaptic neurons by (time, pre).
        pre: of presynaptic neurons by (time, post).
    """

    time: int
    post: int
    pre: int


class Compressed(NamedTuple):
    """A tensor as a small one in orthonormal frames, equal to it up to rounding.

    Attributes:
        small: shape [r_time, r_post, r_pre], of norm 1.
        frames: of learning time [S, r_time], post- [p, r_post] and presynaptic neurons [p, r_pre].
        norm: of the tensor.
    """

    small: np.ndarray
    frames: tuple[np.ndarray, np.ndarray, np.ndarray]
    norm: float

    def unexplained(self, approximation: np.ndarray) -> float:
        """The share of the squared norm that an approximation of `small` leaves."""
        return float(np.sum((self.small - approximation) ** 2))


class Tucker(NamedTuple):
    """A Tucker approximation, `T_kij ~ sum_abc core_abc trials_ka columns_ib rows_jc`, all frames orthonormal.

    Attributes:
        core: shape `ranks`.
        trials: of learning time, shape [S, ranks[0]].
        columns: of postsynaptic neurons, in the frame of the core of the tensor, shape [p, ranks[1]].
        rows: of presynaptic neurons, shape [p, ranks[2]].
        unexplained: the share of the squared norm that it leaves.
    """

    core: np.ndarray
    trials: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    unexplained: float


def compress(left: np.ndarray, right: np.ndarray) -> Compressed:
    """The tensor `T_k = left_k right_k^T` in the frames of its unfoldings.

    Args:
        left: shape [S, p, r].
        right: shape [S, p, r].
    """
    post, pre = _frame(left, right), _frame(right, left)
    slices = (post.T @ left) @ np.swapaxes(pre.T @ right, 1, 2)
    time, values, across = np.linalg.svd(slices.reshape(len(slices), slices[0].size), full_matrices=False)
    kept = values > ROUNDING * values[:1]
    norm = float(np.linalg.norm(values))
    # A change of nothing is the rounding of a difference.
    norm = norm if norm > rounding(left, right) else 0.0
    small = values[kept, None] * across[kept] / (norm or 1.0)
    return Compressed(small.reshape(len(small), *slices.shape[1:]), (time[:, kept], post, pre), norm)


def rounding(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What rounding may leave of the tensor `left_k right_k^T` where the terms of the products cancel."""
    sizes = np.linalg.norm(left, axis=(-2, -1)) * np.linalg.norm(right, axis=(-2, -1))
    return ROUNDING * np.linalg.norm(sizes, axis=-1)


def _frame(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """The directions of `near` that the slices `near_k far_k^T` have."""
    slices = near @ np.swapaxes(np.linalg.qr(far, mode="r"), 1, 2)
    axes, values, _ = np.linalg.svd(np.moveaxis(slices, 0, 1).reshape(near.shape[1], -1), full_matrices=False)
    return axes[:, values > ROUNDING * values[:1]]


def library() -> Any:
    """Tensorly, imported when it is needed.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import_module("tensorly.decomposition")
    except ImportError:
        raise ImportError("CP and Tucker terms need tensorly: pip install 'overlap_learning[studies]'.") from None
    return import_module("tensorly")


def fit_tucker(compressed: Compressed, ranks: tuple[int, int, int]) -> Tucker:
    """Tensorly's alternating orthogonal iteration, started from the higher-order SVD."""
    tensorly = library()
    # More components than the tensor has would be components of rounding.
    most = [min(rank, size) for rank, size in zip(ranks, compressed.small.shape, strict=True)]
    with tensorly.backend_context("numpy", local_threadsafe=True):
        core, factors = tensorly.decomposition.tucker(compressed.small, rank=most, n_iter_max=1000, tol=1e-13)
        approximation = tensorly.tucker_to_tensor((core, factors))
    trials, columns, rows = (frame @ factor for frame, factor in zip(compressed.frames, factors, strict=True))
    return Tucker(compressed.norm * core, trials, columns, rows, compressed.unexplained(approximation))
