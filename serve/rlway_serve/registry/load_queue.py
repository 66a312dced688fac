"""Loads versions on threads beside the event loop, a few at a time.

In:      functions that load, each with a key and a rank.
Out:     `Loaded`: the key and what the function returned or raised, for the caller of `take`.

Every load has a daemon thread of its own. One that hangs on a dead file system blocks nothing: after `SLOW_S` it no
longer counts towards the `AT_ONCE` loads that may run.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from rlway_client.common.structs import build_structs
from rlway_client.contract.errors import RlwayError

AT_ONCE = 2
SLOW_S = 10.0

T = TypeVar("T")
Key = tuple[str, int]  # policy and version


class Loaded(NamedTuple, Generic[T]):
    """One load that has ended, with a result or an exception."""

    key: Key
    result: T | Exception
    seconds: float


class LoadQueue(Generic[T]):
    """The loads that wait, run, or have ended. Each load's thread calls `notify` at its end."""

    def __init__(self) -> None:
        build_structs()  # loads decode manifests at the same time
        self.notify: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, Key, Callable[[], T]]] = []  # a heap, by rank, then by age
        self._running: dict[Key, tuple[int, float]] = {}  # rank and start time, until taken
        self._ended: set[Key] = set()  # those of `_running` that have ended
        self._done: SimpleQueue[Loaded[T]] = SimpleQueue()
        self._started = 0

    def is_slow(self, key: Key) -> bool:
        """Whether this load has been running for more than `SLOW_S`."""
        with self._lock:
            return key in self._running and key not in self._ended and not self._is_quick(key)

    def has_pending(self, rank: int) -> bool:
        """Whether a load of at most this rank waits or runs without being slow, or any load waits to be taken."""
        with self._lock:
            waits = any(waiting[0] <= rank for waiting in self._waiting)
            runs = any(self._running[key][0] <= rank and self._is_quick(key) for key in self._running)
            return waits or runs or not self._done.empty()

    def start(self, key: Key, rank: int, load: Callable[[], T]) -> None:
        """Queues a load; lower ranks start first. If the key is queued or running already, only its rank may drop."""
        with self._lock:
            if key in self._running:
                running_rank, since = self._running[key]
                self._running[key] = min(rank, running_rank), since
                return
            known = [waiting for waiting in self._waiting if waiting[2] == key]
            if known and known[0][0] <= rank:
                return
            if known:
                self._waiting.remove(known[0])
                heapq.heapify(self._waiting)
            heapq.heappush(self._waiting, (rank, self._started, key, load))
            self._started += 1
        self.make_room()

    def make_room(self) -> None:
        """Starts what may start. Call it regularly: a load that becomes slow makes room without an event."""
        with self._lock:
            while self._waiting and sum(map(self._is_quick, self._running)) < AT_ONCE:
                rank, _, key, load = heapq.heappop(self._waiting)
                self._running[key] = rank, time.monotonic()
                name = f"rlway-load-{key[0]}-{key[1]}"
                threading.Thread(target=self._run, args=(key, load), name=name, daemon=True).start()

    def take(self, timeout_s: float = 0.0) -> Iterator[Loaded[T]]:
        """Takes the loads that have ended. Waits up to `timeout_s` for the first, and never for the others."""
        while True:
            try:
                loaded = self._done.get(timeout=timeout_s) if timeout_s else self._done.get_nowait()
            except Empty:
                return
            with self._lock:
                self._ended.remove(loaded.key)
                del self._running[loaded.key]
            yield loaded
            timeout_s = 0.0

    def _is_quick(self, key: Key) -> bool:
        return key not in self._ended and time.monotonic() - self._running[key][1] < SLOW_S

    def _run(self, key: Key, load: Callable[[], T]) -> None:
        since = time.monotonic()
        result: T | Exception
        try:
            result = load()
        except Exception as error:
            if isinstance(error, RlwayError):
                error.__traceback__ = error.__cause__ = error.__context__ = None  # they keep alive what failed to load
            result = error
        with self._lock:
            self._ended.add(key)
            self._done.put(Loaded(key, result, time.monotonic() - since))
        self.make_room()
        self.notify()
