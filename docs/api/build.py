"""Writes the API pages: `make docs`.

In:      the docstrings of MODULES; the folder to write to.
Out:     index.html, a page for each module, and search.js. They are written and read without a network.
Refuses: a module that cannot be imported.

Nothing here imports TensorFlow: the packages that need it load it when they are called.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import pdoc

# What users call. A package's page shows what its `__all__` names; the contract has a page for each of its modules.
MODULES = (
    "rlway_client",
    "rlway_client.contract",
    "rlway_train",
    "rlway_train.config.settings",
    "rlway_export",
    "rlway_serve.settings",
)
GENERATED = re.compile("Create new instance of |Alias for field number ")  # what Python writes into a NamedTuple


def write_pages(folder: Path) -> None:
    """Writes all pages into the folder."""
    pdoc.render.configure(docformat="markdown", show_source=False, footer_text="RLway")
    pdoc.render.env.filters["to_markdown"] = to_markdown
    with warnings.catch_warnings():
        # pdoc cannot evaluate the annotations of a NamedTuple's constructor, and shows them as they are written.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        pdoc.pdoc(*MODULES, output_directory=folder)


def to_markdown(docstring: str) -> str:
    """The docstring with its tables and drawings as code, so that their columns stay aligned."""
    if GENERATED.match(docstring):
        return ""
    return "\n\n".join(_indent(part) if _is_aligned(part) else part for part in docstring.split("\n\n"))


def _is_aligned(part: str) -> bool:
    """Whether a paragraph depends on its spaces: it is indented, or has columns that two spaces separate."""
    return any(line.startswith(" ") or "  " in line.strip() for line in part.splitlines())


def _indent(part: str) -> str:
    return "\n".join(f"    {line}" for line in part.splitlines())


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
