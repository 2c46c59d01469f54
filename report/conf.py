"""Sphinx settings of the report. `python -m helpers.report site` builds with them."""

from helpers.editions import mathjax
from helpers.navigation import branch, repository

project = "Explainable AI for dermatology"
author = "The xai-derm authors"
copyright = "2026 The xai-derm authors. Code MIT, text and figures CC BY 4.0"

extensions = ["myst_nb", "sphinx.ext.mathjax"]
nb_execution_mode = "off"  # papermill has run them
nb_ipywidgets_js = {}  # nothing from a CDN
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# MathJax from the PyPI package, as the one file that carries its glyphs along. Its menu
# would load further files, so it is off; screen readers get MathML without it.
mathjax_path = mathjax().name
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static", str(mathjax())]
html_css_files = ["course.css"]
html_js_files = ["course.js"]
templates_path = ["_templates"]
html_copy_source = True
html_use_index = False
html_show_search_summary = False  # would fetch pages, which file:// forbids
html_show_sphinx = False
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_theme_options = {
    "repository_url": repository(),
    "repository_branch": branch(),
    "use_repository_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "navbar_persistent": [],  # the sidebar has the search field
    "footer_content_items": ["copyright", "extra-footer"],
    "show_toc_level": 2,
    "extra_footer": "Teaching material, not for diagnosis.",
}
