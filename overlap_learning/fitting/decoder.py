"""Decoder: how recorded neurons read the units of a network."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

Weights = dict[str, jax.Array]


class AbstractDecoder(eqx.Module):
    """The signal of N neurons, `y = D phi(x) + o`, of n units. Subclasses: `Orthonormal`, `FreeLinear`, `OneToOne`."""

    #: Whether D can map any direction of the units to any of the neurons.
    learns: ClassVar[bool] = True

    @abc.abstractmethod
    def matrix(self, weights: Weights) -> jax.Array:
        """D, shape [N, n]."""

    def read(self, weights: Weights, rates: jax.Array) -> jax.Array:
        """y, shape [..., N], of rates phi(x), shape [..., n]."""
        return rates @ self.matrix(weights).T + weights["offset"]

    @abc.abstractmethod
    def start(self, aligned: np.ndarray, gain: float, offset: np.ndarray) -> dict[str, np.ndarray]:
        """Weights to start from.

        Args:
            aligned: an orthonormal matrix [N, n] that reads what the data have most of.
            gain: its size.
            offset: the signal at rest, shape [N].
        """


class Orthonormal(AbstractDecoder):
    """`D = g Q` with a gain g and orthonormal columns of Q (rows, if there are more units than neurons).

    Q is that of the QR decomposition of a matrix that learns. Angles and norms in the network are then those in the
    data, times g.

    Source: the decoder of Pellegrino et al. 2023, there without gain and offset.
    """

    def matrix(self, weights: Weights) -> jax.Array:
        raw = weights["matrix"]
        n_neurons, n_units = raw.shape
        is_tall = n_neurons >= n_units
        frame, corner = jnp.linalg.qr(raw if is_tall else raw.T)
        # LAPACK's signs jump where an entry passes 0; those of a positive diagonal do not.
        frame = jnp.exp(weights["log_gain"]) * frame * jnp.sign(jnp.diagonal(corner))
        return frame if is_tall else frame.T

    def start(self, aligned: np.ndarray, gain: float, offset: np.ndarray) -> dict[str, np.ndarray]:
        return {"matrix": aligned, "log_gain": np.log(gain), "offset": offset}


class FreeLinear(AbstractDecoder):
    """Any D, [N, n] numbers: lengths in the network then mean nothing by themselves."""

    def matrix(self, weights: Weights) -> jax.Array:
        return weights["matrix"]

    def start(self, aligned: np.ndarray, gain: float, offset: np.ndarray) -> dict[str, np.ndarray]:
        return {"matrix": gain * aligned, "offset": offset}


class OneToOne(AbstractDecoder):
    """One unit for each neuron, `y_i = g phi(x_i) + o_i`: the network is that of the recorded neurons.

    Quick, as it has no matrix. It leaves out all neurons that were not recorded.
    """

    learns: ClassVar[bool] = False

    def matrix(self, weights: Weights) -> jax.Array:
        return jnp.exp(weights["log_gain"]) * jnp.eye(len(weights["offset"]), dtype=weights["offset"].dtype)

    def read(self, weights: Weights, rates: jax.Array) -> jax.Array:
        return jnp.exp(weights["log_gain"]) * rates + weights["offset"]

    def start(self, aligned: np.ndarray, gain: float, offset: np.ndarray) -> dict[str, np.ndarray]:
        return {"log_gain": np.log(gain), "offset": offset}


def check_decoder(decoder: Any, caller: str) -> None:
    """Refuse what is no decoder.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(decoder, AbstractDecoder):
        raise ValueError(
            f"{caller}: decoder must be ol.fitting.Orthonormal(), FreeLinear() or OneToOne(), got {decoder!r}."
        )
