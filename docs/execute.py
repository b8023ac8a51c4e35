"""Execution of the pages' cells, in as many kernels side by side as there are processors.

A kernel executes page after page, each in a namespace of its own: starting one takes seconds, and so does compiling
what other pages have compiled. What a page printed and drew goes to jupyter-cache, where myst-nb then finds it. A page
that fails is not kept, so that myst-nb executes it once more and says where it fails.
"""

import asyncio
import contextlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import create_nb_reader
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

#: What a page finds: no names, its own folder, and settings as they are when a kernel starts. Tracing leaves much to
#: Python's collector, which looks as rarely as in tests (conftest.py).
FRESH = """%reset -f
%config InlineBackend.figure_formats = ["png"]
import gc
import os
import jax
import matplotlib
gc.set_threshold(100_000, 50, 100)
os.chdir({folder!r})
jax.config.update("jax_enable_x64", False)
matplotlib.rcdefaults()
del gc, os, jax, matplotlib"""


def execute(app, env, docnames):
    """Execute those of the pages to be read that jupyter-cache lacks, the longest first; Sphinx reads others then."""
    config = env.mystnb_config
    if config.execution_mode != "cache":
        return
    cache, missing = get_cache(config.execution_cache_path), {}
    for path in map(Path, map(env.doc2path, docnames)):
        source = path.read_text(encoding="utf-8")
        reader = create_nb_reader(str(path), env.myst_config, config, source)
        notebook = reader and reader.read(source)
        if notebook and any(cell.cell_type == "code" for cell in notebook.cells):
            try:
                cache.match_cache_notebook(notebook)
            except KeyError:
                missing[path] = notebook

    async def work_side_by_side():
        workers = [work(waiting, missing, config.execution_timeout, seconds) for _ in range(os.cpu_count())]
        await asyncio.gather(*workers)

    def keep(app, docname, source):
        """Keep what was executed before the first of these pages is read."""
        if Path(env.doc2path(docname)) not in missing or kept:
            return
        kept.append(docname)
        executed.result()
        # By the main thread alone: two writers lock each other out of the cache's database.
        for path, passed in seconds.items():
            bundle = CacheBundleIn(missing[path], str(path), data={"execution_seconds": passed})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    # It tells of each page.
    logging.getLogger("traitlets").setLevel(logging.WARNING)
    waiting, seconds, kept = sorted(missing, key=lambda path: size(missing[path])), {}, []
    docnames.sort(key=lambda name: Path(env.doc2path(name)) in missing)
    with_kernels = ThreadPoolExecutor(1)
    executed = with_kernels.submit(lambda: asyncio.run(work_side_by_side()))
    with_kernels.shutdown(wait=False)
    app.connect("source-read", keep, priority=0)


async def work(waiting, notebooks, timeout, seconds):
    """Execute the last of the pages that wait, until there are none; after one that fails, in a new kernel.

    What each took, in seconds, is written to the last argument.
    """
    while waiting:
        client = NotebookClient(new_notebook(), kernel_name="python3", timeout=timeout, record_timing=False)
        with contextlib.suppress(CellExecutionError, CellTimeoutError, DeadKernelError):
            async with client.async_setup_kernel():
                while waiting:
                    path = waiting.pop()
                    start = time.perf_counter()
                    for client.nb in (fresh(path.parent), notebooks[path]):
                        await client.async_execute(cleanup_kc=False)
                    seconds[path] = time.perf_counter() - start


def fresh(folder):
    """A notebook after which a kernel is as new, but for what it has imported and compiled."""
    return new_notebook(cells=[new_code_cell(FRESH.format(folder=str(folder)))])


def size(notebook):
    """The characters of a notebook's code: more of it takes longer."""
    return sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "code")
