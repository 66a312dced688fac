"""A server to ask, both clients with one interface, and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import pytest

from rlway_client import AsyncPolicyClient, PolicyClient, Reply
from rlway_client.cli.main import main
from rlway_client.contract.nesting import Tree
from rlway_client.remote.fallback.awaited import AwaitedFallback
from tests.bundles import gaussian_policy, linear_policy
from tests.servers import Server, running_server

FAILED, MISUSED = 1, 2


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A discrete policy, the default, and a continuous one."""
    models = tmp_path_factory.mktemp("clients") / "models"
    linear_policy(models)
    gaussian_policy(models)
    with running_server(models, models.with_name("log"), "--default", "linear") as running:
        yield running


class Awaited:
    """An AsyncPolicyClient with the methods of PolicyClient, each of which runs to its end on one event loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncPolicyClient(*args, **options)

    def act(self, observation: Any, **options: Any) -> Any:
        return self._runner.run(self._client.act(observation, **options))

    def act_batch(self, observations: Any, **options: Any) -> Any:
        return self._runner.run(self._client.act_batch(observations, **options))

    def ask(self, observations: Any, **options: Any) -> Reply:
        return self._runner.run(self._client.ask(observations, **options))

    def reset(self) -> None:
        self._client.reset()

    def wait_for_server(self, timeout_s: float) -> None:
        assert self._client.fallback is not None
        self._runner.run(self._client.fallback.wait_for_server(timeout_s))

    @property
    def fallback(self) -> AwaitedFallback | None:
        return self._client.fallback

    @property
    def tree(self) -> Tree | None:
        return self._client.tree

    def describe(self, version: int | None = None) -> dict[str, Any]:
        return self._runner.run(self._client.describe(version))

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


class Rlway(Protocol):
    def __call__(self, *words: str | Path) -> Finished: ...


class Succeed(Protocol):
    def __call__(self, *words: str | Path) -> str: ...


class Fail(Protocol):
    def __call__(self, *words: str | Path, status: int = FAILED) -> str: ...


class Finished(NamedTuple):
    """The outcome of a command."""

    status: object
    stdout: str
    stderr: str


@pytest.fixture
def rlway(capfd: pytest.CaptureFixture[str]) -> Rlway:
    """Runs a command line in this process, which saves half a second of imports each time."""

    def run(*words: str | Path) -> Finished:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        return Finished(caught.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def succeed(rlway: Rlway) -> Succeed:
    """Runs a command that has to succeed, and gives its output."""

    def run(*words: str | Path) -> str:
        done = rlway(*words)
        assert (done.status, done.stderr) == (0, ""), done
        return done.stdout

    return run


@pytest.fixture
def fail(rlway: Rlway) -> Fail:
    """Runs a command that has to fail, and gives its sentence."""

    def run(*words: str | Path, status: int = FAILED) -> str:
        done = rlway(*words)
        assert (done.status, done.stdout) == (status, ""), done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("rlway: ")
        assert "in a way that it should not" not in done.stderr
        return done.stderr

    return run
