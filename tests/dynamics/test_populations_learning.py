"""Learning of populations: the mixture theory against the plain one, full networks, and itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

LAYOUT = ol.Layout()
LINEAR, ERF = ol.Model(LAYOUT, ol.Linear()), ol.Model(LAYOUT, ol.Erf())
TASK = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=4, duration=8.0, dt=0.2)
START = ol.Overlaps.from_entries(LAYOUT, zm=0.3, zu=0.4, vm=0.4, vu=0.4)
RULE = ol.GradientDescent(0.1, 40, save_every=20)
EPS = np.finfo(float).eps
#: What has no width needs no quadrature.
FEW = ol.model.Trapezoid(4)


def two(seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((2, 12, 4))
    covariances = np.swapaxes(vectors, 1, 2) @ vectors / 12
    means = 0.6 * rng.standard_normal((2, 4))
    return ol.Populations([0.3, 0.7], means, (covariances + np.swapaxes(covariances, 1, 2)) / 2, LAYOUT)


def largest(difference):
    return float(jnp.max(jnp.abs(difference)))


#: Rounding of 40 steps, each a sum over 40 times and 4 trials, of overlaps of size 2.
ROUNDING = 40 * 160 * EPS * 2


@pytest.mark.parametrize("model", [LINEAR, ERF], ids=["linear", "erf"])
def test_one_population_with_mean_0_is_the_plain_theory(model):
    plain = ol.integrate(model, TASK, START, RULE)
    one = ol.integrate(model, TASK, ol.Populations.from_overlaps(START), RULE)
    assert largest(one.overlaps.gram - plain.overlaps.gram) < ROUNDING
    assert largest(one.final.means) < ROUNDING
    np.testing.assert_allclose(one.transfer[:, 0, 1:, 1:], plain.transfer, atol=ROUNDING)


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_for_linear_networks_every_split_gives_the_same_overlaps(share):
    plain = ol.integrate(LINEAR, TASK, START, RULE)
    split = ol.Populations.split(START, ol.model.HermiteGrid(2, folded=True), share=share)
    run = ol.integrate(LINEAR, TASK, split, RULE)
    assert largest(run.overlaps.gram - plain.overlaps.gram) < ROUNDING
    assert largest(run.loss - plain.loss) < ROUNDING


@pytest.mark.parametrize(
    "activation",
    [ol.ReLU(), ol.Activation(jax.nn.softplus, FEW)],
    ids=["relu", "softplus"],
)
def test_populations_without_width_are_the_network_of_weighted_neurons(activation):
    """Single neurons are the end of the hierarchy, where the closure is no approximation."""
    model = ol.Model(LAYOUT, activation)
    network = ol.Network.quadrature(START, ol.model.HermiteGrid(2))
    points = ol.Populations(network.weights, network.vectors, jnp.zeros((network.n_neurons, 4, 4)), LAYOUT)
    run = ol.integrate(model, TASK, points, RULE, trust=False)
    full = ol.train(model, TASK, network, RULE)
    assert largest(run.overlaps.gram - full.overlaps.gram) < ROUNDING


def test_folded_populations_are_the_whole_ones_where_phi_is_odd():
    whole, folded = (
        ol.integrate(
            ERF, TASK, ol.Populations.split(START, ol.model.HermiteGrid(3, folded=f), share=0.7), RULE, trust=False
        )
        for f in (False, True)
    )
    assert folded.final.n_populations == 5
    assert largest(whole.overlaps.gram - folded.overlaps.gram) < ROUNDING


@pytest.mark.parametrize(
    "rule",
    [RULE, ol.GradientDescent(0.1, 40, momentum=0.5, weight_decay=0.02, rates={"m": 0.0, "v": 2.0}, save_every=20)],
    ids=["plain", "momentum, decay, rates"],
)
def test_linear_populations_with_means_are_the_full_network(rule):
    populations = two()
    theory = ol.integrate(LINEAR, TASK, populations, rule)
    full = ol.train(LINEAR, TASK, populations.sample(30, key=jax.random.key(0)), rule)
    assert largest(theory.overlaps.gram - full.overlaps.gram) < 30 * ROUNDING
    assert largest(theory.overlaps.gram[-1] - theory.overlaps.gram[0]) > 0.01


@pytest.mark.parametrize("activation", [ol.Erf(), ol.ReLU()], ids=["erf", "relu"])
def test_the_first_step_of_nonlinear_populations_is_that_of_infinitely_many_neurons(activation):
    """Gaussian populations are exact at the start: one step by weighted neurons, in two resolutions."""
    model, populations = ol.Model(LAYOUT, activation), two()
    rule = ol.GradientDescent(0.1, 1)
    theory = ol.integrate(model, TASK, populations, rule, trust=False).final.overlaps.gram
    moved = theory - populations.overlaps.gram
    off = []
    # As many nodes in both, which share a compiled program.
    for order, reader_order in ((4, 4), (8, 2)):
        network = populations.quadrature(ol.model.HermiteGrid(order, reader_order))
        off.append(largest(ol.train(model, TASK, network, rule).final.overlaps.gram - theory))
    # Quadrature converges to the theory: fast for smooth phi, as 1 / order or faster for a kink.
    kink = isinstance(activation, ol.ReLU)
    assert off[1] < (0.6 if kink else 0.2) * off[0]
    assert off[1] < (0.1 if kink else 0.01) * largest(moved)


def test_gradient_of_the_means_and_covariances_is_that_of_finite_differences():
    """Flow of moments: dmu = -(1/a) dL/dmu and dC = -(S C + C S), from central differences of the loss."""
    populations, h = two(), 1e-5
    rule = ol.GradientFlow(1e-6, save_at=[1e-6], rtol=1e-13, atol=1e-15)
    moved = ol.integrate(ERF, TASK, populations, rule, trust=False).final
    dmu = (moved.means - populations.means) / 1e-6
    dC = (moved.covariances - populations.covariances) / 1e-6

    @jax.jit
    def loss(means, covariances):
        changed = ol.Populations(populations.fractions, means, covariances, LAYOUT)
        return TASK.loss(ol.rollout(ERF, changed, TASK))

    means, covariances, fractions = (
        np.array(x) for x in (populations.means, populations.covariances, populations.fractions)
    )
    for p in range(2):
        slope = np.zeros(4)
        for i in range(4):
            step = np.zeros_like(means)
            step[p, i] = h
            slope[i] = (loss(means + step, covariances) - loss(means - step, covariances)) / (2 * h)
        S = np.zeros((4, 4))
        for i, j in itertools.combinations_with_replacement(range(4), 2):
            step = np.zeros_like(covariances)
            step[p, i, j] = step[p, j, i] = h
            # An off-diagonal number stands for two entries.
            S[i, j] = S[j, i] = (
                (loss(means, covariances + step) - loss(means, covariances - step)) / (2 * h) * (2 if i == j else 1)
            )
        S /= fractions[p]
        # Central differences: rounding of the loss over h, and h^2 times a third derivative of order 1; the flow's own
        # one-sided difference adds 1e-6 times a second derivative of order 10.
        tolerance = 10 * EPS / h + 10 * h**2 + 1e-4
        np.testing.assert_allclose(dmu[p], -slope / fractions[p], atol=tolerance)
        np.testing.assert_allclose(dC[p], -(S @ covariances[p] + covariances[p] @ S), atol=tolerance)


def test_order_of_populations_and_cutting_one_in_two_change_nothing():
    populations, both = two(), jnp.zeros(2, int)
    turned = jax.tree.map(lambda array: array[::-1], populations)
    means, covariances = populations.means, populations.covariances
    one = ol.Populations([1.0], means[:1], covariances[:1], LAYOUT)
    halves = ol.Populations([0.25, 0.75], means[both], covariances[both], LAYOUT)
    for before, after in ((populations, turned), (one, halves)):
        before, after = (ol.integrate(ERF, TASK, start, RULE, trust=False).overlaps.gram for start in (before, after))
        assert largest(after - before) < ROUNDING
        assert largest(after[-1] - after[0]) > 0.01


def test_more_populations_follow_the_limit_more_closely_than_the_gaussian_theory():
    """The largest error over learning, with as many nodes per dimension of the fields as the split's share suits."""
    rule = ol.GradientDescent(0.2, 150, save_every=30)
    limit = ol.train(ERF, TASK, ol.Network.quadrature(START, ol.model.HermiteGrid(6, 4, folded=True)), rule)

    def off(start):
        return largest(ol.integrate(ERF, TASK, start, rule, trust=False).overlaps.gram - limit.overlaps.gram)

    theory = off(START)
    few = off(ol.Populations.split(START, ol.model.HermiteGrid(3, folded=True), share=0.6))
    more = off(ol.Populations.split(START, ol.model.HermiteGrid(4, folded=True)))
    assert theory > 1.5 * few > 1.5 * 2 * more, (theory, few, more)


