"""Solver: how the state of a network is followed through a trial."""

import abc
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from overlap_learning.checks import count, scalar

#: dz/dt of a state z and an input u.
Slope = Callable[[jax.Array, jax.Array], jax.Array]


class AbstractSolver(eqx.Module):
    """Follows `dz/dt = slope(z, u(t))`. Subclasses: `Euler`, `Diffrax`."""

    @abc.abstractmethod
    def follow(self, slope: Slope, start: jax.Array, inputs: jax.Array, times: jax.Array) -> jax.Array:
        """The state at each time.

        Args:
            slope: of a state [K, p] and an input [K, p].
            start: the state at the first time, shape [K, p].
            inputs: u at each time, with straight lines between, shape [T, K, p].
            times: shape [T].

        Returns:
            z, shape [T, K, p].
        """

    def forwards(self) -> "AbstractSolver":
        """The same, through which derivatives can be carried forwards."""
        return self


class Euler(AbstractSolver):
    """Steps of a fixed size: `n_steps` between two recorded times.

    Args:
        n_steps: steps between two times.

    Raises:
        ValueError: if it is not at least 1.
    """

    n_steps: int = eqx.field(static=True)

    def __init__(self, n_steps: int = 1):
        self.n_steps = count(n_steps, "Euler: n_steps")

    def follow(self, slope: Slope, start: jax.Array, inputs: jax.Array, times: jax.Array) -> jax.Array:
        n, shares = self.n_steps, jnp.arange(self.n_steps) / jnp.asarray(self.n_steps, times.dtype)
        between = inputs[:-1, None] + shares[:, None, None] * (inputs[1:] - inputs[:-1])[:, None]
        durations = jnp.repeat(jnp.diff(times) / n, n)

        def step(state, at):
            duration, drive = at
            state = state + duration * slope(state, drive)
            return state, state

        # One loop compiles in less time than one within another.
        _, states = lax.scan(step, start, (durations, between.reshape(-1, *start.shape)))
        return jnp.concatenate([start[None], states[n - 1 :: n]])


class Diffrax(AbstractSolver):
    """Any solver of diffrax with adaptive steps.

    Args:
        solver: such as `diffrax.Tsit5()`; None: that one.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.
        max_steps: the most steps; where they do not suffice, states are not finite, and the fit has diverged.
        adjoint: how gradients are carried back; None: `diffrax.RecursiveCheckpointAdjoint()`.

    Raises:
        ValueError: if an argument is out of range.
    """

    solver: Any
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    adjoint: Any

    def __init__(
        self,
        solver: Any = None,
        *,
        rtol: float = 1e-4,
        atol: float = 1e-5,
        max_steps: int = 4096,
        adjoint: Any = None,
    ):
        import diffrax

        self.adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
        if not isinstance(self.adjoint, diffrax.AbstractAdjoint):
            raise ValueError(
                "Diffrax: adjoint must be one of diffrax, such as diffrax.RecursiveCheckpointAdjoint(), got "
                f"{adjoint!r}."
            )
        self.solver = diffrax.Tsit5() if solver is None else solver
        if not isinstance(self.solver, diffrax.AbstractSolver):
            raise ValueError(f"Diffrax: solver must be a diffrax solver, such as diffrax.Tsit5(), got {solver!r}.")
        self.rtol = float(scalar(rtol, "Diffrax: rtol", "positive", 0))
        self.atol = float(scalar(atol, "Diffrax: atol", "positive", 0))
        self.max_steps = count(max_steps, "Diffrax: max_steps")

    def forwards(self) -> "Diffrax":
        import diffrax

        settings = {name: getattr(self, name) for name in ("rtol", "atol", "max_steps")}
        return Diffrax(self.solver, adjoint=diffrax.ForwardMode(), **settings)

    def follow(self, slope: Slope, start: jax.Array, inputs: jax.Array, times: jax.Array) -> jax.Array:
        import diffrax

        course = diffrax.LinearInterpolation(times, inputs)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, state, _: slope(state, course.evaluate(t))),
            self.solver,
            times[0],
            times[-1],
            dt0=(times[1] - times[0]) / 4,
            y0=start,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
            max_steps=self.max_steps,
            adjoint=self.adjoint,
            throw=False,
        )
        # Saved states that were not reached are infinite.
        return cast(jax.Array, solution.ys)


def check_solver(solver: object, caller: str) -> None:
    """Refuse what is no solver.

    Raises:
        ValueError: naming the caller.
    """
    if not isinstance(solver, AbstractSolver):
        raise ValueError(
            f"{caller}: solver must be ol.fitting.Euler(n_steps) or ol.fitting.Diffrax(solver), got {solver!r}."
        )
