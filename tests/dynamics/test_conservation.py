"""Conservation: what the flow keeps for every phi, at every N, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import EPS, largest, make_network, make_overlaps, make_task

import overlap_learning as ol
from overlap_learning.dynamics.conserved import conserved
from overlap_learning.dynamics.laws import has_constant_gain, homogeneity

# Few nodes are a model of their own, with the same symmetries.
FEW = ol.model.Trapezoid(32)
SOFTPLUS = ol.Activation(jax.nn.softplus, FEW)
#: phi with phi(c h) = c^2 phi(h).
SQUARED = ol.Activation(lambda h: jnp.square(jax.nn.relu(h)))
DURATION, RTOL, ATOL = 2.0, 1e-10, 1e-12


def layout_of(rank):
    return ol.Layout(n_in=1, rank=rank, n_out=1)


def task_of(layout):
    return make_task(layout, n_trials=2, n_times=30)


def flow(layout, rates=None, weight_decay=0.0):
    # The start and the end alone, and rates as an array: runs that differ in numbers share one program.
    settings = {"rtol": RTOL, "atol": ATOL, "save_at": [0.0, DURATION], "weight_decay": weight_decay}
    return ol.GradientFlow(DURATION, rates=layout.rates(rates), **settings)


def gauge_matrix(gram, layout):
    """u^T u - v^T v over N, from its definition."""
    u, v = layout.block("u"), layout.block("v")
    return gram[..., u, u] - gram[..., v, v]


def learned(activation, rank, **settings):
    layout = layout_of(rank)
    model, rule = ol.Model(layout, activation), flow(layout, **settings)
    return ol.integrate(model, task_of(layout), make_overlaps(layout), rule, trust=False)


def drift(run):
    gauge = gauge_matrix(run.overlaps.gram, run.model.layout)
    return largest(gauge[-1] - gauge[0])


@pytest.mark.parametrize(
    ("activation", "rank"),
    [(ol.Linear(), 3), (ol.Erf(), 2), (ol.ReLU(), 1), (SOFTPLUS, 1)],
    ids=["linear 3", "erf 2", "ReLU 1", "softplus 1"],
)
def test_the_flow_keeps_the_gauge_for_every_phi_and_rank(activation, rank):
    run = learned(activation, rank)
    assert drift(run) < 1e-9
    assert largest(run.overlaps.gram[-1] - run.overlaps.gram[0]) > 1e-2
    # The function returns what the definition says, of the pairs i <= j.
    found = conserved(run.model, run.final).gauge
    expected = gauge_matrix(run.final.gram, run.model.layout)[np.triu_indices(rank)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=50 * EPS * largest(run.final.gram))


def test_so_does_every_network_of_finite_size():
    layout = layout_of(2)
    model, network = ol.Model(layout, ol.Erf()), make_network(make_overlaps(layout), 12)
    run = ol.train(model, task_of(layout), network, flow(layout))
    assert drift(run) < 1e-9
    assert largest(run.overlaps.gram[-1] - run.overlaps.gram[0]) > 1e-2


@pytest.fixture(scope="module")
def rectified():
    """A ReLU network of unequal neurons before and after learning; its gradient jumps, which makes solvers slow."""
    layout = layout_of(1)
    model, weights = ol.Model(layout, ol.ReLU()), np.linspace(1.0, 3.0, 8)
    start = ol.Network(make_network(make_overlaps(layout), 8).vectors, layout, weights / weights.sum())
    task = make_task(layout, n_trials=1, n_times=15)
    run = ol.train(model, task, start, ol.GradientFlow(0.1, rtol=RTOL, atol=ATOL, save_at=[0.0, 0.1]))
    return start, run


def test_relu_keeps_the_gauge_and_balances_neuron_by_neuron(rectified):
    """Neurons of unequal weights: phi(c h) = c phi(h), so |A_i|^2 - |B_i|^2 of each one stays, though K does not."""
    start, run = rectified
    assert drift(run) < 1e-9
    assert largest(run.overlaps.gram[-1] - run.overlaps.gram[0]) > 3e-3
    sign = run.model.layout.signature
    V = [np.asarray(start.vectors), np.asarray(run.final.vectors)]
    balance = [v**2 @ sign for v in V]
    assert largest(balance[1] - balance[0]) < 1e-9
    np.testing.assert_allclose(conserved(run.model, run.final).neurons, balance[1], atol=1e-12)
    K = [(v * sign) @ v.T for v in V]
    assert largest(K[1] - K[0]) > 1e-4


def test_populations_keep_it_summed_and_balance_one_by_one():
    layout = layout_of(1)
    model, random = ol.Model(layout, ol.ReLU()), np.random.default_rng(0)
    gram = np.asarray(make_overlaps(layout).gram)
    start = ol.Populations(
        jnp.array([0.3, 0.7]), 0.4 * random.standard_normal((2, 4)), jnp.stack([gram, 0.5 * gram]), layout
    )
    run = ol.integrate(model, task_of(layout), start, flow(layout), trust=False)
    kept = [conserved(model, state) for state in (start, run.final)]
    assert largest(kept[1].gauge - kept[0].gauge) < 1e-9
    assert largest(run.final.overlaps.gram - start.overlaps.gram) > 1e-2
    # Not in each population: it is their sum that enters the recurrence.
    single = [gauge_matrix(state.moments[:, 1:, 1:], layout) for state in (start, run.final)]
    assert largest(single[1] - single[0]) > 1e-4
    assert len(kept[0].neurons) == 2
    assert largest(kept[1].neurons - kept[0].neurons) < 1e-9
    assert len(conserved(ol.Model(layout, ol.Erf()), start).neurons) == 0
    # With means fields see more of phi than its gain.
    assert len(kept[0].spectrum) == 0


def test_with_unequal_rates_that_of_these_rates_is_kept_and_no_other():
    layout = layout_of(2)
    model, start = ol.Model(layout, ol.Erf()), make_overlaps(layout)
    for rates, kept in (
        ({"u1": 0.5, "v1": 2.0}, [True, True, True]),
        ({"u": 0.5, "v": 3.0, "m": 0.2}, [True, True, True]),
        # The product of rates of u and v differs between the ranks.
        ({"u1": 0.5}, [True, False, True]),
        # u1 and v2 frozen: u1 u2 and v1 v2 change alike.
        ({"u1": 0.0, "v2": 0.0}, [False, True, False]),
    ):
        run = learned(ol.Erf(), 2, rates=rates)
        first, last = (conserved(model, state, rates).gauge for state in (start, run.final))
        assert largest(last - first) < 2e-9
        assert (first != 0).tolist() == kept
        # The entries of the plain matrix all move, but those of ranks that learn at one rate.
        plain = gauge_matrix(run.overlaps.gram, layout)
        assert largest(plain[-1] - plain[0]) > 1e-3


@pytest.mark.parametrize(
    "broken_by",
    [{"rates": {"u": 0.5}}, {"rates": {"u": 0.0}}, {"rates": {"v": 0.0}}, {"weight_decay": 0.1}],
    ids=["unequal rates", "u frozen", "v frozen", "decay"],
)
def test_what_breaks_it_breaks_it(broken_by):
    assert drift(learned(ol.Erf(), 2, **broken_by)) > 1e-3


def test_decay_shrinks_it_as_exp_minus_2_lambda_tau():
    run = learned(ol.Erf(), 2, weight_decay=0.1)
    first, last = gauge_matrix(run.overlaps.gram, run.model.layout)
    assert largest(last - np.exp(-2 * 0.1 * DURATION) * first) < 1e-9


def test_a_gain_that_does_not_vary_keeps_the_spectrum_in_the_theory_and_not_in_the_network(rectified):
    """ReLU and softplus: phi(h) - phi(-h) is linear, so Gaussian neurons of mean 0 learn as linear ones would."""
    start = make_overlaps(layout_of(1))
    for activation in (ol.ReLU(), SOFTPLUS):
        run = learned(activation, 1)
        first, last = (conserved(run.model, state).spectrum for state in (start, run.final))
        assert len(first) == 4
        assert largest(last - first) < 1e-8
    network, run = rectified
    assert len(conserved(run.model, network).spectrum) == 0
    linear = ol.Model(run.model.layout, ol.Linear())
    first, last = (ol.invariants(linear, state.overlaps) for state in (network, run.final))
    assert largest(last - first) > 1e-4
    # Their sum is left, that of the neurons' balances.
    assert abs(jnp.sum(last) - jnp.sum(first)) < 1e-9


@pytest.mark.parametrize("rates", [None, {"u": 0.0, "m": 0.5}], ids=["all", "u frozen"])
def test_phi_of_degree_two_balances_at_its_own_weights(rates):
    """|m|^2 + |u|^2 against twice |v|^2 + |z|^2, by simulation of all neurons."""
    layout = layout_of(1)
    model, network = ol.Model(layout, SQUARED), make_network(make_overlaps(layout), 12)
    run = ol.train(model, task_of(layout), network, flow(layout, rates))
    kept = [conserved(model, state, rates) for state in (network, run.final)]
    assert largest(kept[1].balance - kept[0].balance) < 1e-9
    assert largest(kept[1].gauge - kept[0].gauge) < 1e-9
    assert largest(run.overlaps.gram[-1] - run.overlaps.gram[0]) > 1e-2
    linear = ol.Model(layout, ol.Linear())
    assert largest(conserved(linear, run.final, rates).balance - conserved(linear, network, rates).balance) > 1e-3


def test_linear_populations_also_keep_the_overlaps_of_their_means_under_Sign():
    layout, random = layout_of(1), np.random.default_rng(1)
    gram = np.asarray(make_overlaps(layout).gram)
    start = ol.Populations(jnp.array([0.4, 0.6]), random.standard_normal((2, 4)), jnp.stack([gram, gram]), layout)
    run = ol.integrate(ol.Model(layout, ol.Linear()), task_of(layout), start, flow(layout))
    # Of any two neurons V_i Sign V_j^T stays, and so does its mean over two populations.
    first, last = (np.asarray((p.means * layout.signature) @ p.means.T) for p in (start, run.final))
    assert largest(last - first) < 1e-9
    assert largest(run.final.means - start.means) > 1e-2


def test_degrees_and_gains_are_told_by_the_functions_themselves():
    activations = [ol.Linear(), ol.ReLU(), ol.Activation(jax.nn.leaky_relu), SQUARED, SOFTPLUS, ol.Erf(), ol.Tanh()]
    assert [homogeneity(phi) for phi in activations] == [1, 1, 1, 2, None, None, None]
    assert [has_constant_gain(phi) for phi in activations] == [True, True, True, False, True, False, False]


def test_slopes_are_the_derivatives_of_the_numbers():
    """Against central differences, in every family, with frozen vectors and without."""
    layout = layout_of(2)
    model, overlaps = ol.Model(layout, ol.Linear()), make_overlaps(layout)
    i, j = layout.entry_indices
    for rates in (None, {"u1": 0.5}, {"u1": 0.0, "v2": 0.0}, {"m": 0.0, "u": 0.0}, {"v": 0.0, "z": 0.0}):

        def numbers(entries, rates=rates):
            gram = jnp.zeros_like(overlaps.gram).at[i, j].set(entries).at[j, i].set(entries)
            kept = conserved(model, ol.Overlaps(gram, layout), rates)
            return jnp.concatenate([family.values for family in kept.charges.values()])

        entries, step = overlaps.gram[i, j], 1e-5
        around = jax.vmap(numbers)(entries + step * jnp.concatenate([jnp.eye(len(i)), -jnp.eye(len(i))]))
        differences = (around[: len(i)] - around[len(i) :]).T / (2 * step)
        # Error of order step^2 = 1e-10, times third derivatives of eigenvalues.
        assert largest(differences - conserved(model, overlaps, rates).slopes) < 1e-7


@pytest.mark.parametrize("activation", [ol.Linear(), ol.ReLU(), ol.Erf()], ids=["linear", "ReLU", "erf"])
def test_beside_a_bulk_what_the_theory_page_says_is_left(activation):
    """A network with W = W0 + u v^T / N, written out here: the velocity of each quantity, by automatic derivatives."""
    n, p, random = 6, 0.7, np.random.default_rng(2)
    sign = layout_of(1).signature
    inputs, targets = random.standard_normal((2, 12))

    def loss(V, W):
        m, u, v, z = V.T

        def step(h, x):
            rate = activation(h)
            return h + 0.3 * (-h + W @ rate + u * (v @ rate) / n + m * x), z @ rate / n

        _, read = jax.lax.scan(step, jnp.zeros(n), inputs)
        return jnp.mean(jnp.square(read - targets))

    V, W = random.standard_normal((n, 4)), 0.5 * random.standard_normal((n, n))
    slope, bulk = (np.asarray(g) for g in jax.jit(jax.grad(loss, argnums=(0, 1)))(V, W))
    velocity = -n * slope

    def rate(matrix):
        return matrix + matrix.T

    G = rate(V.T @ velocity) / n
    K = rate((V * sign) @ velocity.T) / n
    commutator = rate(W @ (-p * bulk).T) - rate(W.T @ (-p * bulk))
    # Rounding, of velocities of order 1.
    assert abs(G[1, 1] - G[2, 2]) < 1e-13
    scaling = abs(G[3, 3] - G[0, 0])
    whole = np.abs(K - commutator / p)
    if isinstance(activation, ol.Linear):
        assert max(scaling, abs(np.trace(K)), largest(whole)) < 1e-13
    elif isinstance(activation, ol.ReLU):
        assert max(scaling, abs(np.trace(K)), largest(np.diag(whole))) < 1e-13
        assert largest(whole) > 1e-3
    else:
        assert min(scaling, largest(np.diag(whole))) > 1e-4
    # With the bulk at rest K itself moves.
    assert largest(K) > 1e-3
