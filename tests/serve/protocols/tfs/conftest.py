"""The server that most of these tests ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import (
    embedding_policy,
    gaussian_policy,
    greedy_policy,
    linear_policy,
    robot_policy,
    summing_policy,
)
from tests.servers import Server, running_server


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Policies of every kind. `linear` has two versions, of which the older is active, and a third that is damaged."""
    models: Path = tmp_path_factory.mktemp("serving") / "models"
    for version in (1, 2, 3):
        linear_policy(models, version=version, bias=version - 1)
    model = models / "linear" / "3" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    (models / "linear" / "labels.json").write_text(json.dumps({"stable": 1, "canary": 2}))
    embedding_policy(models)
    gaussian_policy(models)
    greedy_policy(models)
    robot_policy(models)
    summing_policy(models)
    with running_server(models, models.with_name("log"), "--keep-versions", "3") as server:
        yield server
