"""Protocol: one network learns several tasks, one after another."""

from collections.abc import Sequence

import jax

from overlap_learning.dynamics.integrate import integrate
from overlap_learning.learning.checkpoint import Checkpoint, check_checkpoint, part_of
from overlap_learning.learning.driver import check_run
from overlap_learning.learning.rules import AbstractRule
from overlap_learning.learning.solution import Solution
from overlap_learning.model.model import Model, check_model
from overlap_learning.model.network import AbstractNetwork
from overlap_learning.model.overlaps import Overlaps
from overlap_learning.model.populations import Populations
from overlap_learning.model.reduced_network import ReducedNetwork
from overlap_learning.random_connectivity.learning import Depth
from overlap_learning.tasks.stream import TaskStream
from overlap_learning.tasks.task import Task
from overlap_learning.training.train import train


def protocol(
    model: Model,
    tasks: Sequence[Task | TaskStream],
    start: Overlaps | AbstractNetwork | ReducedNetwork,
    rule: AbstractRule | Sequence[AbstractRule],
    key: jax.Array | None = None,
    *,
    depth: Depth | None = None,
    throw: bool = True,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
    save_vectors: bool = False,
    trust: bool = False,
) -> list[Solution]:
    """Learn tasks one after another, each from where the last one ended.

    Args:
        model: the `Model`.
        tasks: the task of each phase, such as `[task_a, task_b, task_a]`.
        start: `Overlaps` for the theory (`ol.integrate`), or a `Network` for full N (`ol.train`), also a batch of them;
            with a bulk `Overlaps`, what the theory of one has learned (`final`), or a `BulkNetwork` for full N.
        rule: one rule for all phases, or one per phase.
        key: a jax random key; phase p draws from `fold_in(key, p)`, in theory and at full N alike.
        depth: with a bulk, of the theory, as in `ol.integrate`; errors add up over phases.
        throw: as in `ol.integrate`.
        progress: show a progress bar for each phase, in theory for long ones; None: if a person is watching.
        checkpoint: where to write down, every so many steps, where the run is, each phase in a folder of its
            own; the same call goes on from there after the program was killed. Not with a flow.
        save_vectors: at full N, as in `ol.train`; the theory needs no vectors.
        trust: in theory, whether each phase estimates what its closure is off by, from where it began, as
            `ol.integrate` does.

    Returns:
        One `Solution` per phase.

    Raises:
        ValueError: if a task has other channels than the model (the phase is named), or the numbers of tasks and rules
            differ, or the checkpoint is that of another run.
        LearningError: if a phase ended badly, and throw.

    Source: Ger & Barak 2026, Figs. 3, 6.

    Examples:
        >>> model = ol.Model(ol.Layout(), ol.Linear())
        >>> a, b = ol.tasks.exponential_filter(decay=0.2), ol.tasks.exponential_filter(decay=0.4)
        >>> start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.2)
        >>> phases = ol.protocol(model, [a, b, a], start, ol.GradientDescent(1e-2, 2000))
        >>> bool(jnp.abs(phases[2].visible["vu"][-1] - phases[0].visible["vu"][-1]) < 1e-4)
        True
    """
    check_model(model, "protocol", with_bulk=True)
    if not isinstance(start, (Overlaps, Populations, AbstractNetwork, ReducedNetwork)):
        raise ValueError(
            f"protocol: start must be ol.Overlaps (theory) or an ol.Network (full N), got {type(start).__name__}."
        )
    if start.layout != model.layout:
        raise ValueError(f"protocol: start has {start.layout}, the model has {model.layout}.")
    if not isinstance(tasks, (list, tuple)) or not isinstance(rule, (AbstractRule, list, tuple)):
        raise ValueError(
            f"protocol: tasks must be a list of tasks, such as [task_a, task_b, task_a], and rule one rule or a list "
            f"of rules, got {type(tasks).__name__} and {type(rule).__name__}."
        )
    rules = [rule] * len(tasks) if isinstance(rule, AbstractRule) else list(rule)
    if not tasks or len(rules) != len(tasks):
        raise ValueError(f"protocol: give one rule, or one per task; got {len(tasks)} tasks and {len(rules)} rules.")
    # All phases are checked before the first one runs.
    for phase, (task, each) in enumerate(zip(tasks, rules, strict=True)):
        check_run(model, task, each, key, f"protocol, phase {phase}", with_bulk=True)
        check_checkpoint(checkpoint, each, f"protocol, phase {phase}")
    solutions: list[Solution] = []
    learned = start
    for phase, (task, each) in enumerate(zip(tasks, rules, strict=True)):
        phase_key = None if key is None else jax.random.fold_in(key, phase)
        part = part_of(checkpoint, f"phase-{phase}")
        if isinstance(learned, AbstractNetwork):
            solution = train(
                model, task, learned, each, phase_key,
                throw=throw, progress=progress, checkpoint=part, save_vectors=save_vectors,
            )  # fmt: skip
        else:
            solution = integrate(
                model, task, learned, each, phase_key,
                depth=depth, throw=throw, progress=progress, checkpoint=part, trust=trust,
            )  # fmt: skip
        solutions.append(solution)
        learned = solution.final
    return solutions
