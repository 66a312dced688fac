"""The compiled driver, a server with policies of every kind, and a network between them that can be broken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.meaning import Meaning, TensorMeaning
from tests.bundles import gaussian_policy, linear_policy, robot_policy
from tests.conftest import made_once
from tests.cpp.compiled import Driver, make_driver, make_policies, named
from tests.middleman import Middleman, middleman
from tests.replaying import guarded
from tests.servers import Server, running_server


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`linear`, the default, in two versions; `summing`, with state; `gaussian`; `guarded`; `robot`; a long name."""

    def make(models: Path) -> None:
        make_policies(models)
        linear_policy(models, "long-name-of-a-linear-policy")
        gaussian_policy(models)
        limits = ActionLimits(minimum=-0.5, maximum=0.5, safe=0.0)
        guarded(gaussian_policy(models, "guarded"), Guard(schema_version=1, actions={"action": limits}))
        named(robot_policy(models), Meaning(tensors={"joints_arm": TensorMeaning(names=["hip", "knee", "toe"])}))

    return made_once(tmp_path_factory, "cpp-models", make)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """The driver, compiled once."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ on PATH; Debian's package is called g++")
    return made_once(tmp_path_factory, "cpp-driver", lambda folder: make_driver(models, folder)) / "driver"


@pytest.fixture
def driver(program: Path) -> Iterator[Driver]:
    with Driver(program) as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("cpp") / "log"
    with running_server(models, log, "--default", "linear") as running:
        yield running


@pytest.fixture
def between(server: Server) -> Iterator[Middleman]:
    with middleman(server.host, server.port) as network:
        yield network
