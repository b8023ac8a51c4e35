"""main: the commands, their arguments, and how the program ends."""

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import jax

import overlap_learning as ol
from overlap_learning.cli.cache import keep_programs
from overlap_learning.cli.folder import Folder
from overlap_learning.cli.values import ConfigError
from overlap_learning.gallery import FIGURES

SUCCESS, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

PROGRAM = "overlap-learning"
#: A call of each command.
EXAMPLES = {
    "demo": "demo --out demo",
    "explore": "explore --port 5006",
    "reproduce": "reproduce fig1 fig3 --quick",
    "integrate": "integrate examples/filter.toml",
    "validate": "validate examples/flip_flop.toml --out results",
    "doctor": "doctor",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: the arguments; None: those of the command line.

    Returns:
        The exit code: 0 success; 1 learning diverged, or a check failed; 2 bad arguments or a bad configuration;
        130 interrupted. An error is one sentence; --debug shows its traceback too.
    """
    arguments = _parser().parse_args(argv)
    # Theory is float64. A program may say so for the whole process; importing the package never does.
    jax.config.update("jax_enable_x64", True)
    if arguments.cache:
        keep_programs()
    folder = Folder()
    try:
        return SUCCESS if _run(arguments, folder) else FAILURE
    except KeyboardInterrupt:
        return _end(INTERRUPTED, "interrupted.", folder)
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        return _end(*_said(error), folder)


def _said(error: Exception) -> tuple[int, str]:
    """The exit code of an error, and what is said of it."""
    # A ValueError: what the package refuses once it runs, such as a checkpoint of another run.
    if isinstance(error, (ConfigError, ValueError)):
        return BAD_INPUT, str(error)
    if isinstance(error, (ol.LearningError, OSError)):
        return FAILURE, str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return FAILURE, f"out of memory; fewer trials, steps or neurons take less ({_first_line(error)})."
    return FAILURE, f"{type(error).__name__}: {_first_line(error)} (--debug says where)"


def _run(arguments: argparse.Namespace, folder: Folder) -> bool:
    """Run the chosen command, imported only now; whether what it checked holds."""
    if arguments.command == "doctor":
        from overlap_learning.cli.doctor import doctor

        return doctor()
    if arguments.command == "demo":
        from overlap_learning.cli.demo import demo

        folder.open(arguments.out)
        return demo(folder)
    if arguments.command == "explore":
        from overlap_learning.cli.explore import explore

        return explore(arguments.port, opens_browser=arguments.opens_browser)
    if arguments.command == "reproduce":
        from overlap_learning.cli.reproduce import reproduce

        folder.open(arguments.out)
        return reproduce(arguments.figures, folder, quick=arguments.quick)
    from overlap_learning.cli.config import load_config
    from overlap_learning.cli.run import integrate, validate

    config = load_config(arguments.config)
    folder.open(config.folder if arguments.out is None else arguments.out)
    return integrate(config, folder) if arguments.command == "integrate" else validate(config, folder)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _end(code: int, message: str, folder: Folder) -> int:
    print(f"overlap-learning: {message}", file=sys.stderr)
    if code in (FAILURE, INTERRUPTED):
        kept = "".join(f"\n  {path}" for path in folder.written) or " nothing."
        print(f"Kept:{kept}", file=sys.stderr)
    return code


def _path(text: str) -> Path:
    """A path, for argparse: one that can be printed and written to configurations too."""
    try:
        is_text = bool(text.encode()) and "\0" not in text
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise argparse.ArgumentTypeError(f"must be a path in {sys.getfilesystemencoding()}, without NUL, got {text!r}")
    return Path(text)


def _port(text: str) -> int:
    """A port, for argparse."""
    if not (text.isascii() and text.isdecimal() and int(text[:6]) < 2**16):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {text[:40]!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Learning in low-rank recurrent networks, in the space of overlaps.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["examples:", *(f"  {PROGRAM} {example}" for example in EXAMPLES.values())]),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {ol.__version__}")
    parser.add_argument(
        "--no-cache",
        dest="cache",
        action="store_false",
        help="compile everything anew, and keep no compiled programs for the next call",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, description: str) -> argparse.ArgumentParser:
        example = f"example: {PROGRAM} {EXAMPLES[name]}"
        return commands.add_parser(name, help=summary, description=description, epilog=example)

    command = add(
        "demo",
        "theory against full N on two tasks of Ger & Barak 2026",
        "Train a linear network on an exponential filter and an erf network on a flip-flop, by the theory of overlaps, "
        "at full N, and by direct descent of the overlaps; print how far apart they are, draw one figure per task, and "
        "save every run. Takes about a minute.",
    )
    command.add_argument(
        "--out", metavar="DIR", type=_path, default=Path("demo"), help="where to write (default: ./demo)"
    )
    command = add(
        "explore",
        "move overlaps in a page of the browser, and see learning change",
        "Open a page with a slider for each overlap, the task and the learning rule; the theory is integrated anew at "
        "each move. It is served to this machine alone, and needs Bokeh: pip install 'overlap_learning[explore]'.",
    )
    command.add_argument(
        "--port", type=_port, default=5006, help="of this machine (default: 5006); 0: any that is free"
    )
    command.add_argument(
        "--no-browser", dest="opens_browser", action="store_false", help="print the address, and open no browser"
    )
    command = add(
        "reproduce",
        "the figures of Ger & Barak 2026 and what goes beyond, by theory and full networks",
        "Make figures of the gallery: run the theory and full networks on the same trials, print the numbers behind "
        "each figure, and write the figure (NAME.png) and its data (NAME.nc). Settings are the published ones, but for "
        "fig9, fig10, the second sheet of fig4 and s20-fig5, which take a GPU and are reduced here. A figure takes "
        "from seconds to some minutes.",
    )
    command.add_argument(
        "figures", metavar="FIGURE", nargs="+", choices=[*FIGURES, "all"], help=f"{', '.join(FIGURES)}, or all"
    )
    command.add_argument("--quick", action="store_true", help="smaller settings: less than a minute for each figure")
    command.add_argument(
        "--out", metavar="DIR", type=_path, default=Path("gallery"), help="where to write (default: ./gallery)"
    )
    integrate_command = add(
        "integrate",
        "integrate the learning that a file describes",
        "Integrate learning in the space of overlaps; save the solution (NAME.nc) and a picture of it (NAME.png).",
    )
    validate_command = add(
        "validate",
        "hold the theory against full networks",
        "Compare the theory with full networks of several N on the same trials; print deviations and a verdict, save "
        "them (NAME-validation.nc) and a picture (NAME-validation.png). Ends with code 1 if the verdict is negative.",
    )
    for command in (integrate_command, validate_command):
        command.add_argument("config", metavar="CONFIG.toml", type=_path, help="a configuration; see examples/")
        command.add_argument(
            "--out", metavar="DIR", type=_path, help="where to write (default: [output] dir of the file)"
        )
    add(
        "doctor",
        "versions, devices, precision, a self-check",
        "Print versions, devices and precision; check a small run.",
    )
    return parser
