"""The documentation's site: `make docs` builds it, warnings are errors."""

import inspect
import os
import re
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for the plugin's page; the native backend works beside it

HERE = Path(__file__).parent

project = "rap_keras"
author = "the rap_keras developers"
copyright = author
release = version = installed_version("rap-keras")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
nitpicky = True
nitpick_ignore = [("py:exc", "NotAnalyzeableModelException")]  # iNNvestigate's own
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

# Markdown. Notebooks are shown as they are stored: the tests run them.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

# The interface, from the docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures have them
autodoc_preserve_defaults = False  # a decorated rule has another signature than its source
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
default_role = "code"

html_theme = "furo"
html_title = f"rap_keras {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"  # browsers draw it: nothing is loaded from elsewhere
myst_update_mathjax = False
linkcheck_timeout = 20
linkcheck_anchors = False

SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:")
COLON = "\x1f"
_CODE = re.compile(r"(`[^`]*`)")


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text: what reStructuredText would take for markup of its own is quoted."""
    quoted, section = [], ""
    for line in lines:
        section = line.strip() if line.strip() in SECTIONS else section
        if line.strip() == "Example:":
            quoted += ["Example::", ""]
            continue
        parts = _CODE.split(line)
        parts[::2] = [re.sub(r"([*|])|(?<=\w)(_)(?!\w)", r"\\\1\2", part) for part in parts[::2]]
        parts[1::2] = [f"`{part}`" for part in parts[1::2]]
        text = "".join(parts)
        quoted.append(text.replace(": ", f"{COLON} ") if section == "Returns:" else text)
    lines[:] = quoted


def restored(app, what, name, obj, options, lines):
    """Puts back the colons of what is returned, which napoleon takes for the end of a type."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def skipped(app, what, name, obj, skip, options):
    """Members without a docstring of their own are no part of the interface."""
    return skip or (inspect.isfunction(obj) and not obj.__doc__)


def orphaned(app, name, content):
    """The results' own page lists the reports."""
    if name.endswith("/report"):
        content[0] = "---\norphan: true\n---\n\n" + content[0]


def copy_notebooks(app):
    """The notebooks stand beside docs/, where Sphinx does not look."""
    to = HERE / "notebooks"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        text = path.read_text("utf-8")
        (to / path.name).write_text(text.replace("](../docs/", "](../"), "utf-8")


def draw_math(self, node):
    """TeX as MathML."""
    block = isinstance(node, nodes.math_block)
    mathml = tex2mathml(node.astext(), as_block=block)
    self.body.append(f'<div class="math">{mathml}</div>' if block else mathml)
    raise nodes.SkipNode


def setup(app):
    """Connects what is above."""
    app.add_html_math_renderer("mathml", (draw_math, None), (draw_math, None))
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", orphaned)
    app.connect("autodoc-process-docstring", plain, priority=1)
    app.connect("autodoc-process-docstring", restored, priority=999)
    app.connect("autodoc-skip-member", skipped)
