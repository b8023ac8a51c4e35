"""Stability: a loss that rises, and the largest stable learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol
from overlap_learning.learning.learner import AbstractLearner
from overlap_learning.learning.stability import largest_curvature

LAYOUT = ol.Layout()
LINEAR = ol.Model(LAYOUT, ol.Linear())
TASK = ol.tasks.exponential_filter(duration=3.0, dt=0.1)
START = ol.Overlaps.from_entries(LAYOUT, zu=0.1, vm=0.1)


def test_a_loss_that_rises_is_said_with_the_largest_stable_rate():
    """Against the whole Hessian of a full network, where the loss was lowest: V moves by N dL/dV."""
    solution = ol.integrate(LINEAR, TASK, START, ol.GradientDescent(0.2, 40, save_every=1))
    loss = np.asarray(solution.loss)
    step = int(solution.stats["rise_step"])
    assert loss[step + 1] > loss[step] == loss[: step + 1].min()
    vectors = ol.Network.sample(ol.Overlaps(solution.overlaps.gram[step], LAYOUT), 4, key=jax.random.key(0)).vectors
    loss_of = lambda vectors: TASK.loss(ol.simulate(LINEAR, ol.Network(vectors, LAYOUT), TASK))  # noqa: E731
    curvature = np.linalg.eigvalsh(4 * np.asarray(jax.hessian(loss_of)(vectors)).reshape(16, 16)).max()
    # Fifty power iterations; the central difference is far better.
    assert float(solution.stats["stable_rate"]) == pytest.approx(2 / curvature, rel=0.01)
    assert f"The loss rose after step {step}, " in repr(solution)
    assert 2 / curvature < 0.2


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_full_network_says_the_step_and_a_stable_run_says_nothing(rate):
    network = ol.Network.sample(START, 20, key=jax.random.key(0))
    solution = ol.train(LINEAR, TASK, network, ol.GradientDescent(rate, 40, save_every=1), progress=False)
    assert ("The loss rose after step" in repr(solution)) == (rate > 0.1) == ("rise_step" in solution.stats)


def test_a_loss_that_momentum_carries_up_is_not_said_to_be_unstable():
    """At less than a tenth of the largest stable rate."""
    solution = ol.integrate(LINEAR, TASK, START, ol.GradientDescent(0.005, 400, momentum=0.95))
    assert 0.1 * float(solution.stats["stable_rate"]) > 0.005
    assert "momentum overshot" in repr(solution)


class Quadratic(AbstractLearner):
    """`L = sum_i c_i x_i^2 / 2`."""

    rates: jax.Array
    curvatures: jax.Array

    def loss(self, position, task):
        return jnp.sum(self.curvatures * position**2) / 2

    def gradient(self, position, task):
        return self.loss(position, task), self.curvatures * position


@pytest.mark.parametrize("curvatures", [[-9.0, 4.0, 1.0], [9.0, 4.0, -1.0], [-3.0, -9.0, -1.0]])
def test_the_largest_curvature_is_the_largest_and_not_the_largest_in_size(curvatures):
    """Along what learns, where it is the curvature times the rate."""
    rates = np.array([1.0, 0.5, 2.0])
    found = largest_curvature(Quadratic(jnp.asarray(rates), jnp.asarray(curvatures)), jnp.ones(3), TASK)
    # Of the second power iteration the two largest differ by a half or more: 50 leave a part in 1e8.
    assert float(found) == pytest.approx(max(rates * curvatures), rel=1e-7)
