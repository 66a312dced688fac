"""Callers that meet in one batch, one queue or on one thread do not feel each other."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_serve.messages.call import Call, ExpressCall
from rlway_serve.messages.response import Response
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.scheduling.express import EXPRESS_RUN_CALLS
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import gaussian_policy
from tests.callers import Receiving
from tests.servers import LANES, OCTETS, Server, Wire, act_request, read_metrics, wait_until

SLOW = "/v1/policies/slow/act"
SLOW_BATCH = 5_000
SLOW_ROWS = np.zeros((SLOW_BATCH, 4), "<f4").tobytes()  # some tenths of a second on the thread
ROW = [0.0, 0.0, 0.0, 0.0]
GOOD: dict[str, Any] = {"observation": [1, 0, 0, 0]}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"observation": [1, float("nan"), 3, 4]}, "observation[1]"),
    ({"observation": [1, 2, 1e39, 4]}, "observation[2]"),
    ({"observations": [[1, 2, 3, 4], [1, 2, 3, -1e39]]}, "observations[1][3]"),
]


@pytest.mark.parametrize(("bad", "path"), BAD, ids=["NaN", "overflow", "overflow in a batch"])
def test_one_bad_caller_does_not_spoil_a_batch(linear: Server, bad: dict[str, Any], path: str) -> None:
    """Of requests that arrive in one packet, and so run together, only the bad one is refused."""
    requests: list[dict[str, Any]] = [GOOD] * 5 + [bad] + [{"observations": [[-1, 0, 0, 0]] * 3}] + [GOOD] * 5
    with linear.connect() as wire:
        wire.send(b"".join(act_request(body) for body in requests))
        answers = [wire.answer() for _ in requests]
    assert [answer.status for answer in answers] == [200] * 5 + [422] + [200] * 6
    assert answers[5].json["errors"][0]["path"] == path
    assert [answers[i].json["action"] for i in (0, 4, 7, 11)] == [0] * 4
    assert answers[6].json["actions"] == [1, 1, 1]


def test_a_raw_nan_does_not_spoil_a_batch(linear: Server) -> None:
    """Raw tensors join the batches of JSON requests, and their faults stay theirs."""
    bad = act_request(np.array([1, np.nan, 0, 0], "<f4").tobytes(), media_type=OCTETS)
    with linear.connect() as wire:
        wire.send(act_request(GOOD) + bad + act_request(GOOD))
        assert [wire.answer().status for _ in range(3)] == [200, 422, 200]


def test_a_batch_keeps_everyones_options_apart(linear: Server) -> None:
    """Seeds, exploration and outputs of one request are not those of its neighbours."""
    sampled: dict[str, Any] = {"observations": [ROW] * 32, "explore": {"epsilon": 1.0}, "seed": 5}
    alone = linear.ask(act_request(sampled)).json
    requests: list[dict[str, Any]] = [
        GOOD,
        sampled,
        {"observation": [-1, 0, 0, 0], "outputs": ["q_values"]},
        sampled | {"seed": 6},
        GOOD,
    ]
    with linear.connect() as wire:
        wire.send(b"".join(act_request(body) for body in requests))
        answers = [wire.answer().json for _ in requests]
    assert answers[1] == alone
    assert answers[3] != alone
    assert answers[0] == answers[4] == {"action": 0, "version": 1}
    assert answers[2]["action"] == 1
    np.testing.assert_allclose(answers[2]["outputs"]["q_values"], [-0.9, 1.0], rtol=1e-5)


def test_many_callers_at_once_each_get_their_own_answer(linear: Server) -> None:
    """Eight connections by either lane, good and bad mixed: nobody gets anybody else's answer."""

    def converse(i: int) -> None:
        generator = np.random.default_rng(i)
        with linear.connect() as wire:
            for turn in range(40):
                action, lane = int(generator.integers(2)), LANES[int(generator.integers(3))]
                if (turn + i) % 8 == 0:
                    wire.send(act_request(BAD[turn % 3][0], lane=lane))
                    assert wire.answer().json["errors"][0]["path"] == BAD[turn % 3][1]
                else:
                    wire.send(act_request({"observation": [1 - 2 * action, 0, 0, 0]}, lane=lane))
                    assert wire.answer().json == {"action": action, "version": 1}

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(converse, range(8)))


