"""Components: a tensor of weights as a sum of few terms, each a column, a row and a factor that learning changes."""

import contextlib
from typing import NamedTuple

import jax
import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from overlap_learning.checks import check_key, count
from overlap_learning.studies.tensor.multilinear import Compressed, library

#: Sweeps of alternating least squares from each start, and damped Gauss-Newton steps after them, at the most.
SWEEPS, STEPS = 50, 500
#: A step that lowers the squared error by a smaller share than this is of no use, and so many of them end a fit.
USELESS, PATIENCE = 1e-9, 5
#: The squared error, as a share of the squared norm, below which a fit is exact.
EXACT = 1e-28

#: How far a start is moved off singular vectors.
NUDGE = 1e-2

Factors = list[np.ndarray]


class Components(NamedTuple):
    """CP terms in the form of a low-tensor-rank network: `T_kij ~ sum_s trials_ks columns_is rows_js`.

    Columns and rows have unit norm, and trial factors carry all of size and sign: of each term, the largest entry of
    the column and the sum of the trial factor are positive. Terms come in the order of the norms of their trial
    factors. This is the weight matrix of the ltrRNN of Pellegrino et al. 2023, a sum of fixed outer products of which
    learning changes the weights alone.

    Attributes:
        columns: a, of postsynaptic neurons, in the frame of the core, shape [p, rank].
        rows: b, of presynaptic neurons, shape [p, rank].
        trials: c, of learning time, shape [S, rank].
        unexplained: the share of the squared norm that they leave.
        reached: the same from each start, shape [n_starts].
        similarity: of what each start led to with these components: the mean over terms, matched as well as can be, of
            the product of the cosines of their three vectors, shape [n_starts]. 1: the same terms.
        congruence: the product of the cosines of the three vectors of each two terms, shape [rank, rank].
        freedom: directions in which the terms can move (beyond the sizes of the three vectors of a term) without a
            first-order change of their sum; 0: no other terms near these have the same sum.
    """

    columns: np.ndarray
    rows: np.ndarray
    trials: np.ndarray
    unexplained: float
    reached: np.ndarray
    similarity: np.ndarray
    congruence: np.ndarray
    freedom: int

    @property
    def is_degenerate(self) -> bool:
        """Whether two terms nearly cancel (congruence below -0.9): a sign that there is no closest tensor of this rank.

        The fit then creeps on, terms grow without bound, and their time courses mean nothing one by one.
        """
        return bool(self.congruence.min() < -0.9)

    @property
    def inflation(self) -> float:
        """The root of the summed squared norms of the terms, over the norm of their sum: large if they cancel."""
        norms = np.linalg.norm(self.trials, axis=0)
        return float(np.linalg.norm(norms) / np.sqrt(norms @ self.congruence @ norms))

    def __repr__(self) -> str:
        same = int(np.sum(self.reached <= self.unexplained * 1.01 + EXACT))
        rows = [f"Components: {self.trials.shape[1]} terms, unexplained share {self.unexplained:.3g}"]
        rows.append(f"  starts that came as far:  {same} of {len(self.reached)}")
        rows.append(f"  similarity of the starts: {', '.join(f'{s:.3f}' for s in self.similarity)}")
        rows.append(f"  freedom: {self.freedom}, degenerate: {self.is_degenerate}, inflation: {self.inflation:.3g}")
        return "\n".join(rows)


def fit_components(
    compressed: Compressed, rank: int, key: jax.Array | None, n_restarts: int, before: Components | None = None
) -> Components:
    """The best CP approximation of this rank from several starts.

    Args:
        compressed: the tensor.
        rank: number of terms.
        key: of random starts; None: `jax.random.key(0)`.
        n_restarts: random starts.
        before: components with one term fewer, to start from as well.
    """
    key = jax.random.key(0) if key is None else key
    check_key(key, "WeightTensor.cp")
    n_restarts = count(n_restarts, "WeightTensor.cp: n_restarts", least=0)
    seeds = np.asarray(jax.random.randint(key, (1 + n_restarts,), 0, 2**31 - 1))
    fits = [_improve(compressed.small, start) for start in _starts(compressed, rank, seeds, before)]
    errors = np.array([compressed.unexplained(_sum(fit)) for fit in fits])
    unit = [_normalised(fit) for fit in fits]
    best = unit[int(errors.argmin())]
    trials, columns, rows = (frame @ factor for frame, factor in zip(compressed.frames, best, strict=True))
    signs = [np.sign(np.take_along_axis(f, np.abs(f).argmax(axis=0)[None], axis=0)[0]) for f in (columns, rows)]
    columns, trials = columns * signs[0], trials * signs[0] * compressed.norm
    flip = np.where(trials.sum(axis=0) < 0, -1.0, 1.0)
    return Components(
        columns=columns,
        rows=rows * flip,
        trials=trials * flip,
        unexplained=float(errors.min()),
        reached=errors,
        similarity=np.array([similarity(fit, best) for fit in unit]),
        congruence=congruence(best, best),
        freedom=_freedom(best),
    )


