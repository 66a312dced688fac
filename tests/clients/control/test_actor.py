"""A control loop over a policy that is quick, slow, broken or replaced: an action at every tick."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client import Actor, EdgePolicy, PolicyClient
from rlway_client.contract.errors import UsageError
from tests.bundles import BIAS, WEIGHTS, linear_policy
from tests.ports import free_port, wait_for

PATIENT = {"rate_hz": 0.05, "wait": 0.9}  # a tick waits 18 s, so that a busy machine changes nothing
EAGER = {"rate_hz": 1000.0, "wait": 0.0}  # a tick never waits


class Gated:
    """Adds one to its observation, once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.seen: list[Any] = []
        self.episodes = 0

    def act(self, observation: Any, /) -> Any:
        self.seen.append(observation)
        assert self.may.wait(60)
        return observation + 1

    def reset(self) -> None:
        self.episodes += 1


class Broken:
    """Fails every second time."""

    def __init__(self) -> None:
        self.calls = 0

    def act(self, observation: Any, /) -> Any:
        self.calls += 1
        if self.calls % 2 == 0:
            raise RuntimeError("the arm is not connected")
        return observation

    def reset(self) -> None: ...


def test_a_quick_policy_answers_each_observation_in_its_own_tick(tmp_path: Path) -> None:
    """Nothing is late, dropped or starved."""
    policy = EdgePolicy(linear_policy(tmp_path).path, "model.onnx")
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    with Actor(policy, **PATIENT) as actor:
        given = [actor.step(row) for row in rows]
    assert [one.action for one in given] == (rows @ WEIGHTS + BIAS).argmax(axis=1).tolist()
    assert all(one.is_fresh and one.age_s >= 0 for one in given)
    report = actor.ticks.report()
    assert (report["total"], report["fresh"], report["dropped"], report["failed"]) == (50, 50, 0, 0)
    assert report["age_ms"]["max"] >= report["age_ms"]["p50"] > 0


def test_a_slow_policy_gets_the_newest_observation_and_blocks_nothing() -> None:
    """Ticks go on with the last action, and what waited is replaced."""
    policy = Gated()
    with Actor(policy, **EAGER) as actor:
        assert actor.step(0).action is None
        wait_for(lambda: policy.seen == [0], "the first observation")
        for observation in range(1, 10):
            assert actor.step(observation).action is None
        policy.may.set()
        wait_for(lambda: policy.seen == [0, 9], "the newest observation")
        wait_for(lambda: actor.step(10).action == 11, "the action of the newest observation")
    ticks = actor.ticks
    assert ticks.dropped >= 8
    assert ticks.starved >= 10
    assert ticks.late + ticks.fresh >= 1
    assert ticks.total == ticks.fresh + ticks.late + ticks.starved


def test_an_observation_may_be_overwritten_after_the_tick() -> None:
    """Robots reuse their buffers."""
    policy = Gated()
    buffer = np.zeros(3)
    with Actor(policy, **EAGER) as actor:
        actor.step(buffer)
        buffer += 7
        policy.may.set()
        wait_for(lambda: policy.seen != [], "the observation")
        assert policy.seen[0].tolist() == [0, 0, 0]


def test_a_policy_that_fails_leaves_the_last_action() -> None:
    """The failures are counted, and the last one is told."""
    with Actor(Broken(), **PATIENT) as actor:
        assert actor.step(1).action == 1
        actor._wait_s = 0.0
        assert actor.step(2).action == 1
        wait_for(lambda: actor.ticks.failed == 1, "the failure")
        wait_for(lambda: actor.step(3).action == 3, "the next action")
    assert actor.ticks.fault == "the arm is not connected"


def test_an_episode_begins_without_the_action_of_the_one_before() -> None:
    """An answer that was still under way is not executed any more."""
    policy = Gated()
    with Actor(policy, **EAGER) as actor:
        actor.step(0)
        wait_for(lambda: policy.seen == [0], "the first observation")
        actor.reset()
        policy.may.set()
        wait_for(lambda: (found := actor.step(5).action) is not None and found == 6, "the action of the new episode")
        assert policy.episodes == 1


def test_run_applies_an_action_at_every_tick_until_it_is_stopped() -> None:
    """The sensor's newest value goes in, and each tick executes one action."""
    applied: list[int] = []
    stop = threading.Event()
    policy = Gated()
    policy.may.set()

    def apply(action: int) -> None:
        applied.append(action)
        if len(applied) == 20:
            stop.set()

    with Actor(policy, 200.0) as actor:
        ticks = actor.run(lambda: 41, apply, stop=stop)
    assert applied == [42] * 20
    assert ticks.total >= 20
    assert ticks.report()["begun_late_ms"]["max"] >= 0


def test_run_ends_by_itself() -> None:
    """After so many seconds."""
    policy = Gated()
    policy.may.set()
    begun_s = time.monotonic()
    with Actor(policy, 100.0) as actor:
        actor.run(lambda: 0, lambda _: None, duration_s=0.2)
    assert time.monotonic() - begun_s >= 0.19


def test_a_client_with_a_fallback_counts_its_deadline_from_the_tick(tmp_path: Path) -> None:
    """Its local policy acts in the tick of each observation, though there is no server."""
    edge = EdgePolicy(linear_policy(tmp_path).path, "model.onnx")
    url = f"http://127.0.0.1:{free_port()}"
    with PolicyClient(url, "linear", fallback=edge, within_ms=9000) as client, Actor(client, **PATIENT) as actor:
        assert actor.step(np.array([-1, 0, 0, 0], np.float32)).action == 1
        assert client.fallback is not None
        assert client.fallback.counts.local == 1


@pytest.mark.parametrize("options", [{"rate_hz": 0.0}, {"rate_hz": float("nan")}, {"rate_hz": 1.0, "wait": 1.0}])
def test_a_rate_or_a_wait_that_is_not_possible_is_refused(options: dict[str, float]) -> None:
    """Before a thread is started."""
    with pytest.raises(UsageError, match="expected"):
        Actor(Broken(), **options)
