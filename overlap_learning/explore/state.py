"""State: what the explorer shows, and how it is written into the address of its page."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import jax
import numpy as np

import overlap_learning as ol
from overlap_learning.explore.choices import ACTIVATIONS, RULES, TASKS, settings_of
from overlap_learning.model.overlaps import interval

RANKS = (1, 2, 3)
#: The names of the two networks, in the address too.
NETWORKS = ("a", "b")
#: Longest address and largest overlap that are taken.
LONGEST, LARGEST = 4_000, 100.0
#: Overlaps are set in hundredths; the largest norm that a slider offers.
DIGITS, LARGEST_NORM = 2, 4.0
_CHOICES = {"phi": ACTIVATIONS, "task": TASKS, "rule": RULES}


class StateError(ValueError):
    """An address that says no state."""


@dataclasses.dataclass(frozen=True)
class State:
    """What the explorer shows.

    Args:
        rank: the rank of the networks.
        activation: a name of `ACTIVATIONS`.
        task: a name of `TASKS`.
        rule: a name of `RULES`.
        settings: a value of each setting of the task and the rule.
        networks: one network or two, each as all its overlaps in the order of `layout.entry_names`.
    """

    rank: int
    activation: str
    task: str
    rule: str
    settings: Mapping[str, float]
    networks: tuple[tuple[float, ...], ...]

    @classmethod
    def default(
        cls, rank: int = 1, activation: str = "linear", task: str = "exponential_filter", rule: str = "gradient_descent"
    ) -> Self:
        """The state of these choices that the page opens with."""
        settings = {name: values[0] for name, values in settings_of(task, rule).items()}
        return cls(rank, activation, task, rule, settings, (_start(rank),))

    @classmethod
    def from_query(cls, query: str) -> Self:
        """The state that an address says, after its "?"; what it leaves out is as in `default`.

        Raises:
            StateError: if it says none.
        """
        if len(query) > LONGEST:
            raise StateError(f"it has {len(query):,} characters, and no state more than {LONGEST:,}")
        pairs = parse_qsl(query, keep_blank_values=True)
        said = dict(pairs)
        if len(said) < len(pairs):
            raise StateError("it says something twice")
        rank = _one_of(said.pop("rank", "1"), "rank", {str(rank): rank for rank in RANKS})
        chosen = {
            name: _one_of(said.pop(name), name, {known: known for known in known_ones})
            for name, known_ones in _CHOICES.items()
            if name in said
        }
        state = cls.default(rank, **{{"phi": "activation"}.get(name, name): value for name, value in chosen.items()})
        settings = {
            name: _one_of(said.pop(name, repr(values[0])), name, {repr(value): value for value in values})
            for name, values in settings_of(state.task, state.rule).items()
        }
        networks = tuple(
            state.networks[0] if text is None else _read_network(text, name, state.layout)
            for name in NETWORKS
            if (text := said.pop(name, None)) is not None or name == NETWORKS[0]
        )
        if said:
            raise StateError(f"it says {next(iter(said))[:40]!r}, which is nothing of these choices")
        return dataclasses.replace(state, settings=settings, networks=networks)

    def to_query(self) -> str:
        """The state as an address says it, after its "?"; what is as in `default` is left out."""
        plain = State.default()
        default = State.default(self.rank, self.activation, self.task, self.rule)
        said = {
            "rank": self.rank if self.rank != plain.rank else None,
            "phi": self.activation if self.activation != plain.activation else None,
            "task": self.task if self.task != plain.task else None,
            "rule": self.rule if self.rule != plain.rule else None,
            **{name: repr(value) for name, value in self.settings.items() if value != default.settings[name]},
        }
        for name, network in zip(NETWORKS, self.networks, strict=False):
            if name != NETWORKS[0] or network != default.networks[0]:
                said[name] = ",".join(f"{entry}:{value!r}" for entry, value in self.entries(network).items())
        return urlencode({name: value for name, value in said.items() if value is not None}, safe=":,")

    # -- what it stands for ------------------------------------------------------------------------------------------

    @property
    def layout(self) -> ol.Layout:
        """The `Layout` of its networks."""
        return ol.Layout(n_in=1, rank=self.rank, n_out=1)

    @property
    def model(self) -> ol.Model:
        """The `Model` of its networks."""
        return ol.Model(self.layout, ACTIVATIONS[self.activation].make({}))

    def gram(self, index: int) -> np.ndarray:
        """The Gram matrix that a network starts from."""
        rows, columns = self.layout.entry_indices
        gram = np.empty((self.layout.size, self.layout.size))
        gram[rows, columns] = gram[columns, rows] = self.networks[index]
        return gram

    def overlaps(self, index: int) -> ol.Overlaps:
        """The `Overlaps` that a network starts from."""
        return ol.Overlaps(self.gram(index), self.layout)

    def entries(self, network: tuple[float, ...]) -> dict[str, float]:
        """The overlaps of a network that differ from those of orthonormal vectors, by name."""
        layout = self.layout
        plain = np.eye(layout.size)[layout.entry_indices]
        return {
            name: value for name, value, usual in zip(layout.entry_names, network, plain, strict=True) if value != usual
        }

    # -- how it changes ----------------------------------------------------------------------------------------------

    def ends(self, index: int) -> dict[str, tuple[float, float]]:
        """The values that each overlap of a network can take, all others as they are, in whole steps of a slider.

        As `ol.feasible`, of all overlaps at once; a norm ends at `LARGEST_NORM`.
        """
        gram, found = self.gram(index), {}
        for name, i, j in zip(self.layout.entry_names, *self.layout.entry_indices, strict=True):
            value = float(gram[i, j])
            low, high = interval(gram, i, j) or (value, value)
            scale = 10**DIGITS
            low, high = math.ceil(low * scale) / scale, math.floor(min(high, LARGEST_NORM) * scale) / scale
            found[name] = (min(low, value), max(high, value))
        return found

    def moved(self, index: int, name: str, value: float) -> "State":
        """With one overlap of a network set anew, within its ends."""
        low, high = self.ends(index)[name]
        place = self.layout.entry_names.index(name)
        network = self.networks[index]
        # In this order, what is no number becomes the lower end.
        value = min(max(low, round(float(value), DIGITS)), high)
        network = (*network[:place], value, *network[place + 1 :])
        return dataclasses.replace(self, networks=(*self.networks[:index], network, *self.networks[index + 1 :]))

    def chosen(self, **changes: Any) -> "State":
        """With another rank, activation, task or rule, or other settings; another task has settings of its own."""
        state = dataclasses.replace(self, **changes)
        allowed = settings_of(state.task, state.rule)
        kept = {} if "task" in changes else state.settings
        settings = {name: kept.get(name, values[0]) for name, values in allowed.items()}
        networks = state.networks if state.rank == self.rank else (_start(state.rank),)
        return dataclasses.replace(state, settings=settings, networks=networks)

    def with_equivalent(self, seed: int) -> "State":
        """With a second network that is equivalent to the first, drawn at random: `ol.studies.members`, rounded."""
        first, model = self.overlaps(0), self.model
        drawn = ol.studies.members(first, model, 1, key=jax.random.key(seed)).entries()
        asked = {name: round(float(drawn[name][0]), DIGITS) for name in model.invisible_names}
        # What rounding made infeasible becomes the closest that is feasible.
        second = ol.equivalent(first, model, closest=True, **asked).entries()
        network = tuple(float(second[name]) for name in self.layout.entry_names)
        return dataclasses.replace(self, networks=(self.networks[0], network))

    def alone(self) -> "State":
        """With the first network only."""
        return dataclasses.replace(self, networks=self.networks[:1])

    @property
    def difference(self) -> list[str]:
        """The visible overlaps by which the second network differs from the first; none: they are equivalent."""
        names, first, *others = self.layout.entry_names, *self.networks
        visible = self.model.visible_names
        return [name for other in others for name, x, y in zip(names, first, other, strict=True)
                if x != y and name in visible]  # fmt: skip


@functools.cache
def _start(rank: int) -> tuple[float, ...]:
    """Orthonormal vectors but for visible overlaps that are small, and smaller for each further pair u, v."""
    layout = ol.Layout(n_in=1, rank=rank, n_out=1)
    entries = {"zm": 0.25}
    for i, (u, v) in enumerate(zip(_vectors(layout, "u"), _vectors(layout, "v"), strict=True)):
        entries |= {f"z{u}": 0.25 / (i + 1), f"{v}m": 0.25 / (i + 1), f"{v}{u}": 0.25 / (i + 1)}
    overlaps = ol.Overlaps.from_entries(layout, **entries).entries()
    return tuple(float(overlaps[name]) for name in layout.entry_names)


def _vectors(layout: ol.Layout, block: str) -> list[str]:
    return [name for name in layout.vector_names if name.startswith(block)]


def _one_of(text: str, name: str, allowed: Mapping[str, Any]) -> Any:
    if text not in allowed:
        raise StateError(f"{name} must be one of {', '.join(sorted(allowed))}, and is {text[:40]!r}")
    return allowed[text]


def _read_network(text: str, name: str, layout: ol.Layout) -> tuple[float, ...]:
    entries: dict[str, float] = {}
    for part in text.split(",") if text else ():
        entry, _, number = part.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if entry not in layout.entry_names or entry in entries or not abs(value) <= LARGEST:
            raise StateError(
                f"network {name} has {part[:40]!r}, which is no new overlap of rank {layout.rank} and a number of at "
                f"most {LARGEST:g}"
            )
        entries[entry] = value
    try:
        found = ol.Overlaps.from_entries(layout, **entries).entries()
    except ValueError:
        raise StateError(f"no network has the overlaps of network {name}") from None
    return tuple(float(found[entry]) for entry in layout.entry_names)
