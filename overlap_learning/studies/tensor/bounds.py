"""Bounds: the largest ranks that the weights of a network can have through learning, before any is learned."""

from typing import Any, NamedTuple

import numpy as np

from overlap_learning.checks import count
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model, check_model, refuse_ties
from overlap_learning.studies.tensor.multilinear import MultilinearRank
from overlap_learning.studies.tensor.weights import WeightTensor


class RankBounds(NamedTuple):
    """The largest ranks that a tensor of weights can have. Three different numbers: no one of them is another.

    Attributes:
        matrix: of each W_k.
        multilinear: of the unfoldings.
        cp: of the whole tensor, as a sum of outer products. It is at least the largest multilinear rank.
    """

    matrix: int
    multilinear: MultilinearRank
    cp: int

    def broken(self, tensor: WeightTensor, rtol: float = 1e-10) -> tuple[str, ...]:
        """The ranks by which a tensor exceeds these bounds, of "matrix", "time", "post" and "pre"; none: ().

        Args:
            tensor: the `WeightTensor`.
            rtol: as in `WeightTensor.multilinear_rank`.
        """
        found = {"matrix": int(np.max(tensor.matrix_ranks(rtol)))} | tensor.multilinear_rank(rtol)._asdict()
        most = {"matrix": self.matrix} | self.multilinear._asdict()
        return tuple(name for name in most if np.any(np.asarray(found[name]) > most[name]))


def _bounds(matrix: int, time: int, post: int, pre: int, n_points: int, terms: int) -> RankBounds:
    """With every inequality between the ranks made use of."""
    time = min(n_points, time, post * pre)
    multilinear = MultilinearRank(time, min(post, time * pre), min(pre, time * post))
    cp = min(terms, multilinear.time * post, multilinear.time * pre, post * pre)
    return RankBounds(min(matrix, post, pre), multilinear, cp)


