"""Populations: neurons of several kinds, or a Gaussian cut into narrower ones."""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from overlap_learning.checks import by_label, check_key, count, floating, is_traced, later, refuse_traced
from overlap_learning.model.factor import standard_neurons, times_factor
from overlap_learning.model.layout import Layout
from overlap_learning.model.network import Network, are_weights, triangular_factor
from overlap_learning.model.nodes import AbstractNodes, HermiteGrid, default_nodes
from overlap_learning.model.overlaps import Overlaps, is_gram, unchecked


class Populations(eqx.Module):
    """Neurons in P populations: Gaussian within each, with its own mean and covariance of the vectors m, u, v, z.

    Averages over neurons are `sum_p a_p <...>_p`. One population with mean 0 is an `ol.Overlaps`. Learning moves the
    neurons of each population by an affine map of its own, so that it stays Gaussian: exactly for linear phi, and for
    other phi a closure that is more accurate the narrower the populations are (`Populations.split`).

    Args:
        fractions: a, the shares of the populations, shape [P], positive with sum 1.
        means: mu, the mean of the vectors in each, shape [P, d].
        covariances: C, their covariance in each, shape [P, d, d], symmetric and positive semi-definite.
        layout: the `Layout`.

    Raises:
        ValueError: if a shape is wrong, a value is not finite, the fractions are not positive with sum 1, or a
            covariance is not symmetric and positive semi-definite.

    Source: Beiran et al. 2021, Neural Computation 33; Dubreuil et al. 2022; Lambert et al. 2022, arXiv 2205.15902;
    theory page, section 8.

    Examples:
        >>> layout = ol.Layout()
        >>> means = jnp.array([[1.0, 0.0, 0.0, 0.5], [-1.0, 0.0, 0.0, 0.5]])
        >>> two = ol.Populations(jnp.array([0.5, 0.5]), means, jnp.stack([jnp.eye(4)] * 2), layout)
        >>> two.overlaps["m", "m"], two.overlaps["z", "m"]
        (Array([[2.]], dtype=float64), Array([[0.]], dtype=float64))
    """

    fractions: jax.Array
    means: jax.Array
    covariances: jax.Array
    layout: Layout = eqx.field(static=True)

    def __init__(self, fractions: ArrayLike, means: ArrayLike, covariances: ArrayLike, layout: Layout):
        if not isinstance(layout, Layout):
            raise ValueError(f"Populations: layout must be an ol.Layout, got {layout!r}.")
        self.layout, d = layout, layout.size
        self.fractions = floating(fractions, "Populations: fractions")
        names = layout.vector_names
        self.means = floating(by_label(means, "Populations: means", names), "Populations: means")
        covariances = by_label(covariances, "Populations: covariances", names, names)
        self.covariances = floating(covariances, "Populations: covariances")
        shape = self.fractions.shape
        wanted = {"fractions": shape[:1] or (1,), "means": (*shape, d), "covariances": (*shape, d, d)}
        for name, expected in wanted.items():
            if getattr(self, name).shape != expected or 0 in shape:
                raise ValueError(
                    f"Populations: fractions, means and covariances must have shapes [P], [P, {d}] and [P, {d}, {d}] "
                    f"for {layout}; {name} has {list(getattr(self, name).shape)}."
                )
        if not is_traced(self.fractions, self.means, self.covariances):
            _check(np.asarray(self.fractions), np.asarray(self.means), np.asarray(self.covariances))
        else:
            self.fractions = later(self.fractions, are_weights)
            self.means = later(self.means, jnp.isfinite)
            self.covariances = later(self.covariances, is_gram)

    @classmethod
    def from_overlaps(cls, overlaps: Overlaps) -> Self:
        """One population, with mean 0."""
        d = overlaps.layout.size
        return cls(jnp.ones(1), jnp.zeros((1, d)), overlaps.gram[None], overlaps.layout)

    @classmethod
    def from_network(
        cls, network: Network, labels: ArrayLike | None = None, *, most: int = 6, key: jax.Array | None = None
    ) -> Self:
        """The populations of a network's neurons, by labels or by a mixture of Gaussians that is fitted to them.

        Each has the fraction, the mean and the covariance of its neurons, so that the overlaps of the whole are the
        network's. Of a mixture, a neuron belongs to every population by its posterior share; their number is the
        smallest whose log-likelihood of held-out neurons (a fifth) is within one standard error of the best.

        Args:
            network: the `Network`.
            labels: the population of each neuron, shape [N]; None: by a mixture.
            most: the largest number of populations that is tried.
            key: a jax random key, for the mixture.

        Raises:
            ValueError: if labels do not fit, there are too few neurons, or a mixture has no key.
            ModuleNotFoundError: without scikit-learn, which fits the mixture.

        Source: Dubreuil et al. 2022; theory page, section 8.

        Examples:
            >>> vectors = np.abs(np.random.default_rng(0).normal(size=(200, 4)))
            >>> network = ol.Network(vectors, ol.Layout())
            >>> one = ol.Populations.from_network(network, np.zeros(200, int))
            >>> bool(jnp.allclose(one.overlaps.gram, network.overlaps.gram)), one.means.shape
            (True, (1, 4))
        """
        caller = "Populations.from_network"
        if not isinstance(network, Network) or network.vectors.ndim != 2:
            raise ValueError(f"{caller}: network must be one ol.Network, got {network!r}.")
        refuse_traced(caller, network)
        vectors, weights = np.asarray(network.vectors, float), np.asarray(network.weights, float)
        if labels is None:
            shares = _mixture(vectors, count(most, f"{caller}: most"), key, caller)
        else:
            known = np.asarray(labels)
            if known.shape != (len(vectors),):
                raise ValueError(f"{caller}: labels must have shape [{len(vectors)}], got {list(known.shape)}.")
            if unlabelled := int(np.sum(known != known)):
                raise ValueError(f"{caller}: labels must say something of each neuron; {unlabelled} are NaN.")
            shares = 1.0 * (known[:, None] == np.unique(known))
        shares = weights[:, None] * shares
        fractions = shares.sum(axis=0)
        means = shares.T @ vectors / fractions[:, None]
        off = vectors - means[:, None]
        covariances = np.einsum("kp,pki,pkj->pij", shares, off, off) / fractions[:, None, None]
        return cls(fractions / fractions.sum(), means, covariances, network.layout)

    @classmethod
    def split(cls, overlaps: Overlaps, nodes: AbstractNodes | None = None, *, share: ArrayLike = 0.8) -> Self:
        """One Gaussian cut into narrower ones: a closure between the Gaussian theory and infinitely many neurons.

        The gradient of a neuron is nonlinear in its m and u, through its field, and linear in its v and z. So only the
        distribution of (m, u), with covariance G_BB, is cut: `N(0, G_BB)` is `N(0, share G_BB)` blurred by
        `N(0, (1 - share) G_BB)`, and the first is replaced by the nodes of a quadrature. The v and z of each population
        follow as the Gaussian has them, given m and u. The overlaps are those given, to rounding.

        Share 0 is the Gaussian theory. At share 1 and with many nodes the first step of learning is exact, and later
        ones are off only by what v and z have mixed into m and u meanwhile. In between few nodes go a long way: with
        four per dimension of the fields (the default: eight populations for rank 1, folded) the error on three tasks
        was an eighth to a third of the Gaussian theory's. Hold it against `ol.limit` on your own task.

        Args:
            overlaps: the overlaps of the whole.
            nodes: for the dimensions of the fields, such as `ol.model.HermiteGrid(4)` or `Cubature(9)`, folded for odd
                phi only; None: `HermiteGrid(4)`.
            share: of G_BB that is between the populations, from 0 to 1.

        Raises:
            ValueError: if share is out of range, or nodes is something else.

        Source: theory page, section 8.

        Examples:
            >>> overlaps = ol.Overlaps.from_entries(ol.Layout(), zu=0.5)
            >>> eight = ol.Populations.split(overlaps, ol.model.HermiteGrid(4, folded=True))
            >>> len(eight.fractions), bool(jnp.allclose(eight.overlaps.gram, overlaps.gram))
            (8, True)
        """
        share = jnp.asarray(share, float)
        if is_traced(share):
            share = later(share, lambda x: (x >= 0) & (x <= 1))
        elif not 0 <= float(share) <= 1:
            raise ValueError(f"Populations.split: share must be from 0 to 1, got {float(share):g}.")
        nodes = HermiteGrid(4) if nodes is None else nodes
        _check_nodes(nodes, "Populations.split")
        factor = triangular_factor(overlaps)
        # Triangular: the fields' vectors need its first rows alone, the others are independent of them.
        n_fields = min(overlaps.layout.n_fields, factor.shape[-2])
        fields, rest = factor[:n_fields], factor[n_fields:]
        points, weights = nodes.standard(n_fields, n_fields)
        points = jnp.asarray(points, factor.dtype)
        covariance = (1 - share) * fields.T @ fields + rest.T @ rest
        covariances = jnp.broadcast_to((covariance + covariance.T) / 2, (len(points), *covariance.shape))
        return cls(jnp.asarray(weights), jnp.sqrt(share) * points @ fields, covariances, overlaps.layout)

    @property
    def n_populations(self) -> int:
        """P."""
        return self.fractions.shape[0]

    @property
    def overlaps(self) -> Overlaps:
        """The overlaps of the whole, `G = sum_p a_p (C_p + mu_p mu_p^T)`."""
        gram = jnp.einsum("p,pij->ij", self.fractions, self.moments[:, 1:, 1:])
        return unchecked((gram + gram.T) / 2, self.layout)

    @property
    def moments(self) -> jax.Array:
        """The second moments of `(1, m, u, v, z)` in each population, shape [P, d + 1, d + 1]."""
        second = self.covariances + self.means[:, :, None] * self.means[:, None, :]
        first = self.means[:, :, None]
        ones = jnp.ones((self.n_populations, 1, 1), second.dtype)
        top = jnp.concatenate([ones, jnp.swapaxes(first, 1, 2)], axis=2)
        return jnp.concatenate([top, jnp.concatenate([first, second], axis=2)], axis=1)

    def moved(self, transfer: jax.Array) -> "Populations":
        """The populations after their neurons have moved by `(1, V) -> (1, V) M`, as in `Solution.transfer`.

        Args:
            transfer: M, shape [P, d + 1, d + 1].
        """
        return from_moments(self, jnp.swapaxes(transfer, -1, -2) @ self.moments @ transfer)

    def sample(self, n_neurons: int, *, key: jax.Array, exact: bool = True) -> Network:
        """A network of N neurons, N a_p of them (rounded, at least d + 1) from population p.

        Each population's neurons carry its fraction, so that averages are right whatever the rounding.

        Args:
            n_neurons: N.
            key: a jax random key.
            exact: whether the mean and covariance of each population are the given ones to rounding, or those of a
                sample.

        Raises:
            ValueError: if N is too small for every population to have its d + 1 neurons.
        """
        n, d, p = count(n_neurons, "Populations.sample: n_neurons"), self.layout.size, self.n_populations
        if n < p * (d + 1):
            raise ValueError(
                f"Populations.sample: {p} populations of {d} vectors need at least {p * (d + 1)} neurons, got "
                f"n_neurons={n}."
            )
        sizes = _shares(np.asarray(self.fractions), n, d + 1)
        parts, weights = [], []
        for i, (size, part_key) in enumerate(zip(sizes, jax.random.split(key, p), strict=True)):
            frame = standard_neurons(part_key, (int(size), d), self.means.dtype, exact=exact, centred=True)
            parts.append(self.means[i] + times_factor(frame, self.covariances[i]))
            weights.append(jnp.full(int(size), self.fractions[i] / size))
        return Network(jnp.concatenate(parts), self.layout, jnp.concatenate(weights))

    def quadrature(self, nodes: AbstractNodes | None = None) -> Network:
        """Weighted neurons that stand for infinitely many, as `ol.Network.quadrature`, for each population.

        Args:
            nodes: of each population, not folded.
        """
        vectors, weights = [], []
        for fraction, mean, covariance in zip(self.fractions, self.means, self.covariances, strict=True):
            factor = triangular_factor(Overlaps(covariance, self.layout))
            dimension = factor.shape[-2]
            n_fields = min(self.layout.n_fields, dimension)
            chosen = default_nodes(dimension, n_fields) if nodes is None else nodes
            _check_nodes(chosen, "Populations.quadrature")
            if chosen.folded:
                raise ValueError(
                    "Populations.quadrature: nodes must not be folded; the mirror image of a neuron of a population "
                    "with a mean belongs to another."
                )
            points, shares = chosen.standard(dimension, n_fields)
            vectors.append(mean + jnp.asarray(points, factor.dtype) @ factor)
            weights.append(fraction * jnp.asarray(shares, factor.dtype))
        return Network(jnp.concatenate(vectors), self.layout, jnp.concatenate(weights))


