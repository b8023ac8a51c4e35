"""Connectivity: what training changed of it, and how much of that the trained network needs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from overlap_learning.checks import check_key, count, floating, scalar
from overlap_learning.learning.result import AbstractResult, labelled
from overlap_learning.learning.solution import Solution
from overlap_learning.model.activity import check_channels, simulate
from overlap_learning.model.bulk_network import bulk_network_of
from overlap_learning.model.layout import Layout
from overlap_learning.model.model import Model
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.tasks.task import Task, check_task

if TYPE_CHECKING:
    import xarray

#: Ranks of a truncation: the published 0 to 25.
N_RANKS = 26
_SHARE = "a share of the reference, between 0 and 1"


class ConnectivityChange(AbstractResult):
    """The change of connectivity as its singular value decomposition, `Delta W = L diag(s) R^T`.

    Attributes:
        left: L, shape [N, r] (of the gates of an LSTM [4N, r]).
        singular_values: s, the largest first, shape [r].
        right: R, shape [N, r].
    """

    table: ClassVar[str] = "singular_values"

    left: jax.Array
    singular_values: jax.Array
    right: jax.Array

    @property
    def norm(self) -> jax.Array:
        """`|Delta W|` (Frobenius), shape []."""
        return jnp.linalg.norm(self.singular_values)

    def truncated(self, rank: ArrayLike) -> jax.Array:
        """The nearest matrix of a rank, shape [N, N]; the rank may be a traced number."""
        kept = jnp.where(jnp.arange(len(self.singular_values)) < rank, self.singular_values, 0)
        return (self.left * kept) @ self.right.T

    def rank_holding(self, share: float = 0.95) -> int:
        """The least rank R that holds a share of the squared norm, `sum_(k <= R) s_k^2 >= share |Delta W|^2`.

        Raises:
            ValueError: if share is not between 0 and 1.
        """
        share = float(scalar(share, "rank_holding: share", "between 0 and 1", 0, 1))
        held = np.cumsum(np.square(np.asarray(self.singular_values, dtype=float)))
        return 1 + int(np.sum(held < share * held[-1]))

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset: dimensions `post`, `pre` and `component`."""
        return labelled(
            "Change of connectivity",
            singular_values=("component", self.singular_values, "singular values"),
            left=(("post", "component"), self.left, "left singular vectors"),
            right=(("pre", "component"), self.right, "right singular vectors"),
        )


class RankOfChange(AbstractResult):
    """The loss of a trained network with its change of connectivity cut off at each rank.

    Attributes:
        ranks: R, shape [K].
        loss: the loss with `W0 + Delta W^(R)`, shape [K].
        loss_of_whole: the loss with `W^(R)`, the whole connectivity cut off, shape [K]; None: not asked for.
        trained_loss: the loss with all of W, shape [].
        reference: what `share` is a share of, shape [].
        change: the `ConnectivityChange`.
    """

    ranks: jax.Array
    loss: jax.Array
    loss_of_whole: jax.Array | None
    trained_loss: jax.Array
    reference: jax.Array
    change: ConnectivityChange

    def functional_rank(self, share: float = 0.05) -> int | None:
        """The first rank whose loss is below a share of the reference; None: that of no rank here is.

        The loss need not fall with the rank, so that it may be above the share again beyond.

        Raises:
            ValueError: if share is not between 0 and 1.
        """
        share = float(scalar(share, "functional_rank: share", _SHARE, 0, 1))
        below = np.asarray(self.loss < share * self.reference)
        return int(np.asarray(self.ranks)[below.argmax()]) if below.any() else None

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset of losses by `rank`, and of the singular values of the change."""
        data = labelled(
            "Loss with the change of connectivity cut off at each rank",
            loss=("rank", self.loss, "loss with the change cut off"),
            loss_of_whole=None if self.loss_of_whole is None else ("rank", self.loss_of_whole, "with all cut off"),
            trained_loss=((), self.trained_loss, "loss with all of W"),
            reference=((), self.reference, "what shares are of"),
            singular_values=("component", self.change.singular_values, "singular values of the change"),
        )
        return data.assign_coords(rank=np.asarray(self.ranks))


class Spectra(AbstractResult):
    """Spectra of connectivity before and after training, shape [N] each, the largest first.

    Attributes:
        start: eigenvalues of W0, complex.
        final: eigenvalues of W.
        change: eigenvalues of Delta W.
        singular_values: of W.
    """

    table: ClassVar[str] = "singular_values"

    start: jax.Array
    final: jax.Array
    change: jax.Array
    singular_values: jax.Array

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled dataset, over `component`; of eigenvalues real and imaginary parts, as files have no others."""
        values = {"start": self.start, "final": self.final, "change": self.change}
        parts = {f"{name}_{part}": ("component", getattr(np.asarray(array), part), f"{part} part of eigenvalues")
                 for name, array in values.items() for part in ("real", "imag")}  # fmt: skip
        return labelled(
            "Spectra of connectivity",
            singular_values=("component", self.singular_values, "singular values of W after training"),
            **parts,
        )


