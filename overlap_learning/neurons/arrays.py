"""Arrays: what a rule moves, in place of the vectors of a network."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from overlap_learning.checks import is_traced, later
from overlap_learning.model.layout import Layout
from overlap_learning.module import Module


class Arrays(eqx.Module):
    """The arrays that a rule moves: `a = V / units` for the vectors, and W for a bulk.

    Gradient descent follows `N dL/da` beside `dL/dW`, or the plain `dL/da`. With units other than 1, learning rates of
    vectors differ; rules that look at the size of each gradient, as Adam does, or that take steps of one size for every
    array, depend on both choices.

    By default, `Arrays()`, a rule moves V itself, along `N dL/dV`: learning rates do not depend on N. A plain program,
    as that of Schuessler et al. 2020, has the arrays `W_in = m`, `W_out = z / N` and W, with plain gradients::

        ol.training.Arrays({"z": n_neurons}, per_neuron=False)

    Then entries of `W_in` are of order 1, of W of order `g / sqrt(N)`, of `W_out` of order 1/N; Adam moves all of them
    by its learning rate.

    Args:
        units: of the vectors, as rates are given: a mapping from blocks or vectors to numbers, or an array [d]; 1 where
            unnamed. A tied vector has that of the one to which it is tied.
        per_neuron: whether the gradient of each neuron is divided by its weight (times N).

    Raises:
        ValueError: from `ol.train`, if units are not positive or fit no layout.

    Examples:
        >>> import optax
        >>> model = ol.Model(ol.Layout(rank=0), ol.Tanh(), bulk=ol.RandomBulk(0.9))
        >>> network = ol.BulkNetwork.sample(model, ol.Overlaps.from_entries(model.layout), 50, key=jax.random.key(0))
        >>> rule = ol.Optimiser(optax.adam(1e-3), 1, rates={"W": 1.0})
        >>> task = ol.tasks.exponential_filter(duration=5.0, dt=0.5)
        >>> learned = ol.train(model, task, network, rule, arrays=ol.training.Arrays({"z": 50}, per_neuron=False))
        >>> steps = [jnp.max(jnp.abs(a)) for a in (
        ...     learned.final.m - network.m, (learned.final.z - network.z) / 50, learned.final.bulk - network.bulk)]
        >>> [round(float(step), 6) for step in steps]
        [0.001, 0.001, 0.001]
    """

    units: Any = None
    per_neuron: bool = eqx.field(static=True, default=True)

    def known_units(self, layout: Layout) -> jax.Array:
        """The unit of each vector, shape [d].

        Raises:
            ValueError: if they do not fit the layout, or are not positive.
        """
        try:
            units = layout.rates(self.units)
        except ValueError as error:
            raise ValueError(f"Arrays: units are given as rates are. {error}") from None
        if is_traced(units):
            return later(units, lambda x: x > 0)
        if not np.all(np.asarray(units) > 0):
            raise ValueError(f"Arrays: units must be positive, got {np.asarray(units).tolist()} for {layout}.")
        return units


class Neurons(Module):
    """What a rule moves at full N.

    Attributes:
        vectors: the free vectors in their units, shape [N, f]; f = d where none is tied.
        bulk: W, shape [N, N]; None: there is none, or it does not learn.
    """

    vectors: jax.Array
    bulk: Any = None
