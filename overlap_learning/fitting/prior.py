"""Prior: how trial factors may change from trial to trial."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import ArrayLike as NumpyArrayLike

from overlap_learning.checks import scalar


class AbstractKernel(eqx.Module):
    """A covariance, as a function of the distance of two trials, that is 1 at 0. Subclasses: `RationalQuadratic`,
    `SquaredExponential`.
    """

    @abc.abstractmethod
    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """The covariance at each distance in trials."""


class RationalQuadratic(AbstractKernel):
    """`k(d) = (1 + d^2 / (2 alpha l^2))^-alpha`: smooth, with a long tail.

    Args:
        length: l, in trials.
        alpha: the smaller, the longer the tail.

    Raises:
        ValueError: if an argument is not positive.

    Source: the kernel of the program of Pellegrino et al. 2023, with alpha 1 and a length of 15 trials.

    Examples:
        >>> ol.fitting.RationalQuadratic(15)(np.array([0.0, 15.0])).round(3)
        array([1.   , 0.667])
    """

    length: jax.Array
    alpha: jax.Array

    def __init__(self, length: float = 15.0, alpha: float = 1.0):
        self.length = scalar(length, "RationalQuadratic: length", "positive", 0)
        self.alpha = scalar(alpha, "RationalQuadratic: alpha", "positive", 0)

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        length, alpha = float(self.length), float(self.alpha)
        return (1 + np.square(distance / length) / (2 * alpha)) ** -alpha


class SquaredExponential(AbstractKernel):
    """`k(d) = exp(-d^2 / (2 l^2))`: very smooth, without a tail.

    Args:
        length: l, in trials.

    Raises:
        ValueError: if it is not positive.

    Examples:
        >>> ol.fitting.SquaredExponential(15)(np.array([0.0, 15.0])).round(3)
        array([1.   , 0.607])
    """

    length: jax.Array

    def __init__(self, length: float = 15.0):
        self.length = scalar(length, "SquaredExponential: length", "positive", 0)

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        return np.exp(-np.square(distance / float(self.length)) / 2)


class GaussianProcess(eqx.Module):
    """A Gaussian process over trials: each trial factor is a mean of its own and smooth deviations from it.

    Trial factors are written as `c = beta + L xi` with `L L^T = K`, and a fit adds `|xi|^2 / 2` to the negative log
    likelihood: the maximum is that of the posterior density of c. The means beta have a flat prior. Covariance::

        K_kk' = scale^2 k(t_k - t_k') + noise^2 [k = k'],    t: trial numbers

    Args:
        kernel: `RationalQuadratic(length)` or `SquaredExponential(length)`.
        scale: standard deviation of the smooth deviations.
        noise: standard deviation of what each trial has for itself.

    Raises:
        ValueError: if an argument is out of range.

    Source: the covariance is that of Pellegrino et al. 2023, who use it without the penalty: `Reparametrised`.

    Examples:
        >>> prior = ol.fitting.GaussianProcess(ol.fitting.RationalQuadratic(15), scale=0.5, noise=0.1)
        >>> prior.covariance([0, 1, 15]).round(3)
        array([[0.26 , 0.249, 0.167],
               [0.249, 0.26 , 0.174],
               [0.167, 0.174, 0.26 ]])
    """

    kernel: AbstractKernel
    scale: jax.Array
    noise: jax.Array

    def __init__(self, kernel: AbstractKernel | None = None, *, scale: float = 0.5, noise: float = 0.1):
        kernel = RationalQuadratic() if kernel is None else kernel
        if not isinstance(kernel, AbstractKernel):
            raise ValueError(
                f"GaussianProcess: kernel must be ol.fitting.RationalQuadratic(length) or "
                f"ol.fitting.SquaredExponential(length), got {kernel!r}."
            )
        self.kernel = kernel
        self.scale = scalar(scale, "GaussianProcess: scale", "at least 0", 0, open_low=False)
        self.noise = scalar(noise, "GaussianProcess: noise", "positive", 0)

    def covariance(self, trial_ids: NumpyArrayLike) -> np.ndarray:
        """K, shape [K, K], of trials with these numbers."""
        ids = np.asarray(trial_ids, float)
        return float(self.scale) ** 2 * self.kernel(ids[:, None] - ids) + float(self.noise) ** 2 * np.eye(len(ids))

    def factor(self, trial_ids: NumpyArrayLike) -> np.ndarray:
        """L, lower triangular, shape [K, K]."""
        return np.linalg.cholesky(self.covariance(trial_ids))

    def penalty(self, deviations: jax.Array) -> jax.Array:
        """What xi, shape [K, R], adds to the negative log likelihood: `|xi|^2 / 2`, shape []."""
        return jnp.sum(jnp.square(deviations)) / 2

    def log_density(self, trials: ArrayLike, means: ArrayLike, trial_ids: NumpyArrayLike) -> jax.Array:
        """The log density of trial factors, with its constant, shape [].

        `-|xi|^2 / 2 - R (log det K + K_n log 2 pi) / 2` of K_n trials.

        Args:
            trials: c, shape [K, R].
            means: beta, shape [R].
            trial_ids: the numbers of the trials, shape [K].
        """
        factor = self.factor(trial_ids)
        away = jnp.asarray(trials) - jnp.asarray(means)
        deviations = jax.scipy.linalg.solve_triangular(jnp.asarray(factor), away, lower=True)
        constant = np.log(np.diag(factor)).sum() + len(factor) * np.log(2 * np.pi) / 2
        return -jnp.sum(jnp.square(deviations)) / 2 - away.shape[1] * constant


class Reparametrised(GaussianProcess):
    """`GaussianProcess` without its penalty: trial factors are `beta + L xi`, and every xi costs the same.

    No prior: gradient descent finds smooth factors first, and rougher ones if it goes on. With a penalty of 0 the
    width of the trial factors is that of the likelihood alone.

    Source: the program of Pellegrino et al. 2023, whose defaults are a scale and a noise of 0.1.
    """

    def penalty(self, deviations: jax.Array) -> jax.Array:
        return jnp.zeros((), deviations.dtype)


def check_prior(prior: object, caller: str) -> None:
    """Refuse what is no prior.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(prior, GaussianProcess):
        raise ValueError(
            f"{caller}: prior must be ol.fitting.GaussianProcess(...) or ol.fitting.Reparametrised(...), got {prior!r}."
        )
