"""The two loops over servers that stall, refuse, and close their connections."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from rlway_client.contract.errors import ServerUnreachable
from rlway_client.load import event_loop
from rlway_client.load.arrivals import Arrivals
from rlway_client.load.load_test import LoadTest
from rlway_client.load.loops import ClosedLoop, OpenLoop, Tally
from rlway_client.load.slot import Slot
from tests.clients.load.stalling import OK, Bare, Stalling, stalling

TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 9\r\n\r\nslow down"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
EVERY_S = 0.01


def slots_to(server: Stalling, connections: int, timeout_s: float = 60.0) -> list[Slot]:
    dialect = Bare(server.port)
    prepared = [dialect.request(i, None) for i in range(dialect.count)]
    return [Slot(dialect, prepared, i, "", timeout_s) for i in range(connections)]


async def opened(slots: list[Slot]) -> list[Slot]:
    for slot in slots:
        await slot.connect()
    return slots


def due_while_stalled(server: Stalling, requests: int) -> Iterator[float]:
    """Times 10 ms apart. The server stalls from the start until the last one has been drawn."""
    server.gate.clear()
    for i in range(requests):
        yield i * EVERY_S
    server.gate.set()


def test_the_latency_of_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """A server stalls for 190 ms: with one connection, the request that was due i·10 ms later waited that much less."""

    async def run() -> Tally:
        async with stalling() as server:
            tally = Tally()
            loop = OpenLoop(await opened(slots_to(server, 1)), 0.2, tally, due_while_stalled(server, 20))
            await loop.run(60.0)
            return tally

    tally = event_loop.run(run())
    assert (tally.offered, tally.succeeded, tally.faults.total) == (20, 20, 0)
    # The last request was drawn when the one before it was due, at 180 ms.
    waited_ms = sorted(point.latency_ms for point in tally.latencies.points())
    assert tally.latencies.max_ms >= 180 - 1
    for percent, i in ((10, 18), (30, 14), (50, 10), (75, 5)):
        assert tally.latencies.percentile_ms(percent) >= 180 - 10 * i - 1, waited_ms
    # Counted from when they were sent, nearly all would have been quick.
    assert tally.sent_latencies.percentile_ms(90) < tally.latencies.percentile_ms(90)


def test_requests_that_are_due_use_the_free_connections_first() -> None:
    """With as many connections as requests, each is sent while the server stalls."""

    async def run() -> tuple[int, Tally]:
        async with stalling() as server:
            tally = Tally()
            slots = await opened(slots_to(server, 5))
            await OpenLoop(slots, 0.05, tally, due_while_stalled(server, 5)).run(60.0)
            return server.seen, tally

    seen, tally = event_loop.run(run())
    assert (seen, tally.succeeded) == (5, 5)


def test_a_closed_loop_counts_from_when_a_request_was_sent() -> None:
    """A stall is one slow answer for each connection."""

    async def run() -> Tally:
        async with stalling() as server:
            tally = Tally()
            slots = await opened(slots_to(server, 3))
            server.gate.clear()
            asyncio.get_running_loop().call_later(0.2, server.gate.set)
            await ClosedLoop(slots, 0.1, tally).run(60.0)
            return tally

    tally = event_loop.run(run())
    assert tally.succeeded == tally.offered == 3
    assert tally.latencies.percentile_ms(1) >= 150


def test_an_open_loop_stops_once_too_many_are_late() -> None:
    """The rest of a trial that has failed is left out."""

    async def run() -> Tally:
        async with stalling(TOO_MANY) as server:
            tally = Tally(allowed_s=1.0)
            times = iter([i * EVERY_S for i in range(100_000)])
            await OpenLoop(await opened(slots_to(server, 1)), 1000.0, tally, times, most_late=3).run(60.0)
            return tally

    tally = event_loop.run(run())
    assert tally.stopped_early
    assert tally.late == 4
    assert tally.offered < 100


def test_refusals_are_counted_by_kind_and_the_first_is_quoted() -> None:
    """An answer that is no success is an error; its connection goes on."""

    async def run() -> tuple[Stalling, Tally]:
        async with stalling(TOO_MANY, TOO_MANY, OK, b"", OK) as server:
            tally = Tally()
            times = iter([0.0, 0.001, 0.002, 0.003, 0.004])
            await OpenLoop(await opened(slots_to(server, 1)), 0.01, tally, times).run(60.0)
            return server, tally

    server, tally = event_loop.run(run())
    assert dict(tally.faults.by_kind) == {"HTTP 429": 2, "connection lost": 1}
    assert tally.faults.first is not None
    assert tally.faults.first.sentence == "HTTP 429: slow down"
    assert tally.succeeded == 2
    assert server.connections == 2


def test_a_connection_that_the_server_closes_is_opened_again() -> None:
    """`connection: close` is no error."""

    async def run() -> tuple[Stalling, Tally]:
        async with stalling(CLOSING) as server:
            tally = Tally()
            times = iter([i * 0.001 for i in range(10)])
            await OpenLoop(await opened(slots_to(server, 1)), 0.01, tally, times).run(60.0)
            return server, tally

    server, tally = event_loop.run(run())
    assert (tally.succeeded, tally.faults.total) == (10, 0)
    assert server.connections == 10


def test_requests_without_an_answer_are_errors() -> None:
    """Both those that were sent and those that still wait for a connection when the time is over."""

    async def run() -> Tally:
        async with stalling() as server:
            tally = Tally()
            server.gate.clear()
            times = iter([0.0, 0.001, 0.002, 0.003])
            slots = await opened(slots_to(server, 1, timeout_s=0.2))
            await OpenLoop(slots, 0.01, tally, times).run(0.2)
            server.gate.set()
            return tally

    tally = event_loop.run(run())
    assert tally.succeeded == 0
    assert tally.faults.total == tally.offered == 4
    assert set(tally.faults.by_kind) <= {"no answer within 0.2 s", "no answer when the test ended"}


def test_a_server_that_refuses_all_is_named_with_its_first_words() -> None:
    """Nothing is measured then."""

    async def run() -> None:
        async with stalling(TOO_MANY) as server:
            test = LoadTest("native", Bare(server.port), [], f"http://127.0.0.1:{server.port}", 60.0, 0)
            await test.run(2, 0.1)

    with pytest.raises(ServerUnreachable, match=r"answered none of 2 requests with a success: HTTP 429: slow down\.$"):
        event_loop.run(run())


def test_a_run_tells_what_was_offered_and_achieved() -> None:
    """Of an open loop with even arrivals, exactly the requests that were due."""

    async def run() -> None:
        async with stalling() as server:
            seen: list[float] = []
            test = LoadTest("native", Bare(server.port), [], "", 60.0, 0)
            done = await test.run(
                2, 0.8, rate=50.0, arrivals=Arrivals.EVEN, watch=lambda elapsed_s, _: seen.append(elapsed_s)
            )
            assert done.due == 40
            assert done.load.rate == 50.0
            assert done.load.offered_rps == 50.0
            assert 0 < done.load.achieved_rps <= 50.0
            assert done.load.errors == done.late == 0
            assert done.load.lag_p99_ms is not None
            assert seen

    event_loop.run(run())


def test_any_event_loop_and_timer_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop's, and asyncio's own where uvloop is not installed: with its timer in place of timerfd, too."""

    async def run() -> Tally:
        async with stalling() as server:
            tally = Tally()
            times = iter([i * 0.001 for i in range(10)])
            await OpenLoop(await opened(slots_to(server, 2)), 0.01, tally, times).run(60.0)
            return tally

    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop.run(run()).succeeded == 10
    monkeypatch.setattr(sys, "platform", "other")
    assert event_loop.run(run()).succeeded == 10


def test_an_open_loop_ends_when_it_cannot_keep_its_own_schedule() -> None:
    """Requests that it cannot send would pile up in memory; answers are still read meanwhile."""

    async def run() -> Tally:
        async with stalling() as server:
            tally = Tally()
            times = iter([-2.0 if i > 1000 else 0.0 for i in range(10_000)])
            await OpenLoop(await opened(slots_to(server, 1)), 1000.0, tally, times).run(60.0)
            return tally

    tally = event_loop.run(run())
    assert tally.stopped_early
    assert tally.offered == 1001
    assert tally.succeeded > 0
