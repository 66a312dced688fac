"""A server to ask, and both clients behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import pytest

from rlway_client import AsyncPolicyClient, PolicyClient, Reply
from tests.bundles import gaussian_policy, linear_policy
from tests.servers import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A discrete policy, the default, and a continuous one."""
    models = tmp_path_factory.mktemp("clients") / "models"
    linear_policy(models)
    gaussian_policy(models)
    with running_server(models, models.with_name("log"), "--default", "linear") as running:
        yield running


class Awaited:
    """An AsyncPolicyClient for tests that wait: the same methods, each run to its end on one event loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncPolicyClient(*args, **options)

    def act(self, observation: Any, **options: Any) -> Any:
        return self._runner.run(self._client.act(observation, **options))

    def act_batch(self, observations: Any, **options: Any) -> Any:
        return self._runner.run(self._client.act_batch(observations, **options))

    def ask(self, observations: Any, **options: Any) -> Reply:
        return self._runner.run(self._client.ask(observations, **options))

    def describe(self) -> dict[str, Any]:
        return self._runner.run(self._client.describe())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


AnyClient = PolicyClient | Awaited
Connect = Callable[..., AnyClient]


@pytest.fixture(params=[PolicyClient, Awaited], ids=["PolicyClient", "AsyncPolicyClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of either kind, and closes them at the end."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(request.param(*args, **options))
