"""limit: learning of infinitely many neurons, by weighted ones."""

from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.checks import first_rows, is_traced, require_float64
from overlap_learning.dynamics.closures import check_folding
from overlap_learning.dynamics.gradient import gram_loss_gradient
from overlap_learning.learning.checkpoint import Checkpoint, check_checkpoint, part_of
from overlap_learning.learning.dataset import to_dataset
from overlap_learning.learning.driver import check_run
from overlap_learning.learning.result import AbstractResult
from overlap_learning.learning.rules import AbstractRule, Motion
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activations import Activation
from overlap_learning.model.activity import check_channels, simulate
from overlap_learning.model.model import Model, refuse_ties
from overlap_learning.model.network import Network, triangular_factor
from overlap_learning.model.nodes import AbstractNodes, MinimalNodes, SobolNodes, default_nodes
from overlap_learning.model.overlaps import Overlaps, with_gram
from overlap_learning.model.quadrature import Trapezoid
from overlap_learning.neurons.states import network_loss
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task, check_plain
from overlap_learning.training.train import train
from overlap_learning.validation.finite_size import check_comparable, entries

if TYPE_CHECKING:
    import xarray


#: Numbers of Sobol nodes where phi has kinks, for which grids converge slowly.
N_KINK_NODES = (1024, 4096)
#: Nodes of the one-dimensional rule that the rate of learning at the start is held against.
REFEREE = Trapezoid(1024)
#: A rate of learning at the start that is off by more than this part of the largest is spoken of.
UNRESOLVED = 0.01


