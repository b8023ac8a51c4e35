"""Bounds of the ranks of weights through learning: where they hold, where they are reached, and what breaks them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import overlap_learning as ol
from overlap_learning.learning.driver import learn
from overlap_learning.learning.learner import AbstractLearner

LAYOUT = ol.Layout()
LINEAR, TANH = ol.Model(LAYOUT, ol.Linear()), ol.Model(LAYOUT, ol.Tanh())
A, B = (ol.tasks.exponential_filter(decay=decay, duration=5.0) for decay in (0.2, 0.8))
START = ol.Overlaps.random(LAYOUT, key=jax.random.key(1), scale=0.3)
N_STEPS, N_NEURONS = 60, 40
NEURONS = ol.Network.sample(START, N_NEURONS, key=jax.random.key(2))


def trained(model, rule):
    return ol.studies.weight_tensor(ol.train(model, A, NEURONS, rule, save_vectors=True, progress=False))


def descent(**options):
    # All of these are numbers of one program.
    options = {"momentum": 0.5, "weight_decay": 0.0, "clip_norm": 1e9, "rates": np.ones(4)} | options
    return ol.GradientDescent(5e-2, N_STEPS, save_every=1, **options)


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"clip_norm": 0.05}, {"rates": np.array([0.3, 1.0, 2.0, 0.5])}]
)
def test_momentum_decay_clipping_and_rates_keep_the_bounds_of_the_span(options):
    tensor = trained(LINEAR, descent(**options))
    for each, change in ((tensor, False), (tensor.change, True)):
        bounds = ol.studies.span_bounds(LINEAR, N_STEPS + 1, change=change)
        assert bounds.broken(each) == ()
        # Both neuron indices reach theirs.
        assert tuple(each.multilinear_rank()[1:]) == (4, 4)
        assert each.matrix_ranks().max() == (2 if change else 1)
    # Rounding of sixty steps, squared.
    assert tensor.outside_share.max() < 1e-25


@pytest.mark.parametrize(
    ("model", "rule"),
    [(LINEAR, ol.Optimiser(optax.adam(2e-2), N_STEPS, save_every=1)), (TANH, descent())],
    ids=["adam", "tanh"],
)
def test_adam_and_tanh_break_the_bounds_of_the_span_and_keep_those_of_factors(model, rule):
    tensor = trained(model, rule)
    assert {"post", "pre"} <= set(ol.studies.span_bounds(model, N_STEPS + 1).broken(tensor))
    assert tensor.outside_share.max() > 1e-6
    for each, change in ((tensor, False), (tensor.change, True)):
        assert ol.studies.factor_bounds(LAYOUT, N_STEPS + 1, N_NEURONS, change=change).broken(each) == ()
    # Rank 2 of the change is reached too: the matrix bound is no looser than need be.
    assert tensor.change.matrix_ranks().max() == 2


@pytest.mark.parametrize(
    ("layout", "frozen", "expected"),
    [
        # (matrix of the change, time, post, pre), worked out by hand from which vectors feed which.
        (ol.Layout(), "", (2, 16, 4, 4)),
        (ol.Layout(), "u", (1, 4, 1, 4)),
        (ol.Layout(), "m", (2, 16, 4, 4)),
        # v gains m and u, which stay: dv = -m S_mv - u S_uv.
        (ol.Layout(), "mu", (1, 2, 1, 2)),
        (ol.Layout(n_in=2, n_out=2), "mu", (1, 3, 1, 3)),
        # u gains v and z.
        (ol.Layout(n_in=2, n_out=2), "vz", (1, 3, 3, 1)),
        # u gains v, z; v gains m, u: of these m and z stay, so that both reach all.
        (ol.Layout(), "mz", (2, 16, 4, 4)),
    ],
)
def test_frozen_vectors_shorten_what_learning_reaches(layout, frozen, expected):
    model = ol.Model(layout, ol.Linear())
    rates = dict.fromkeys(frozen, 0.0)
    matrix, time, post, pre = expected
    bounds = ol.studies.span_bounds(model, N_STEPS + 1, rates=rates, change=True)
    assert (bounds.matrix, *bounds.multilinear) == expected
    start = ol.Overlaps.random(layout, key=jax.random.key(3), scale=0.4)
    rng = np.random.default_rng(0)
    inputs, targets = (rng.normal(size=(4, 12, n)) for n in (layout.n_in, layout.n_out))
    task = ol.Task(inputs, targets, np.full(targets.shape, 0.05), 0.2)
    run = ol.integrate(model, task, start, descent(rates=layout.rates(rates)))
    change = ol.studies.weight_tensor(run).change
    # Exact zeros of M: ranks to rounding, so that none that is small is missed.
    assert bounds.broken(change, 1e-13) == ()
    found = change.multilinear_rank(1e-13)
    assert (change.matrix_ranks(1e-13).max(), found.post, found.pre) == (matrix, post, pre)
    assert found.time <= time


def test_decay_of_what_learns_beside_frozen_vectors_counts():
    rates = {"m": 0.0, "u": 0.0}
    run = ol.integrate(LINEAR, A, START, descent(rates=LAYOUT.rates(rates), weight_decay=0.1))
    change = ol.studies.weight_tensor(run).change
    bounds = [ol.studies.span_bounds(LINEAR, 61, rates=rates, change=True, weight_decay=w) for w in (False, True)]
    assert bounds[0].broken(change) == ("time", "pre")
    assert bounds[1].broken(change) == ()
    assert bounds[1].multilinear.pre == 3


def test_nothing_moves_where_both_recurrent_vectors_are_frozen():
    rates = {"u": 0.0, "v": 0.0}
    bounds = ol.studies.span_bounds(LINEAR, 61, rates=rates)
    assert (bounds.matrix, bounds.multilinear.time, bounds.cp) == (1, 1, 1)
    tensor = ol.studies.weight_tensor(ol.integrate(LINEAR, A, START, descent(rates=LAYOUT.rates(rates))))
    assert tuple(tensor.multilinear_rank()) == (1, 1, 1)
    assert tuple(tensor.change.multilinear_rank()) == (0, 0, 0)


def test_what_the_lazy_limit_leaves_out_is_of_second_order():
    bounds = ol.studies.span_bounds(LINEAR, 11, change=True, lazy=True)
    assert tuple(bounds.multilinear[1:]) == (3, 3)
    excess = []
    for rate in (1e-4, 5e-5):
        rule = eqx.tree_at(lambda r: r.learning_rate, descent(), jnp.asarray(rate))
        change = ol.studies.weight_tensor(ol.integrate(LINEAR, A, START, rule)).change
        excess.append([change.singular_values(mode)[3] / change.singular_values(mode)[0] for mode in (1, 2)])
    # Second order over first is halved, higher ones fall faster.
    assert np.all(np.divide(*excess) > 1.95)


def test_perturbation_and_washout_have_an_exact_rank_of_16_and_few_terms_nearly():
    phases = ol.protocol(LINEAR, [A] * 8 + [B, A], START, descent())[-3:]
    tensor = ol.studies.weight_tensor(ol.studies.joined(phases))
    n_points = 3 * (N_STEPS + 1)
    left = []
    for each, change in ((tensor, False), (tensor.change, True)):
        bounds = ol.studies.span_bounds(LINEAR, n_points, change=change)
        # Reached: the rank by learning time, d^2, bounds the CP rank from below, so that it is 16.
        assert bounds.multilinear == each.multilinear_rank(1e-12)
        assert bounds.cp == bounds.multilinear.time == 16
        shares = each.unexplained(4, n_restarts=0)
        assert np.all(np.diff(shares) < 0)
        assert shares[0] < 0.2
        assert shares[3] < 1e-3
        left.append(shares)
    # Most of W was there before: terms leave more of what learning changed.
    assert np.all(left[0] < left[1])
    # 15 terms leave at least the square of the last singular value over learning time, 6e-15 of all; 16 leave none.
    least = tensor.singular_values(0)[-1] ** 2 / np.sum(tensor.singular_values(0) ** 2)
    assert tensor.cp(16, n_restarts=0).unexplained < 1e-6 * least


class MatrixLearner(AbstractLearner):
    """A network whose whole W learns; its input and readout vectors do not."""

    inputs: jax.Array
    readout: jax.Array
    rates: jax.Array = eqx.field(default_factory=lambda: jnp.ones(()))
    phi: object = eqx.field(static=True, default=None)

    def loss(self, position, task):
        def step(h, x):
            rate = h if self.phi is None else self.phi(h)
            return h + task.dt * (-h + rate @ position.T + x @ self.inputs.T), rate @ self.readout

        start = jnp.zeros((task.inputs.shape[0], len(position)))
        _, outputs = jax.lax.scan(step, start, jnp.moveaxis(task.inputs, 0, 1))
        return task.loss(jnp.moveaxis(outputs, 0, 1))

    def gradient(self, position, task):
        return jax.value_and_grad(self.loss)(position, task)


@pytest.fixture(scope="module")
def whole():
    """Input and readout vectors, and matrices to start from, of a network of 30 neurons."""
    rng = np.random.default_rng(0)
    n = 30
    vectors = rng.normal(size=(2, n, 2)) / np.sqrt(n)
    few = rng.normal(size=(2, n, 2)) * 0.5 / n**0.5
    task = ol.Task(rng.normal(size=(3, 20, 2)), rng.normal(size=(3, 20, 2)), np.full((3, 20, 2), 1 / 60), dt=0.2)
    starts = {"zero": np.zeros((n, n)), "few": few[0] @ few[1].T, "full": 0.5 * rng.normal(size=(n, n)) / np.sqrt(n)}

    def course(start, phi=None):
        learner = MatrixLearner(inputs=jnp.asarray(vectors[0]), readout=jnp.asarray(vectors[1]), phi=phi)
        rule = ol.GradientDescent(0.5, 400, save_every=5)
        return np.asarray(learn(learner, task, jnp.asarray(starts[start]), rule, progress=False).saved)

    return vectors, few, course


def test_all_weights_of_a_linear_network_learn_within_few_directions(whole):
    vectors, few, course = whole
    for start, span, q in (("zero", [*vectors], 4), ("few", [*vectors, *few], 8)):
        weights = course(start)
        bounds = ol.studies.gradient_bounds(q, q, len(weights))
        tensor = ol.studies.matrices_tensor(weights, span=np.hstack(span))
        assert bounds.broken(tensor) == ()
        assert tensor.outside_share.max() < 1e-25
        assert tuple(tensor.change.multilinear_rank()[1:]) == (q, q) if start == "zero" else (q, q) >= (4, 4)
        # The first step: a readout vector by an input vector, for each pair.
        assert np.linalg.matrix_rank(weights[1] - weights[0], tol=1e-10) <= q
    assert ol.studies.gradient_bounds(4, 4, 81).cp == 16


def test_from_full_rank_no_exact_bound_holds_and_few_components_nearly_do(whole):
    _, _, course = whole
    weights = course("full")
    change = ol.studies.matrices_tensor(each - weights[0] for each in weights)
    bounds = ol.studies.gradient_bounds(4, 4, len(weights))
    assert {"matrix", "post", "pre"} <= set(bounds.broken(change))
    # A third of N and less.
    assert max(change.effective_rank(0.999)) <= 8


def test_tanh_breaks_the_bounds_of_a_network_that_starts_from_nothing(whole):
    _, _, course = whole
    weights = course("zero", jnp.tanh)
    tensor = ol.studies.matrices_tensor(weights)
    assert {"matrix", "post", "pre"} <= set(ol.studies.gradient_bounds(4, 4, len(weights)).broken(tensor))
    assert max(tensor.effective_rank(0.999)) <= 8


def test_bad_input_is_named():
    for call, message in (
        (lambda: ol.studies.span_bounds(LAYOUT, 3), r"span_bounds: .*ol\.Model"),
        (lambda: ol.studies.span_bounds(LINEAR, 0), r"n_points must be an integer of at least 1, got 0"),
        (lambda: ol.studies.gradient_bounds(4, 0, 3), r"n_rates must be an integer of at least 1, got 0"),
        (lambda: ol.studies.factor_bounds(LAYOUT, 3, 0.5), r"n_neurons must be an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
