"""Response: an impulse, and the sum of exponentials that is asked for in answer."""

from typing import Any

import jax
import numpy as np

from overlap_learning.checks import is_traced, namespace
from overlap_learning.module import Module


class Response(Module):
    """An impulse at time 0, and `y*(t) = sum_j exp(-c_j t) (a_j cos(omega_j t) + b_j sin(omega_j t))` after it.

    What does not depend on the network obeys a linear equation: the known signals r are the input, as it leaks away,
    and the terms of the target, `dr/dt = Lambda r`; an oscillating term comes with its partner, a quarter of a period
    away.

    Attributes:
        areas: of the impulse, shape [B, n_in].
        decays: c, shape [J].
        cosines: a, shape [B, J, n_out].
        frequencies: omega, shape [J]; None: nothing oscillates.
        sines: b, shape [B, J, n_out]; None with `frequencies`.
    """

    areas: jax.Array
    decays: jax.Array
    cosines: jax.Array
    frequencies: jax.Array | None
    sines: jax.Array | None

    # Leading axes are those of a batch of tasks, such as jax.vmap makes.

    @property
    def sizes(self) -> tuple[int, int, int]:
        """B, n_in, n_out."""
        return self.areas.shape[-2], self.areas.shape[-1], self.cosines.shape[-1]

    def target(self, times: jax.Array) -> jax.Array:
        """y* at times [..., T], shape [..., B, T, n_out]."""
        xp = namespace(self, times)
        size = xp.exp(-self.decays[..., None, :] * times[..., None])
        if self.frequencies is None or self.sines is None:
            return xp.einsum("...tj,...bjo->...bto", size, self.cosines)
        angle = self.frequencies[..., None, :] * times[..., None]
        found = xp.einsum("...tj,...bjo->...bto", size * xp.cos(angle), self.cosines)
        return found + xp.einsum("...tj,...bjo->...bto", size * xp.sin(angle), self.sines)

    def first_signals(self) -> jax.Array:
        """The known signals just after the impulse, r(0), shape [B, q]."""
        xp = namespace(self)
        terms = self.cosines
        if self.sines is not None:
            terms = xp.stack([self.cosines, self.sines], axis=-1)
        return xp.concatenate([self.areas, terms.reshape(len(terms), -1)], axis=1)

    def turn(self, leak: jax.Array, time: jax.Array) -> jax.Array:
        """How the known signals change in a time, shape [q, q], where inputs leak to this fraction of themselves."""
        xp = namespace(self, leak, time)
        size = xp.exp(-self.decays * time)
        if self.frequencies is None:
            return self._blocks(leak, size[:, None, None])
        cosine, sine = xp.cos(self.frequencies * time), xp.sin(self.frequencies * time)
        return self._blocks(leak, size[:, None, None] * _rotation(cosine, sine))

    def generator(self) -> jax.Array:
        """Lambda, shape [q, q]: `turn(exp(-t), t) = exp(Lambda t)`."""
        leak = np.asarray(-1.0, self.decays.dtype)
        if self.frequencies is None:
            return self._blocks(leak, -self.decays[:, None, None])
        return self._blocks(leak, _rotation(-self.decays, self.frequencies))

    def check_finite(self, caller: str) -> None:
        """Refuse numbers that are not finite.

        Raises:
            ValueError: naming the first.
        """
        for name in ("areas", "decays", "cosines", "frequencies", "sines"):
            array = getattr(self, name)
            if array is not None and not is_traced(array) and not np.all(np.isfinite(array)):
                shown = "impulses" if name == "areas" else name
                raise ValueError(f"{caller}: {shown} must be finite, got {array.tolist()}.")

    def _blocks(self, of_input: Any, of_terms: Any) -> jax.Array:
        """A matrix that acts on each signal, or on each pair, by itself."""
        _, n_in, n_out = self.sizes
        xp = namespace(of_input, of_terms)
        blocks = [xp.reshape(of_input, (1, 1))] * n_in + [block for block in of_terms for _ in range(n_out)]
        size, row, rows = sum(len(block) for block in blocks), 0, []
        for block in blocks:
            rows.append(xp.pad(block, ((0, 0), (row, size - row - len(block)))))
            row += len(block)
        return xp.concatenate(rows)


def _rotation(cosine: jax.Array, sine: jax.Array) -> jax.Array:
    """(a cos + b sin, b cos - a sin) at a later time, from those now: shape [J, 2, 2]."""
    xp = namespace(cosine, sine)
    return xp.stack([xp.stack([cosine, sine], -1), xp.stack([-sine, cosine], -1)], -2)
