"""Tied vectors: an output that is fed back stays what is fed back while it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import overlap_learning as ol
from overlap_learning.validation.expansion import expand

#: Two outputs, the second of which is fed back along u2.
LAYOUT = ol.Layout(n_in=1, rank=2, n_out=2)
TIED = {"v2": "z2"}
LINEAR = ol.Model(LAYOUT, ol.Linear(), tied=TIED)
INPUTS = np.random.default_rng(1).normal(size=(3, 10, 1))
TASK = ol.Task(INPUTS, np.concatenate([np.sin(INPUTS), np.cumsum(INPUTS, 1)], 2) / 4, np.full((3, 10, 2), 1 / 60), 0.3)
#: Clipped, so that the norm of what is tied counts; with decay, and all that remembers.
RULE = ol.GradientDescent(
    0.4, 20, momentum=0.6, nesterov=True, weight_decay=0.01, clip_norm=0.3, rates={"m": 0.0, "v2": 0.5, "z": 0.5}
)


def network(n_neurons=8):
    columns = 0.7 * np.random.default_rng(0).normal(size=(n_neurons, 6))
    m, u, q, v, z1, z2 = columns.T
    return ol.Network.from_vectors(m=m, u=np.stack([u, q], 1), v=np.stack([v, z2], 1), z=np.stack([z1, z2], 1))


@pytest.mark.parametrize("phi", [ol.Linear(), ol.Erf()])
def test_every_neuron_learns_as_a_network_with_feedback_does(phi):
    """Another program, of six free vectors whose output is fed back."""
    start = network()
    free = jnp.delete(start.vectors, 4, axis=1)
    rates = jnp.array([0.0, 1.0, 1.0, 1.0, 0.5, 0.5])

    def loss(free):
        m, u, q, v, z1, z2 = free.T

        def step(h, x):
            rates = phi(h)
            y = rates @ jnp.stack([z1, z2], 1) / len(free)
            drive = jnp.outer(rates @ v / len(free), u) + jnp.outer(y[:, 1], q) + jnp.outer(x[:, 0], m)
            return h + 0.3 * (drive - h), y

        _, y = jax.lax.scan(step, jnp.zeros((3, len(free))), jnp.moveaxis(jnp.asarray(INPUTS), 0, 1))
        return jnp.sum(TASK.weights * (jnp.moveaxis(y, 0, 1) - TASK.targets) ** 2)

    n, memory = len(free), jnp.zeros_like(free)

    @jax.jit
    def moved(free, memory):
        step = n * jax.grad(loss)(free)
        # The norm is a mean over neurons, of what learns.
        step = step / jnp.maximum(1, jnp.linalg.norm(step * (rates > 0)) / np.sqrt(n) / 0.3) + 0.01 * free
        memory = 0.6 * memory + step
        return free - 0.4 * rates * (step + 0.6 * memory), memory

    for _ in range(20):
        free, memory = moved(free, memory)
    learned = ol.train(ol.Model(LAYOUT, phi, tied=TIED), TASK, start, RULE, progress=False).final.vectors
    # Rounding of 20 steps, with a factor for the order of sums.
    np.testing.assert_allclose(learned, free[:, [0, 1, 2, 3, 5, 4, 5]], rtol=0, atol=1e-13)


def test_the_theory_of_linear_networks_is_exact_and_vectors_stay_tied(tmp_path):
    start = network()
    full = ol.train(LINEAR, TASK, start, RULE, progress=False)
    theory = ol.integrate(LINEAR, TASK, start.overlaps, RULE)
    moved = float(jnp.max(jnp.abs(full.overlaps.gram[-1] - full.overlaps.gram[0])))
    assert moved > 0.1
    np.testing.assert_allclose(theory.overlaps.gram, full.overlaps.gram, rtol=0, atol=1e-13)
    np.testing.assert_allclose(theory.overlaps.gram[-1, 4], theory.overlaps.gram[-1, 6], rtol=0, atol=1e-13)
    # Without the tie the two part.
    free = ol.integrate(ol.Model(LAYOUT, ol.Linear()), TASK, start.overlaps, RULE).overlaps.gram[-1]
    assert float(jnp.max(jnp.abs(free[4] - free[6]))) > 0.01
    theory.save(tmp_path / "tied.nc")
    assert ol.load(tmp_path / "tied.nc").model == LINEAR


def test_what_rules_see_of_tied_vectors_is_one_array():
    start = network()
    free = {"momentum": 0.6, "nesterov": True}
    # The norm of all 8 neurons, of which that of the theory is a mean.
    clipped = optax.chain(optax.clip_by_global_norm(0.3 * np.sqrt(8)), optax.sgd(0.1, **free))
    for rule, arrays, same in (
        (ol.Optimiser(clipped, 20), None, {"clip_norm": 0.3}),
        # The gradient of z / 2 is twice that of z, which moves by twice its step.
        (ol.GradientDescent(0.1, 20, **free), ol.training.Arrays({"z": 2.0}), {"rates": {"z": 4.0, "v2": 4.0}}),
    ):
        full = ol.train(LINEAR, TASK, start, rule, arrays=arrays, progress=False)
        theory = ol.integrate(LINEAR, TASK, start.overlaps, ol.GradientDescent(0.1, 20, **free, **same))
        np.testing.assert_allclose(full.overlaps.gram, theory.overlaps.gram, rtol=0, atol=1e-13)


OTHER = ol.Overlaps.random(LAYOUT, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("start", "settings", "message"),
    [
        (None, {"rates": {"v2": 0.0}}, r"v2 is tied to z2 and has its rate; got 0.0 and 1.0"),
        (None, {"parameter_noise": 0.1}, "without parameter_noise"),
        (OTHER, {}, r"v2 is tied to z2, and differs.*from_vectors"),
    ],
)
def test_what_would_part_tied_vectors_is_refused(start, settings, message):
    start = network().overlaps if start is None else start
    with pytest.raises(ValueError, match=message):
        ol.integrate(LINEAR, TASK, start, ol.GradientDescent(0.1, 2, **settings))


def test_sweeps_of_many_points_at_once_refuse_those_whose_vectors_would_part():
    start = network()

    def learned(stretch, rate):
        # Of the theory the rate, of neurons the start.
        full = ol.Network(start.vectors.at[:, 4].multiply(stretch), LAYOUT)
        rules = [ol.GradientDescent(rate, 2, rates={"z2": each}) for each in (rate, 1.0)]
        theory = ol.integrate(LINEAR, TASK, start.overlaps, rules[0])
        return theory.loss[-1] - ol.train(LINEAR, TASK, full, rules[1]).loss[-1]

    found = ol.sweep(learned, {"stretch": [1.0, 1.1], "rate": [1.0, 0.5]}, ol.Batched(), progress=False)
    # Of the same descent of two steps.
    assert abs(float(found["value"][0, 0])) < 1e-14
    messages = ["and differs from it", "has its rate; got 1.0 and 0.5", "has its rate"]
    for error, message in zip([found["error"].values[1, 0], *found["error"].values[:, 1]], messages, strict=True):
        assert message in error


def test_single_precision_is_no_excuse_for_vectors_that_differ():
    vectors = network().vectors.astype(jnp.float32)
    ol.train(LINEAR, TASK, ol.Network(vectors, LAYOUT), ol.GradientDescent(0.1, 2), progress=False)
    with pytest.raises(ValueError, match="v2 is tied to z2, and differs"):
        ol.train(LINEAR, TASK, ol.Network(vectors.at[:, 4].multiply(1.02), LAYOUT), ol.GradientDescent(0.1, 2))


def test_what_takes_each_vector_to_learn_by_itself_says_so():
    overlaps, rule = network().overlaps, ol.GradientDescent(0.1, 2)
    erf, key = ol.Model(LAYOUT, ol.Erf(), tied=TIED), jax.random.key(0)
    for name, ask in {
        "metric": lambda: ol.metric(LINEAR, overlaps),
        "invariants": lambda: ol.invariants(LINEAR, overlaps),
        "expand": lambda: expand(erf, TASK, overlaps, rule, 2, ol.model.HermiteGrid(2, folded=True)),
        # Whose limit does.
        "validate": lambda: ol.validate(erf, TASK, overlaps, rule, n_neurons=(8, 16), n_seeds=2, key=key),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: the model has tied vectors.*takes each to learn"):
            ask()
    apart = ol.studies.random_starts(LAYOUT, 2, key=key)
    with pytest.raises(ValueError, match="train_twins: v2 is tied to z2, and differs"):
        ol.studies.train_twins(LINEAR, (TASK, TASK), TASK, apart, (rule, rule), key=key)


@pytest.mark.parametrize("tied", [{"v3": "z1"}, {"v2": "v2"}, {"v2": "z1", "z1": "v1"}, {"v2": ["z1"]}, [("v2", "z1")]])
def test_what_ties_no_two_vectors_is_refused(tied):
    with pytest.raises(ValueError, match="Model: tied must map vectors to others"):
        ol.Model(LAYOUT, ol.Tanh(), tied=tied)