def connectivity_change(
    start: AbstractNetwork, final: AbstractNetwork, *, rtol: float | None = None
) -> ConnectivityChange:
    """What training changed of the connectivity, `Delta W = W - W0` with `W = bulk + u v^T / N`, as factors.

    Args:
        start: the network before training.
        final: the trained one, `solution.final`.
        rtol: singular values of at most this share of the largest are left out, and in any case those of the size of
            rounding, `N eps |W|`.

    Raises:
        ValueError: if these are no two networks of the same size.

    Source: Schuessler et al. 2020, Fig. 1.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Tanh(), bulk=ol.RandomBulk(0.9))
        >>> start = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(model.layout), 20, key=jax.random.key(0))
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.5)
        >>> learned = ol.train(model, task, start, ol.GradientDescent(1e-2, 10))
        >>> ol.studies.connectivity_change(start, learned.final).singular_values.shape  # u v^T before and after
        (2,)
    """
    share = scalar(0.0 if rtol is None else rtol, "connectivity_change: rtol", "at least 0", 0, open_low=False)
    return change_between(*_pair(start, final, "connectivity_change"), float(share))


def change_between(before: np.ndarray, after: np.ndarray, share: float = 0.0) -> ConnectivityChange:
    """The change from a matrix to another without singular values of the size of rounding, or below a share."""
    left, values, right = np.linalg.svd(after - before, full_matrices=False)
    # Both matrices are rounded, and the difference no more than they are.
    rounding = len(after) * np.finfo(after.dtype).eps * np.linalg.norm(after, 2)
    rank = max(1, int(np.sum(values > max(rounding, share * values[0]))))
    return ConnectivityChange(jnp.asarray(left[:, :rank]), jnp.asarray(values[:rank]), jnp.asarray(right[:rank].T))


def chosen_ranks(ranks: Sequence[int] | int, caller: str) -> np.ndarray:
    """Ranks, given as such or as how many of them from 0 on.

    Raises:
        ValueError: if there is none, or one is none.
    """
    given = range(count(ranks, f"{caller}: ranks")) if isinstance(ranks, (int, np.integer)) else ranks
    chosen = np.array([count(rank, f"{caller}: a rank", 0) for rank in given])
    if chosen.size == 0:
        raise ValueError(f"{caller}: ranks must be ranks, or how many of them from 0 on, got none.")
    return chosen


