"""Closures: what the learning of nonlinear neurons is followed by."""

import abc
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from overlap_learning.checks import in_numpy, namespace, refuse_traced, scalar
from overlap_learning.guides import guide
from overlap_learning.model.model import Model, known_rates
from overlap_learning.model.network import Network, triangular_factor, weighted_network
from overlap_learning.model.nodes import AbstractNodes, SobolNodes, sized_nodes
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.module import Module
from overlap_learning.neurons.arrays import Neurons
from overlap_learning.neurons.gaussianity import gaussian_overlaps
from overlap_learning.neurons.learner import NeuronLearner
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task

#: What learning can start from.
Start = Overlaps | Populations | Network
#: Numbers of weighted neurons (as if folded), from the fewest.
SIZES = (64, 256, 1024)
#: The fewest of them beside the Gaussian theory, and the fewest for each vector; and how many times as many where phi
#: has a kink, of which an average over few neurons is less well known.
N_BESIDE, PER_VECTOR, IF_KINKED = 48, 6, 2


class Pair(Module):
    """Neurons that learn twice: as they do, and kept Gaussian, by the part of their gradient that is linear in them.

    Both are off for being few, and by nearly the same: what separates them is what a Gaussian theory is off by.

    Attributes:
        network: the neurons.
        spanning: the vectors in each population (with the constant 1), on which transfer matrices act, shape [P, n, r].
        basis: what is linear in that, shape [N, P r]; 0 where there are fewer directions.
    """

    network: Network
    spanning: Any
    basis: Any

    @property
    def inflation(self) -> Any:
        """The part of a function that r directions do not take up by chance is `(N - r) / N`; its inverse, shape []."""
        n_neurons, xp = self.network.n_neurons, namespace(self.basis)
        taken = xp.sum(xp.any(self.basis != 0, axis=0))
        return n_neurons / (n_neurons - taken)

    def learner(self, model: Model, rates: Any, share: jax.Array | None) -> NeuronLearner:
        """Its learner, which keeps a share of what leaves the Gaussian family; None: all."""
        # What an estimate needs; a phi with constants in double precision has states of that.
        dtype = jnp.dtype(jnp.float32) if model.activation.keeps_single else None
        return NeuronLearner(
            model=model,
            rates=Neurons(model.free(known_rates(model, rates))),
            weights=self.network.weights,
            basis=self.basis,
            kept=share,
            state_dtype=dtype,
        )


class AbstractClosure(eqx.Module):
    """What follows the neurons of a nonlinear network through learning. Subclasses: `Gaussian`, `WeightedNeurons`,
    `Cheapest`.
    """

    @abc.abstractmethod
    def starts(
        self, model: Model, task: Task | TaskStream, start: Start, key: jax.Array | None
    ) -> Iterator[Start | Pair]:
        """Where learning begins in this closure; and in others beside it, each finer than, or as fine as, the last.

        Beside Gaussian neurons a `Pair`.
        """


class Gaussian(AbstractClosure):
    """The closure of Ger & Barak: neurons stay Gaussian, so that overlaps are enough; in `Populations`, each of them.

    Exact while learning is early; off by an amount that grows with learning and does not fall with N. Of a network that
    is passed as the start, its overlaps are taken: with a warning if, before learning, they do not give its output.

    Source: Ger & Barak 2026, eqs. 4, 8; theory page, sections 2 and 8.

    Examples:
        >>> model, start = ol.Model(ol.Layout(), ol.Erf()), ol.Overlaps.from_entries(ol.Layout(), zu=0.3, vm=0.3)
        >>> task, rule = ol.tasks.exponential_filter(duration=4.0, dt=0.1), ol.GradientDescent(0.02, 20)
        >>> ol.integrate(model, task, start, rule, closure=ol.Gaussian()).trust.verdict
        'trust'
    """

    def starts(
        self, model: Model, task: Task | TaskStream, start: Start, key: jax.Array | None
    ) -> Iterator[Start | Pair]:
        if isinstance(start, Network):
            yield gaussian_overlaps(model, start, task, key, "integrate")
            yield start
        else:
            yield start
            yield pair_of(model, start)


