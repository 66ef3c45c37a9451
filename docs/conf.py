"""Sphinx: ``sphinx-build -W docs docs/_build`` (pip install ".[docs]"). The input reference is written anew at each build."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

project, author, copyright = "engine", "the engine's authors", "the engine's authors, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Molecular dynamics in Python", "page_width": "75em"}
myst_heading_anchors = 3
suppress_warnings = ["docutils", "myst.header", "myst.xref_missing"]  # docstrings are Markdown, pages are written for GitHub too
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"


def write_reference(app):
    """docs/input-reference.md, from what is installed."""
    from engine.cli import reference, schema

    (HERE / "input-reference.md").write_text(reference.markdown(schema.build()))


def setup(app):
    app.connect("builder-inited", write_reference)
