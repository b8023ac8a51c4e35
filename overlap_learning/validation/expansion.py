"""Expansion: neurons that learn as polynomials of what they were, between the Gaussian theory and every neuron."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial.hermite_e import hermevander

from overlap_learning.learning.driver import check_run, run
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.pace import Pace
from overlap_learning.learning.rules import GradientDescent
from overlap_learning.learning.solution import Solution, finish
from overlap_learning.model.model import Model, refuse_ties
from overlap_learning.model.network import Network, network_of, triangular_factor, weighted_gram
from overlap_learning.model.nodes import AbstractNodes
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.neurons.loss import neuron_loss
from overlap_learning.tasks.task import Task


class ExpansionLearner(AbstractLearner):
    """Neurons as polynomials of what they were: `V_k = sum_a H_a(x_k) c_a`, the position being the coefficients c.

    The scaled gradient of the neurons at the nodes is projected on the polynomials (Galerkin):
    `N dL/dc_a = sum_k H_a(x_k) dL/dV_k`. With linear polynomials alone it is the Gaussian theory; with as many as there
    are nodes, the training of the nodes.

    Attributes:
        basis: orthonormal polynomials H at the nodes, shape [K, n].
        weights: of the nodes, shape [K].
    """

    model: Model
    rates: jax.Array
    basis: jax.Array
    weights: jax.Array

    def loss(self, position: jax.Array, task: Task) -> jax.Array:
        return neuron_loss(self.model, self.basis @ position, self.weights, task)

    def gradient(self, position: jax.Array, task: Task) -> tuple[jax.Array, jax.Array]:
        vectors = self.basis @ position
        value, slope = jax.value_and_grad(neuron_loss, argnums=1)(self.model, vectors, self.weights, task)
        return value, self.basis.T @ slope

    def observe(self, position: jax.Array) -> dict[str, jax.Array]:
        return {"gram": weighted_gram(self.basis @ position, self.weights)}

    def size(self, position: jax.Array) -> jax.Array:
        return jnp.max(jnp.diagonal(weighted_gram(self.basis @ position, self.weights)))

    def square(self, change: jax.Array) -> jax.Array:
        return jnp.trace(weighted_gram(self.basis @ change, self.weights))

    def diffuse(self, position: jax.Array, variance: jax.Array, key: jax.Array) -> jax.Array:
        raise ValueError("ExpansionLearner: independent noise is no polynomial of the start, and is not followed.")

    def final(self, position: jax.Array) -> Network:
        return network_of(self.basis @ position, self.model.layout, self.weights)


def expand(
    model: Model, task: Task, overlaps: Overlaps, rule: GradientDescent, degree: int, nodes: AbstractNodes
) -> Solution:
    """Learning of neurons that are odd Hermite polynomials of the initial Gaussian (polynomial chaos).

    Args:
        model: the `Model`, with an odd activation.
        task: the task.
        overlaps: the start.
        rule: the rule.
        degree: of the polynomials: a term of degree a in the dimensions of m, u and b in those of v, z counts a + 2 b,
            as in `Cubature`, because the gradient of a neuron is linear in its v and z. 2: linear terms only.
        nodes: the folded nodes on which the gradient is projected, fine enough for the polynomials to be orthonormal.

    Returns:
        A `Solution`, whose `final` is the `Network` of the nodes.
    """
    refuse_ties(model, "expand")
    factor = np.asarray(triangular_factor(overlaps))
    dimension, n_fields = len(factor), model.layout.n_fields
    points, weights = (np.asarray(array) for array in nodes.standard(dimension, n_fields))
    basis = polynomials(points, n_fields, degree)
    learner = ExpansionLearner(
        model=model, rates=model.layout.rates(None), basis=jnp.asarray(basis), weights=jnp.asarray(weights)
    )
    # The linear polynomials, one for each dimension, come first.
    position = jnp.zeros((basis.shape[1], model.layout.size)).at[:dimension].set(factor)
    check_run(model, task, rule, None, "expand")
    outcome, final = run(learner, rule, task, position, None, None, Pace(is_whole=True))
    return finish(model, outcome, final, "expand", throw=True)


def exponents(dimension: int, n_fields: int, degree: int) -> np.ndarray:
    """Exponents of the odd terms with a + 2 b <= degree, shape [n, r], the linear ones first."""
    every = np.array(list(itertools.product(range(degree + 1), repeat=dimension)))
    counted = every[:, :n_fields].sum(axis=1) + 2 * every[:, n_fields:].sum(axis=1)
    total = every.sum(axis=1)
    higher = every[(total % 2 == 1) & (total > 1) & (counted <= degree)]
    return np.concatenate([np.eye(dimension, dtype=int), higher])


def polynomials(points: np.ndarray, n_fields: int, degree: int) -> np.ndarray:
    """Normalised Hermite polynomials at the points, shape [K, n]."""
    powers = exponents(points.shape[1], n_fields, degree)
    norm = np.sqrt([math.factorial(k) for k in range(degree + 1)])
    single = hermevander(points, degree) / norm
    return np.prod([single[:, j, powers[:, j]] for j in range(points.shape[1])], axis=0)