def rank_of_change(
    start: AbstractNetwork,
    final: AbstractNetwork,
    model: Model,
    task: Task,
    *,
    ranks: Sequence[int] | int = N_RANKS,
    reference: ArrayLike | None = None,
    whole: bool = False,
) -> RankOfChange:
    """How many singular values of its change of connectivity a trained network needs.

    The connectivity is `W0 + Delta W^(R)`, the change cut off at rank R; input and readout are the trained ones.

    Args:
        start: the network before training, a `BulkNetwork` or `Network`.
        final: the trained one, `solution.final`.
        model: the `Model` that was trained.
        task: a batch of trials that the loss is measured on; of a stream, `stream.sample(key)`.
        ranks: the ranks, or how many of them, from 0 on.
        reference: the loss that the functional rank is a share of; None: that at the first of these ranks. At rank 0,
            with the trained input and readout but W0, it is what the published program takes; the published text says
            5 % of the loss before training, for which pass `task.loss(ol.simulate(model, start, task))`.
        whole: also cut off the whole connectivity.

    Returns:
        A `RankOfChange`.

    Raises:
        ValueError: if networks, model and task do not fit together, or a rank is none.

    Source: Schuessler et al. 2020, Figs. 1, 2.

    Examples:
        >>> model = ol.Model(ol.Layout(rank=0), ol.Tanh(), bulk=ol.RandomBulk(0.9))
        >>> start = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(model.layout), 20, key=jax.random.key(0))
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.5)
        >>> learned = ol.train(model, task, start, ol.GradientDescent(1e-1, 200, rates={"W": 1.0}))
        >>> found = ol.studies.rank_of_change(start, learned.final, model, task, ranks=5)
        >>> found.loss.shape, found.functional_rank()
        ((5,), 1)
    """
    task, vectors, small = _known(start, final, model, task, "rank_of_change")
    change = connectivity_change(start, final)
    before, after = (jnp.asarray(w) for w in _pair(start, final, "rank_of_change"))
    chosen = chosen_ranks(ranks, "rank_of_change")
    losses = _losses(small, task, vectors, before, change, jnp.asarray(chosen))
    of_whole = None
    if whole:
        nothing = jnp.zeros_like(after)
        all_of_it = change_between(np.asarray(nothing), np.asarray(after))
        of_whole = _losses(small, task, vectors, nothing, all_of_it, jnp.asarray(chosen))
    reference = losses[0] if reference is None else floating(reference, "rank_of_change: reference")
    trained = _loss_with(small, task, vectors, after)
    return RankOfChange(jnp.asarray(chosen), losses, of_whole, trained, reference, change)


def shuffled_bulk_loss(
    start: AbstractNetwork, final: AbstractNetwork, model: Model, task: Task, key: jax.Array
) -> jax.Array:
    """The loss of a trained network with the entries of its W0 shuffled and its change of connectivity kept, shape [].

    Args:
        start: the network before training.
        final: the trained one.
        model: the `Model` that was trained.
        task: a batch of trials that the loss is measured on.
        key: a jax random key.

    Raises:
        ValueError: if networks, model and task do not fit together.

    Source: Schuessler et al. 2020, Fig. 2c.

    Examples:
        >>> model = ol.Model(ol.Layout(rank=0), ol.Tanh(), bulk=ol.RandomBulk(0.9))
        >>> start = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(model.layout), 20, key=jax.random.key(0))
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.5)
        >>> learned = ol.train(model, task, start, ol.GradientDescent(1e-1, 200, rates={"W": 1.0}))
        >>> loss = ol.studies.shuffled_bulk_loss(start, learned.final, model, task, jax.random.key(1))
        >>> bool(loss > 2 * learned.loss[-1])
        True
    """
    check_key(key, "shuffled_bulk_loss")
    task, vectors, small = _known(start, final, model, task, "shuffled_bulk_loss")
    before, after = _pair(start, final, "shuffled_bulk_loss")
    # On the host: XLA sorts a million random numbers in seconds on a CPU.
    random = np.random.default_rng(np.ravel(jax.random.key_data(key)))
    shuffled = random.permutation(before.ravel()).reshape(before.shape)
    return _loss_with(small, task, vectors, jnp.asarray(after - before + shuffled))


def spectra(start: AbstractNetwork, final: AbstractNetwork) -> Spectra:
    """Eigenvalues of the connectivity before training, of the trained one, and of the change; singular values of W.

    Args:
        start: the network before training.
        final: the trained one.

    Raises:
        ValueError: if these are no two networks of the same size.

    Source: Schuessler et al. 2020, Fig. 1.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Tanh(), bulk=ol.RandomBulk(0.9))
        >>> start = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(model.layout), 20, key=jax.random.key(0))
        >>> found = ol.studies.spectra(start, start)
        >>> found.start.shape, bool(jnp.all(found.change == 0))
        ((20,), True)
    """
    before, after = _pair(start, final, "spectra")

    def eigenvalues(matrix):
        values = np.linalg.eigvals(matrix).astype(complex)
        return jnp.asarray(values[np.argsort(-np.abs(values), kind="stable")])

    singular = jnp.asarray(np.linalg.svd(after, compute_uv=False))
    return Spectra(eigenvalues(before), eigenvalues(after), eigenvalues(after - before), singular)