def _starts(compressed: Compressed, rank: int, seeds: np.ndarray, before: Components | None) -> list[Factors]:
    """What tensorly's alternating least squares makes of singular vectors, random factors, and one term fewer."""
    tensorly = library()
    small = compressed.small
    randoms = [[np.random.default_rng([seed, n]).standard_normal((n, rank)) for n in small.shape] for seed in seeds]
    # The axes of the compressed tensor are its singular vectors, and may be a saddle; further columns are random.
    begins = [[np.where(np.arange(rank) < len(f), np.eye(*f.shape) + NUDGE * f, f) for f in randoms[0]], *randoms[1:]]
    if before is not None:
        factors = (before.trials / compressed.norm, before.columns, before.rows)
        projected = [frame.T @ factor for frame, factor in zip(compressed.frames, factors, strict=True)]
        rest = small - _sum(projected)
        vectors = [
            np.linalg.svd(np.moveaxis(rest, mode, 0).reshape(len(f), -1), full_matrices=False)[0][:, 0]
            for mode, f in enumerate(projected)
        ]
        vectors[0] = np.einsum("kij,i,j->k", rest, *vectors[1:])
        begins.append([np.column_stack(pair) for pair in zip(projected, vectors, strict=True)])
    found = []
    # Whatever backend a person has chosen; this one compiles nothing.
    with tensorly.backend_context("numpy", local_threadsafe=True):
        for begin in begins:
            # Two terms that are the same make its equations singular.
            with contextlib.suppress(LinAlgError):
                cp = tensorly.decomposition.parafac(small, rank, init=(None, begin), n_iter_max=SWEEPS, tol=0)
                begin = [np.asarray(cp.weights) * cp.factors[0], *cp.factors[1:]]
            found.append(begin)
    return found


def _sum(factors: Factors) -> np.ndarray:
    """The sum of the terms, shape [K, I, J]."""
    first, *others = factors
    return np.einsum("kr,ijr->kij", first, np.einsum("ir,jr->ijr", *others))


def _improve(tensor: np.ndarray, factors: Factors) -> Factors:
    """Levenberg-Marquardt steps on all factors at once, which do not creep where terms nearly cancel."""
    factors = _balanced(factors)
    rest = _sum(factors) - tensor
    error, damping, idle = float(np.sum(rest**2)), 1e-3, 0
    for _ in range(STEPS):
        if error < EXACT or idle == PATIENCE or damping > 1e12:
            break
        try:
            step = _step(factors, _products(rest, factors), damping)
        except LinAlgError:
            damping *= 4
            continue
        moved = [f - part for f, part in zip(factors, step, strict=True)]
        new_rest = _sum(moved) - tensor
        new_error = float(np.sum(new_rest**2))
        if new_error < error:
            idle = idle + 1 if error - new_error < USELESS * error else 0
            factors, rest, error, damping = moved, new_rest, new_error, max(damping / 3, 1e-15)
        else:
            damping *= 4
    return factors