class WeightedNeurons(AbstractClosure):
    """A few neurons at the nodes of a quadrature of the initial Gaussian, which stand for infinitely many.

    They are trained as those of a network are, and need not stay Gaussian. What they are off by is estimated beside as
    many others, at scrambled Sobol points. A network that is passed as the start has neurons of its own.

    Args:
        nodes: such as `ol.model.Cubature(9)`, `HermiteGrid(8, 2)` or `WhitenedNodes(64, key=key)`, folded only for odd
            phi; None: about 64 (as if folded), that take no time to find in any number of dimensions.

    Raises:
        ValueError: if nodes is something else; from `ol.integrate`, if they are folded and phi is not odd.

    Source: theory page, section 7.

    Examples:
        >>> model, start = ol.Model(ol.Layout(), ol.Erf()), ol.Overlaps.from_entries(ol.Layout(), zu=0.3, vm=0.3)
        >>> task, rule = ol.tasks.exponential_filter(duration=4.0, dt=0.1), ol.GradientDescent(0.02, 20)
        >>> closure = ol.WeightedNeurons(ol.model.HermiteGrid(4, 2, folded=True))
        >>> ol.integrate(model, task, start, rule, closure=closure).final.n_neurons
        32
    """

    nodes: AbstractNodes | None

    def __init__(self, nodes: AbstractNodes | None = None):
        if not (nodes is None or isinstance(nodes, AbstractNodes)):
            raise ValueError(
                "WeightedNeurons: nodes must be ol.model.Cubature(), HermiteGrid(), SobolNodes() or WhitenedNodes(), "
                f"or None, got {nodes!r}."
            )
        self.nodes = nodes

    def starts(
        self, model: Model, task: Task | TaskStream, start: Start, key: jax.Array | None
    ) -> Iterator[Start | Pair]:
        if isinstance(start, Network):
            if self.nodes is not None:
                raise ValueError(
                    "integrate: this network has neurons of its own, and nodes stand for those of Gaussian ones; leave "
                    "nodes out, or start from network.overlaps."
                )
            yield start
            return
        if self.nodes is not None:
            check_folding(model, self.nodes, "integrate")
        chosen = _neurons(model, start, SIZES[0]) if self.nodes is None else _at(start, self.nodes)
        yield chosen
        # As many again at other places.
        n = chosen.n_neurons if isinstance(start, Overlaps) else chosen.n_neurons // start.n_populations
        folded = isinstance(start, Overlaps) and model.activation.is_odd
        with jax.ensure_compile_time_eval():
            key = jax.random.key(1)
        yield _at(start, SobolNodes(max(n, 2 * model.layout.size), key=key, folded=folded))


class Cheapest(AbstractClosure):
    """The cheapest closure that meets a stated error on the task at hand, in any number of dimensions.

    Tried in order of cost: the Gaussian theory (for phi that is not odd, with means), as `Solution.trust` estimates its
    error, then about 64, 256 and 1024 weighted neurons, each against the next. Taken is the first that is off by no
    more than `tolerance`: overlaps as a part of the largest change of one, the loss as a part of the largest loss. If
    none is, the better of the Gaussian theory and the finest is returned, with a warning: there, as beyond the edge of
    stability, networks part from each other too. Of a network that is passed as the start, its overlaps and then its
    own neurons are tried.

    Args:
        tolerance: of overlaps and loss, as said.

    Raises:
        ValueError: if tolerance is not positive; from `ol.integrate`, inside jit or vmap, where numbers are not known.

    Source: theory page, section 7.

    Examples:
        >>> model, start = ol.Model(ol.Layout(), ol.Erf()), ol.Overlaps.from_entries(ol.Layout(), zu=0.3, vm=0.3)
        >>> task, rule = ol.tasks.exponential_filter(duration=4.0, dt=0.1), ol.GradientDescent(0.02, 20)
        >>> chosen = ol.integrate(model, task, start, rule, closure=ol.Cheapest(0.05))
        >>> type(chosen.final).__name__  # the Gaussian theory will do
        'Overlaps'
    """

    tolerance: jax.Array

    def __init__(self, tolerance: ArrayLike = 0.05):
        self.tolerance = scalar(tolerance, "Cheapest: tolerance", "positive", 0)

    def starts(
        self, model: Model, task: Task | TaskStream, start: Start, key: jax.Array | None
    ) -> Iterator[Start | Pair]:
        refuse_traced("integrate with closure=Cheapest", start, key)
        if isinstance(start, Network):
            yield from Gaussian().starts(model, task, start, key)
            return
        if isinstance(start, Overlaps) and not model.activation.is_odd:
            start = Populations.from_overlaps(start)
        yield start
        yield pair_of(model, start)
        for size in SIZES:
            yield _neurons(model, start, size)


