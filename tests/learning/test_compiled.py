"""Compiled functions: each gives what its own arguments ask for, whatever else was compiled."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics_helpers import compilations

from overlap_learning.learning.compiled import compiled


class Scaled(eqx.Module):
    array: jax.Array
    how: object

    def __call__(self, x):
        return self.how(self.array * x)


@compiled
def applied(module, x, more):
    return module(x), more, {"sum": x + 1.0}


def test_functions_among_the_leaves_are_part_of_the_program():
    x = jnp.arange(3.0)
    for how in (jnp.sin, jnp.cos, jnp.sin):
        found, none, other = applied(Scaled(jnp.array(2.0), how), x, None)
        np.testing.assert_array_equal(found, how(2.0 * x))
        assert none is None
        np.testing.assert_array_equal(other["sum"], x + 1)


def test_other_numbers_of_the_same_kind_are_no_new_program():
    applied(Scaled(jnp.array(2.0, float), jnp.sin), jnp.arange(3.0), None)
    with compilations() as made:
        found, _, _ = applied(Scaled(np.array(5.0), jnp.sin), np.arange(3.0) + 1, None)
    assert made == []
    np.testing.assert_allclose(found, np.sin(5.0 * (np.arange(3.0) + 1)), rtol=1e-15)


@pytest.mark.parametrize("constant", [1, 1.0, True])
def test_constants_that_are_equal_are_told_apart_by_their_type(constant):
    found = compiled_constant(jnp.arange(3), constant)
    assert type(found[0]) is type(constant)
    assert found[1].dtype == jnp.asarray(constant).dtype


@compiled
def compiled_constant(x, constant):
    return constant, jnp.asarray(constant) * (x[0] == 0)


def test_inside_other_programs_it_is_the_same_function():
    module, x = Scaled(jnp.array(2.0), jnp.sin), jnp.arange(3.0)

    def total(x):
        return jnp.sum(applied(module, x, None)[0])

    np.testing.assert_allclose(jax.jit(jax.grad(total))(x), 2 * np.cos(2 * x), rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(total)(jnp.stack([x, 2 * x]))[1], total(2 * x), rtol=1e-15)


def test_results_can_hold_functions():
    made = compiled(lambda x: Scaled(2 * x, jnp.cos))(jnp.array(1.5))
    assert made.how is jnp.cos
    np.testing.assert_array_equal(made.array, 3.0)
