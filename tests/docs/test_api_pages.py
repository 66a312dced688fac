"""The API pages that `make docs` writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NAMED = {
    "rlway_client": ["PolicyClient", "AsyncPolicyClient", "EdgePolicy"],
    "rlway_client/contract/manifest": ["Manifest"],
    "rlway_client/contract/errors": ["RlwayError", "QueueFull"],
    "rlway_train": ["train"],
    "rlway_train/config/settings": ["TrainingSettings"],
    "rlway_export": ["export"],
    "rlway_serve/settings": ["Settings"],
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, as the Makefile's line writes them."""
    folder = tmp_path_factory.mktemp("pages")
    environment = {**os.environ, "PYTHONPATH": "train:export"}
    command = [sys.executable, "docs/api/build.py", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # no warning: every module was read
    return folder


@pytest.mark.parametrize("page", NAMED)
def test_a_page_describes_what_users_call(pages: Path, page: str) -> None:
    """Each public class and function has a heading of its own; an anchor leads to it."""
    text = (pages / f"{page}.html").read_text()
    for name in NAMED[page]:
        assert f'id="{name}"' in text


def test_every_module_of_the_contract_has_a_page(pages: Path) -> None:
    """A new module of the contract is documented without being named anywhere."""
    modules = {path.stem for path in (ROOT / "clients/python/rlway_client/contract").glob("[a-z]*.py")}
    assert {path.stem for path in (pages / "rlway_client/contract").iterdir()} == modules


def test_a_docstrings_columns_stay_aligned(pages: Path) -> None:
    """The table of arguments is shown as it is written; Markdown would make one paragraph of it."""
    text = re.sub(r"<[^>]+>", "", (pages / "rlway_export.html").read_text())
    assert re.search(r"\nrun {11}\w.*\nmodels {8}\w", text)


def test_the_pages_load_nothing_from_elsewhere(pages: Path) -> None:
    """They can be read without a network: scripts and styles lie beside them or in them."""
    for page in pages.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?([^\" >]+)", page.read_text())
        assert [url for url in loaded if url.startswith(("http:", "https:", "//"))] == [], page
