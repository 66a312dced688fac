"""`--max-rate`: a caller that asks too often is told when to come back, and others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client.contract.errors import RateExceeded
from rlway_serve.gateway.rate_limit import MAX_CALLERS, RateLimit
from tests.bundles import linear_policy
from tests.servers import PROBLEM, act_request, running_server

BODY = {"observation": [1, 0, 0, 0]}


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("per_s", [0.5, 1.0, 7.0, 1000.0])
def test_a_seconds_worth_may_come_at_once(per_s: float) -> None:
    """Then one request per interval; who has paused has a second's worth again, and not more."""
    clock = Clock()
    rates = RateLimit(per_s, clock)
    for pause_s in (0.0, 100.0 / per_s + 5):
        clock.now_s += pause_s
        for _ in range(max(1, int(per_s))):
            rates.take("a")
        with pytest.raises(RateExceeded) as refusal:
            rates.take("a")
        assert refusal.value.retry_after_s >= 1
        rates.take("b" if pause_s else "c")
        for _ in range(3):
            clock.now_s += 1.0 / per_s + 1e-6
            rates.take("a")
            with pytest.raises(RateExceeded):
                rates.take("a")


def test_refused_requests_do_not_count() -> None:
    """A caller that keeps asking is served again as soon as one that waited."""
    clock = Clock()
    rates = RateLimit(1.0, clock)
    rates.take("a")
    for _ in range(1000):
        with pytest.raises(RateExceeded):
            rates.take("a")
    clock.now_s += 1.0
    rates.take("a")


def test_a_crowd_of_callers_is_remembered_within_bounds() -> None:
    """When it is full, who was served longest ago is forgotten, and all who have paused at the next look."""
    clock = Clock()
    rates = RateLimit(0.001, clock)
    for caller in range(MAX_CALLERS + 10):
        rates.take(caller)
    assert rates.callers == MAX_CALLERS
    with pytest.raises(RateExceeded):
        rates.take(10)
    rates.take(0)
    assert rates.callers == MAX_CALLERS
    clock.now_s += 1001.0
    rates.take("new")
    assert rates.callers == 1


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_every_key_has_a_rate_of_its_own(tmp_path: Path, log: Path, lane: str) -> None:
    """One key's 429s, over however many connections, are not another's; a wrong key is 403 and takes nobody's rate."""
    linear_policy(tmp_path / "models")
    (tmp_path / "keys").write_text("one\ntwo\n")
    options = ["--api-keys", str(tmp_path / "keys"), "--max-rate", "0.001"]
    with running_server(tmp_path / "models", log, *options) as server:

        def ask(key: str) -> int:
            answer = server.ask(act_request(BODY, lane=lane, headers=[f"authorization: Bearer {key}"]))
            if answer.status == 429:
                assert answer.headers["content-type"] == PROBLEM
                assert int(answer.headers["retry-after"]) >= 1
            return answer.status

        assert [ask(key) for key in ("one", "one", "bad", "bad", "two", "two")] == [200, 429, 403, 403, 200, 429]


def test_without_keys_every_address_has_a_rate(tmp_path: Path, log: Path) -> None:
    """Both lanes count alike."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--max-rate", "0.001") as server:
        statuses = [server.ask(act_request(BODY, lane=lane)).status for lane in ("hot", "query", "hot")]
        assert statuses == [200, 429, 429]