def from_moments(populations: Populations, moments: jax.Array) -> Populations:
    """Populations with other moments [P, d + 1, d + 1], not checked: those that learning led to."""
    means = moments[:, 0, 1:]
    covariances = moments[:, 1:, 1:] - means[:, :, None] * means[:, None, :]
    covariances = (covariances + jnp.swapaxes(covariances, 1, 2)) / 2
    return eqx.tree_at(lambda p: (p.means, p.covariances), populations, (means, covariances))


def _check_nodes(nodes: AbstractNodes, caller: str) -> None:
    if not isinstance(nodes, AbstractNodes):
        raise ValueError(
            f"{caller}: nodes must be ol.model.HermiteGrid(), Cubature(), SobolNodes() or WhitenedNodes(), got "
            f"{nodes!r}."
        )


def _shares(fractions: np.ndarray, n: int, least: int) -> np.ndarray:
    """Whole numbers of neurons, nearest to the fractions, none below `least`."""
    sizes = np.maximum(least, np.floor(fractions * n).astype(int))
    while sizes.sum() != n:
        step = 1 if sizes.sum() < n else -1
        # Who is farthest from its share gains or gives, as long as it has enough.
        lack = step * (fractions * n - sizes)
        lack = np.where((step < 0) & (sizes <= least), -np.inf, lack)
        sizes[np.argmax(lack)] += step
    return sizes


