"""A server of policies whose elements have names, over every protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bundles import linear_policy, robot_policy, summing_policy
from tests.naming import name_elements
from tests.serve.protocols.named_rows import ARM, NAMES
from tests.servers import Server, running_server


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`nameless` is the same policy as `linear`, without names."""
    models = tmp_path_factory.mktemp("named") / "models"
    name_elements(linear_policy(models), "observation", NAMES)
    name_elements(summing_policy(models), "observation", NAMES)
    name_elements(robot_policy(models), "joints_arm", ARM)
    name_elements(linear_policy(models, "resetting"), "observation", ["reset", *NAMES[1:]])
    linear_policy(models, "nameless")
    with running_server(models, models.with_name("log"), "--grpc-port", "0") as running:
        yield running
