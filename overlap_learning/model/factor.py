"""Factors: square roots of Gram and covariance matrices."""

import jax
import jax.numpy as jnp


def gram_factor(gram: jax.Array) -> jax.Array:
    """F, shape [..., d, d], with `F^T F = G`: the vectors of d neurons with these overlaps, on the axes of G.

    Args:
        gram: G, shape [..., d, d], symmetric and positive semi-definite.
    """
    values, axes = jnp.linalg.eigh(gram)
    # Eigenvalues of a positive semi-definite matrix may round to just below zero.
    return jnp.sqrt(jnp.clip(values, 0))[..., :, None] * jnp.swapaxes(axes, -1, -2)


def square_root(gram: jax.Array) -> jax.Array:
    """The symmetric F, shape [d, d], with `F F = G`.

    Args:
        gram: G, shape [d, d], symmetric and positive semi-definite.
    """
    values, axes = jnp.linalg.eigh(gram)
    return (axes * jnp.sqrt(jnp.clip(values, 0))) @ axes.T
