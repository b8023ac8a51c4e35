"""Words: the directions that W0 and its transpose make of vectors, and the few of them that learning uses."""

import abc
from typing import NamedTuple, Self

import numpy as np

#: The filters that weigh directions: white noise that decays at this rate beside the neurons' own, and the share that a
#: further filter adds. Chosen for the least error at g from 0.5 to 0.95; what they are, an error estimate does not use.
DECAY, SHARE = 0.5, 0.5
#: Directions of a smaller weight are rounding; weights that change by less have converged.
ROUNDING, CONVERGED = 1e-14, 2e-4
MOST_LEVELS = 500


class Extended(NamedTuple):
    """A space one letter larger.

    Attributes:
        bulk: W0 in it, shape [b, b].
        start: the start vectors in it, orthonormal, shape [b, r].
        before: the space before in it, shape [n, b].
    """

    bulk: np.ndarray
    start: np.ndarray
    before: np.ndarray


class AbstractWords(abc.ABC):
    """A space of words in W0 and W0^T, applied to r orthonormal start vectors."""

    @abc.abstractmethod
    def extend(self) -> Extended:
        """The start vectors, and W0 and W0^T on each direction so far."""

    @abc.abstractmethod
    def keep(self, extended: Extended, directions: np.ndarray) -> Self:
        """The space of some directions of the one extended, orthonormal, shape [b, n]."""


class FreeWords(AbstractWords):
    """N to infinity: the full Fock space over two letters, on which W0 is `c = l(x) + l*(y)`.

    `l(x)` puts the letter x before a word and `l*(y)` takes y away, with `|x| = |y| = g` and `x . y = tau g^2`, so that
    words in c and c* have the inner products that words in W0 and W0^T have, which are free of the vectors::

        c = g (l_1 + tau l_1* + sqrt(1 - tau^2) l_2*)

    circular for independent entries (tau = 0), semicircular for a symmetric W0. A space S is kept as a part of
    `start + l_1 S' + l_2 S'`, S' the space before, so that words of any length take no more memory than short ones.

    Args:
        g: strength.
        tau: correlation of W_ij with W_ji.

    Source: Voiculescu, Dykema & Nica 1992, chapters 1, 2 (Fock space, asymptotic freeness); theory page, section 9.
    """

    def __init__(self, g: float, tau: float):
        self.g, self.tau = g, tau
        #: The space in that which it is a part of, and the space before in it.
        self.within, self.shared = np.ones((1, 1)), np.zeros((0, 1))

    def extend(self) -> Extended:
        n_before, n = self.shared.shape
        # <S | start + l_1 S + l_2 S>, by <l_i a, l_j b> = delta_ij <a, b>.
        before = np.zeros((1 + 2 * n_before, 1 + 2 * n))
        before[0, 0] = 1
        for letter in range(2):
            rows, columns = (slice(1 + letter * m, 1 + (letter + 1) * m) for m in (n_before, n))
            before[rows, columns] = self.shared
        before = self.within.T @ before[: len(self.within)]
        creators = [np.zeros((1 + 2 * n, 1 + 2 * n)) for _ in range(2)]
        for letter, creator in enumerate(creators):
            creator[1 + letter * n : 1 + (letter + 1) * n] = before
        one, two = creators
        bulk = self.g * (one + self.tau * one.T + np.sqrt(1 - self.tau**2) * two.T)
        return Extended(bulk, np.eye(1 + 2 * n, 1), before)

    def keep(self, extended: Extended, directions: np.ndarray) -> "FreeWords":
        kept = FreeWords(self.g, self.tau)
        kept.within, kept.shared = directions, extended.before @ directions
        return kept


