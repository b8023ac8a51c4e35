"""Sums of known signals: held against adding up reading by reading, and made with the task."""

import jax
import jax.numpy as jnp
import numpy as np

import overlap_learning as ol

EPS = np.finfo(float).eps


def make(decay=0.3):
    return ol.tasks.impulse_response(
        cosines=[[[1.0], [0.5]], [[-0.4], [2.0]]],
        decays=jnp.stack([jnp.asarray(decay), jnp.asarray(0.6)]),
        frequencies=[0.5, 2.0],
        sines=[[[0.2], [0.0]], [[1.0], [-1.0]]],
        impulses=[[1.0], [-2.0]],
        duration=2.3,
        dt=0.1,
    )


def test_they_are_those_of_the_readings():
    task = make()
    sums = task.trials.sums
    # The target is a known signal of each term; what it adds up to is the loss of a silent network.
    expected = float(jnp.sum(task.weights * jnp.square(task.targets)))
    assert abs(float(task.silent_loss()) - expected) <= task.n_steps * EPS * expected
    # The input leaks by 1 - dt from reading to reading, whose impulses have areas 1 and -2.
    leaks = 0.9 ** np.arange(23)
    assert abs(float(sums.sum[0, 0]) - 0.1 * 5 * np.sum(leaks**2)) <= task.n_steps * EPS * 5


def test_made_inside_jit_they_are_the_same():
    outside, inside = make().trials.sums, jax.jit(lambda decay: make(decay).trials.sums)(0.3)
    for a, b in zip(jax.tree.leaves(outside), jax.tree.leaves(inside), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=30 * EPS * max(1.0, float(np.abs(a).max())))


def test_making_a_task_compiles_nothing():
    from dynamics_helpers import compilations

    # Shapes of no other test: what was compiled before is not seen again.
    cosines = np.ones((7, 5, 3))
    with compilations() as compiled:
        ol.tasks.impulse_response(cosines, np.full(5, 0.3), impulses=np.eye(7), duration=7.7, dt=0.11)
    assert compiled == []


def test_a_task_with_other_targets_has_none():
    assert make().replace(targets=make().targets).trials.sums is None
