"""Program: the lines of Python that make what the explorer shows."""

import textwrap

from overlap_learning.explore.choices import ACTIVATIONS, RULES, TASKS
from overlap_learning.explore.state import State

WIDTH = 100


def program(state: State) -> str:
    """A program whose `solutions` are those of a state, one for each network."""
    starts = "\n".join(_start(state, i) for i in range(len(state.networks)))
    return f"""\
import jax

jax.config.update("jax_enable_x64", True)
import overlap_learning as ol

model = ol.Model(ol.Layout(n_in=1, rank={state.rank}, n_out=1), {ACTIVATIONS[state.activation].written({})})
task = {TASKS[state.task].written(state.settings)}
rule = {RULES[state.rule].written(state.settings)}
starts = [
{starts}
]
solutions = [ol.integrate(model, task, start, rule) for start in starts]
print(*solutions, sep="\\n")
"""


def _start(state: State, index: int) -> str:
    entries = ", ".join(f"{name}={value!r}" for name, value in state.entries(state.networks[index]).items())
    line = f"ol.Overlaps.from_entries(model.layout{', ' if entries else ''}{entries}),"
    return textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent=" " * 8)
