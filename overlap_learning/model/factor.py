"""Factors: square roots of Gram and covariance matrices, and neurons drawn with them."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from overlap_learning.checks import in_numpy, is_traced, namespace

#: The fewest numbers that are drawn at once; of more, a power of two. So few programs are compiled for networks of many
#: sizes.
FEWEST_DRAWN = 4096


@jax.jit
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


def standard_neurons(key: jax.Array, shape: tuple[int, ...], dtype: Any, *, exact: bool, centred: bool = False) -> Any:
    """Neurons X, shape [..., N, d], of independent standard normal vectors, in numpy if the key is known.

    Args:
        key: a jax random key.
        shape: of X.
        dtype: of X.
        exact: make the vectors orthogonal, `X^T X = N`, by the polar decomposition, the smallest such change.
        centred: likewise, first give each the mean 0.
    """
    # Prefixes of one long row: the same numbers as of this shape alone, unless jax was set to draw otherwise.
    size = math.prod(shape)
    is_prefix = getattr(jax.config, "jax_threefry_partitionable", False)
    drawn = shape if is_traced(key) or not is_prefix else (max(FEWEST_DRAWN, 2 ** math.ceil(math.log2(max(size, 1)))),)
    frame = in_numpy(jax.random.normal(key, drawn, dtype)).reshape(-1)[:size].reshape(shape)
    xp = namespace(frame)
    if exact:
        frame = frame - frame.mean(axis=-2, keepdims=True) if centred else frame
        left, _, right = xp.linalg.svd(frame, full_matrices=False)
        # Exact in single precision too: GPUs round matrix products to fewer bits by default.
        with jax.default_matmul_precision("highest"):
            frame = shape[-2] ** 0.5 * (left @ right)
    return frame


def times_factor(frame: Any, gram: jax.Array) -> Any:
    """Vectors `V = X F`, shape [..., N, d], with the covariance G of standard neurons X."""
    with jax.default_matmul_precision("highest"):
        return frame @ in_numpy(gram_factor(gram))
