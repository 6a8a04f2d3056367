"""Sphinx settings. `docs/build.py` makes the pages and runs Sphinx with this file."""
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

here = Path(__file__).parent
settings = ConfigParser(delimiters=["="])
settings.read(here.parent / "settings.ini", encoding="utf-8")

project = "c2m_blocks"
author = settings["DEFAULT"]["author"]
release = settings["DEFAULT"]["version"]
project_copyright = author

extensions = ["links", "myst_nb", "sphinx.ext.mathjax", "sphinx_copybutton", "sphinx_design"]
nitpicky = True  # each type in a signature leads somewhere; those of other libraries stand in names.txt
nitpick_ignore_regex = [("py:class", r"(.*\.)?_\w+")]  # a type of our own without a page: its comment says what it is
exclude_patterns = ["notebooks"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables as well
nb_output_stderr = "remove"
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_inline", "attrs_block", "colon_fence", "fieldlist"]
myst_heading_anchors = 3

# Math without a network: one file of MathJax (Apache-2.0) out of a package that comes with the `docs` extra.
mathjax_file = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax/tex-svg-full.js"
mathjax_path = mathjax_file.name

html_theme = "furo"
html_title = project
html_static_path = ["_static", str(mathjax_file)]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

smartquotes_action = "De"  # dashes and dots, no quotation marks: the prime in a shape such as (b, c, h', w') is none
add_module_names = False
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
