"""Count what must not happen to a person's results: stale numbers, stolen bytes, lost runs, leaks; print one table."""

import argparse
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

#: What is counted, how often if nobody says, and what is bad.
SIZES = {
    "changes": (1000, "changed functions taken for the same"),
    "files": (10_000, "crafted files loaded to something unsound, or refused without a name"),
    "kills": (20, "killed runs (of each command) that did not go on to the same numbers"),
    "leaks": (2000, "trainings or points of sweeps that leave memory behind"),
}


def counts(sizes: dict[str, int], folder: Path) -> Iterator[tuple[str, int, int, str]]:
    """What was counted: a name, how many, how many bad, and a remark."""
    if n := sizes["kills"]:
        # First: their processes are forks, and nothing of jax may have run before.
        from benchmarks.survival import kills

        for name in kills.COMMANDS:
            yield f"kills of {name}", n, kills.survives(name, folder, n), ""
    import jax

    jax.config.update("jax_enable_x64", True)
    if n := sizes["changes"]:
        from benchmarks.survival import programs

        groups = (
            ("changes that are seen", programs.cases(), lambda name: programs.missed(programs.cases()[name])),
            ("changes that are none", programs.UNCHANGED, programs.confused),
            ("what can't be seen", programs.HIDDEN, programs.unrefused),
        )
        for title, cases, is_bad in groups:
            names = list(itertools.islice(cases, n))
            bad = [name for name in names if is_bad(name)]
            yield title, len(names), len(bad), "; ".join(bad[:5])
    if n := sizes["files"]:
        from benchmarks.survival import crafted

        contents = []
        for i, solution in enumerate(crafted.saved()):
            solution.save(folder / f"{i}.nc")
            contents.append((folder / f"{i}.nc").read_bytes())
        bad, n_sound = [], 0
        for seed in range(n):
            what = crafted.craft(contents[seed % len(contents)], folder / "crafted.nc", seed)
            if (found := crafted.outcome(folder / "crafted.nc")) not in ("refused", "sound"):
                bad.append(f"{seed} ({what}): {found}")
            n_sound += found == "sound"
        yield "crafted files", n, len(bad), "; ".join(bad[:5]) or f"{n_sound} loaded, and sound"
    if n := sizes["leaks"]:
        from benchmarks.survival import leaks

        for title, measure in (("trainings", leaks.trainings), ("points of sweeps", leaks.points)):
            left = measure(n)
            yield title, n, int(left > leaks.ALLOWED), f"{left:,.0f} bytes left by each"


def main(arguments: Sequence[str] | None = None) -> int:
    """Count; 1 if anything bad was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survival", description=__doc__)
    for name, (n, what) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=n, metavar="N", help=f"{what}: of how many (0: none)")
    sizes = vars(parser.parse_args(arguments))
    n_bad = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        for title, n, bad, remark in counts(sizes, Path(folder)):
            now = time.perf_counter()
            print(f"{title:24} {n:8,}   bad {bad:4}   {now - begin:8.1f} s   {remark}", flush=True)
            n_bad, begin = n_bad + bad, now
    return int(n_bad > 0)


if __name__ == "__main__":
    sys.exit(main())
