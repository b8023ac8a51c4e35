"""What every test and every docstring example starts with."""

import jax

# Theory is float64. Before any jax call.
jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _names_of_examples(doctest_namespace):
    import overlap_learning as ol

    doctest_namespace.update(jax=jax, jnp=jnp, np=np, ol=ol)
