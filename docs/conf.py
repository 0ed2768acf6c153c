"""Configuration of the documentation site. `make docs` builds it, and warnings are errors."""

import inspect
import os
import re
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for the plugin's page; Keras 3 is not affected

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
nitpick_ignore = [("py:exc", "NotAnalyzeableModelException")]  # defined by iNNvestigate
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

# Markdown. Notebooks are shown with their stored outputs; the tests run them.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

# The API pages are generated from the docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures have them
autodoc_preserve_defaults = False  # the signature of a decorated rule differs from its source
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
html_math_renderer = "mathml"  # browsers draw it, so no script is loaded from the web
myst_update_mathjax = False
linkcheck_timeout = 20
linkcheck_anchors = False

SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:")
COLON = "\x1f"
_CODE = re.compile(r"(`[^`]*`)")


def escape_markup(app, what, name, obj, options, lines):
    """Escapes what reStructuredText would read as markup, because docstrings are plain text."""
    escaped, section = [], ""
    for line in lines:
        section = line.strip() if line.strip() in SECTIONS else section
        if line.strip() == "Example:":
            escaped += ["Example::", ""]
            continue
        parts = _CODE.split(line)
        parts[::2] = [re.sub(r"([*|])|(?<=\w)(_)(?!\w)", r"\\\1\2", part) for part in parts[::2]]
        parts[1::2] = [f"`{part}`" for part in parts[1::2]]
        text = "".join(parts)
        escaped.append(text.replace(": ", f"{COLON} ") if section == "Returns:" else text)
    lines[:] = escaped


def restore_colons(app, what, name, obj, options, lines):
    """Restores the colons in "Returns:", which napoleon would read as the end of a type."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def skip_undocumented(app, what, name, obj, skip, options):
    """Leaves out functions without a docstring, which are not part of the interface."""
    return skip or (inspect.isfunction(obj) and not obj.__doc__)


def mark_orphans(app, name, content):
    """Marks reports as orphans: they are linked from the results page, not from a table of contents."""
    if name.endswith("/report"):
        content[0] = "---\norphan: true\n---\n\n" + content[0]


def copy_notebooks(app):
    """Copies the notebooks into docs/, because Sphinx reads no files outside of it."""
    copies = HERE / "notebooks"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        text = path.read_text("utf-8")
        (copies / path.name).write_text(text.replace("](../docs/", "](../"), "utf-8")


def draw_math(self, node):
    """Writes a TeX formula as MathML."""
    block = isinstance(node, nodes.math_block)
    mathml = tex2mathml(node.astext(), as_block=block)
    self.body.append(f'<div class="math">{mathml}</div>' if block else mathml)
    raise nodes.SkipNode


def setup(app):
    """Registers the functions above with Sphinx."""
    app.add_html_math_renderer("mathml", (draw_math, None), (draw_math, None))
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", mark_orphans)
    app.connect("autodoc-process-docstring", escape_markup, priority=1)
    app.connect("autodoc-process-docstring", restore_colons, priority=999)
    app.connect("autodoc-skip-member", skip_undocumented)