def span_bounds(
    model: Model,
    n_points: int,
    *,
    rates: Any = None,
    weight_decay: bool = False,
    change: bool = False,
    lazy: bool = False,
) -> RankBounds:
    """Bounds for low-rank networks whose vectors stay in the span of those at the start, `V(tau) = V(0) M(tau)`.

    So do linear networks of every N under gradient flow and descent, with any trials, momentum, weight decay, clipping
    by norm, and rates; and the theory of nonlinear ones. Then `W_k = V(0) M_u M_v^T V(0)^T / N` has rank R, its change
    2R, and the tensor of W multilinear rank (K, d, d) at most and a CP rank of at most d^2, whatever was learned. As K
    grows beyond d^2 the bounds are reached: an exact tensor rank of d^2, not d and not R.

    Column j of M begins as the unit vector e_j and gains, if vector j learns, multiples of the columns i with which the
    loss sees it overlap, `dM_j = -sum_i M_i S_ij P_j`. The bounds count the entries of `M_u M_v^T` that can become
    different from 0 in this way; frozen vectors leave fewer.

    Args:
        model: the `Model`.
        n_points: K, the number of saved points.
        rates: relative learning rates P; what is 0 is frozen.
        weight_decay: whether vectors decay, so that each also gains multiples of itself.
        change: of the change since the first saved point, not of W.
        lazy: to first order in the learning rate, where `du` is in the span of (v, z), `dv` in that of (m, u), and
            their product is nothing.

    Returns:
        `RankBounds`.

    Source: theory page, section 10.

    Examples:
        >>> model = ol.Model(ol.Layout(n_in=1, rank=1, n_out=1), ol.Linear())
        >>> ol.studies.span_bounds(model, 253)
        RankBounds(matrix=1, multilinear=MultilinearRank(time=16, post=4, pre=4), cp=16)
        >>> ol.studies.span_bounds(model, 253, change=True, lazy=True)
        RankBounds(matrix=2, multilinear=MultilinearRank(time=4, post=3, pre=3), cp=4)
    """
    check_model(model, "span_bounds")
    refuse_ties(model, "span_bounds")
    n_points = count(n_points, "span_bounds: n_points")
    layout = model.layout
    own = np.eye(layout.size, dtype=bool)
    coupled = (np.asarray(model.visible) | (own & weight_decay)) & (np.asarray(layout.rates(rates)) > 0)[:, None]
    gained = coupled
    for _ in range(0 if lazy else layout.size):
        gained = gained | (coupled @ gained)
    u, v = layout.block("u"), layout.block("v")

    def entries(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Entries [d, d] of the products of columns u and v of M, of which each may be in several."""
        return np.einsum("ri,rj->ij", left[u], right[v])

    moving = entries(own, gained) | entries(gained, own)
    moving = moving if lazy else moving | entries(gained, gained)
    still = entries(own, own) & ~moving
    # All that stays is one function of learning time.
    time, filled = moving.sum() + (0 if change else still.any()), moving | (still & (not change))
    u_moves, v_moves = gained[u].any(axis=1), gained[v].any(axis=1)
    return _bounds(
        matrix=int(np.sum(u_moves) + np.sum(v_moves)) if change else layout.rank,
        time=int(time),
        post=int(filled.any(axis=1).sum()),
        pre=int(filled.any(axis=0).sum()),
        n_points=n_points - 1 if change else n_points,
        terms=min(int(filled.sum()), layout.rank * n_points),
    )


def factor_bounds(layout: Layout, n_points: int, n_neurons: int, *, change: bool = False) -> RankBounds:
    """Bounds for every low-rank network, whatever phi is and however it learns: W_k is still a product `u v^T / N`.

    The neurons' vectors may go anywhere, so that the unfoldings have rank N or R K at most. Adam, and learning in
    nonlinear networks, exceed the bounds of `span_bounds` and keep these.

    Args:
        layout: the `Layout`.
        n_points: K, the number of saved points.
        n_neurons: N.
        change: of the change since the first saved point, not of W.

    Source: theory page, section 10.

    Examples:
        >>> ol.studies.factor_bounds(ol.Layout(), 100, 200, change=True).matrix
        2
    """
    n_points, n = count(n_points, "factor_bounds: n_points"), count(n_neurons, "factor_bounds: n_neurons")
    most = layout.rank * n_points
    points = n_points - 1 if change else n_points
    return _bounds(layout.rank * (2 if change else 1), points, min(n, most), min(n, most), points, most)


def gradient_bounds(n_adjoints: int, n_rates: int, n_points: int) -> RankBounds:
    """Bounds for a network whose whole N x N matrix W learns, of the change of W.

    Its gradient is a sum over trials and time steps of `lambda(t) phi(h(t))^T`. If the adjoints lambda stay in one
    space of dimension D_lambda through all of learning, and the rates phi(h) in one of D_phi, the change of W has rank
    min(D_lambda, D_phi) and its tensor multilinear rank (D_lambda D_phi, D_lambda, D_phi) at most.

    For linear networks both spaces are known beforehand, if W is 0 at the start: the span of all input and readout
    vectors, `q = n_in + n_out`, so `gradient_bounds(q, q, K)`. From `W = A B^T` of rank r it is the span of these and
    of A and B, `q = n_in + n_out + 2 r`. From W of full rank no bound below N holds; look at
    `WeightTensor.effective_rank` of the change.

    Args:
        n_adjoints: D_lambda.
        n_rates: D_phi.
        n_points: K, the number of saved points.

    Source: theory page, section 10.

    Examples:
        >>> ol.studies.gradient_bounds(4, 4, 100)
        RankBounds(matrix=4, multilinear=MultilinearRank(time=16, post=4, pre=4), cp=16)
    """
    post, pre = count(n_adjoints, "gradient_bounds: n_adjoints"), count(n_rates, "gradient_bounds: n_rates")
    n_points = count(n_points, "gradient_bounds: n_points")
    return _bounds(min(post, pre), post * pre, post, pre, n_points, post * pre)
