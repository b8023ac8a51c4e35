"""Execution of the pages' cells: each page in a kernel of its own, as many side by side as there are processors.

What a page printed and drew goes to jupyter-cache, where myst-nb then finds it. A page that fails is not kept, so that
myst-nb executes it once more and says where it fails.
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import create_nb_reader


def execute(app, env, docnames):
    """Execute those of the pages to be read that jupyter-cache lacks, the longest first."""
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

    # It tells of each kernel that starts.
    logging.getLogger("traitlets").setLevel(logging.WARNING)

    def run(path):
        return path, single_nb_execution(missing[path], str(path.parent), config.execution_timeout, allow_errors=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The cache is written to by this thread alone: two writers lock each other out of its database.
        for done in as_completed(pool.submit(run, path) for path in sorted(missing, key=size, reverse=True)):
            path, result = done.result()
            if result.err is None:
                bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def size(path):
    """The size of a file: a long page takes long."""
    return path.stat().st_size
