"""Charges: quantities that gradient flow conserves because the loss has a continuous symmetry (Noether)."""

import equinox as eqx
import jax
import jax.numpy as jnp


class Charges(eqx.Module):
    """Conserved quantities that are quadratic in the vectors, `Q = tr(L V R V^T) / N` with symmetric L and R.

    If the loss does not change along the field `xi = L V R P`, that is `<dL/dV, xi> = 0` at every V, then Q is constant
    under `dV/dtau = -(N dL/dV) P`, because `dQ/dV = 2 L V R / N = 2 xi P^-1 / N`. So a symmetry gives a conserved
    quantity when xi P^-1 is a gradient, for which L and R have to be symmetric: scalings do, rotations do not.

    V has d columns, and `V = Q F` with orthonormal columns of Q and `F = G^(1/2)`; L is kept in these d dimensions.

    Attributes:
        left: L, shape [n, d, d].
        right: R, shape [n, d, d].
        values: Q, shape [n].
        slopes: C = dQ/dG, shape [n, d, d], symmetric, so that `dQ = tr(C dG)`. It is R where L = 1; where L itself
            depends on V (an eigenvector), slopes say so.

    Source: theory page, section 5.
    """

    left: jax.Array
    right: jax.Array
    values: jax.Array
    slopes: jax.Array

    @classmethod
    def linear(cls, right: jax.Array, root: jax.Array) -> "Charges":
        """Those of symmetries that act on V from the right alone, `Q = tr(C G)`.

        Args:
            right: C, shape [n, d, d].
            root: G^(1/2), shape [d, d].
        """
        left = jnp.broadcast_to(jnp.eye(len(root)), right.shape)
        return cls(left, right, jnp.einsum("nab,ib,ia->n", right, root, root), right)

    @classmethod
    def none(cls, root: jax.Array) -> "Charges":
        """No quantity at all."""
        empty = jnp.zeros((0, *root.shape))
        return cls(empty, empty, jnp.zeros(0), empty)

    def moved(self, moment: jax.Array, speed: jax.Array) -> jax.Array:
        """What second moments of a displacement of V add to Q, shape [n]: `E[tr(L dV R dV^T)] / N`.

        A gradient's own displacement does nothing to first order; this is what is left.

        Args:
            moment: `E[x_ia x_jb]`, shape [d, d, d, d], of coordinates x with `dV = Q x P^(1/2)`.
            speed: P^(1/2), shape [d].
        """
        right = speed[:, None] * self.right * speed
        return jnp.einsum("nij,nab,iajb->n", self.left, right, moment)

    def shrunk(self, root: jax.Array, rates: jax.Array) -> jax.Array:
        """What `dV = -V P` does to Q, shape [n]: `-2 tr(L V R P V^T) / N`.

        Args:
            root: G^(1/2), shape [d, d].
            rates: P, shape [d].
        """
        return -2 * jnp.einsum("nij,ja,nab,ib->n", self.left, root, self.right * rates, root)
