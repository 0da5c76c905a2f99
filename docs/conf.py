"""The documentation site: Sphinx with MyST. `make docs` builds it without network."""

import pathlib
import re
import sys

import dnas

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "dnas"
author = "the dnas maintainers"
copyright = author
version = release = dnas.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "generated", "mathml"]
exclude_patterns = ["extensions", "index_page.md"]  # the last one is for the index of packages
# Pages that include files of the root; a checkout may lack one.
exclude_patterns += [f"project/{name}" for name in ("CONTRIBUTING.md", "CHANGELOG.md") if not (HERE.parent / name).exists()]

nb_execution_mode = "off"  # the notebooks are stored with their outputs, and the test suite runs them
myst_enable_extensions = ["attrs_inline", "dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

default_role = "literal"
highlight_language = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"dnas {version}"
html_static_path = ["static"]
html_css_files = ["dnas.css"]
html_js_files = ["dnas.js"]
html_favicon = "static/favicon.svg"
html_show_sphinx = False
html_use_index = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_exclude = ".linenos, .gp, .go"


def setup(app):
  """Changes of what is made from docstrings.

  Types are in the signatures, so under 'Returns:' the text before a colon is none. A configuration has too many fields for a signature or a
  list; `generated` makes a table of them.
  """

  def docstring(app, what, name, obj, options, lines):
    for index, line in enumerate(lines[:-1]):
      if line.strip() == "Returns:" and ":" in lines[index + 1]:
        lines[index + 1] = lines[index + 1].replace(lines[index + 1].lstrip(), f": {lines[index + 1].lstrip()}")

    lines[:] = [re.sub(r"(?<![\w`-])--[a-z]\w*(?:\.\w+)*", r"`\g<0>`", line) for line in lines]  # a flag, whose hyphens are no dash
    if name.endswith("Config") and "Attributes:" in lines:
      del lines[lines.index("Attributes:") :]

  def signature(app, what, name, obj, options, text, returned):
    return ("(...)", None) if name.endswith("Config") else None

  app.connect("autodoc-process-docstring", docstring, priority=400)  # before Napoleon
  app.connect("autodoc-process-signature", signature)
