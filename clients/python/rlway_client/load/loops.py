"""The two ways to load a server.

In:      connections, for how long; in an open loop also when each request is due.
Out:     latencies and faults in `Tally`.

Closed: each connection sends its next request upon an answer. A server that stalls is then asked less often, so the
stall counts as one slow answer for each connection.
Open: requests are due at times that do not depend on the server. One that is due while all connections are busy waits
for the first that is free, and its wait counts: its latency begins when it was due, not when it was sent.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence

from rlway_client.common.histogram import Histogram
from rlway_client.load.alarm import Alarm
from rlway_client.load.asker import Fault
from rlway_client.load.measured import Faults
from rlway_client.load.slot import Slot

BURST = 256  # requests that are sent or queued at once
MOST_LAG_S = 1.0


class Tally:
    """What has been counted so far. `late` counts faults and answers that took longer than `allowed_s`."""

    def __init__(self, allowed_s: float | None = None) -> None:
        self.latencies = Histogram()  # from when a request was due
        self.sent_latencies = Histogram()  # from when it was sent; empty where that is the same
        self.lags = Histogram()  # of the load test itself
        self.faults = Faults()
        self.keeps_sent = False
        self.stopped_early = False
        self.allowed_s = allowed_s
        self.started_s = 0.0
        self.last_answer_s = 0.0
        self.offered = 0
        self.succeeded = 0
        self.late = 0

    def count(self, due_s: float, sent_s: float, now_s: float, fault: Fault | None) -> None:
        self.last_answer_s = now_s
        if fault is None:
            self.succeeded += 1
            self.latencies.record(now_s - due_s)
            if self.keeps_sent:
                self.sent_latencies.record(now_s - sent_s)
            if self.allowed_s is not None and now_s - due_s > self.allowed_s:
                self.late += 1
        else:
            self.late += 1
            self.faults.add(fault)


class Loop(ABC):
    """Loads the server through its slots until all is answered."""

    def __init__(self, slots: Sequence[Slot], duration_s: float, tally: Tally) -> None:
        self.tally = tally
        self._slots = slots
        self._duration_s = duration_s
        self._over = asyncio.get_running_loop().create_future()
        for slot in slots:
            slot.ended = self._ended

    async def run(self, grace_s: float) -> None:
        """Returns once every request has its answer, or has had `grace_s` after the end for it."""
        self.tally.started_s = self.tally.last_answer_s = time.perf_counter()
        self._begin()
        sweeper = asyncio.get_running_loop().create_task(self._sweep(min(0.1, grace_s / 4)))
        try:
            async with asyncio.timeout(self._duration_s + grace_s + 0.1):
                await asyncio.shield(self._over)
        except TimeoutError:
            self._abandon(time.perf_counter())
        finally:
            sweeper.cancel()
            self._close()
            for slot in self._slots:
                slot.close()

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _proceed(self, slot: Slot, now_s: float) -> None:
        """The slot is free: gives it its next request, or lets it be."""

    @abstractmethod
    def _waiting(self) -> int:
        """How many requests are due that no connection has taken."""

    def _close(self) -> None:  # noqa: B027
        """Releases what `_begin` has taken."""

    def _ended(self, slot: Slot, fault: Fault | None) -> None:
        now_s = time.perf_counter()
        self.tally.count(slot.due_s, slot.sent_s, now_s, fault)
        self._proceed(slot, now_s)

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _finish_if_idle(self) -> None:
        if not self._waiting() and not any(slot.busy for slot in self._slots):
            self._finish()

    def _abandon(self, now_s: float) -> None:
        """Counts what has no answer when the time is over."""
        fault = Fault("no answer when the test ended")
        for slot in self._slots:
            if slot.busy:
                slot.busy = False
                self.tally.count(slot.due_s, slot.sent_s, now_s, fault)
        for _ in range(self._waiting()):
            self.tally.count(now_s, now_s, now_s, fault)

    async def _sweep(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            now_s = time.perf_counter()
            for slot in self._slots:
                slot.give_up_if_late(now_s)


class ClosedLoop(Loop):
    """Each connection sends its next request upon an answer."""

    def _begin(self) -> None:
        self._until_s = self.tally.started_s + self._duration_s
        for slot in self._slots:
            self._ask(slot)

    def _proceed(self, slot: Slot, now_s: float) -> None:
        if now_s < self._until_s:
            self._ask(slot)
        else:
            self._finish_if_idle()

    def _ask(self, slot: Slot) -> None:
        self.tally.offered += 1
        slot.ask(None)

    def _waiting(self) -> int:
        return 0


class OpenLoop(Loop):
    """Requests are sent when they are due, or as soon as a connection is free after that.

    `due_times` are seconds after the start. The loop ends early once more than `most_late` requests are late, or the
    load test itself is a second late for its schedule.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        duration_s: float,
        tally: Tally,
        due_times: Iterator[float],
        most_late: float | None = None,
    ) -> None:
        super().__init__(slots, duration_s, tally)
        tally.keeps_sent = True
        self._due_times = due_times
        self._most_late = most_late
        self._due: deque[float] = deque()  # requests that wait for a connection
        self._free = deque(slots)
        self._alarm = Alarm(self._release)
        self._next_s: float | None = None  # when the next request is due; None after the last

    def _begin(self) -> None:
        self._draw()
        self._release()

    def _draw(self) -> None:
        after_s = next(self._due_times, None)
        self._next_s = None if after_s is None else self.tally.started_s + after_s

    def _release(self) -> None:
        """Sends what is due."""
        if self._over.done():
            return
        now_s = time.perf_counter()
        released = 0
        while self._next_s is not None and self._next_s <= now_s:
            if released == BURST:  # answers have to be read, too
                asyncio.get_running_loop().call_soon(self._release)
                return
            released += 1
            due_s = self._next_s
            if now_s - due_s > MOST_LAG_S:  # requests would pile up in memory
                self._stop_early()
                return
            self.tally.offered += 1
            self.tally.lags.record(now_s - due_s)
            if self._free:
                self._free.popleft().ask(due_s)
            else:
                self._due.append(due_s)
            self._draw()
        if self._next_s is not None:
            self._alarm.set(self._next_s)
        else:
            self._finish_if_idle()

    def _proceed(self, slot: Slot, now_s: float) -> None:  # noqa: ARG002
        if self._most_late is not None and self.tally.late > self._most_late:
            self._stop_early()
        elif self._due:
            slot.ask(self._due.popleft())
        else:
            self._free.append(slot)
            if self._next_s is None:
                self._finish_if_idle()

    def _stop_early(self) -> None:
        self.tally.stopped_early = True
        self._finish()

    def _waiting(self) -> int:
        return len(self._due)

    def _close(self) -> None:
        self._alarm.close()