class GivenWords(AbstractWords):
    """One given W0: the words are directions in the space of its N neurons.

    Args:
        bulk: W0, shape [N, N], a numpy array or a sparse matrix of scipy.
        start: the start vectors, orthonormal, shape [N, r].
    """

    def __init__(self, bulk: np.ndarray, start: np.ndarray):
        self.bulk, self.start, self.directions = bulk, start, start
        self.extension = start

    def extend(self) -> Extended:
        images = np.concatenate([self.bulk @ self.directions, self.bulk.T @ self.directions], axis=1)
        frame = self.start
        # Twice is enough for orthogonality to rounding.
        for _ in range(2):
            images = images - frame @ (frame.T @ images)
        basis, sizes, _ = np.linalg.svd(images, full_matrices=False)
        # A direction that is new by rounding alone is none.
        self.extension = np.concatenate([frame, basis[:, sizes > 1e-10 * max(1e-300, sizes[0])]], axis=1)
        inside = self.extension.T @ (self.bulk @ self.extension)
        return Extended(inside, self.extension.T @ self.start, self.directions.T @ self.extension)

    def keep(self, extended: Extended, directions: np.ndarray) -> "GivenWords":
        kept = GivenWords(self.bulk, self.start)
        kept.directions = self.extension @ directions
        return kept


class Reduced(NamedTuple):
    """W0 in a few directions, of which the first are the start vectors.

    Attributes:
        bulk: shape [n, n].
        is_whole: whether no other direction can be reached.
    """

    bulk: np.ndarray
    is_whole: bool


def reduce(words: AbstractWords, n_directions: int) -> Reduced:
    """The directions that learning reaches first, and W0 between them.

    What learning adds to a vector is a filter of another, `int a(t) exp((W0 - 1) t) dt`, or the same of W0^T, and
    filters of those in turn. For white a(t), the covariance X of all that can be reached obeys::

        X = S S^T + s (Y + Z),   (W0 - 1 - d) Y + Y (W0 - 1 - d)^T = -X,   Z likewise with W0^T

    S the start vectors. Its leading eigenvectors are kept; the space grows by a letter, X is found in it, and so on
    until the weights stay. A projection to orthonormal directions keeps moments of twice the length of their words.

    Args:
        words: the space of the start vectors.
        n_directions: the most directions.

    Source: own derivation (theory page, section 8).
    """
    from scipy.linalg import solve_continuous_lyapunov

    weights, covariance, was_whole = None, None, False
    for _ in range(MOST_LEVELS):
        extended = words.extend()
        bulk, start, before = extended
        size, n_start = start.shape
        first = start @ start.T
        covariance = first if covariance is None else before.T @ covariance @ before
        # Decay has to outrun transient growth, of which a projection of W0 can make an instability.
        fastest = np.linalg.eigvalsh((bulk + bulk.T) / 2)[-1]
        leak = max(1 + DECAY, 1.1 * fastest) * np.eye(size)
        filtered = sum(solve_continuous_lyapunov(W - leak, -covariance) for W in (bulk, bulk.T))
        covariance = first + SHARE * np.trace(covariance) / np.trace(filtered) * filtered
        others = covariance - first @ covariance
        others = others - others @ first
        values, axes = np.linalg.eigh((others + others.T) / 2)
        reached = int(np.sum(values > ROUNDING * np.trace(covariance)))
        n = min(n_directions - n_start, reached)
        directions = np.concatenate([start, axes[:, ::-1][:, :n]], axis=1)
        words = words.keep(extended, directions)
        is_whole = reached == n
        found = values[::-1][:n]
        is_same = weights is not None and len(found) == len(weights)
        moved = np.max(np.abs(found - weights), initial=0.0) if is_same else np.inf
        if moved <= CONVERGED * np.trace(covariance):
            # A space that no letter makes larger is all there is.
            return Reduced(directions.T @ bulk @ directions, is_whole and was_whole)
        weights, was_whole = found, is_whole
        covariance = directions.T @ covariance @ directions
    raise ValueError(
        f"W0 is too close to instability: after {MOST_LEVELS} letters its words still matter. Use a smaller g, or "
        "train at full N: ol.train(model, task, ol.BulkNetwork.sample(model, overlaps, n_neurons, key=key), rule)."
    )
