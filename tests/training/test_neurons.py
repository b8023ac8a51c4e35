"""backpropagation: single precision for neurons under double precision for vectors, other derivatives, bytes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.neurons.loss import neuron_loss

EPS, EPS_SINGLE = (float(np.finfo(dtype).eps) for dtype in (np.float64, np.float32))
LAYOUT = ol.Layout()
LINEAR, ERF = ol.Model(LAYOUT, ol.Linear()), ol.Model(LAYOUT, ol.Erf())


def make_task(n_trials=2, n_times=20):
    random = np.random.default_rng(0)
    inputs, targets = random.standard_normal((2, n_trials, n_times, 1))
    return ol.Task(inputs, targets, np.full(targets.shape, 1 / targets.size), 0.2)


TASK = make_task()


def make_network(n_neurons=40):
    return ol.Network.sample(ol.Overlaps.from_entries(LAYOUT, zu=0.5, vm=0.5), n_neurons, key=jax.random.key(0))


def largest(array):
    return float(np.max(np.abs(np.asarray(array))))


@pytest.mark.parametrize("model", [LINEAR, ERF], ids=["linear", "erf"])
def test_states_in_single_precision_change_the_gradient_by_their_rounding_only(model):
    network = make_network()
    gradients = {
        dtype: jax.jit(jax.grad(functools.partial(neuron_loss, model, state_dtype=dtype)))(
            network.vectors, network.weights, TASK
        )
        for dtype in (None, jnp.float32)
    }
    difference = largest(gradients[None] - gradients[jnp.float32])
    # Vectors and what moves them stay double.
    assert gradients[jnp.float32].dtype == jnp.float64
    # Each of 20 time steps, forth and back, rounds fields, phi and gradients once or twice.
    assert difference <= 4 * 20 * EPS_SINGLE * largest(gradients[None])
    assert difference > 100 * EPS * largest(gradients[None])


def test_small_steps_are_not_lost_under_states_in_single_precision():
    """A learning rate at which no step moves a number in single precision."""
    network, rule = make_network(), ol.GradientDescent(1e-9, 50)
    single = ol.Network(network.vectors.astype(jnp.float32), LAYOUT)
    moved = ol.train(LINEAR, TASK, network, rule).final.vectors - network.vectors
    mixed = ol.train(LINEAR, TASK, network, rule, state_dtype=jnp.float32).final.vectors - network.vectors
    stuck = ol.train(LINEAR, TASK, single, rule).final.vectors - single.vectors
    # The gradient's rounding, and that of subtracting vectors of size 3.
    assert largest(mixed - moved) <= 4 * 20 * EPS_SINGLE * largest(moved) + 50 * 4 * EPS
    assert largest(stuck - moved) > 0.5 * largest(moved)


@pytest.mark.parametrize("dtype", [jnp.int32, "half a number", 16])
def test_a_state_dtype_that_is_no_floating_point_dtype_is_refused(dtype):
    with pytest.raises(
        ValueError, match=r"train: state_dtype must be a floating-point dtype .*such as jnp\.float32, got"
    ):
        ol.train(LINEAR, TASK, make_network(), ol.GradientDescent(0.1, 2), state_dtype=dtype)


def test_states_wider_than_the_network_are_refused():
    single = ol.Network(make_network().vectors.astype(jnp.float32), LAYOUT)
    with pytest.raises(ValueError, match=r"train: state_dtype .*no wider than the network's float32"):
        ol.train(LINEAR, TASK, single, ol.GradientDescent(0.1, 2), state_dtype=jnp.float64)


def test_derivatives_by_inputs_weights_and_second_ones_are_those_of_the_simulated_network():
    vectors, weights = make_network(8).vectors, jnp.full(8, 1 / 8)

    def by_hand(vectors, weights, inputs):
        task = ol.Task(inputs, TASK.targets, TASK.weights, TASK.dt)
        return neuron_loss(ERF, vectors, weights, task)

    def simulated(vectors, weights, inputs):
        task = ol.Task(inputs, TASK.targets, TASK.weights, TASK.dt)
        return task.loss(ol.simulate(ERF, ol.Network(vectors, LAYOUT, weights), task))

    def derivatives(loss):
        def both(vectors, weights, inputs):
            first = jax.grad(loss, argnums=(0, 1, 2))
            along = jax.jvp(lambda v: first(v, weights, inputs)[0], (vectors,), (jnp.cos(vectors),))[1]
            return *first(vectors, weights, inputs), along

        return jax.jit(both)(vectors, weights, TASK.inputs)

    for found, expected in zip(derivatives(by_hand), derivatives(simulated), strict=True):
        # Chains of 20 steps, forth and back, twice for the second derivative, of sums over 8 neurons.
        assert largest(found - expected) <= 2 * 2 * 20 * 8 * EPS * largest(expected)
        assert largest(expected) > 1e-4


class TestMemoryTraffic:
    def counted_by_the_compiler(self, model, n_trials, n_neurons=20_000):
        task = jax.eval_shape(lambda: make_task(n_trials, 3))
        vectors, weights = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((n_neurons, 4), (n_neurons,)))
        gradient = jax.value_and_grad(functools.partial(neuron_loss, model))
        task = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float32), task)
        # The compiler counts the body of each loop once.
        analysis = jax.jit(gradient).lower(vectors, weights, task).compile().cost_analysis()
        return analysis["bytes accessed"] / n_neurons

    @pytest.mark.parametrize("model", [LINEAR, ERF], ids=["linear", "erf"])
    def test_passes_per_trial_are_those_that_the_compiler_counts(self, model):
        one_step = [ol.training.memory_traffic(model, make_task(n, 1), 1) for n in (4, 12)]
        found = [self.counted_by_the_compiler(model, n) for n in (4, 12)]
        assert abs((found[1] - found[0]) - (one_step[1] - one_step[0])) <= 0.01 * (one_step[1] - one_step[0])
        # Beside the loops V is laid out anew and weighted, and so is the gradient: 8 passes over d numbers.
        assert one_step[0] <= found[0] <= one_step[0] + 8 * 4 * 4 * 1.1

    def test_grows_with_neurons_times_and_bytes(self):
        count = ol.training.memory_traffic
        base = count(ERF, TASK, 1000)
        assert count(ERF, TASK, 2000) == 2 * base
        assert count(ERF, make_task(2, 40), 1000) == 2 * base
        assert count(ERF, TASK, 1000, jnp.float64) == 2 * base
        with pytest.raises(ValueError, match=r"memory_traffic: n_neurons must be an integer of at least 1"):
            count(ERF, TASK, 0)