class Limit(AbstractResult):
    """What `ol.limit` returns: learning in the limit of infinitely many neurons, and how well it is known.

    Attributes:
        solution: the `Solution` of the finer nodes; its `final` is their weighted `Network`.
        coarse: the `Solution` of the coarser nodes.
        start: the `Network` of the finer nodes before learning.
        start_error: how far the finer nodes have the rate at which each overlap begins to change from the right one, as
            a part of the largest rate, shape [p]. While neurons are Gaussian the theory is right, and its average of
            phi a one-dimensional one: a rule that has nothing in common with the nodes.
        folded: whether each node stands for its mirror image -V, too.
        exact: whether d neurons gave it exactly: linear phi, and a rule that closes in overlap space.
    """

    table: ClassVar[str] = "overlaps"

    solution: Solution
    coarse: Solution
    start: Network
    start_error: jax.Array
    folded: bool = eqx.field(static=True)
    exact: bool = eqx.field(static=True)

    @property
    def model(self) -> Model:
        """The `Model`."""
        return self.solution.model

    @property
    def time(self) -> jax.Array:
        """Learning time of each saved point, shape [S]."""
        return self.solution.time

    @property
    def step(self) -> jax.Array | None:
        """Number of steps done at each saved point, shape [S]; None for a flow."""
        return self.solution.step

    @property
    def loss(self) -> jax.Array:
        """The loss at each saved point, shape [S]."""
        return self.solution.loss

    @property
    def overlaps(self) -> Overlaps:
        """The overlaps at each saved point, gram [S, d, d]."""
        return self.solution.overlaps

    @property
    def error(self) -> np.ndarray:
        """The estimated error of each overlap at each saved point, shape [S, p], in the order of `layout.entry_names`.

        It is how much finer nodes changed the result, so rather the error of the coarser ones; or, where this is more,
        `start_error` of the largest change of an overlap until then: two rules of one family can agree on what is
        wrong. 0 where `exact`.
        """
        values = entries(self.solution)
        change = np.abs(values - values[0]).max(axis=1, keepdims=True)
        return np.maximum(np.abs(values - entries(self.coarse)), change * np.asarray(self.start_error))

    @property
    def resolved(self) -> bool:
        """Whether the finer nodes see phi well enough to begin to learn at the right rate, to 1 % of the largest."""
        return bool(np.max(self.start_error) <= UNRESOLVED)

    @property
    def loss_error(self) -> np.ndarray:
        """The estimated error of the loss at each saved point, shape [S]."""
        return np.abs(np.asarray(self.solution.loss) - np.asarray(self.coarse.loss))

    @property
    def neurons(self) -> Network:
        """The learned neurons with all mirror images: a weighted sample of the distribution that learning led to."""
        assert isinstance(self.solution.final, Network)
        return _with_images(self.solution.final, self.folded)

    @property
    def mean(self) -> np.ndarray:
        """Mean over neurons of the entries of each vector at the end of learning, shape [d].

        It starts at 0, and stays there where phi is odd. The Gaussian theory has no means: where phi is not odd and the
        task is not the same with all signs turned, they can make it wrong soon.
        """
        if self.exact:
            return np.zeros(self.model.layout.size)
        neurons = self.neurons
        return np.asarray(neurons.weights) @ np.asarray(neurons.vectors)

    @property
    def kurtosis(self) -> np.ndarray:
        """Excess kurtosis of the neurons' entries of each vector at the end of learning, shape [d]; Gaussian: 0.

        Linear learning, `V(tau) = V(0) M`, keeps a Gaussian distribution Gaussian.
        """
        if self.exact:
            return np.zeros(self.model.layout.size)
        vectors, weights = _centred(self.neurons)
        variance = weights @ vectors**2
        return np.divide(weights @ vectors**4, variance**2, out=np.full_like(variance, np.nan), where=variance > 0) - 3

    @property
    def linear_share(self) -> np.ndarray:
        """The share of each vector's variance over neurons that a linear map of the start explains, shape [d].

        About the mean: R^2 of the regression of V(tau) on V(0), the weight of the first Hermite polynomials in the map
        from the initial neurons to the learned ones. The Gaussian theory allows a linear map only: 1.
        """
        before, weights = _centred(_with_images(self.start, self.folded))
        after, _ = _centred(self.neurons)
        root = np.sqrt(weights)[:, None]
        fitted = before @ np.linalg.lstsq(root * before, root * after, rcond=None)[0]
        variance = weights @ after**2
        rest = weights @ (after - fitted) ** 2
        return 1 - np.divide(rest, variance, out=np.zeros_like(variance), where=variance > 0)

    def output(self, task: Task) -> jax.Array:
        """Outputs of the learned network on a task, shape [B, T, n_out]."""
        assert isinstance(self.solution.final, Network)
        return simulate(self.model, self.solution.final, task)

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: that of the finer solution, with `overlaps_error`, `loss_error`, `kurtosis` and
        `linear_share`.
        """
        data = to_dataset(self.solution)
        data["overlaps_error"] = (("time", "overlap"), self.error, {"long_name": "estimated error", "units": "1"})
        data["loss_error"] = ("time", self.loss_error, {"long_name": "estimated error of the loss", "units": "1"})
        data["kurtosis"] = ("vector", self.kurtosis, {"long_name": "excess kurtosis at the end", "units": "1"})
        data["linear_share"] = ("vector", self.linear_share, {"long_name": "linear share at the end", "units": "1"})
        data.attrs |= {"title": "Learning in the limit of infinitely many neurons", "folded": int(self.folded)}
        return data

    def __repr__(self) -> str:
        if is_traced(self.solution.loss) or self.solution.loss.ndim != 1:
            return f"Limit(points of shape {self.solution.loss.shape}, a batch: index or vmap to read one)"
        rows = [
            f"Limit of infinitely many neurons, by {self.nodes_text}: "
            f"{self.model.layout}, {type(self.model.activation).__name__}",
            f"  {len(self.time)} saved points, learning time {float(self.time[0]):g} to {float(self.time[-1]):g}",
            f"  {'':<12}{'start':>14}{'end':>14}{'known to':>12}",
            f"  {'loss':<12}{float(self.loss[0]):>14.6g}{float(self.loss[-1]):>14.6g}{self.loss_error[-1]:>12.1e}",
        ]
        values = entries(self.solution)
        rows += first_rows(
            [
                f"  {name:<12}{values[0, i]:>14.6g}{values[-1, i]:>14.6g}{self.error[-1, i]:>12.1e}"
                for i, name in enumerate(self.model.layout.entry_names)
            ]
        )
        return "\n".join(rows if self.resolved else [*rows, f"  {self.warning}"])

    @property
    def warning(self) -> str:
        """What `start_error` says, in words."""
        return (
            f"These nodes begin to learn at rates that are up to {float(np.max(self.start_error)):.1%} of the largest "
            "off: phi bends too sharply for them. Use more, or nodes=(ol.model.SobolNodes(1024), "
            "ol.model.SobolNodes(4096))."
        )

    @property
    def nodes_text(self) -> str:
        """How many nodes there are, in words."""
        fine, coarse = (s.final.n_neurons for s in (self.solution, self.coarse) if isinstance(s.final, Network))
        kind = "folded nodes" if self.folded else "nodes"
        return f"{fine} {kind}" if self.exact else f"{fine} {kind} ({coarse} for the error)"


def limit(
    model: Model,
    task: Task | TaskStream,
    overlaps: Overlaps,
    rule: AbstractRule,
    key: jax.Array | None = None,
    *,
    nodes: tuple[AbstractNodes, AbstractNodes] | None = None,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Limit:
    """The limit of infinitely many neurons: what `ol.train` tends to as N grows, for any phi.

    Neurons start Gaussian and do not stay so, because the gradient of a neuron is a nonlinear function of its
    parameters: the Gaussian theory of `ol.integrate` is off at every N, the more the longer training lasts. Here
    weighted neurons at the nodes of a quadrature of the initial Gaussian are trained as any network is. It is done
    twice, with coarser and finer nodes, and the difference tells how well the result is known. A third rule, which has
    nothing in common with them, says whether they see phi at all: at the start, where the theory is exact
    (`Limit.start_error`). Linear networks need d neurons only, and are exact.

    Args:
        model: the `Model`.
        task: a `Task` (fixed batch) or, for rules in steps, a `TaskStream` (fresh batch each step).
        overlaps: the start.
        rule: `GradientDescent` or `GradientFlow`, without stop_loss; element-wise rules (`Optimiser`) too.
        key: a jax random key; needed for a stream, for minibatches and for label noise. `ol.integrate` draws the same
            trials from the same key.
        nodes: the coarser and the finer nodes, such as `(ol.model.HermiteGrid(4), ol.model.HermiteGrid(5))`, with
            folded=True where phi is odd to halve the cost; None: what was found best for up to 300 folded nodes (grids
            in up to four dimensions: 6 and 5 (or 4) nodes per dimension of the fields, 4 and 3 per other one; cubatures
            in more; Sobol nodes in many). Where phi has a kink, as ReLU at 0, two grids can agree better with each
            other than with the limit: None then stands for `(ol.model.SobolNodes(1024), ol.model.SobolNodes(4096))`,
            folded where phi is odd.
        progress: show a progress bar; None: if a person is watching.
        checkpoint: where to write down how far each run is; the same call goes on from there. Not with a flow.

    Returns:
        A `Limit`; its `solution` has the same saved points as that of `ol.integrate`.

    Raises:
        ValueError: if the arguments do not fit together, folded nodes meet a phi that is not odd, or the checkpoint is
            that of another run.
        LearningError: if learning diverged.
        LearningInterrupted: on Ctrl-C; `.solution` holds what was saved of the run at hand.
        RuntimeError: if jax is not in 64-bit mode.

    Source: theory page, section 7; Agazzi, Lu & Mukherjee, ICML 2023 (the limit is a distribution).

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> task, rule = ol.tasks.exponential_filter(duration=5.0), ol.GradientDescent(5e-3, 50)
        >>> exact = ol.limit(model, task, start, rule)
        >>> theory = ol.integrate(model, task, start, rule)
        >>> bool(jnp.max(jnp.abs(exact.overlaps.gram - theory.overlaps.gram)) < 1e-12)
        True
    """
    require_float64("ol.limit", model=model, task=task, overlaps=overlaps, rule=rule)
    check_run(model, task, rule, key, "limit")
    refuse_ties(model, "limit")
    check_plain(task.outline, "limit", ("state_noise",))
    check_comparable(rule, "limit")
    check_checkpoint(checkpoint, rule, "limit")
    check_channels(model.layout, task.outline, "limit", overlaps=overlaps)
    overlaps = with_gram(overlaps, overlaps.gram.astype(float))
    # An element-wise rule depends on more than overlaps in a linear network, too.
    exact = nodes is None and model.is_linear and rule.motion is not Motion.ELEMENTWISE
    coarse_nodes, fine_nodes = (MinimalNodes(),) * 2 if exact else _chosen(model, overlaps, nodes)
    start = Network.quadrature(overlaps, fine_nodes)
    if nodes is not None and start.n_neurons < Network.quadrature(overlaps, coarse_nodes).n_neurons:
        raise ValueError(
            f"limit: the first nodes must be the coarser ones, got {coarse_nodes!r} and {fine_nodes!r}, which make "
            "fewer neurons."
        )
    fine = train(model, task, start, rule, key, progress=progress, checkpoint=part_of(checkpoint, "fine"))
    coarse = fine
    if not exact:
        start_of_coarse, part = Network.quadrature(overlaps, coarse_nodes), part_of(checkpoint, "coarse")
        coarse = train(model, task, start_of_coarse, rule, key, progress=progress, checkpoint=part)
    off = jnp.zeros(model.layout.n_overlaps)
    if not exact:
        batch = task.sample(jax.random.key(0) if key is None else key) if isinstance(task, TaskStream) else task
        off = _start_error(model, batch, start, overlaps.gram, model.layout.known_rates(rule.rates))
    return Limit(solution=fine, coarse=coarse, start=start, start_error=off, folded=fine_nodes.folded, exact=exact)


@eqx.filter_jit
def _start_error(model: Model, task: Task, start: Network, gram: jax.Array, rates: jax.Array) -> jax.Array:
    """How far `dG/dtau` of these neurons is from `-(G S P + P S G)` of Gaussian ones, relative to its largest entry."""
    rows, columns = model.layout.entry_indices
    weights = start.weights
    slope = jax.grad(lambda vectors: network_loss(model, vectors, weights, None, task))(start.vectors)
    activation = model.activation
    if hasattr(activation, "quadrature"):
        activation = Activation(activation, REFEREE)
    by_theory = gram @ gram_loss_gradient(Model(model.layout, activation), gram, task)[1] * rates
    # dL/dV of a node is its weight times its gradient: a sum over nodes is an average.
    off, largest = start.vectors.T @ slope * rates - by_theory, jnp.max(jnp.abs(by_theory + by_theory.T))
    return jnp.abs(off + off.T)[rows, columns] / jnp.where(largest > 0, largest, 1.0)


def _chosen(
    model: Model, overlaps: Overlaps, nodes: tuple[AbstractNodes, AbstractNodes] | None
) -> tuple[AbstractNodes, AbstractNodes]:
    """The coarser and the finer nodes.

    Raises:
        ValueError: if they are something else, or folded where phi is not odd.
    """
    if nodes is None and model.activation.has_kink:
        coarse, fine = (SobolNodes(n, folded=model.activation.is_odd) for n in N_KINK_NODES)
        return coarse, fine
    if nodes is None:
        dimension = triangular_factor(overlaps).shape[-2]
        n_fields = min(model.layout.n_fields, dimension)
        coarse, fine = (
            default_nodes(dimension, n_fields, folded=model.activation.is_odd, coarser=step) for step in (True, False)
        )
        return coarse, fine
    if not (isinstance(nodes, tuple) and len(nodes) == 2 and all(isinstance(n, AbstractNodes) for n in nodes)):
        raise ValueError(
            "limit: nodes must be a coarser and a finer set of nodes, such as (ol.model.HermiteGrid(4), "
            f"ol.model.HermiteGrid(5)), got {nodes!r}."
        )
    for one in nodes:
        check_folding(model, one, "limit")
    return nodes


def _with_images(network: Network, folded: bool) -> Network:
    if not folded:
        return network
    vectors = jnp.concatenate([network.vectors, -network.vectors])
    return Network(vectors, network.layout, jnp.concatenate([network.weights, network.weights]) / 2)


def _centred(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Vectors minus their mean over neurons, and weights."""
    vectors, weights = np.asarray(network.vectors), np.asarray(network.weights)
    return vectors - weights @ vectors, weights