def convergence_step(solution: Solution, share: float = 0.05, reference: ArrayLike | None = None) -> int | None:
    """The first saved step at which the loss is below a share of a reference; None: it never is.

    On fresh trials at each step the loss is noisy, and this is a first crossing; save every step, `save_every=1`.

    Args:
        solution: one run in steps.
        share: of the reference.
        reference: a loss; None: that of this run before its first step, as published.

    Raises:
        ValueError: if it is no run in steps, or share is not between 0 and 1.

    Source: Schuessler et al. 2020, Fig. 2a.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
        >>> rule = ol.GradientDescent(5e-3, 500, save_every=1)
        >>> ol.studies.convergence_step(ol.integrate(model, ol.tasks.exponential_filter(), start, rule))
        186
    """
    if not isinstance(solution, Solution) or solution.step is None or solution.loss.ndim != 1:
        raise ValueError(f"convergence_step: solution must be one run in steps, as ol.train makes, got {solution!r}.")
    share = float(scalar(share, "convergence_step: share", _SHARE, 0, 1))
    loss = np.asarray(solution.loss)
    below = loss < share * float(loss[0] if reference is None else np.asarray(reference))
    return int(np.asarray(solution.step)[below.argmax()]) if below.any() else None


def _pair(start: Any, final: Any, caller: str) -> tuple[np.ndarray, np.ndarray]:
    """The connectivity of both.

    Raises:
        ValueError: if they are no two networks of the same size.
    """
    for name, network in (("start", start), ("final", final)):
        if not isinstance(network, AbstractNetwork) or network.vectors.ndim != 2:
            batch = f" of vectors {list(network.vectors.shape)}" if isinstance(network, AbstractNetwork) else ""
            raise ValueError(
                f"{caller}: {name} must be one ol.BulkNetwork or ol.Network, before training and after "
                f"(solution.final), got {type(network).__name__}{batch}."
            )
    if start.layout != final.layout or start.n_neurons != final.n_neurons:
        raise ValueError(
            f"{caller}: start has {start.n_neurons} neurons and {start.layout}, final {final.n_neurons} and "
            f"{final.layout}; they must be the same network before and after."
        )
    return np.asarray(start.connectivity), np.asarray(final.connectivity)


def _known(start: Any, final: Any, model: Model, task: Task, caller: str) -> tuple[Task, jax.Array, Model]:
    """The task in the dtype of the network; input and readout vectors alone, and the model of them.

    Raises:
        ValueError: if arguments do not fit together.
    """
    check_task(model, task, caller, with_bulk=True)
    _pair(start, final, caller)
    check_channels(model.layout, task, caller, network=final)
    layout = model.layout
    small = Model(Layout(layout.n_in, 0, layout.n_out), model.activation)
    # Neurons of unequal weights are read by their shares, and each weighs 1/N here.
    readout = final.n_neurons * final.weights[:, None] * final.z
    return task.astype(final.vectors.dtype), jnp.concatenate([final.m, readout], axis=1), small


@eqx.filter_jit
def _loss_with(model: Model, task: Task, vectors: jax.Array, connectivity: jax.Array) -> jax.Array:
    """The loss with a given connectivity."""
    n = len(vectors)
    network = bulk_network_of(vectors, model.layout, jnp.full(n, 1 / n, vectors.dtype), connectivity)
    return task.loss(simulate(model, network, task))


@eqx.filter_jit
def _losses(
    model: Model, task: Task, vectors: jax.Array, base: jax.Array, change: ConnectivityChange, ranks: jax.Array
) -> jax.Array:
    """The loss with a base and the change cut off at each rank, one after another."""
    return lax.map(lambda rank: _loss_with(model, task, vectors, base + change.truncated(rank)), ranks)