def _step(factors: Factors, slopes: Factors, damping: float) -> Factors:
    """`(J^T J + damping max diag)^-1 slope`, from the terms' Gram matrices, without J.

    The block of the first factor in `J^T J` is one [rank, rank] matrix for each row; it is eliminated, and a system of
    the size of the other two is solved.
    """
    first, *others = factors
    grams = [f.T @ f for f in factors]
    rank = first.shape[1]
    inner, corner = grams[1] * grams[2], _curvature(factors, 1)
    scale = damping * max(inner.diagonal().max(), corner.diagonal().max())
    inverse = np.linalg.inv(inner + scale * np.eye(rank))
    across = np.concatenate([f.T[:, :, None] * g[:, None] for f, g in zip(others, grams[:0:-1], strict=True)], axis=1)
    flat = across.reshape(rank, -1)
    tiles = np.tile(grams[0], (across.shape[1], across.shape[1]))
    reduced = corner + scale * np.eye(len(corner)) - tiles * (flat.T @ inverse @ flat)
    slope = np.concatenate(slopes[1:]) - np.einsum("rbs,rs->bs", across, (slopes[0] @ inverse).T @ first)
    moved = cho_solve(cho_factor(reduced), slope.ravel()).reshape(slope.shape)
    ahead = (slopes[0] - first @ np.einsum("rbs,bs->sr", across, moved)) @ inverse
    return [ahead, *np.split(moved, [len(others[0])])]


def _products(rest: np.ndarray, factors: Factors) -> Factors:
    """The derivative of half the squared error by each factor."""
    a, b, c = factors
    return [
        np.einsum("kir,ir->kr", rest @ c, b),
        np.einsum("kir,kr->ir", rest @ c, a),
        np.einsum("kjr,kr->jr", np.swapaxes(rest, 1, 2) @ b, a),
    ]


def _curvature(factors: Factors, first: int = 0) -> np.ndarray:
    """`J^T J` of the sum of the terms by the entries of all factors from the first one on, [n, n]."""
    grams = [f.T @ f for f in factors]

    def block(i: int, j: int) -> np.ndarray:
        f, g = factors[i], factors[j]
        others = np.prod([gram for k, gram in enumerate(grams) if k not in (i, j)], axis=0)
        if i == j:
            return np.kron(np.eye(len(f)), others)
        return np.einsum("as,br,rs->arbs", f, g, others).reshape(f.size, g.size)

    modes = range(first, len(factors))
    return np.block([[block(i, j) for j in modes] for i in modes])


def _balanced(factors: Factors) -> Factors:
    """The same terms, each with three vectors of one norm."""
    norms = [np.linalg.norm(f, axis=0) for f in factors]
    size = np.cbrt(np.prod(norms, axis=0))
    return [f * np.divide(size, n, out=np.zeros_like(n), where=n > 0) for f, n in zip(factors, norms, strict=True)]


def _normalised(factors: Factors) -> Factors:
    """The same terms with unit second and third vectors, the largest first."""
    first, *others = factors
    norms = [np.linalg.norm(f, axis=0) for f in others]
    first = first * np.prod(norms, axis=0)
    # A term that vanished has no direction.
    others = [np.divide(f, n, out=np.zeros_like(f), where=n > 0) for f, n in zip(others, norms, strict=True)]
    order = np.argsort(-np.linalg.norm(first, axis=0))
    return [f[:, order] for f in (first, *others)]


def congruence(factors: Factors, others: Factors) -> np.ndarray:
    """The product over the three vectors of the cosines between each two terms."""

    def unit(f: np.ndarray) -> np.ndarray:
        norm = np.linalg.norm(f, axis=0)
        return np.divide(f, norm, out=np.zeros_like(f), where=norm > 0)

    return np.prod([unit(f).T @ unit(g) for f, g in zip(factors, others, strict=True)], axis=0)


def similarity(factors: Factors, others: Factors) -> float:
    """The mean congruence of terms, matched as well as can be (tensortools, Williams et al. 2018)."""
    # Takes longer to import than all of studies.
    from scipy.optimize import linear_sum_assignment

    cosines = congruence(factors, others)
    return float(cosines[linear_sum_assignment(-cosines)].mean())


def _freedom(factors: Factors) -> int:
    """The dimension of the null space of J, less the two scales of each term; at terms of norm 1."""
    rank = factors[0].shape[1]
    unit = [f / np.maximum(np.linalg.norm(f, axis=0), np.finfo(float).tiny) for f in factors]
    values = np.linalg.eigvalsh(_curvature(unit))
    # Squares of singular values, which rounding leaves at some 1e-15 of the largest.
    return int(np.sum(values < 1e-12 * values[-1])) - 2 * rank
