"""The documentation site: `make docs` builds it into reports/docs."""

from __future__ import annotations

project = "Coincast"
author = "The Coincast developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "images", "notebooks"]
html_theme = "furo"
html_title = "Coincast"
_ATTRIBUTION = "Data provided by CoinGecko"
html_theme_options = {
    "footer_icons": [
        {"name": _ATTRIBUTION, "url": "https://www.coingecko.com", "html": _ATTRIBUTION, "class": ""},
    ]
}
html_extra_path = ["llms.txt"]
html_copy_source = False
html_show_sphinx = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Links to folders and files of the repository outside docs/ are checked by tests/unit/house/test_readme.py.
suppress_warnings = ["myst.xref_missing", "myst.header", "toc.not_included"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
