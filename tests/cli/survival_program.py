"""The program with one small long run, ended from outside; run as a script, it starts the run once per line it reads.

All runs are forks of one process that has imported everything and computed nothing, so that one costs little.
"""

import os
import signal
import sys
from pathlib import Path

import jax
import orbax.checkpoint  # noqa: F401

import overlap_learning as ol
import overlap_learning.cli.reproduce
from overlap_learning.cli import main
from overlap_learning.gallery import Number, Reproduction, Sheet
from overlap_learning.gallery.kit.page import page

N_STEPS, EVERY = 300, 10
STANDARD = QUICK = N_STEPS


def draw(settings, *, progress=None, checkpoint=None):
    """A figure of a full network that learns in steps with momentum and noise."""
    model = ol.Model(ol.Layout(), ol.Erf())
    start = ol.Overlaps.from_entries(model.layout, zu=0.3, vm=0.3)
    rule = ol.GradientDescent(0.02, settings, save_every=EVERY, label_noise=0.1, momentum=0.5)
    network = ol.Network.sample(start, 12, key=jax.random.key(1))
    task = ol.tasks.exponential_filter(duration=2.0, dt=0.2)
    solution = ol.train(model, task, network, rule, jax.random.key(3), progress=False, checkpoint=checkpoint)
    figure, (ax,) = page("A long run", 1, 1)
    ax.plot(solution.time, solution.loss)
    return Reproduction(figure, solution.to_xarray(), (Number("steps", settings, None, settings),), ())


def run(folder):
    """`overlap-learning reproduce long`; its exit code."""
    figures = {"long": {"long": Sheet("a long run", __name__, "draw", resumable="long")}}
    for name in ("main", "reproduce"):
        module = sys.modules[f"overlap_learning.cli.{name}"]
        module.FIGURES = figures
    module.CHECKPOINT_EVERY = EVERY
    return main(["reproduce", "long", "--out", folder])


def child(folder):
    """Runs the program in this process, with its errors in a file, and ends it."""
    Path(folder).mkdir(exist_ok=True)
    for stream, target in ((1, os.devnull), (2, f"{folder}/errors")):
        os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    # As a terminal starts programs; a shell in the background would have them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 70
    try:
        code = run(folder)
    finally:
        os._exit(code)


def tell(number):
    """Says a number to whoever started this process."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            child(line.strip())
        tell(process)
        tell(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
