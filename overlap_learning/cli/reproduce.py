"""reproduce: the figures of the gallery, their data and their numbers."""

import time
from collections.abc import Sequence

from overlap_learning.cli.folder import Folder
from overlap_learning.cli.table import print_table
from overlap_learning.cli.values import ConfigError
from overlap_learning.gallery import FIGURES, Reproduction, Sheet
from overlap_learning.learning.checkpoint import Checkpoint
from overlap_learning.learning.files import write

#: Learning steps between checkpoints of a resumable run: some seconds to a minute of work.
CHECKPOINT_EVERY = 100


def reproduce(names: Sequence[str], folder: Folder, *, quick: bool = False) -> bool:
    """Make figures of the gallery; print the numbers behind each, and write NAME.png and NAME.nc as soon as it is done.

    Args:
        names: of figures; "all" stands for every one.
        folder: where to write.
        quick: with settings that take about a minute each at most.

    Raises:
        ConfigError: if a figure needs a package that is not installed.
    """
    chosen = list(FIGURES) if "all" in names else list(dict.fromkeys(names))
    missing = []
    for name in chosen:
        for file, sheet in FIGURES[name].items():
            print(f"\n{name}: {sheet.title}{' (quick settings)' if quick else ''} ...", flush=True)
            try:
                _make(file, sheet, folder, quick=quick)
            except ImportError as error:
                if (error.name or "").startswith("overlap_learning"):
                    # A figure that can't be imported is no missing package.
                    raise
                # The other figures need not wait for this one's package.
                missing.append(f"{name}: {error}")
    folder.report()
    if missing:
        raise ConfigError("\n".join(missing))
    return True


def _make(file: str, sheet: Sheet, folder: Folder, *, quick: bool) -> None:
    began = time.perf_counter()
    checkpoint = None
    if sheet.resumable is not None:
        # Sheets of one run share it, and a run that was cut off goes on.
        run = f"{sheet.resumable}{'-quick' if quick else ''}"
        checkpoint = Checkpoint(folder.path / "checkpoints" / run, every=CHECKPOINT_EVERY)
    result = sheet.make(quick=quick, checkpoint=checkpoint)
    write(result.data, folder.path / f"{file}.nc")
    folder.written.append(folder.path / f"{file}.nc")
    folder.draw(result.figure, file)
    _print(result)
    print(f"  {time.perf_counter() - began:.0f} s")


def _print(result: Reproduction) -> None:
    print(f"\n{result.figure.get_suptitle()}\n")
    print_table(["", "measured", "expected"], [number.row() for number in result.numbers])
    for note in result.notes:
        print(f"  * {note}")