def test_batches_larger_than_one_run_keep_their_order(linear: Server) -> None:
    """More rows than `--max-batch` in one request, and around it others."""
    actions = np.random.default_rng(0).integers(2, size=3000)
    rows = np.zeros((3000, 4))
    rows[:, 0] = 1 - 2 * actions
    with linear.connect() as wire:
        wire.send(act_request(GOOD) + act_request({"observations": rows.tolist()}) + act_request(GOOD))
        assert wire.answer().json["action"] == 0
        assert wire.answer().json["actions"] == actions.tolist()
        assert wire.answer().json["action"] == 0


def start_slow_batch(server: Server, wire: Wire) -> None:
    """Has the slow policy's thread at work, and one more request waiting behind it on the same connection."""
    wire.send(act_request(SLOW_ROWS, path=SLOW, media_type=OCTETS) + act_request({"observation": ROW}, path=SLOW))
    wait_until(lambda: read_metrics(server)["rlway_queue_rows", "slow", "1"] == 1, "the second request to wait")


def test_a_long_run_does_not_hold_up_the_others(several: Server) -> None:
    """While one policy computes on its thread, other policies act and the probes answer."""
    with several.connect() as patient, several.connect() as quick:
        start_slow_batch(several, patient)
        quick.send(act_request(GOOD))
        assert quick.answer().json["action"] == 0
        assert read_metrics(several)["rlway_queue_rows", "slow", "1"] == 1  # it still computes
        assert len(patient.answer().body) == SLOW_BATCH * 8
        assert patient.answer().status == 200


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_a_deadline_that_passes_in_the_queue_is_missed(several: Server, lane: str) -> None:
    """A request that waited too long behind another is 504, and does not run."""
    with several.connect() as patient, several.connect() as hasty:
        start_slow_batch(several, patient)
        hasty.send(act_request({"observation": ROW, "deadline_ms": 1}, path=SLOW, lane=lane))
        assert hasty.answer().status == 504
        patient.answer()
        assert patient.answer().status == 200


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_a_caller_that_leaves_the_queue_holds_up_nobody(several: Server, lane: str) -> None:
    """Those who disconnect while they wait, or while their batch runs, are forgotten."""
    logged_before = several.log.stat().st_size
    with several.connect() as running, several.connect() as waiting:
        start_slow_batch(several, running)
        waiting.send(act_request({"observation": ROW}, path=SLOW, lane=lane))
        wait_until(lambda: read_metrics(several)["rlway_queue_rows", "slow", "1"] == 2, "the third request to wait")
    answer = several.ask(act_request({"observation": ROW}, path=SLOW))
    assert json.loads(answer.body)["version"] == 1
    assert b"Traceback" not in several.log.read_bytes()[logged_before:]


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_a_half_closed_peer_is_answered_after_a_long_run(several: Server, lane: str) -> None:
    """Also when the answer takes its time, a client that has only stopped sending gets it."""
    with several.connect() as wire:
        wire.send(act_request(SLOW_ROWS, path=SLOW, media_type=OCTETS, lane=lane))
        wire.half_close()
        assert len(wire.answer().body) == SLOW_BATCH * 8
        assert wire.rest() == b""


def test_an_action_that_is_not_finite_is_its_callers_alone(several: Server) -> None:
    """Observations so large that the policy overflows get 422, and the others of their batch their actions."""
    path = "/v1/policies/brittle/act"
    huge, fine = {"observation": [1e10, 0, 0, 0]}, {"observation": [0.1, 0, 0, 0]}
    with several.connect() as wire:
        wire.send(b"".join(act_request(body, path=path) for body in (fine, huge, fine)))
        answers = [wire.answer() for _ in range(3)]
    assert [answers[0].status, answers[2].status] == [200, 200]
    assert answers[1].status == 422