def _check(fractions: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> None:
    for name, values in (("fractions", fractions), ("means", means), ("covariances", covariances)):
        if not np.all(np.isfinite(values)):
            raise ValueError(f"Populations: {name} must be finite; {np.sum(~np.isfinite(values))} values are not.")
    tolerance = 4 * np.sqrt(len(fractions)) * np.finfo(fractions.dtype).eps
    if not np.all(fractions > 0) or abs(fractions.sum(dtype=float) - 1) > tolerance:
        raise ValueError(
            f"Populations: fractions must be positive with sum 1; the smallest is {fractions.min():.6g} and the sum "
            f"{fractions.sum():.12g}. Pass fractions / fractions.sum()."
        )
    d = means.shape[-1]
    eps = np.finfo(covariances.dtype).eps
    for p, covariance in enumerate(covariances):
        size = np.abs(covariance).max()
        if np.abs(covariance - covariance.T).max() > 100 * eps * size:
            raise ValueError(f"Populations: the covariance of population {p} is not symmetric.")
        smallest, *_, largest = np.linalg.eigvalsh(covariance) if d > 1 else (covariance.item(),) * 2
        if smallest < -100 * d * eps * max(abs(largest), size):
            raise ValueError(
                f"Populations: the covariance of population {p} is not positive semi-definite; its smallest eigenvalue "
                f"is {smallest:.3g}."
            )


def _mixture(vectors: np.ndarray, most: int, key: jax.Array | None, caller: str) -> np.ndarray:
    """The posterior share of each population in each neuron, shape [N, P], P chosen on held-out neurons.

    Raises:
        ValueError: without a key, or with too few neurons.
        ModuleNotFoundError: without scikit-learn.
    """
    if key is None:
        raise ValueError(
            f"{caller}: a mixture begins at random and needs a key: {caller}(network, key=jax.random.key(0))."
        )
    check_key(key, caller)
    n, d = vectors.shape
    if n < 10 * d:
        raise ValueError(f"{caller}: a mixture of {d}-dimensional Gaussians needs {10 * d} neurons or more, got {n}.")
    try:
        from sklearn.mixture import GaussianMixture
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The mixture is fitted by scikit-learn, which is not installed: "
            'pip install "overlap_learning[studies]"; or pass labels.',
            name="sklearn",
        ) from error
    order = np.asarray(jax.random.permutation(key, n))
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    held, kept = vectors[order[: n // 5]], vectors[order[n // 5 :]]

    def fitted(number, data):
        # Neurons that lie in a subspace have a covariance that is singular; the ridge is far below what they vary by.
        ridge = 1e-6 * float(np.mean(np.var(data, axis=0)))
        return GaussianMixture(number, n_init=5, reg_covar=ridge, random_state=seed).fit(data)

    # A population has to have more neurons than its mean and covariance have numbers.
    numbers = range(1, max(1, min(most, len(kept) // (d + d * (d + 1) // 2))) + 1)
    scores = np.array([fitted(number, kept).score_samples(held) for number in numbers])
    best = int(np.argmax(scores.mean(axis=1)))
    behind = scores[best] - scores
    error = behind.std(axis=1, ddof=1) / np.sqrt(len(held))
    chosen = int(np.argmax(behind.mean(axis=1) <= error))
    return fitted(numbers[chosen], vectors).predict_proba(vectors)
