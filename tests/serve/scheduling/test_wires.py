"""Requests of several protocols in one batch: each is answered in its own, and none can fail the others' answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import ActionLimits, Guard, Violations
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.messages.call import AnyCall, Call, ExpressCall, PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.messages.wire import Wire
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import linear_policy
from tests.replaying import guarded

ROW = np.array([1, 0, 0, 0], np.float32)  # its action is 0


class Telling:
    """A protocol whose answers are words."""

    def __init__(self, word: str) -> None:
        self.word = word

    def write_actions(self, actions: AnyArray) -> list[Response]:
        return [Response(200, b"text/plain", f"{self.word} {action}".encode()) for action in actions.tolist()]

    def write_guarded(self, action: AnyArray, violated: Violations) -> Response:
        return Response(200, b"text/plain", f"{self.word} {action[0]} {violated}".encode())

    def write(self, results: Arrays, violated: Violations) -> Response:
        action = results["action"]
        return self.write_guarded(action, violated) if violated else self.write_actions(action)[0]

    def refuse(self, error: RlwayError) -> Response:
        return Response(error.http, b"text/plain", f"{self.word} {type(error).__name__}".encode())


class Failing(Telling):
    """A protocol with a bug: it cannot write an answer."""

    def write_actions(self, actions: AnyArray) -> list[Response]:
        raise TypeError(f"{len(actions)} actions cannot be written")


class OneAction(PlainCall, gc=False, eq=False):
    """A plain request."""

    response: Response | None = None

    def answer(self, response: Response) -> None:
        assert self.response is None
        self.response = response


class OneConnection(ExpressCall):
    """A connection that waits for an action."""

    def __init__(self, wire: Wire | None, row: AnyArray = ROW) -> None:
        self.arrived_s, self.deadline_s, self.raw, self.wire = time.perf_counter(), None, True, wire
        self.observations: Any = row.tobytes()
        self.response: Response | None = None

    @property
    def abandoned(self) -> bool:
        return False

    def submit_again(self) -> None:
        raise AssertionError("it is plain")

    def answer(self, response: Response) -> None:
        assert self.response is None
        self.response = response


@pytest.fixture
def version(tmp_path: Path) -> Iterator[LoadedVersion]:
    loaded = LoadedVersion(linear_policy(tmp_path), (), Settings(models=Path()), Metrics())
    yield loaded
    loaded.batcher.close()


def plain(wire: Wire | None, raw: bool) -> OneAction:
    row: Any = ROW.tobytes() if raw else ROW.tolist()
    return OneAction(object(), time.perf_counter(), observations=row, raw=raw, wire=wire)


def answer_all(version: LoadedVersion, calls: list[AnyCall]) -> list[bytes]:
    """The answers to calls that are submitted at once."""

    async def ask() -> None:
        for call in calls:
            if isinstance(call, ExpressCall):
                assert version.batcher.express.submit_octets(call, ROW.nbytes)
            elif isinstance(call, PlainCall):
                version.batcher.submit_plain(call)
            else:
                version.batcher.submit(call)
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(ask())
    return [response_to(call).body for call in calls]


def response_to(call: Any) -> Response:
    response = (call.caller if hasattr(call, "caller") else call).response
    assert isinstance(response, Response), "the call was lost"
    return response


@pytest.mark.parametrize("raw", [True, False])
def test_each_call_of_a_batch_is_answered_in_its_protocol(version: LoadedVersion, raw: bool) -> None:
    """In their order, whichever run together; octets are answered as octets on the native wire only."""
    one, two = Telling("one"), Telling("two")
    native = np.int64(0).tobytes() if raw else b'{"action":0,"version":1}'
    wires: list[Wire | None] = [one, None, two, one, None]
    expected = [b"one 0", native, b"two 0", b"one 0", native]
    assert answer_all(version, [plain(wire, raw) for wire in wires]) == expected
    assert answer_all(version, [plain(one, raw)]) == [b"one 0"]


@pytest.mark.parametrize("raw", [True, False])
def test_a_protocol_that_cannot_write_an_answer_fails_nobody_else(
    version: LoadedVersion, raw: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own caller gets a 500 in its words, the log the cause; the queue goes on."""
    good, bad = Telling("good"), Failing("bad")
    wires: list[Wire | None] = [good, bad, None, good]
    answers = answer_all(version, [plain(wire, raw) for wire in wires])
    assert [answers[i] for i in (0, 1, 3)] == [b"good 0", b"bad InternalError", b"good 0"]
    assert b"action" in answers[2] or raw
    assert "actions cannot be written" in caplog.text
    assert answer_all(version, [plain(good, raw)]) == [b"good 0"]


def test_an_express_call_is_answered_though_its_protocol_cannot_write(version: LoadedVersion) -> None:
    """Once, as any other."""
    assert answer_all(version, [OneConnection(Failing("bad"))]) == [b"bad InternalError"]
    assert answer_all(version, [OneConnection(Telling("good"))]) == [b"good 0"]


def test_a_reply_that_cannot_be_written_fails_nobody_else(version: LoadedVersion) -> None:
    """Of requests with options, which are answered one by one."""
    calls: list[AnyCall] = []
    for word, kind in (("good", Telling), ("bad", Failing), ("good", Telling)):
        call = Call(ROW[np.newaxis], 1, plain(None, raw=True), batched=True, outputs=("q_values",))
        call.reply = kind(word)
        calls.append(call)
    assert answer_all(version, calls) == [b"good 0", b"bad InternalError", b"good 0"]


def test_express_calls_that_a_guard_refuses_are_counted_as_refused(tmp_path: Path) -> None:
    """Though the first of the batch is not one of them."""
    guard = Guard(schema_version=1, actions={"action": ActionLimits(maximum=0, safe=0)}, out_of_range="refuse")
    bundle = guarded(linear_policy(tmp_path), guard)
    version = LoadedVersion(bundle, (), Settings(models=Path()), Metrics())
    answers = answer_all(version, [OneConnection(None, row) for row in (ROW, -ROW, ROW)])
    version.batcher.close()
    assert [json.loads(body)["status"] if b"status" in body else body for body in answers] == [
        np.int64(0).tobytes(),
        422,
        np.int64(0).tobytes(),
    ]
    assert (version.metrics.requests, version.metrics.actions) == ({200: 2, 422: 1}, 2)
