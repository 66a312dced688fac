"""The server that most of these tests ask, and Triton's own client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tritonclient.http as triton

from tests.bundles import gaussian_policy, linear_policy, robot_policy, summing_policy
from tests.rewarded import rewarded_policy
from tests.servers import Server, running_server
from tests.steered import steered_policy


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Policies with one input and with several, with a state, with a time step; two versions of one of them."""
    models = tmp_path_factory.mktemp("oip") / "models"
    for policy in (gaussian_policy, linear_policy, robot_policy, summing_policy, rewarded_policy, steered_policy):
        policy(models)
    gaussian_policy(models, "brittle", brittle=True)
    linear_policy(models, version=2, bias=100.0)
    (models / "linear" / "labels.json").write_text('{"stable": 2, "old": 1}')
    with running_server(models, models.with_name("log"), "--max-rows", "1000") as server:
        yield server


@pytest.fixture
def client(policies: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"{policies.host}:{policies.port}") as connected:
        yield connected
