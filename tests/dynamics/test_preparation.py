"""Preparation: what is calculated of a task beforehand is calculated once, and kept no longer than the task."""

import gc

import jax
import numpy as np
from overlap_learning.dynamics.preparation import prepared

import overlap_learning as ol
from overlap_learning.dynamics import preparation
from overlap_learning.dynamics.impulse_loss import SummedTrials


def make():
    return ol.tasks.exponential_filter(duration=2.0, dt=0.1)


def test_a_task_that_is_used_again_is_prepared_once():
    task, other = make(), make()
    assert prepared(task) is prepared(task)
    assert isinstance(prepared(task).trials, SummedTrials)
    assert prepared(other) is not prepared(task)


def test_a_task_of_which_nothing_is_calculated_beforehand_is_given_back():
    task = make().replace(dt=0.2)
    stream = ol.tasks.stream(ol.tasks.flip_flop, n_trials=2, duration=10.0)
    assert prepared(task) is task
    assert prepared(stream) is stream


def test_nothing_is_kept_of_a_task_that_is_gone():
    before, task = len(preparation._known), make()
    prepared(task)
    assert len(preparation._known) == before + 1
    del task
    gc.collect()
    assert len(preparation._known) == before


def test_what_was_calculated_inside_jit_is_calculated_again_outside():
    task = make()
    inside = jax.jit(lambda: prepared(task).trials.sum)()
    np.testing.assert_allclose(prepared(task).trials.sum, inside, rtol=1e-14)


def test_a_task_of_arrays_that_may_change_is_prepared_each_time():
    task = jax.tree.map(np.array, make())
    before = prepared(task).trials.sum
    task.trials.response.cosines[...] *= 2
    assert float(np.abs(prepared(task).trials.sum - before).max()) > 0.1
