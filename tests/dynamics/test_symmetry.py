"""Symmetry: what the finder finds, and whether the conserved numbers that are known are all that there are."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import largest, make_overlaps

import overlap_learning as ol
from overlap_learning.dynamics.conserved import conserved
from overlap_learning.dynamics.symmetry import symmetries

# Few nodes are a model of their own, with the same symmetries.
FEW = ol.model.Trapezoid(32)
SQUARED = ol.Activation(lambda h: jnp.square(jax.nn.relu(h)), FEW)
KEY = jax.random.key(1)


def layout(n_in=1, rank=1, n_out=1):
    return ol.Layout(n_in=n_in, rank=rank, n_out=n_out)


def short_task(layout, n_times=12, n_trials=3):
    random = np.random.default_rng(0)
    inputs = 1.5 * random.standard_normal((n_trials, n_times, layout.n_in))
    targets = random.standard_normal((n_trials, n_times, layout.n_out))
    return ol.Task(inputs, targets, np.full(targets.shape, 0.1), 0.5)


@eqx.filter_jit
def slope(model, task, grams, weights):
    """The symmetrised slope of weighted outputs by each G."""

    def single(gram, weights):
        _, pull = jax.vjp(lambda g: ol.model.activity.reduced_outputs(model, g, task), gram)
        gamma = pull(weights)[0]
        return gamma + gamma.T

    return jax.vmap(single)(grams, weights)


class Learning:
    """All that a network can learn from these inputs: the velocities of G for any slope of the loss by its outputs.

    Where learning can lead from one start is the orbit of these velocities. Its dimension is that of their Lie
    algebra at the start (Nagano, Sussmann): brackets of velocities are themselves ways to go. They are taken by
    central differences of the outputs' gradients, and nothing here knows a symmetry.
    """

    STEP = 4e-3

    def __init__(self, model, task, gram, rates):
        self.size, self.gram = model.layout.size, np.asarray(gram)
        self.rates = np.asarray(model.layout.rates(rates))
        self.random = np.random.default_rng(0)
        self.shape = task.targets.shape

        self.slope = functools.partial(slope, model, task)
        self.units = np.eye(np.prod(self.shape)).reshape(-1, *self.shape)
        velocities = self.velocity(self.here(len(self.units)), self.units)
        ways, values, _ = np.linalg.svd(velocities.reshape(len(self.units), -1), full_matrices=False)
        there = values > 1e-8 * values[0]
        # Combinations of outputs that move G by 1, each another way.
        self.ways = ways[:, there] / values[there]

    def here(self, n):
        return np.broadcast_to(self.gram, (n, self.size, self.size))

    def directions(self, n):
        """Slopes of the loss by the outputs, at random among those that move G by about 1 in every way there is."""
        weights = self.ways @ self.random.standard_normal((self.ways.shape[1], n)) / np.sqrt(self.ways.shape[1])
        return weights.T.reshape(n, *self.shape)

    def read(self, tangent):
        """What the outputs change by along changes of G, shape [n_outputs, k], `tr(S dG) / 2` each."""
        slopes = np.asarray(self.slope(self.here(len(self.units)), self.units))
        i, j = np.triu_indices(self.size)
        return slopes[:, i, j] * np.where(i == j, 0.5, 1.0) @ tangent.T

    def velocity(self, gram, weights):
        half = self.rates[:, None] * (np.asarray(self.slope(gram, weights)) @ gram)
        return -(half + np.swapaxes(half, 1, 2))

    def along(self, field, gram, direction):
        """The derivative of a field along a direction, to fourth order in the distance."""
        h = self.STEP / np.linalg.norm(direction, axis=(1, 2), keepdims=True)
        near, far = (field(gram + s * h * direction) - field(gram - s * h * direction) for s in (1, 2))
        return (8 * near - far) / (12 * h)

    def bracket(self, first, second):
        def field(gram):
            return self.along(second, gram, first(gram)) - self.along(first, gram, second(gram))

        return field

    def tangent(self):
        """Velocities at the start and their brackets up to depth 3, many of each at random, orthonormalised: [k, p]."""
        # As many as there are outputs, so that all of a model is one compiled program.
        n = len(self.units)
        i, j = np.triu_indices(self.size)
        found = []
        for depth in (1, 2, 3):
            fields = [functools.partial(self.velocity, weights=self.directions(n)) for _ in range(depth)]
            vectors = functools.reduce(lambda inner, outer: self.bracket(outer, inner), fields)(self.here(n))[:, i, j]
            found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        _, values, rows = np.linalg.svd(np.concatenate(found), full_matrices=False)
        # The differences are right to STEP^4 = 3e-10 and to rounding over STEP^2, 1e-11, times derivatives.
        rank = int(np.sum(values > 1e-6 * values[0]))
        # A clear gap: what counts as 0 is far below what does not.
        assert rank == len(values) or values[rank] < 1e-2 * values[rank - 1], values / values[0]
        return rows[:rank]


CASES = [
    # activation, layout, rates, invariants, reachable
    (ol.Linear(), layout(), None, 5, 2),
    (ol.Erf(), layout(), None, 1, None),
    (SQUARED, layout(), None, 2, None),
    (ol.Linear(), layout(rank=2), None, 9, 7),
    (ol.Erf(), layout(rank=2), None, 3, None),
    (ol.ReLU(), layout(2, 1, 2), None, 7, 6),
    (ol.Erf(), layout(2, 1, 1), None, 1, None),
    (ol.Linear(), layout(rank=2), {"u1": 0.5}, 8, 8),
    (ol.Linear(), layout(rank=2), {"u1": 0.5, "v1": 2.0, "z": 0.7}, 9, 7),
    (ol.Linear(), layout(rank=2), {"u1": 0.0, "v2": 0.0}, 9, None),
    (ol.Linear(), layout(), {"u": 0.0, "v": 0.0}, 6, None),
    (ol.Linear(), layout(), {"v": 0.0, "z": 0.0}, 6, None),
    (ol.Erf(), layout(), {"m": 0.0, "u": 0.0}, 6, None),
    (ol.Erf(), layout(rank=2), {"u1": 0.0, "v2": 0.0}, 4, None),
    (ol.Erf(), layout(), {"m": 0.0, "v": 0.5}, 2, None),
    (ol.Linear(), layout(rank=3), None, 14, 15),
]


@pytest.mark.parametrize(
    ("activation", "layout", "rates", "invariants", "reachable"),
    CASES,
    ids=[f"{type(a).__name__} {x.n_in}{x.rank}{x.n_out} {r or ''}" for a, x, r, *_ in CASES],
)
def test_the_numbers_known_are_all_and_what_they_leave_can_be_reached(activation, layout, rates, invariants, reachable):
    """Known numbers bound the orbit from above, brackets from below."""
    model, task, start = ol.Model(layout, activation), short_task(layout), make_overlaps(layout, scale=0.3)
    learning = Learning(model, task, start.gram, rates)
    assert len(learning.units) >= layout.n_overlaps
    tangent = learning.tangent()
    known = conserved(model, start, rates)
    slopes = np.asarray(known.slopes)
    assert largest(tangent @ slopes.T) < 1e-5 * largest(slopes)
    found = ol.studies.solution_manifold(model, task, start, rates=rates)
    assert found.invariants == invariants
    assert found.invariants == layout.n_overlaps - len(tangent)
    assert len(known.values) == invariants
    # Of the ways to go, those that leave the outputs as they are.
    values = np.linalg.svd(learning.read(tangent), compute_uv=False)
    assert found.reachable == len(tangent) - int(np.sum(values > 1e-6 * values[0]))
    assert reachable is None or found.reachable == reachable


@pytest.mark.parametrize(
    ("activation", "layout", "rates", "n_generators", "n_charges"),
    [
        # gl(R), and m against z
        (ol.Linear(), layout(rank=2), None, 5, 4),
        (ol.ReLU(), layout(2, 1, 2), None, 2, 2),
        (ol.Erf(), layout(rank=2), None, 4, 3),
        # One pair of ranks learns at different rates: the symmetry is there, and gives no number.
        (ol.Erf(), layout(rank=2), {"u1": 0.5}, 4, 2),
        # uu, and |z|^2 - |m|^2
        (ol.Linear(), layout(), {"u": 0.0}, 1, 2),
        # uu, uv, vv, and |z|^2 - |m|^2
        (ol.Linear(), layout(), {"u": 0.0, "v": 0.0}, 1, 4),
    ],
)  # fmt: skip
def test_the_finder_finds_the_closed_forms_and_no_more(activation, layout, rates, n_generators, n_charges):
    model = ol.Model(layout, activation)
    found = symmetries(model, short_task(layout), make_overlaps(layout), rates, key=KEY)
    assert (len(found.generators), len(found.charges)) == (n_generators, n_charges)
    assert found.known == n_charges
    assert len(found.further) == 0
    assert found.gap[0] < 1e-13
    assert found.gap[1] > 1e-4


def test_rotations_are_symmetries_that_conserve_nothing():
    """Two channels learned alike, one by one: the loss does not see a rotation of m and z together."""
    two = layout(2, 1, 2)
    pulses, response = np.zeros((2, 10, 2)), np.zeros((2, 10, 2))
    for channel in range(2):
        pulses[channel, 0, channel] = 1.0
        response[channel, 1:, channel] = np.exp(-0.5 * np.arange(9))
    task = ol.Task(pulses, response, np.full(response.shape, 0.1), 0.4)
    for activation, n_generators, n_charges in ((ol.Erf(), 1, 1), (ol.Linear(), 3, 2)):
        found = symmetries(ol.Model(two, activation), task, make_overlaps(two), key=KEY)
        assert (len(found.generators), len(found.charges), found.known) == (n_generators, n_charges, n_charges)
    # One of them turns m and z, which is antisymmetric in both: no number follows.
    rotation = np.zeros((6, 6))
    rotation[:2, :2] = rotation[4:, 4:] = [[0, 1], [-1, 0]]
    basis = found.generators.reshape(3, -1)
    assert np.linalg.norm(basis @ rotation.ravel()) == pytest.approx(2.0, rel=1e-9)


def test_a_task_that_does_not_read_an_output_conserves_more_and_the_finder_says_what():
    two = layout(1, 1, 2)
    task = short_task(two)
    blind = ol.Task(task.inputs, task.targets, task.weights.at[..., 1].set(0.0), task.dt)
    model, start = ol.Model(two, ol.Erf()), make_overlaps(two)
    found = symmetries(model, blind, start, key=KEY)
    assert (len(found.charges), found.known, len(found.further)) == (2, 1, 1)
    # The square of the second readout vector, which no gradient reaches.
    expected = np.zeros((5, 5))
    expected[4, 4] = 1.0
    np.testing.assert_allclose(np.abs(found.further[0]), expected, atol=1e-9)
    # The flow keeps both, also from elsewhere.
    elsewhere = make_overlaps(two, seed=1)
    half = np.asarray(ol.loss_gradient(model, blind, elsewhere)[1] @ elsewhere.gram)
    assert largest(np.einsum("nab,ab->n", found.charges, half)) < 1e-12 * largest(half)


def test_a_loss_without_a_slope_has_no_symmetries_to_find():
    task = short_task(layout())
    silent = ol.Task(task.inputs, task.targets, 0.0 * task.weights, task.dt)
    with pytest.raises(ValueError, match=r"symmetries: the gradient is 0 or not finite at 32 of 32 samples"):
        symmetries(ol.Model(layout(), ol.Erf()), silent, make_overlaps(layout()), key=KEY)
