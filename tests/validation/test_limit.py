"""limit: weighted neurons as infinitely many."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from validation_helpers import ACTIVATIONS, LAYOUT, RULE, erf_report, flip_flop, start

import overlap_learning as ol

EPS = np.finfo(float).eps
LINEAR, ERF = (ol.Model(LAYOUT, phi) for phi in (ol.Linear(), ol.Erf()))
# The length and the saved points of RULE: runs that differ in numbers only share a compiled program.
SHORT = ol.GradientDescent(5e-3, 50, save_every=5)
THREE = ol.model.HermiteGrid(3, folded=True)
# Smooth, and steeper than grids of a few nodes can see.
STEEP = ol.Activation(lambda h: jnp.tanh(8 * h) / 8, ol.model.Trapezoid(64))


def largest(difference):
    return float(np.max(np.abs(np.asarray(difference))))


def rounding(limit, n_times):
    """Gradients sum over T times and K nodes, and the overlaps add up n steps; as in `ol.validate`."""
    gram = np.asarray(limit.overlaps.gram)
    path = np.abs(np.diff(gram, axis=0)).sum(axis=0).max()
    return 10 * EPS * ((n_times + limit.start.n_neurons) * path + int(limit.step[-1]) * np.abs(gram).max())


@functools.cache
def erf_limit():
    """By three and four nodes per dimension; the finer ones are the coarser ones of `erf_report`."""
    return ol.limit(
        ERF, flip_flop(), start(), RULE, nodes=(THREE, ol.model.HermiteGrid(4, folded=True)), progress=False
    )


@functools.cache
def any_limit(name, eta):
    """Theory and limit for any activation, from overlaps that saturate it, on a task that is not odd: arguments too."""
    odd = flip_flop()
    # Pulses of both signs would hide what even parts of phi do.
    task = ol.Task(odd.inputs + 0.3, odd.targets + 0.1, odd.weights, odd.dt)
    # Overlaps far from orthonormal, so that every entry of S counts and the fields are large enough to saturate.
    overlaps = start(scale=0.4).replace(mm=2.0, uu=2.0, vu=0.6, zu=0.5)
    # Nodes of one number, which share a compiled program; the first are coarser where it counts. An even number of them
    # along the fields, so that none sits on ReLU's kink.
    nodes = (ol.model.HermiteGrid(4, 6), ol.model.HermiteGrid(6, 4))
    phi = ACTIVATIONS.get(name, STEEP)
    arguments = (ol.Model(LAYOUT, phi), task, overlaps, ol.GradientDescent(eta, 50, save_every=5))
    return ol.integrate(*arguments), ol.limit(*arguments, nodes=nodes, progress=False), arguments


# -- linear: known answers ------------------------------------------------------------------------------------------


def test_linear_limit_is_the_theory_to_rounding_with_d_neurons_and_no_error():
    limit = ol.limit(LINEAR, flip_flop(), start(), SHORT, progress=False)
    theory = ol.integrate(LINEAR, flip_flop(), start(), SHORT)
    assert limit.start.n_neurons == 4
    assert limit.exact
    assert largest(limit.overlaps.gram - theory.overlaps.gram) <= rounding(limit, 50)
    assert largest(limit.loss - theory.loss) <= 1000 * EPS
    assert largest(limit.error) == largest(limit.loss_error) == 0
    np.testing.assert_array_equal(limit.time, theory.time)
    np.testing.assert_array_equal(limit.kurtosis, 0)
    # Learning did move the overlaps, so the agreement says something.
    assert largest(theory.overlaps.gram[-1] - theory.overlaps.gram[0]) > 1e-3


def test_linear_learning_keeps_weighted_neurons_gaussian_and_their_map_linear():
    # Three nodes per dimension are exact to degree 5: the fourth moments of a Gaussian, whatever linear map it takes.
    limit = ol.limit(LINEAR, flip_flop(), start(), SHORT, nodes=(THREE, THREE), progress=False)
    theory = ol.integrate(LINEAR, flip_flop(), start(), SHORT)
    assert not limit.exact
    allowed = rounding(limit, 50)
    assert largest(limit.overlaps.gram - theory.overlaps.gram) <= allowed
    # A fourth moment over a squared variance, 3, to which errors of the vectors count up to eight times.
    assert largest(limit.kurtosis) <= 24 * allowed / 0.5
    assert largest(limit.linear_share - 1) <= 8 * allowed


def noisy(*, key):
    """Trials that compile faster than published ones: those of this file with fresh noise on their inputs."""
    task = flip_flop()
    return task.replace(inputs=task.inputs + 0.3 * jax.random.normal(key, task.inputs.shape))


def test_limit_sees_the_trials_of_integrate():
    stream = ol.tasks.stream(noisy)
    rule = ol.GradientDescent(5e-3, 50, save_every=5, label_noise=0.1)
    key, other = jax.random.split(jax.random.key(3))
    limit = ol.limit(LINEAR, stream, start(), rule, key=key, progress=False)
    same, different = (ol.integrate(LINEAR, stream, start(), rule, key=k).overlaps.gram for k in (key, other))
    assert largest(limit.overlaps.gram - same) <= rounding(limit, 50)
    assert largest(limit.overlaps.gram - different) > 1e-6


def test_an_element_wise_rule_is_not_closed_so_that_a_linear_network_needs_all_nodes():
    import optax

    rule = ol.Optimiser(optax.adam(1e-3), 2)
    # All vectors alike: one dimension, for which overlaps alone would need one neuron.
    alike = ol.Overlaps(jnp.ones((4, 4)), LAYOUT)
    limit = ol.limit(LINEAR, flip_flop(), alike, rule, progress=False)
    assert not limit.exact
    # Ten nodes, folded.
    assert limit.start.n_neurons == 5


# -- any activation: the first step is the theory's ------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_learning_of_gaussian_neurons_begins_at_the_rate_of_the_gaussian_theory(name):
    """dG/dtau at tau = 0, where the neurons are Gaussian exactly, from fifty steps that are too small to move them."""
    eta = 1e-8
    theory, limit, (_, _, overlaps, _) = any_limit(name, eta)
    tau = 50 * eta
    found, expected = ((np.asarray(s.overlaps.gram)[-1] - np.asarray(overlaps.gram)) / tau for s in (limit, theory))
    # The limit is off by no more than its coarser nodes, the gain by its own error (relative to a gain of order 1), and
    # the steps by their second order, tau |S G S| (in both), where dG/dtau = -(S G + G S); rounding of G in 50 steps
    # over 576 nodes is divided by tau.
    slope = scipy.linalg.solve_sylvester(np.asarray(overlaps.gram), np.asarray(overlaps.gram), -expected)
    second = tau * largest(slope @ overlaps.gram @ slope)
    gain = float(theory.stats["gain_error"]) * largest(expected)
    rounded = (50 + 576) * EPS * largest(overlaps.gram) / tau
    allowed = limit.error[-1].max() / tau + gain + 2 * second + rounded
    assert largest(found - expected) <= allowed
    # And that is small beside what is compared.
    assert allowed < 0.01 * largest(expected)


@pytest.mark.parametrize("name", ["erf", "softplus"])
def test_other_nodes_agree_with_the_limit_of_smooth_activations_where_the_theory_does_not(name):
    """Sobol nodes have nothing in common with a Hermite grid but the Gaussian that both stand for."""
    theory, limit, (model, task, overlaps, rule) = any_limit(name, 0.05)
    closure = largest(theory.overlaps.gram - limit.overlaps.gram)
    assert 3 * limit.error.max() < closure
    # As many nodes as in the grid, which share its compiled program.
    sobol = ol.train(model, task, ol.Network.quadrature(overlaps, ol.model.SobolNodes(576)), rule)
    assert 3 * largest(sobol.overlaps.gram - limit.overlaps.gram) < closure


@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_folded_nodes_are_refused_where_phi_is_not_odd(name):
    with pytest.raises(ValueError, match=r"stands for mirror images, too, which is wrong for .* Use folded=False"):
        ol.limit(ol.Model(LAYOUT, ACTIVATIONS[name]), flip_flop(), start(), RULE, nodes=(THREE, THREE))


def test_a_kink_is_given_nodes_that_do_not_lie_on_a_grid():
    task = flip_flop()
    once = ol.GradientDescent(5e-3, 1)
    relu = ol.limit(ol.Model(LAYOUT, ol.ReLU()), task, start(), once, progress=False)
    assert relu.start.n_neurons == ol.Network.quadrature(start(), ol.model.SobolNodes(4096)).n_neurons
    assert relu.solution.final.n_neurons > relu.coarse.final.n_neurons


def test_what_no_two_grids_can_see_is_seen_at_the_start_and_said():
    """The claimed error holds the true one, of which the difference of two grids shows a sixth."""
    _, limit, (model, task, overlaps, rule) = any_limit("steep", 0.05)
    # As many nodes as in the grid, which share its compiled program; off by a twentieth of what is looked for.
    sobol = ol.train(model, task, ol.Network.quadrature(overlaps, ol.model.SobolNodes(576)), rule)
    true = largest(sobol.overlaps.gram - limit.overlaps.gram)
    assert largest(limit.solution.overlaps.gram - limit.coarse.overlaps.gram) < true / 3
    assert 0.7 * true < limit.error.max() < 1.5 * true
    assert not limit.resolved
    assert "phi bends too sharply for them" in repr(limit)
    # Grids do see erf, and nothing is said.
    smooth = any_limit("erf", 0.05)[1]
    assert smooth.resolved
    assert "bends" not in repr(smooth)


def test_folding_changes_nothing_where_phi_is_odd():
    folded, grid = erf_report().limit, ol.model.HermiteGrid(6, 4)
    whole = ol.limit(ERF, flip_flop(), start(), RULE, nodes=(grid, grid), progress=False)
    assert (folded.start.n_neurons, whole.start.n_neurons) == (288, 576)
    assert folded.neurons.n_neurons == 576
    # Twice the rounding of one: the sums over nodes have another order.
    allowed = 2 * rounding(whole, 50)
    # Learning from near a saddle amplifies it, by as much as it does the difference of the nodes' first moments.
    growth = largest(folded.overlaps.gram[-1] - folded.overlaps.gram[0]) / largest(
        folded.overlaps.gram[1] - folded.overlaps.gram[0]
    )
    assert largest(folded.overlaps.gram - whole.overlaps.gram) <= growth * allowed
    assert largest(folded.kurtosis - whole.kurtosis) <= 100 * growth * allowed
    assert largest(folded.linear_share - whole.linear_share) <= 100 * growth * allowed


# -- convergence ----------------------------------------------------------------------------------------------------


def test_finer_nodes_converge_and_the_error_estimate_holds():
    best = erf_report().limit
    limit = erf_limit()
    coarse, fine = (largest(s.overlaps.gram - best.overlaps.gram) for s in (limit.coarse, limit))
    assert coarse > 3 * fine
    # The difference to coarser nodes is the error that is claimed: no smaller than the true one.
    assert fine <= largest(limit.error)
    assert best.error.max() < 0.1 * erf_report().largest.max()


def test_whitened_networks_converge_to_the_limit_and_not_to_the_theory():
    report = erf_report()
    slope, error = report.networks.exponent()
    # 12 networks give each rms to about 1 / sqrt(2 * 12 * 2 independent modes) = 14 %, two N with a ratio of 16 the
    # exponent to 0.14 sqrt(2) / log(16) = 0.07.
    assert error < 0.14
    assert abs(slope + 0.5) < 2.6 * error  # 1 % two-sided
    to_limit = np.sqrt(np.mean(np.square(report.networks.deviation[-1, :, -1])))
    to_theory = np.sqrt(np.mean(np.square(report.networks.deviation[-1, :, -1] + report.closure[-1])))
    closure = np.sqrt(np.mean(np.square(report.closure[-1])))
    assert to_limit < 0.7 * to_theory
    # Independent of the theory's error but for the mean over 12 networks, which leaves 1 / sqrt(12) of it; twice that.
    assert abs(to_theory**2 - to_limit**2 - closure**2) <= 2 * 2 * to_limit * closure / np.sqrt(12)


def test_the_limit_of_a_flow_has_the_saved_points_of_the_theory():
    rule = ol.GradientFlow(2.0, save_at=[0.0, 1.0, 2.0], rtol=1e-6, atol=1e-8)
    limit = ol.limit(ERF, flip_flop(), start(), rule, nodes=(THREE, THREE), progress=False)
    theory = ol.integrate(ERF, flip_flop(), start(), rule)
    np.testing.assert_array_equal(limit.time, theory.time)
    assert limit.step is None
    # Early on both agree: three nodes see the slope of phi to 1 % where fields are small.
    change = largest(theory.overlaps.gram[-1] - theory.overlaps.gram[0])
    assert largest(limit.overlaps.gram - theory.overlaps.gram) <= 0.01 * change


# -- what it returns ------------------------------------------------------------------------------------------------


def test_kurtosis_and_linear_share_of_a_known_map():
    """V = a x + b He_3(x) / sqrt(6) has linear share a^2 / (a^2 + b^2); x^3 has excess kurtosis 10395 / 15^2 - 3."""
    nodes = ol.model.HermiteGrid(8, 2, folded=True)
    before = ol.Network.quadrature(ol.Overlaps.from_entries(LAYOUT), nodes)
    x = before.vectors
    a, b = 0.8, 0.6
    hermite = (x**3 - 3 * x) / jnp.sqrt(6)
    after = jnp.stack([a * x[:, 0] + b * hermite[:, 0], x[:, 1] ** 3, x[:, 2], 2 * x[:, 3] + x[:, 2]], axis=1)
    solution = erf_limit().coarse
    made = ol.Limit(
        solution=ol.Solution(
            **{f: getattr(solution, f) for f in ("model", "time", "step", "loss", "saved", "stats")},
            final=ol.Network(after, LAYOUT, before.weights),
            result=solution.result,
        ),
        coarse=solution,
        start=before,
        start_error=jnp.zeros(LAYOUT.n_overlaps),
        folded=True,
        exact=False,
    )
    # x^3 = He_3 + 3 x: share 9 / 15. Two nodes per reader see no fourth moment: their kurtosis is no matter.
    np.testing.assert_allclose(made.linear_share, [a**2, 9 / 15, 1, 1], rtol=0, atol=1e-12)
    assert abs(made.kurtosis[1] - (10395 / 15**2 - 3)) < 1e-9
    np.testing.assert_allclose(made.mean, 0, rtol=0, atol=1e-14)
    shifted = eqx.tree_at(lambda m: m.solution.final.vectors, dataclasses.replace(made, folded=False), after + 0.5)
    np.testing.assert_allclose(shifted.mean, 0.5 + before.weights @ after, rtol=0, atol=1e-13)


def test_prints_with_its_error_and_saves_with_labels(tmp_path):
    import xarray

    limit = erf_limit()
    text = repr(limit)
    for expected in ("128 folded nodes (41 for the error)", "known to", "zu", "loss"):
        assert expected in text
    limit.save(tmp_path / "limit.nc")
    with xarray.open_dataset(tmp_path / "limit.nc", engine="h5netcdf") as data:
        assert data["overlaps_error"].dims == ("time", "overlap")
        np.testing.assert_array_equal(data["overlaps_error"], limit.error)
        np.testing.assert_array_equal(data["kurtosis"], limit.kurtosis)
        np.testing.assert_array_equal(data["linear_share"], limit.linear_share)
    np.testing.assert_allclose(limit.output(flip_flop()).shape, flip_flop().targets.shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": (1, 2)}, "limit: nodes must be a coarser and a finer set of nodes"),
        ({"nodes": ol.model.HermiteGrid(3)}, "limit: nodes must be a coarser and a finer set of nodes"),
        ({"rule": ol.GradientDescent(5e-3, 5, stop_loss=1.0)}, "limit: the rule must not have a stop_loss"),
        ({"rule": ol.DirectDescent(5e-3, 5)}, "limit: DirectDescent is no theory of a network"),
        ({"rule": 5e-3}, "limit: rule must be"),
        ({"overlaps": ol.Overlaps(jnp.eye(6), ol.Layout(rank=2))}, "limit: overlaps has Layout"),
        ({"overlaps": jnp.eye(4)}, r"limit: overlaps must be an ol.Overlaps"),
        ({"task": "flip-flop"}, "limit: task must be an ol.Task"),
        ({"rule": ol.GradientDescent(5e-3, 5, label_noise=0.1)}, r"needs a key: ol.limit\(..., key="),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"model": ERF, "task": flip_flop(), "overlaps": start(), "rule": SHORT}
    with pytest.raises(ValueError, match=message):
        ol.limit(**(arguments | change))


def test_the_rate_at_the_start_is_that_of_the_vectors_that_learn():
    coarse = (ol.model.HermiteGrid(2, folded=True), ol.model.HermiteGrid(3, folded=True))
    frozen = ol.GradientDescent(5e-3, 50, save_every=5, rates={"m": 0.0, "z": 0.0})
    all_learn, some = (
        ol.limit(ERF, flip_flop(), start(), rule, nodes=coarse, progress=False) for rule in (SHORT, frozen)
    )
    mm, mz, zz = (LAYOUT.entry_names.index(name) for name in ("mm", "vz", "zz"))
    assert all_learn.start_error[mm] > 0 < all_learn.start_error[zz]
    # What does not learn has no rate to be wrong; what learns is compared with its own largest rate.
    assert some.start_error[mm] == some.start_error[zz] == 0 < some.start_error[mz]