def test_a_large_batch_with_one_fault_is_refused_by_its_path(linear: Server) -> None:
    """Among 4,000 rows, the one with the fault is named."""
    rows: list[list[Any]] = [[0, 0, 0, 0] for _ in range(4000)]
    rows[3777][2] = "x"
    answer = linear.ask(act_request({"observations": rows}))
    assert answer.status == 422
    assert [fault["path"] for fault in answer.json["errors"]] == ["observations[3777][2]"]


def test_a_culprit_does_not_cost_the_others_runs_of_their_own(tmp_path: Path) -> None:
    """However many share its batch: one run fails, and one is for the others."""
    bundle = gaussian_policy(tmp_path / "models", brittle=True)
    version = LoadedVersion(bundle, (), Settings(models=Path()), Metrics())
    runs: list[int] = []
    run = version.runtime.run

    def counted(inputs: Arrays, outputs: Sequence[str]) -> list[AnyArray]:
        runs.append(len(inputs["observation"]))
        return run(inputs, outputs)

    version.runtime.run = counted  # type: ignore[method-assign]
    statuses: list[int] = []

    async def ask() -> None:
        for i in range(500):
            row = [1e10 if i in (7, 400) else 0.5, 0.0, 0.0, 0.0]
            version.batcher.submit(Call(row, 1, Receiving(lambda response: statuses.append(response.status))))
        while len(statuses) < 500:
            await asyncio.sleep(0)

    asyncio.run(ask())
    version.batcher.close()
    assert [i for i, status in enumerate(statuses) if status != 200] == [7, 400]
    assert runs == [500, 498]


class OneThing(ExpressCall):
    """A connection that waits for one action."""

    def __init__(self, row: list[float], answered: list[int]) -> None:
        self.arrived_s, self.deadline_s, self.raw, self.wire = time.perf_counter(), None, False, None
        self.observations = json.dumps({"observation": row}).encode()
        self._answered = answered

    @property
    def abandoned(self) -> bool:
        return False

    def submit_again(self) -> None:
        raise AssertionError("it is plain")

    def answer(self, response: Response) -> None:
        self._answered.append(response.status)


def test_a_policy_runs_in_one_place_at_a_time(tmp_path: Path) -> None:
    """While a run is on the thread, and hundreds of connections ask: their batch waits for it.

    With so many of them it would else run on the loop at once, without waiting for its next turn.
    """
    bundle = gaussian_policy(tmp_path)
    version = LoadedVersion(bundle, (), Settings(models=Path()), Metrics())
    batcher, run = version.batcher, version.runtime.run
    may_end, begun = threading.Event(), threading.Event()
    places: list[tuple[str, bool]] = []  # of each run, and whether another was going on

    def watched(inputs: Arrays, outputs: Sequence[str]) -> list[AnyArray]:
        on_loop = threading.current_thread() is threading.main_thread()
        places.append(("loop" if on_loop else "thread", begun.is_set() and not may_end.is_set()))
        if not on_loop:
            begun.set()
            may_end.wait(120)
        return run(inputs, outputs)

    version.runtime.run = watched  # type: ignore[method-assign]  # the real one, and who asks it
    rows = batcher._inline_rows + 1
    large: list[Response] = []
    small: list[int] = []

    async def ask() -> None:
        batcher.submit(Call(np.zeros((rows, 4)), rows, Receiving(large.append), batched=True))
        while not begun.is_set():
            await asyncio.sleep(0)
        assert all(batcher.express.submit(OneThing(ROW, small), 40) for _ in range(EXPRESS_RUN_CALLS + 50))
        may_end.set()
        while len(small) < EXPRESS_RUN_CALLS + 50 or not large:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(ask(), 120))
    batcher.close()
    assert set(small) == {200}
    assert large[0].status == 200
    assert places[0] == ("thread", False)
    assert not any(beside for _, beside in places)
