"""Likelihood: the noise of recordings, and how far predictions are from them."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class AbstractLikelihood(eqx.Module):
    """The distribution of activity around a prediction. Subclasses: `Gaussian`, `Poisson`."""

    @abc.abstractmethod
    def expected(self, signal: jax.Array) -> jax.Array:
        """The expected activity, of what the decoder reads."""

    @abc.abstractmethod
    def signal(self, expected: np.ndarray) -> np.ndarray:
        """What the decoder has to read for this expected activity."""

    @abc.abstractmethod
    def deviance(self, activity: jax.Array, signal: jax.Array) -> jax.Array:
        """Twice the log likelihood lost to a perfect prediction, each entry (Gaussian: times the noise variance)."""

    @abc.abstractmethod
    def negative(self, deviance: jax.Array) -> jax.Array:
        """The negative log likelihood per entry of a mean deviance, less what does not depend on the prediction."""

    @abc.abstractmethod
    def curvature(self, signal: jax.Array, deviance: jax.Array) -> jax.Array:
        """The expected second derivative of the negative log likelihood by the signal, each entry."""

    @abc.abstractmethod
    def sample(self, key: jax.Array, signal: jax.Array, deviance: jax.Array) -> jax.Array:
        """Activity with fresh noise, of a mean deviance (which the signal of counts knows by itself)."""


class Gaussian(AbstractLikelihood):
    """Gaussian noise of one unknown variance, that of the residuals: `n log(mean (y - p)^2) / 2` at its maximum.

    The deviance is the squared error.

    Examples:
        >>> ol.fitting.Gaussian().deviance(jnp.array(1.0), jnp.array(0.5)).item()
        0.25
    """

    def expected(self, signal: jax.Array) -> jax.Array:
        return signal

    def signal(self, expected: np.ndarray) -> np.ndarray:
        return expected

    def deviance(self, activity: jax.Array, signal: jax.Array) -> jax.Array:
        return jnp.square(activity - signal)

    def negative(self, deviance: jax.Array) -> jax.Array:
        # Of data without noise the variance would go to 0, and the logarithm with it.
        return jnp.log(deviance + jnp.finfo(deviance.dtype).eps) / 2

    def curvature(self, signal: jax.Array, deviance: jax.Array) -> jax.Array:
        return jnp.broadcast_to(1 / deviance, signal.shape)

    def sample(self, key: jax.Array, signal: jax.Array, deviance: jax.Array) -> jax.Array:
        return signal + jnp.sqrt(deviance) * jax.random.normal(key, signal.shape, signal.dtype)


class Poisson(AbstractLikelihood):
    """Spike counts with Poisson noise: the signal is the logarithm of the expected count of a time step.

    The deviance is `2 (y log(y / p) - y + p)`.

    Examples:
        >>> ol.fitting.Poisson().deviance(jnp.array(2.0), jnp.log(2.0)).item()
        0.0
    """

    def expected(self, signal: jax.Array) -> jax.Array:
        return jnp.exp(signal)

    def signal(self, expected: np.ndarray) -> np.ndarray:
        return np.log(expected)

    def deviance(self, activity: jax.Array, signal: jax.Array) -> jax.Array:
        return 2 * (jax.scipy.special.xlogy(activity, activity) - activity * signal - activity + jnp.exp(signal))

    def negative(self, deviance: jax.Array) -> jax.Array:
        return deviance / 2

    def curvature(self, signal: jax.Array, deviance: jax.Array) -> jax.Array:
        return jnp.exp(signal)

    def sample(self, key: jax.Array, signal: jax.Array, deviance: jax.Array) -> jax.Array:
        return jax.random.poisson(key, jnp.exp(signal)).astype(signal.dtype)


def check_likelihood(likelihood: object, recordings, caller: str) -> None:
    """Refuse what is no likelihood, and values that are no counts under Poisson noise.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(likelihood, AbstractLikelihood):
        raise ValueError(
            f"{caller}: likelihood must be ol.fitting.Gaussian() or ol.fitting.Poisson(), got {likelihood!r}."
        )
    if isinstance(likelihood, Poisson) and not recordings.are_counts:
        raise ValueError(
            f"{caller}: ol.fitting.Poisson() is for spike counts, whole numbers of at least 0, and the activity holds "
            "other values; use likelihood=ol.fitting.Gaussian()."
        )
