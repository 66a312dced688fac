"""A browser and the servers whose pages it opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.js.runtimes import PACKAGE, need_node
from tests.servers import Server, running_server
from tests.ui.browser import Browser, Page, running_browser
from tests.ui.policies import write_policies

KEY, ADMIN_KEY = "correct-horse", "battery-staple"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    need_node()
    with running_browser(tmp_path_factory.mktemp("chromium") / "profile") as running:
        yield running


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ui") / "models"
    write_policies(folder)
    return folder


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """As `rlway serve` comes."""
    with running_server(models, models.with_name("log")) as running:
        yield running


@pytest.fixture(scope="session")
def keyed(models: Path) -> Iterator[Server]:
    """Asks for keys of both scopes."""
    options = []
    for scope, key in (("api", KEY), ("admin", ADMIN_KEY)):
        file = models.with_name(f"{scope}-keys")
        file.write_text(f"{key}\n")
        options += [f"--{scope}-keys", str(file)]
    with running_server(models, models.with_name("keyed.log"), *options) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, in which nothing may have gone wrong in the end."""
    with browser.page() as opened:
        yield opened
        assert opened.said == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Deque's checker of accessibility."""
    need_node()
    return (PACKAGE / "node_modules/axe-core/axe.min.js").read_text()
