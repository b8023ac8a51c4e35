"""How Sphinx builds the documentation: `sphinx-build -W --keep-going -b html docs docs/_build/html`."""

import hashlib
import importlib
import inspect
import os
import pydoc
import re
import sys
from importlib import metadata
from pathlib import Path

# Most of what pages cost is compilation, so they compile as tests do (conftest.py says why), in kernels, which inherit
# this. No page times what it executes. Before jax is imported.
FLAGS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_backend_optimization_level=0",
)
if metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
# Programs are kept for other pages, and for the next build: a change of the package leaves most as they are.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / "_build" / "programs"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import numpy.typing  # noqa: E402

# The API pages import the package, and the theory computes in 64 bits. Before any jax call.
jax.config.update("jax_enable_x64", True)

from jax.typing import ArrayLike  # noqa: E402
from PIL import Image  # noqa: E402
from sphinx.util import logging  # noqa: E402
from sphinx.util.typing import stringify_annotation  # noqa: E402

import overlap_learning  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import execute  # noqa: E402

project = "overlap_learning"
author = "The overlap_learning maintainers"
project_copyright = "the overlap_learning maintainers"
version = release = overlap_learning.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design"]
exclude_patterns = ["_build", "jupyter_execute"]

html_theme = "furo"
# MathJax from a package, so that equations are drawn without a network.
_MATHJAX = Path(str(metadata.distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline"))) / "static"
html_static_path = ["_static", str(_MATHJAX)]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["custom.css"]
html_js_files = ["full_size.js"]
html_title = f"overlap_learning {release}"
html_copy_source = False
html_show_sourcelink = False

# -- pages: MyST, their cells executed at every build -----------------------------------------------------------------

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# A page is executed again when it changes, or the package does, or what the package computes with.
_PACKAGE = Path(overlap_learning.__file__).parent
_STATE = [path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))]
_STATE += [metadata.version(name).encode() for name in ("jax", "diffrax", "equinox", "matplotlib", "numpy", "scipy")]
nb_execution_mode = "cache"
nb_execution_cache_path = str(
    Path(__file__).parent / "_build" / "executed" / hashlib.sha256(b"\0".join(_STATE)).hexdigest()[:16]
)
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# What a cell writes to standard error is a warning here too. Nobody watches these cells: they show no progress bars.
nb_output_stderr = "remove-warn"
os.environ["TQDM_DISABLE"] = "1"
# Pictures go to the page, also where the backend of programs is set (in CI it is Agg, which draws none there).
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

# -- gallery: a small copy of each picture for its first lines ---------------------------------------------------------

for picture in (Path(__file__).parent / "images" / "gallery").glob("*.png"):
    small = picture.parents[1] / "thumbnails" / picture.name
    if not small.exists() or small.stat().st_mtime < picture.stat().st_mtime:
        small.parent.mkdir(exist_ok=True)
        with Image.open(picture) as image:
            image.thumbnail((480, 480))
            image.save(small)

# -- API reference: autodoc on Google docstrings ----------------------------------------------------------------------

# Docstrings write code and equations in single backticks.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Attributes as a list like that of parameters: those that are properties have entries of their own.
napoleon_custom_sections = [("Attributes", "params_style")]
smartquotes_action = "qD"
python_maximum_signature_line_length = 88

#: The modules whose public names the reference must list.
PUBLIC_MODULES = ["overlap_learning"] + [
    f"overlap_learning.{layer}"
    for layer in (
        "model",
        "tasks",
        "learning",
        "dynamics",
        "random_connectivity",
        "training",
        "validation",
        "sweeps",
        "studies",
        "studies.random_connectivity",
        "fitting",
        "plot",
    )
]
_LINK = re.compile(r"(?<![`:\w])`(?:ol\.)?([A-Za-z_][\w.]*)(\([^`]*\))?`(?!`)")


def public_objects():
    """Every public name of the package, with the object that it names."""
    found = {}
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None)
        for name in dir(module) if names is None else names:
            value = getattr(module, name)
            foreign = not getattr(value, "__module__", module_name).startswith("overlap_learning")
            if names is None and (name.startswith("_") or inspect.ismodule(value) or foreign):
                continue
            found[f"{module_name}.{name}"] = value
    return found


def check_public_names(app, env):
    """Warn (an error under -W) of public names that no page documents. An object counts under any of its names."""
    documented = {id(pydoc.locate(name)) for name in env.domains.python_domain.objects}
    missing = [name for name, value in public_objects().items() if id(value) not in documented]
    if missing:
        logging.getLogger(__name__).warning(
            "public names that no page of the API reference documents: %s", ", ".join(sorted(missing))
        )


def link_names(app, what, name, obj, options, lines):
    """Turn `Layout`, `ol.integrate` and the like into links; all else in backticks stays literal, and |g| stays |g|."""

    def link(match):
        text, path = match.group(0)[1:-1], match.group(1)
        for prefix in ("", "model.", "studies.", "fitting."):
            prefix = f"overlap_learning.{prefix}"
            if (text.startswith("ol.") or text[0].isupper()) and pydoc.locate(prefix + path) is not None:
                return f":py:obj:`{text} <{prefix}{path}>`"
        return match.group(0)

    def plain(text):
        # A letter alone, as in `rank: R.`, would begin a list.
        text = re.sub(r"((?:^|: )\s*[A-Za-z])\.$", r"\1\.", text)
        return text.replace("|", r"\|").replace("theory page", ":doc:`theory page </theory>`")

    block = None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and not line.lstrip().startswith((">>>", "...")):
            # Odd parts are in backticks. A | elsewhere would start a substitution.
            parts = re.split(r"(``?[^`]+``?)", line)
            lines[i] = "".join(_LINK.sub(link, part) if k % 2 else plain(part) for k, part in enumerate(parts))
            if line.rstrip().endswith("::"):
                block = indent


def list_members(app, what, name, obj, options, lines):
    """Append an enumeration's members, which autodoc does not see."""
    if getattr(obj, "_name_to_item", None) and inspect.isclass(obj):
        for member in obj._name_to_item:
            lines += [f"* ``{member}``: {obj[getattr(obj, member)]}"]
        lines.append("")


def keep_colons(app, what, name, obj, options, lines):
    """Put an empty comment before a property's docstring, of whose first line napoleon takes a part for the type."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]


def skip_fields(app, what, name, obj, skip, options):
    """Leave out a named tuple's fields, whose docstrings are their numbers: its attributes are in its own docstring."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def shorten_signature(app, what, name, obj, options, signature, returns):
    """Write `ArrayLike` for the unions of jax and numpy that it stands for."""

    def shorten(text):
        for union in _ARRAY_LIKE:
            text = text and text.replace(union, "ArrayLike")
        return text

    return shorten(signature), shorten(returns)


_ARRAY_LIKE = [stringify_annotation(union, "smart") for union in (ArrayLike, numpy.typing.ArrayLike)]


def setup(app):
    """Connect the above."""
    app.connect("autodoc-process-docstring", list_members, priority=400)
    app.connect("autodoc-process-docstring", keep_colons, priority=450)
    app.connect("autodoc-process-docstring", link_names, priority=900)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("env-before-read-docs", execute.execute)
    app.connect("env-check-consistency", check_public_names)
    return {"parallel_read_safe": True}