def check_folding(model: Model, nodes: AbstractNodes, caller: str) -> None:
    """Refuse folded nodes where phi is not odd.

    Raises:
        ValueError: naming the nodes.
    """
    if nodes.folded and not model.activation.is_odd:
        raise ValueError(
            f"{caller}: {nodes!r} stands for mirror images, too, which is wrong for {type(model.activation).__name__}: "
            f"it is not odd. Use folded=False.{guide('means')}"
        )


def _neurons(model: Model, start: Overlaps | Populations, size: int) -> Network:
    """About `size` weighted neurons (as if folded) in place of infinitely many."""
    least = 2 * model.layout.size
    if isinstance(start, Populations):
        return _at(start, SobolNodes(max(size // start.n_populations, least)))
    factor, phi = triangular_factor(start), model.activation
    dimension = factor.shape[-2]
    n_fields = min(model.layout.n_fields, dimension)
    nodes = sized_nodes(size, dimension, n_fields, folded=phi.is_odd, smooth=not phi.has_kink)
    return weighted_network(factor, model.layout, nodes)


def pair_of(model: Model, start: Overlaps | Populations, size: int | None = None) -> Pair:
    """About `size` neurons (as if folded), those that an estimate takes if None, and what is linear in them."""
    if size is None:
        size = max(N_BESIDE, PER_VECTOR * model.layout.size) * (IF_KINKED if model.activation.has_kink else 1)
    network = _neurons(model, start, size)
    n_populations = 1 if isinstance(start, Overlaps) else start.n_populations
    vectors, weights = in_numpy((network.vectors, network.weights))
    xp = namespace(vectors)
    roots = xp.sqrt(weights).reshape(n_populations, -1, 1)
    spanning = vectors.reshape(n_populations, roots.shape[1], -1)
    if isinstance(start, Populations):
        spanning = xp.concatenate([xp.ones_like(roots), spanning], axis=-1)
    axes, sizes, _ = xp.linalg.svd(roots * spanning, full_matrices=False)
    there = sizes > 100 * np.finfo(float).eps * sizes[:, :1]
    basis = xp.where(there[:, None, :], axes / roots, 0.0)
    block_diag = scipy.linalg.block_diag if xp is np else jax.scipy.linalg.block_diag
    # Left in numpy, if they are known: to put them on the device takes longer than to hand them to a program.
    return Pair(network, spanning, block_diag(*basis))


def _at(start: Overlaps | Populations, nodes: AbstractNodes) -> Network:
    return start.quadrature(nodes) if isinstance(start, Populations) else Network.quadrature(start, nodes)


def known_closure(closure: Any) -> AbstractClosure:
    """The closure that was asked for; None is the Gaussian one.

    Raises:
        ValueError: if it is none.
    """
    if closure is not None and not isinstance(closure, AbstractClosure):
        raise ValueError(
            "integrate: closure must be ol.Gaussian(), ol.WeightedNeurons(nodes) or ol.Cheapest(tolerance), got "
            f"{closure!r}.{guide('closure')}"
        )
    return Gaussian() if closure is None else closure
