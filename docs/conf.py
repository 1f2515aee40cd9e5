"""Configuration of the documentation; it needs no network."""

import os
import sys
from pathlib import Path

# Kernels of executed pages inherit these: several processes share the cores, pictures belong into
# the page, and `!detopt` is the command of this environment.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

from detopt import __version__

project = "detopt"
author = "The detopt developers"
project_copyright = "The detopt developers"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**/jupyter_execute", "_templates"]
default_role = "code"
nitpicky = False
suppress_warnings = ["ref.python"]  # names that two packages share

html_theme = "furo"
html_title = f"detopt {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autosummary_generate = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # shapes such as "*batch" are no reStructuredText
