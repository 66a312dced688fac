"""Calls over gRPC are kept for a few turns of the loop, so that they reach the policy together."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rlway_serve.transport.grpc.calls import GrpcCall
from rlway_serve.transport.grpc.gather import ALONE_S, MOST_CALLS, QUIET_TURNS, Gatherer

ROUTE: Any = None


class Asked:
    """An endpoint that notes in which turn of the loop each call came."""

    def __init__(self) -> None:
        self.turn = 0
        self.calls: list[tuple[int, str]] = []

    def ask(self, _route: Any, _authorization: Any, _headers: Any, _message: Any, call: GrpcCall) -> None:
        self.calls.append((self.turn, call.connection))


async def turns(asked: Asked, count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
        asked.turn += 1


def give(gatherer: Gatherer, name: str, arrived_s: float) -> None:
    gatherer.ask(ROUTE, None, {}, None, GrpcCall(name, arrived_s))


def test_a_call_that_comes_alone_does_not_wait() -> None:
    """With no other in flight, or with others that have been silent."""

    async def run() -> None:
        asked = Asked()
        gatherer: Any = Gatherer(asked)  # type: ignore[arg-type]  # it only asks
        gatherer.in_flight = 1
        give(gatherer, "a", 1.0)
        give(gatherer, "b", 1.0)
        gatherer.in_flight = 100
        give(gatherer, "c", 1.0 + 2 * ALONE_S)
        assert asked.calls == [(0, "a"), (0, "b"), (0, "c")]

    asyncio.run(run())


def test_calls_that_come_one_after_the_other_go_on_together() -> None:
    """In their order, once the loop has been quiet for a while."""

    async def run() -> None:
        asked = Asked()
        gatherer: Any = Gatherer(asked)  # type: ignore[arg-type]  # it only asks
        gatherer.in_flight = 4
        for name in ("a", "b", "c", "d"):
            give(gatherer, name, 0.0)
            await turns(asked, 2)
            assert asked.calls == []
        while not asked.calls:
            await turns(asked, 1)
        assert len({turn for turn, _ in asked.calls}) == 1
        assert [name for _, name in asked.calls] == ["a", "b", "c", "d"]
        assert asked.turn >= QUIET_TURNS
        gatherer.in_flight = 1
        give(gatherer, "e", 0.0)  # several came together before it, so it waits; the next one does not
        assert len(asked.calls) == 4
        while len(asked.calls) < 5:
            await turns(asked, 1)
        give(gatherer, "f", 0.0)
        assert len(asked.calls) == 6

    asyncio.run(run())


def test_a_busy_loop_keeps_no_call_for_long() -> None:
    """Neither for more than a few milliseconds nor behind more than MOST_CALLS others."""

    async def run() -> None:
        asked = Asked()
        gatherer: Any = Gatherer(asked)  # type: ignore[arg-type]  # it only asks
        gatherer.in_flight = 2
        give(gatherer, "a", 0.0)
        while not asked.calls:
            time.sleep(0.0005)  # every turn is busy
            await turns(asked, 1)
        for i in range(MOST_CALLS):
            give(gatherer, str(i), 0.0)
        await turns(asked, 2)
        assert len(asked.calls) == MOST_CALLS + 1

    asyncio.run(run())
