"""Modules: those of equinox, at the cost of plain objects."""

from typing import TYPE_CHECKING

import equinox as eqx


class Module(eqx.Module):
    """An equinox module whose attributes are found as those of any object.

    Equinox looks, in Python, at each attribute that is asked for, at twenty times the cost, so that a method which is
    handed to `jax.jit` is a pytree; a call of `ol.integrate` asks for some ninety. Methods of these modules are plain:
    to hand one to `jax.jit`, hand the module.
    """

    if not TYPE_CHECKING:
        __getattribute__ = object.__getattribute__
