"""The server that most of these tests ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bundles import gaussian_policy, linear_policy, robot_policy, summing_policy
from tests.servers import Server, running_server


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A discrete policy as the default, continuous ones, one with two inputs, one with a state, one in two versions."""
    models = tmp_path_factory.mktemp("openpi") / "models"
    for policy in (gaussian_policy, linear_policy, robot_policy, summing_policy):
        policy(models)
    gaussian_policy(models, "brittle", brittle=True)
    gaussian_policy(models, "versions", version=1)
    linear_policy(models, "versions", version=2, bias=100.0)
    (models / "versions" / "labels.json").write_text('{"stable": 2, "old": 1}')
    with running_server(models, models.with_name("log"), "--default", "linear") as server:
        yield server
