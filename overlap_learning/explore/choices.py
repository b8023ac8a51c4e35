"""Choices: what the explorer offers, each a call of the package with a few settings."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

import jax

import overlap_learning as ol


@dataclasses.dataclass(frozen=True)
class Choice:
    """A call of the package.

    Args:
        title: what it is, on the page.
        call: the function, as a program writes it.
        settings: the values that each of its arguments may take; the first is the default.
        constants: arguments that the explorer does not change.
        suggested: of a task, the defaults of settings of the rule.
        draws: whether it draws at random, from one key.
    """

    title: str
    call: str
    settings: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, float] = dataclasses.field(default_factory=dict)
    suggested: Mapping[str, float] = dataclasses.field(default_factory=dict)
    draws: bool = False

    def make(self, settings: Mapping[str, float]) -> Any:
        """What the call returns."""
        key = {"key": jax.random.key(0)} if self.draws else {}
        return operator.attrgetter(self.call.removeprefix("ol."))(ol)(**key, **self._arguments(settings))

    def written(self, settings: Mapping[str, float]) -> str:
        """The same call, as a program writes it."""
        key = ["key=jax.random.key(0)"] if self.draws else []
        return f"{self.call}({', '.join([*key, *(f'{k}={v!r}' for k, v in self._arguments(settings).items())])})"

    def _arguments(self, settings: Mapping[str, float]) -> dict[str, float]:
        return {**self.constants, **{name: settings[name] for name in self.settings}}


def _first(default: float, values: tuple[float, ...]) -> tuple[float, ...]:
    return (default, *(value for value in values if value != default))


def _grid(default: float, start: float, step: float, count: int) -> tuple[float, ...]:
    """Evenly spaced values, the default first."""
    return _first(default, tuple(round(start + i * step, 6) for i in range(count)))


#: 1, 2 and 5 of each power of ten.
_RATES = (0.005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.01, 0.02, 0.05, 0.1, 0.2)
_STEPS = (2000, 100, 200, 500, 1000, 5000)

ACTIVATIONS = {
    name: Choice(name, call)
    for name, call in {"linear": "ol.Linear", "erf": "ol.Erf", "tanh": "ol.Tanh", "relu": "ol.ReLU"}.items()
}
TASKS = {
    "exponential_filter": Choice(
        "exponential filter", "ol.tasks.exponential_filter", {"decay": _grid(0.2, 0.05, 0.05, 20)}
    ),
    "damped_oscillation": Choice(
        "damped oscillation",
        "ol.tasks.damped_oscillation",
        {"decay": _grid(0.3, 0.05, 0.05, 20), "frequency": _grid(2.0, 0.25, 0.25, 16)},
    ),
    "flip_flop": Choice(
        "flip-flop",
        "ol.tasks.flip_flop",
        {"target_amplitude": _grid(0.5, 0.1, 0.1, 10)},
        constants={"n_trials": 4, "dt": 0.1},
        suggested={"learning_rate": 0.05, "n_steps": 500, "duration": 20.0},
        draws=True,
    ),
    "decision_making": Choice(
        "decision making",
        "ol.tasks.decision_making",
        {"noise": _grid(0.05, 0.0, 0.05, 11)},
        constants={"n_trials": 16, "dt": 0.1},
        suggested={"learning_rate": 0.05, "n_steps": 500, "duration": 20.0},
        draws=True,
    ),
}
RULES = {
    "gradient_descent": Choice("gradient descent", "ol.GradientDescent", {"learning_rate": _RATES, "n_steps": _STEPS}),
    "gradient_flow": Choice("gradient flow", "ol.GradientFlow", {"duration": (10.0, 1.0, 2.0, 5.0, 20.0, 50.0, 100.0)}),
    "direct_descent": Choice(
        "direct descent of the overlaps", "ol.DirectDescent", {"learning_rate": _RATES, "n_steps": _STEPS}
    ),
}


def settings_of(task: str, rule: str) -> dict[str, tuple[float, ...]]:
    """The values of every setting of a task and a rule; the first is the default."""
    allowed = {**TASKS[task].settings, **RULES[rule].settings}
    return {name: _first(TASKS[task].suggested.get(name, values[0]), values) for name, values in allowed.items()}
