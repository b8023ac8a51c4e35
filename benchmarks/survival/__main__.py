"""Count what must not happen to a person's results: stale numbers, stolen bytes, lost runs, leaks; print one table."""

import argparse
import itertools
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.survival.counts import Count, add, line

#: What is counted, how often if nobody says, and what is bad.
SIZES = {
    "changes": (1000, "changed functions taken for the same, in sweeps and in checkpoints"),
    "files": (10_000, "crafted files loaded to something unsound, or refused without a name"),
    "damages": (1000, "files with other bytes under a checksum that is right, likewise"),
    "kills": (20, "killed runs (of each command) that did not go on to the same numbers"),
    "signals": (5, "runs ended by SIGTERM, and by Ctrl-C with programs to compile, likewise"),
    "trainings": (500, "trainings that leave memory behind"),
    "points": (3000, "points of sweeps that leave memory behind"),
}


def counts(sizes: dict[str, int], only: Sequence[str], folder: Path, first: int) -> Iterator[Count]:
    """What was counted.

    Args:
        sizes: how often.
        only: the commands that are killed.
        folder: an empty one.
        first: where random choices begin.
    """
    if sizes["kills"] or sizes["signals"]:
        # First: their processes are forks, and nothing of jax may have run before.
        from benchmarks.survival import kills

        for name in only or kills.COMMANDS:
            part = folder / name
            part.mkdir()
            if n := sizes["kills"]:
                yield Count(f"kill -9 of {name}", n, kills.survives(name, part, n, first=first))
            if (n := sizes["signals"]) and name in kills.ALONE:
                yield Count(f"SIGTERM of {name}", n, kills.survives(name, part, n, signal.SIGTERM, first=first))
                bad = kills.survives(name, part, n, signal.SIGINT, compiling=True, first=first)
                yield Count(f"Ctrl-C of {name} that compiles", n, bad)
    import jax

    jax.config.update("jax_enable_x64", True)
    if n := sizes["changes"]:
        from benchmarks.survival import programs

        cases = programs.cases()
        groups = (
            ("changes that a sweep sees", cases, lambda name: programs.missed(cases[name])),
            ("changes that are none", programs.UNCHANGED, programs.confused),
            ("what can't be seen", programs.HIDDEN, programs.unrefused),
        )
        for title, cases_of, is_bad in groups:
            names = list(itertools.islice(cases_of, n))
            bad = [name for name in names if is_bad(name)]
            yield Count(title, len(names), len(bad), "; ".join(bad[:5]))
        names = list(itertools.islice(cases, n))
        bad = [name for name in names if programs.taken_up(cases[name])]
        yield Count("changes that a checkpoint sees", len(names), len(bad), "; ".join(bad[:5]))
    for kind, title in (("files", "crafted files"), ("damages", "damaged files, sealed again")):
        if n := sizes[kind]:
            yield _of_files(title, n, folder, first, kind == "files")
    for kind, title in (("trainings", "trainings"), ("points", "points of sweeps")):
        if n := sizes[kind]:
            from benchmarks.survival import leaks

            left = (leaks.trainings if kind == "trainings" else leaks.points)(n)
            yield Count(title, n, int(left > leaks.ALLOWED), f"{left:,.0f} bytes left by each")


def _of_files(title: str, n: int, folder: Path, first: int, crafted_ones: bool) -> Count:
    from benchmarks.survival import crafted
    from benchmarks.survival.apart import Apart

    kinds, contents = list(crafted.KINDS), []
    for kind in kinds:
        part = folder / title / kind
        part.mkdir(parents=True)
        crafted.KINDS[kind].save(part / "saved.nc")
        contents.append((part / "saved.nc").read_bytes())
    found, bad, seed = Counter(), [], first
    with Apart() as apart:
        while found.total() < n:
            kind = kinds[seed % len(kinds)]
            path = folder / title / kind / "file.nc"
            make = crafted.craft if crafted_ones else crafted.damage
            what = apart(make, contents[seed % len(kinds)], path, seed)
            seed += 1
            if what in Apart.ENDS:
                # HDF5 could not write it.
                continue
            outcome = apart(crafted.outcome, kind, path)
            found[outcome if outcome in ("refused", "sound") else "bad"] += 1
            if outcome not in ("refused", "sound"):
                bad.append(f"{kind} {seed - 1} ({what}): {outcome}")
    return Count(title, n, len(bad), "; ".join(bad[:5]) or f"{found['refused']:,} refused, {found['sound']:,} sound")


def main(arguments: Sequence[str] | None = None) -> int:
    """Count; 1 if anything bad was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survival", description=__doc__)
    for name, (n, what) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=n, metavar="N", help=f"{what}: of how many (0: none)")
    parser.add_argument("--only", nargs="+", default=(), metavar="COMMAND", help="commands that are killed")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="another number: other random choices")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a file of counts, to which these are added")
    given = vars(parser.parse_args(arguments))
    only, first, out = given.pop("only"), given.pop("first"), given.pop("out")
    n_bad = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        for count in counts(given, only, Path(folder), first):
            now = time.perf_counter()
            count.seconds, begin = now - begin, now
            print(line(count), flush=True)
            n_bad += count.bad
            if out is not None:
                add(out, count)
    return int(n_bad > 0)


if __name__ == "__main__":
    sys.exit(main())
