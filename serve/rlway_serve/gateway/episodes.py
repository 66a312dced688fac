"""The episodes that are played with policies that remember, and what is carried from step to step of each.

In:      a policy's name and the id of an episode, as requests name it.
Out:     `Episode`: the version that it began with, the policy state, and the actions that the policy's guard gave.
Refuses: an episode that is not known and does not begin (NotFound), another version than its own (RequestMalformed).

An episode keeps its version loaded until it ends: when a request says so, after `ttl_s` without a request, when its id
begins a new episode, or when more than `max_rows` environments play and it is the least recently used.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rlway_client.contract.errors import NotFound, RequestMalformed
from rlway_serve.messages.call import PolicyState
from rlway_serve.messages.request import Pin
from rlway_serve.registry.loaded_version import LoadedVersion


class Episode:
    """The version that plays it, and what is carried between its steps, for `rows` environments."""

    __slots__ = ("state", "used_s", "version")

    def __init__(self, version: LoadedVersion, rows: int) -> None:
        self.version = version
        self.state = PolicyState(rows)
        self.used_s = 0.0

    @property
    def rows(self) -> int:
        return self.state.rows


class ConnectionEpisode:
    """The episode of a WebSocket, which needs no id; None before the first step."""

    def __init__(self) -> None:
        self.episode: Episode | None = None


class Episodes:
    """All episodes of one process, at most `max_rows` environments in all; a Prometheus collector."""

    def __init__(self, ttl_s: float, max_rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._max_rows = max_rows
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], Episode] = OrderedDict()  # the least recently used first
        self._begun: Counter[str] = Counter()  # by policy
        self._ended: Counter[tuple[str, str]] = Counter()  # by policy and reason
        self._rows = 0  # environments, over all known episodes
        self._timer_is_set = False  # whether `_expire_by_timer` will run

    def find(self, policy: str, pin: Pin, stream_episode: ConnectionEpisode | None) -> Episode | None:
        """The episode that a request continues; None if it begins one, or names none.

        Raises NotFound for an unknown id, RequestMalformed for another version than the episode's.
        """
        if pin.first:
            return None
        if pin.episode is not None:
            self.expire()
            episode = self._known.get((policy, pin.episode))
            if episode is None:
                raise NotFound(
                    f"episode {pin.episode[:64]!r}: not known here; its first request has to begin it (`first`: true)."
                )
            self._known.move_to_end((policy, pin.episode))
            episode.used_s = self._clock()
        else:
            episode = stream_episode.episode if stream_episode else None
        if episode is not None and pin.version not in (None, episode.version.number):
            raise RequestMalformed(
                f"version: the episode began with version {episode.version.number}, and stays on it."
            )
        return episode

    def begin(self, policy: str, name: str, version: LoadedVersion, rows: int) -> Episode:
        """A new episode under this id, in place of the one that had it."""
        self.expire()
        before = self._known.pop((policy, name), None)
        self._rows -= before.rows if before else 0
        while self._known and self._rows + rows > self._max_rows:
            (other, _), oldest = self._known.popitem(last=False)
            self._rows -= oldest.rows
            self._ended[other, "evicted"] += 1
        episode = Episode(version, rows)
        self._rows += rows
        episode.used_s = self._clock()
        self._known[policy, name] = episode
        self._begun[policy] += 1
        if not self._timer_is_set:
            self._timer_is_set = True
            asyncio.get_running_loop().call_later(self._ttl_s, self._expire_by_timer)
        return episode

    def end(self, policy: str, name: str, state: PolicyState | None) -> None:
        """Ends the episode with this id and state; nothing happens if the id has begun another one since."""
        episode = self._known.get((policy, name))
        if episode is not None and episode.state is state:
            del self._known[policy, name]
            self._rows -= episode.rows
            self._ended[policy, "finished"] += 1

    def expire(self) -> None:
        """Ends those without a request for `ttl_s`."""
        until_s = self._clock() - self._ttl_s
        while self._known:
            key, episode = next(iter(self._known.items()))
            if episode.used_s > until_s:
                return
            del self._known[key]
            self._rows -= episode.rows
            self._ended[key[0], "expired"] += 1

    def _expire_by_timer(self) -> None:
        """Expires episodes without waiting for a request, since each keeps its version loaded."""
        self.expire()
        self._timer_is_set = bool(self._known)
        if self._timer_is_set:
            oldest = next(iter(self._known.values()))
            due_s = max(0.01, oldest.used_s + self._ttl_s - self._clock())
            asyncio.get_running_loop().call_later(due_s, self._expire_by_timer)

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        known = GaugeMetricFamily("rlway_episodes", "Episodes in play", labels=["policy", "version"])
        begun = CounterMetricFamily("rlway_episodes_begun", "Episodes that began", labels=["policy"])
        ended = CounterMetricFamily(
            "rlway_episodes_ended", "Episodes that ended, by reason", labels=["policy", "reason"]
        )
        playing = Counter((policy, str(episode.version.number)) for (policy, _), episode in self._known.items())
        for labels, count in playing.items():
            known.add_metric([*labels], count)
        for policy, count in self._begun.items():
            begun.add_metric([policy], count)
        for labels, count in self._ended.items():
            ended.add_metric([*labels], count)
        yield from (known, begun, ended)
