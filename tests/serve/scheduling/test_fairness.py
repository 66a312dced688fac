"""Nobody gains by asking for much at once: connections take turns at a busy policy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import QueueFull
from rlway_serve.messages.call import Call
from rlway_serve.messages.response import Response
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import linear_policy
from tests.callers import Receiving

MAX_BATCH, CAPACITY = 8, 200


def caller_of(name: str, answered: list[str], abandoned: bool = False) -> Receiving:
    """One connection's; the answers of all go where they can be seen in order."""
    return Receiving(lambda response: answered.append(f"{name} {response.status}"), name, abandoned)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return linear_policy(tmp_path_factory.mktemp("fairness") / "models")


@pytest.fixture
def policy(bundle: Bundle) -> Iterator[LoadedVersion]:
    """With small batches and a small queue."""
    settings = Settings(models=Path(), max_batch=MAX_BATCH, queue_capacity=CAPACITY)
    policy = LoadedVersion(bundle, (), settings, Metrics())
    yield policy
    policy.batcher.close()


async def drain(policy: LoadedVersion) -> None:
    while policy.batcher.queued_rows:
        await asyncio.sleep(0)


def run(policy: LoadedVersion, calls: list[Call]) -> None:
    """Submits all in one turn of the loop, and returns when none waits."""

    async def submit_and_wait() -> None:
        for call in calls:
            policy.batcher.submit(call)
        await drain(policy)

    asyncio.run(submit_and_wait())


def one(caller: Receiving) -> Call:
    return Call([0.0, 0.0, 0.0, 0.0], 1, caller)


def many(caller: Receiving, rows: int) -> Call:
    return Call(np.zeros((rows, 4), np.float32), rows, caller, batched=True)


def test_a_greedy_connection_does_not_delay_a_modest_one(policy: LoadedVersion) -> None:
    """Behind sixty requests of another connection, one request is answered by the first batch."""
    answered: list[str] = []
    greedy, modest = caller_of("greedy", answered), caller_of("modest", answered)
    run(policy, [one(greedy) for _ in range(60)] + [one(modest)])
    assert answered.index("modest 200") < MAX_BATCH
    assert len(answered) == 61


def test_greedy_connections_share_alike(policy: LoadedVersion) -> None:
    """Every batch has as many calls of the one as of the other, until one has no more."""
    answered: list[str] = []
    first, second = caller_of("first", answered), caller_of("second", answered)
    run(policy, [one(first) for _ in range(40)] + [one(second) for _ in range(20)])
    for start in range(0, 40, MAX_BATCH):
        assert answered[start : start + MAX_BATCH].count("second 200") == MAX_BATCH // 2
    assert answered[40:] == ["first 200"] * 20


def test_answers_to_one_connection_keep_their_order(policy: LoadedVersion) -> None:
    """Turns are between connections, not within them."""
    answered: list[str] = []
    callers = {name: caller_of(name, answered) for name in "ab"}
    calls = [many(callers["a"], rows) for rows in (1, 5, 20, 2, 8, 1)] + [one(callers["b"]) for _ in range(20)]
    order: list[int] = []

    def note(number: int, response: Response) -> None:
        assert response.status == 200
        order.append(number)

    for i, call in enumerate(calls):
        call.caller = Receiving(partial(note, i), call.connection)
    run(policy, calls)
    assert [i for i in order if i < 6] == list(range(6))
    assert [i for i in order if i >= 6] == list(range(6, 26))


def test_large_calls_alternate_with_small_ones(policy: LoadedVersion) -> None:
    """Each of three large calls of one connection lets the others' batch go first or in between."""
    answered: list[str] = []
    large, small = caller_of("large", answered), [caller_of(f"small{i}", answered) for i in range(4)]
    run(policy, [many(large, 30) for _ in range(3)] + [one(caller) for caller in small for _ in range(2)])
    last_small = max(i for i, line in enumerate(answered) if line.startswith("small"))
    assert answered[last_small:].count("large 200") == 1


def test_large_calls_leave_the_queue_to_small_ones(policy: LoadedVersion) -> None:
    """A queue that holds all the large calls that it may still takes small ones, and the reverse."""
    answered: list[str] = []
    large, small = caller_of("large", answered), [caller_of(f"small{i}", answered) for i in range(CAPACITY)]

    async def fill() -> None:
        policy.batcher.submit(many(large, CAPACITY))
        with pytest.raises(QueueFull):
            policy.batcher.submit(many(large, MAX_BATCH + 1))
        for caller in small:
            policy.batcher.submit(one(caller))
        with pytest.raises(QueueFull):
            policy.batcher.submit(one(caller_of("late", answered)))
        await drain(policy)
        policy.batcher.submit(many(large, CAPACITY))  # all that was taken counts no more
        await drain(policy)

    asyncio.run(fill())
    assert sum(line.startswith("small") for line in answered) == CAPACITY
    assert answered.count("large 200") == 2


@pytest.mark.parametrize("crowd", [1, 2, 5])
def test_greedy_connections_leave_room_in_the_queue(policy: LoadedVersion, crowd: int) -> None:
    """However many ask for all they can, half of the queue is left to those who ask for little."""
    answered: list[str] = []
    greedy = [caller_of(f"greedy{i}", answered) for i in range(crowd)]
    modest = [caller_of(f"modest{i}", answered) for i in range(CAPACITY // 4)]

    async def crowd_in() -> None:
        for caller in greedy * CAPACITY:
            with suppress(QueueFull):
                policy.batcher.submit(one(caller))
        assert policy.batcher.queued_rows <= CAPACITY // 2 + crowd
        for caller in modest:
            policy.batcher.submit(one(caller))
        await drain(policy)

    asyncio.run(crowd_in())
    counts = Counter(line.split()[0] for line in answered)
    assert all(counts[str(caller.connection)] == 1 for caller in modest)
    assert all(counts[str(caller.connection)] >= CAPACITY // 2 // crowd - 1 for caller in greedy)


def test_calls_of_those_who_left_do_not_run(policy: LoadedVersion) -> None:
    """A busy policy computes nothing for connections that are gone."""
    answered: list[str] = []
    gone, here = caller_of("gone", answered, abandoned=True), caller_of("here", answered)
    run(policy, [one(gone) for _ in range(50)] + [one(here) for _ in range(10)])
    assert answered.count("here 200") == 10
    assert policy.metrics.actions == 10
