"""The prober's thread outlives whatever a probe runs into."""

from __future__ import annotations

from typing import Any

from rlway_client.contract.nesting import Tree
from rlway_client.remote.fallback.prober import Prober
from rlway_client.remote.messages import Reply
from tests.ports import wait_for


class Odd:
    """A client whose first request fails in a way that no client should."""

    def __init__(self) -> None:
        self.timeout_s = 1.0
        self.episode: str | None = None
        self.tree: Tree | None = None
        self.asked: list[Any] = []
        self.closed = False

    def ask(self, observations: Any, *, batched: bool = False, taken_s: float | None = None, **options: Any) -> Reply:
        assert not batched
        assert taken_s is None
        self.asked.append((observations, options))
        if len(self.asked) == 1:
            raise TypeError("a set is no JSON")
        return Reply(0, 1, {})

    def describe(self) -> dict[str, Any]:
        return {}

    def reset(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def test_a_probe_that_fails_in_any_way_is_not_the_last() -> None:
    """Its error is told as its fault, the connection is closed, and the next observation gets another one."""
    made: list[Odd] = []

    def connect() -> Odd:
        made.append(made[0] if made else Odd())
        return made[-1]

    prober = Prober(connect, lambda _: None, within_s=5.0, keeps_state=True)
    results: list[str | None] = []

    def has_ended() -> bool:
        results.extend(prober.results())
        return len(results) == len(offered)

    offered: list[list[int]] = []
    for observation in ([1], [2], [3]):
        assert prober.offer(observation, {"first": False})
        offered.append(observation)
        wait_for(has_ended, "the probe")
    prober.close()
    assert results == ["a probe failed: TypeError('a set is no JSON')", None, None]
    assert len(made) == 2
    assert made[0].closed
    assert [options["first"] for _, options in made[0].asked] == [True, True, False]