def test_a_solution_of_populations_is_stored_and_read_back(tmp_path):
    run = ol.integrate(ERF, TASK, two(), RULE)
    run.save(tmp_path / "populations.nc")
    same = ol.load(tmp_path / "populations.nc")
    assert isinstance(same.final, ol.Populations)
    for name in ("fractions", "means", "covariances"):
        assert jnp.all(getattr(same.final, name) == getattr(run.final, name))
    assert jnp.all(same.transfer == run.transfer)
    # The transfer matrices tell every population's moments at every saved point.
    at_end = two().moved(run.transfer[-1])
    np.testing.assert_allclose(at_end.covariances, run.final.covariances, atol=ROUNDING)


def test_what_populations_cannot_do_is_refused():
    with pytest.raises(ValueError, match="direct descent and parameter noise are for"):
        ol.integrate(LINEAR, TASK, two(), ol.DirectDescent(0.1, 1))
    with pytest.raises(ValueError, match="direct descent and parameter noise are for"):
        ol.integrate(LINEAR, TASK, two(), ol.GradientDescent(0.1, 1, parameter_noise=0.1))
    with pytest.raises(ValueError, match=r"populations have Layout.*rank=1.*rank=2"):
        ol.integrate(ol.Model(ol.Layout(rank=2), ol.Linear()), TASK, two(), RULE)
