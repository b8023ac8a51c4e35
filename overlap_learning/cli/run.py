"""The commands that run a configuration."""

import overlap_learning as ol
from overlap_learning.checks import count
from overlap_learning.cli.config import Config, ConfigError
from overlap_learning.cli.figures import learning_figure, validation_figure
from overlap_learning.cli.folder import Folder
from overlap_learning.cli.values import in_table
from overlap_learning.tasks import TaskStream


def integrate(config: Config, folder: Folder) -> bool:
    """Integrate the theory, print the solution, and write NAME.nc and NAME.png."""
    print(f"Integrating {config.name} ...", flush=True)
    solution = folder.run(
        config.name, lambda: ol.integrate(config.model, config.task, config.start, config.rule, key=config.run_key)
    )
    print(solution)
    task = config.task.sample(config.run_key) if isinstance(config.task, TaskStream) else config.task
    folder.draw(learning_figure(config.name, solution, task, config.start), config.name)
    folder.report()
    return True


def validate(config: Config, folder: Folder) -> bool:
    """Hold the theory against full networks, print the comparison, and write NAME-validation.nc and .png.

    Returns:
        Whether the verdict is positive.

    Raises:
        ConfigError: if the [validate] settings do not fit the rest.
    """
    settings = config.validation
    try:
        result = ol.validate(
            config.model,
            config.task,
            config.start,
            config.rule,
            settings.n_neurons,
            settings.n_seeds,
            key=settings.key,
            exact=settings.exact,
            early=settings.early,
            progress=True,
            checkpoint=_checkpoint(config, folder),
        )
    except ValueError as error:
        raise ConfigError(in_table("validate", str(error))) from error
    print(result)
    name = f"{config.name}-validation"
    folder.save(result, name)
    folder.draw(validation_figure(config.name, result), name)
    folder.report()
    return result.verdict.passed


def _checkpoint(config: Config, folder: Folder) -> ol.Checkpoint | None:
    """Where the runs of a validation write down how far they are, if the file says how often."""
    every = config.validation.checkpoint_every
    if every is None:
        return None
    count(every, "validate: checkpoint_every")
    return ol.Checkpoint(folder.path / "checkpoints" / f"{config.name}-validation", every)
