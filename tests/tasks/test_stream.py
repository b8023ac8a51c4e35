"""Streams: fresh trials from a key, the same wherever they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overlap_learning as ol

EPS = np.finfo(float).eps
STREAMS = {
    "decision_making": ol.tasks.stream(ol.tasks.decision_making, n_trials=4, dt=0.1),
    "flip_flop": ol.tasks.stream(ol.tasks.flip_flop, n_trials=4, duration=10.0, dt=0.1),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_a_key_gives_one_batch_under_jit_and_vmap_and_outside(stream):
    key, other = jax.random.split(jax.random.key(3))
    keys = jnp.stack([key, key, other])
    batches = jax.jit(jax.vmap(stream.sample))(keys)
    outside = stream.sample(key)
    for many, one in zip(jax.tree.leaves(batches), jax.tree.leaves(outside), strict=True):
        assert np.array_equal(many[0], many[1])
        # Compiled code may contract a product and a sum into one rounding.
        assert np.max(np.abs(many[0] - one)) <= 4 * EPS * np.max(np.abs(one))
    for array in (batches.inputs, batches.targets):
        assert not np.allclose(array[0], array[2], rtol=1e-3)


def test_a_stream_draws_what_its_generator_does():
    direct = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=4, duration=10.0, dt=0.1)
    streamed = STREAMS["flip_flop"].sample(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(direct), jax.tree.leaves(streamed), strict=True):
        assert np.array_equal(a, b)


def test_streams_of_equal_settings_are_equal():
    """So that a script that builds its stream anew does not compile anew."""
    first = ol.tasks.stream(ol.tasks.flip_flop, n_trials=4, dt=0.1)
    again = ol.tasks.stream(ol.tasks.flip_flop, dt=0.1, n_trials=4)
    assert first == again
    assert hash(first) == hash(again)
    assert first != ol.tasks.stream(ol.tasks.flip_flop, n_trials=4, dt=0.05)


def own(*, key, height):
    """A generator of the user's own."""
    ones = jnp.ones((1, 5, 1))
    return ol.Task(jax.random.normal(key, ones.shape), height * ones, ones, dt=0.1)


def test_a_generator_of_the_user_s_own_can_be_streamed():
    assert float(ol.tasks.stream(own, height=3.0).sample(jax.random.key(0)).targets.max()) == 3.0


# -- errors ---------------------------------------------------------------------------------------------------------


def test_a_generator_without_a_key_is_refused():
    with pytest.raises(ValueError, match=r"must be called as generator\(key=..., \*\*settings\)") as caught:
        ol.tasks.stream(ol.tasks.exponential_filter)
    assert "unexpected keyword argument 'key'" in str(caught.value)


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ValueError, match="unexpected keyword argument 'n_trails'"):
        ol.tasks.stream(ol.tasks.flip_flop, n_trails=4)


def test_a_setting_that_can_not_be_hashed_is_refused():
    with pytest.raises(ValueError, match=r"settings must be numbers, strings or tuples, got .*\[1.0, 2.0\]"):
        ol.tasks.stream(ol.tasks.flip_flop, wait_range=[1.0, 2.0])


def test_a_generator_of_something_else_is_refused():
    def numbers(key):
        return jax.random.normal(key, (3,))

    with pytest.raises(ValueError, match=r"the generator must return an ol\.Task, got"):
        ol.tasks.stream(numbers)


def test_a_setting_out_of_range_is_refused_when_the_stream_is_made():
    with pytest.raises(ValueError, match=r"flip_flop: duration must be above 3\.0"):
        ol.tasks.stream(ol.tasks.flip_flop, duration=2.0)
    with pytest.raises(ValueError, match="decision_making: noise must be at least 0, got -1"):
        ol.tasks.stream(ol.tasks.decision_making, noise=-1.0)


HIDDEN, CALLS = np.random.default_rng(0), [0]


def _task(inputs):
    return ol.Task(inputs, jnp.ones((1, 5, 1)), jnp.ones((1, 5, 1)), dt=0.1)


def from_numpy(*, key):
    return _task(HIDDEN.normal(size=(1, 5, 1)))


def partly_from_numpy(*, key):
    return _task(jax.random.normal(key, (1, 5, 1)) + HIDDEN.normal())


def counting(*, key):
    CALLS[0] += 1
    return _task(jax.random.normal(jax.random.fold_in(key, CALLS[0]), (1, 5, 1)))


def seeded(*, key):
    return _task(np.random.default_rng(0).normal(size=(1, 5, 1)))


def with_a_key_of_its_own(*, key):
    return _task(jax.random.normal(jax.random.key(0), (1, 5, 1)))


@jax.jit
def compiled(*, key):
    return _task(jax.random.normal(jax.random.key(0), (1, 5, 1)))


def multiplied_by_zero(*, key):
    return _task(0 * jax.random.normal(key, (1, 5, 1)))


def through_numpy(*, key):
    return _task(np.random.default_rng(int(jax.random.randint(key, (), 0, 99))).normal(size=(1, 5, 1)))


@pytest.mark.parametrize(
    ("generator", "why"),
    [
        (from_numpy, "other trials for the same key"),
        (partly_from_numpy, "other trials for the same key"),
        (counting, "other trials for the same key"),
        (seeded, "ignores its key"),
        (with_a_key_of_its_own, "ignores its key"),
        (compiled, "ignores its key"),
        (multiplied_by_zero, "ignores its key"),
        (through_numpy, "uses its key outside of jax"),
    ],
)
def test_a_generator_whose_trials_do_not_come_from_its_key_alone_is_refused(generator, why):
    with pytest.raises(ValueError, match=f"stream: {generator.__name__} .*{why}") as caught:
        ol.tasks.stream(generator)
    assert "Draw with jax.random" in str(caught.value)
