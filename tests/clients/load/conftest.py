"""A server with policies of every kind, and the load test's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from rlway_client.contract.specs import TensorSpec
from tests.bundles import gaussian_policy, linear_policy, robot_policy, summing_policy
from tests.clients.conftest import Succeed
from tests.foreign.bundles import picture_policy
from tests.ports import free_port
from tests.racing import racing_policy
from tests.servers import Server, running_server
from tests.weighing import weighing_policy

CARDS = [TensorSpec(f"hand_{i}", (), "int64", 0, high, path=(str(i),)) for i, high in enumerate((31, 11, 1))]
FLAGS = [TensorSpec("door", (), "bool", path=("door",)), TensorSpec("lamps", (3,), "bool", path=("lamps",))]
POLICIES = ("linear", "gaussian", "robot", "picture", "racing", "pair", "cards", "flags", "summing")


class Loaded(NamedTuple):
    """A server, and its port for gRPC."""

    server: Server
    grpc_port: int


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """One policy each with a number, a vector, a dict, an image, a tuple, booleans, and a state."""
    models = tmp_path_factory.mktemp("load") / "models"
    linear_policy(models)
    gaussian_policy(models)
    robot_policy(models)
    picture_policy(models)
    racing_policy(models)
    racing_policy(models, "pair", paths=("0", "1"))
    weighing_policy(models, CARDS, "cards")
    weighing_policy(models, FLAGS, "flags")
    summing_policy(models)
    port = free_port()
    with running_server(models, models.with_name("log"), "--default", "linear", "--grpc-port", str(port)) as server:
        yield Loaded(server, port)
        assert b"Traceback" not in server.log.read_bytes()


class Bench(Protocol):
    def __call__(self, *words: str | Path) -> dict[str, Any]: ...


@pytest.fixture
def bench(loaded: Loaded, succeed: Succeed) -> Bench:
    """Runs `rlway bench --json` against that server, over a few connections and for a moment."""

    def run(*words: str | Path) -> dict[str, Any]:
        usual = () if "--robots" in words else ("--connections", "3")
        duration = () if "--duration-s" in words else ("--duration-s", "0.1")
        said = succeed("bench", "--url", loaded.server.url, *usual, *duration, "--json", *words)
        values: dict[str, Any] = json.loads(said)
        return values

    return run
