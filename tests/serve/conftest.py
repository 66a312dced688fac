"""The servers that most of these tests ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import gaussian_policy, linear_policy, q_network_policy
from tests.servers import Server, running_server

KEY = "correct-horse"


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One discrete policy, as `rlway serve` comes."""
    models = tmp_path_factory.mktemp("linear") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log")) as server:
        yield server


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A discrete and a continuous policy and one whose runs take long enough for a thread; none is the default."""
    models = tmp_path_factory.mktemp("several") / "models"
    linear_policy(models)
    gaussian_policy(models)
    gaussian_policy(models, "brittle", brittle=True)
    q_network_policy(models, "slow", (2048, 2048, 2048))
    with running_server(models, models.with_name("log"), "--queue-capacity", "50000", "--max-rows", "50000") as server:
        yield server


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Wants a key, takes bodies of at most 2,000 bytes and lets one observation wait."""
    models = tmp_path_factory.mktemp("strict") / "models"
    linear_policy(models)
    keys = models.with_name("keys")
    keys.write_text(f"# robots\n{KEY}\n\nanother-key\n")
    options = ["--max-body-bytes", "2000", "--queue-capacity", "1", "--api-keys", str(keys)]
    with running_server(models, models.with_name("log"), *options) as server:
        yield server


@pytest.fixture(scope="session")
def without_express(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As `linear`, but every request takes the ordinary way through endpoint and queue."""
    models = tmp_path_factory.mktemp("without_express") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log"), "--no-express") as server:
        yield server


@pytest.fixture
def key() -> str:
    """The header with which `strict` serves."""
    return f"authorization: Bearer {KEY}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a server that a test starts may log."""
    return tmp_path / "log"
