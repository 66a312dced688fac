"""After a long run, callers that ask again at once share the next run with those that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.messages.call import Call
from rlway_serve.messages.response import Response
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.scheduling import rejoin
from rlway_serve.scheduling.rejoin import MOST_SKIPPED, Rejoin
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import gaussian_policy

ROBOTS, STEPS, TURNS = 8, 5, 20
PATIENCE_S = 30.0


def with_rejoin(test: Callable[[Rejoin, asyncio.Event], Awaitable[None]]) -> None:
    async def run() -> None:
        started = asyncio.Event()
        await asyncio.wait_for(test(Rejoin(started.set), started), PATIENCE_S)

    asyncio.run(run())


def test_the_next_run_starts_once_all_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three were answered while two waited: with the fifth call, and not before."""
    monkeypatch.setattr(rejoin, "MOST_S", PATIENCE_S)

    async def test(wait: Rejoin, started: asyncio.Event) -> None:
        assert wait.begin(answered=3, waiting=2, run_s=1e9)
        for waiting in (3, 4):
            wait.arrived(waiting)
            assert not started.is_set()
        wait.arrived(5)
        assert started.is_set()

    with_rejoin(test)


def test_nobody_waits_longer_than_the_moment() -> None:
    """Two callers have gone: a tenth of the run later the others go on without them."""

    async def test(wait: Rejoin, started: asyncio.Event) -> None:
        assert wait.begin(answered=3, waiting=2, run_s=0.02)
        wait.arrived(3)
        assert not started.is_set()
        await started.wait()

    with_rejoin(test)


def test_short_runs_wait_for_nobody() -> None:
    """Nearly all policies take less than a millisecond."""

    async def test(wait: Rejoin, started: asyncio.Event) -> None:
        assert not wait.begin(answered=3, waiting=2, run_s=0.001)
        assert not started.is_set()

    with_rejoin(test)


def test_moments_in_which_nobody_comes_are_left_out() -> None:
    """At first one, then two, four, …: callers of an open loop do not come back. One who does ends that."""

    async def moment(wait: Rejoin, started: asyncio.Event, came: bool) -> int:
        """One moment, and how many begin in vain until the next."""
        if came:
            wait.arrived(1)
        await started.wait()
        started.clear()
        left_out = 0
        while not wait.begin(answered=9, waiting=0, run_s=0.003):
            left_out += 1
        return left_out

    async def test(wait: Rejoin, started: asyncio.Event) -> None:
        assert wait.begin(answered=9, waiting=0, run_s=0.003)
        assert [await moment(wait, started, came=False) for _ in range(6)] == [1, 2, 4, 8, 16, MOST_SKIPPED]
        assert await moment(wait, started, came=True) == 0

    with_rejoin(test)


def test_robots_that_ask_again_share_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first comes alone; from then on all of them are in each run, though they come back some turns later."""
    monkeypatch.setattr(rejoin, "LONG_S", 0.0)
    monkeypatch.setattr(rejoin, "SHARE", 1e9)
    monkeypatch.setattr(rejoin, "MOST_S", PATIENCE_S)
    version = LoadedVersion(gaussian_policy(tmp_path), (), Settings(models=Path()), Metrics())
    version.batcher._inline_rows = 0  # as of a policy with long runs
    run, sizes = version.runtime.run, []

    def watched(inputs: Arrays, outputs: Sequence[str]) -> list[AnyArray]:
        sizes.append(len(inputs["observation"]))
        return run(inputs, outputs)

    version.runtime.run = watched  # type: ignore[method-assign]  # the real one, and who asks it

    async def ask() -> None:
        robots = [Robot(version, STEPS + 1), *(Robot(version, STEPS) for _ in range(ROBOTS - 1))]
        robots[0].ask()
        await asyncio.sleep(0)
        for robot in robots[1:]:
            robot.ask()
        await asyncio.gather(*(robot.done for robot in robots))

    asyncio.run(asyncio.wait_for(ask(), PATIENCE_S))
    version.batcher.close()
    assert sizes[-STEPS:] == [ROBOTS] * STEPS, sizes


class Robot:
    """A caller in a closed loop, whose next request comes some turns of the loop after its answer."""

    abandoned = False

    def __init__(self, version: LoadedVersion, steps: int) -> None:
        self._version = version
        self._left = steps
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def connection(self) -> object:
        return self

    def ask(self, turns: int = 0) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self.ask, turns - 1)
            return
        self._version.batcher.submit(Call(np.zeros((1, 4)), 1, self, batched=True))

    def answer(self, response: Response) -> None:
        assert response.status == 200
        self._left -= 1
        if self._left:
            self.ask(TURNS)
        elif not self.done.done():
            self.done.set_result(None)
