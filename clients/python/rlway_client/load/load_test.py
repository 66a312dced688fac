"""One load test of one policy, in one protocol.

In:      a dialect, the action's specs; then for each run the number of connections, a duration, perhaps a rate.
Out:     `Measured`.
Refuses: a server that takes no connection, or answers no request with a success (ServerUnreachable); an answer that
         does not fit the action's spec (RlwayError).

Before a run, each connection asks once, which is not measured. What is read of these answers has to fit the spec.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Sequence

from rlway_client.contract.errors import RlwayError, ServerUnreachable, UsageError
from rlway_client.contract.specs import TensorSpec
from rlway_client.load.arrivals import Arrivals, due_times
from rlway_client.load.asker import Dialect, Fault, Unreadable, check_action
from rlway_client.load.loops import ClosedLoop, Loop, OpenLoop, Tally
from rlway_client.load.measured import Load, Measured
from rlway_client.load.slot import Slot

OPENED_AT_ONCE = 64  # connections; a server's queue of new ones is finite
LATE_SHARE = 0.01  # of the requests may be late where the 99th percentile is to hold
SPARE_FILES = 64  # besides the connections
LOOK_S = 0.5  # between two reports of progress; one on a terminal takes a quarter of a millisecond

Watch = Callable[[float, Tally], None]  # is told the seconds since the start, and what has been counted


class LoadTest:
    """Keeps the prepared requests from run to run; each run has connections of its own."""

    def __init__(
        self, protocol: str, dialect: Dialect, actions: Sequence[TensorSpec], where: str, timeout_s: float, seed: int
    ) -> None:
        self.protocol = protocol
        self._dialect = dialect
        self._actions = actions
        self._where = where
        self._timeout_s = timeout_s
        self._seed = seed
        self._session = uuid.uuid4().hex  # others may load the same policy
        self._runs = 0
        self._prepared = (
            None if dialect.names_episodes else [dialect.request(place, None) for place in range(dialect.count)]
        )

    async def run(
        self,
        connections: int,
        duration_s: float,
        *,
        rate: float | None = None,
        arrivals: Arrivals = Arrivals.POISSON,
        allowed_s: float | None = None,
        watch: Watch | None = None,
    ) -> Measured:
        """A closed loop, or with a `rate` an open one.

        With `allowed_s`, an open loop ends early once too many requests are later than that for the 99th percentile.
        """
        self._runs += 1
        _allow_files(connections + SPARE_FILES)
        slots = [self._slot(i) for i in range(connections)]
        try:
            await self._open(slots)
            await self._check(slots)
            tally = Tally(allowed_s)
            loop = self._loop(slots, duration_s, tally, rate, arrivals)
            watching = asyncio.get_running_loop().create_task(_report(watch, tally)) if watch else None
            cpu_s = time.process_time()
            began_s = time.perf_counter()
            try:
                await loop.run(self._timeout_s)
            finally:
                if watching:
                    watching.cancel()
            cpu = (time.process_time() - cpu_s) / (time.perf_counter() - began_s)
        finally:
            for slot in slots:
                slot.close()
        return self._measured(tally, connections, duration_s, rate, cpu)

    def _slot(self, i: int) -> Slot:
        episode = f"{self._session}-{self._runs}-{i}"
        return Slot(self._dialect, self._prepared, i % self._dialect.count, episode, self._timeout_s)

    def _loop(
        self, slots: Sequence[Slot], duration_s: float, tally: Tally, rate: float | None, arrivals: Arrivals
    ) -> Loop:
        if rate is None:
            return ClosedLoop(slots, duration_s, tally)
        most_late = None if tally.allowed_s is None else LATE_SHARE * rate * duration_s
        times = due_times(rate, duration_s, arrivals, self._seed + self._runs)
        return OpenLoop(slots, duration_s, tally, times, most_late)

    async def _open(self, slots: Sequence[Slot]) -> None:
        try:
            for first in range(0, len(slots), OPENED_AT_ONCE):
                await asyncio.gather(*(slot.connect() for slot in slots[first : first + OPENED_AT_ONCE]))
        except TimeoutError:
            raise ServerUnreachable(f"{self._where}: no answer within {self._timeout_s:g} s.") from None
        except ServerUnreachable as error:
            raise ServerUnreachable(f"{self._where}: {error}") from None
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise UsageError(
                    f"{len(slots)} connections: this process may not open so many files; raise `ulimit -n`."
                ) from None
            number = 0 if isinstance(error, ssl.SSLError) else error.errno or 0  # a name that is unknown: below 0
            why = os.strerror(number) if number > 0 else str(error).rstrip(".")
            raise ServerUnreachable(f"{self._where}: no policy server answers there: {why}.") from None

    async def _check(self, slots: Sequence[Slot]) -> None:
        """Asks once over each connection, and reads the answers."""
        faults: list[Fault] = []
        left = len(slots)
        over = asyncio.get_running_loop().create_future()

        def ended(slot: Slot, fault: Fault | None) -> None:  # noqa: ARG001
            nonlocal left
            left -= 1
            if fault is not None:
                faults.append(fault)
            if not left and not over.done():
                over.set_result(None)

        for slot in slots:
            slot.ended = ended
            slot.ask(None)
        deadline_s = time.perf_counter() + self._timeout_s
        while not over.done() and time.perf_counter() < deadline_s:
            await asyncio.wait([over], timeout=deadline_s - time.perf_counter())
        for slot in slots:
            slot.give_up_if_late(float("inf"))
        if len(faults) == len(slots):
            raise ServerUnreachable(
                f"{self._where}: answered none of {len(slots)} requests with a success: {faults[0].sentence}."
            )
        try:
            for slot in slots:
                if slot.asker is not None and slot.asker.answer:
                    check_action(self._dialect.read(slot.asker.answer), self._actions)
        except Unreadable as error:
            raise RlwayError(
                f"{self._where}: an answer in the protocol {self.protocol} does not fit the action's spec: {error}."
            ) from None

    def _measured(self, tally: Tally, connections: int, duration_s: float, rate: float | None, cpu: float) -> Measured:
        wall_s = max(tally.last_answer_s - tally.started_s, 1e-9)
        planned_s = wall_s if tally.stopped_early else duration_s
        is_open = rate is not None
        latency_ms = tally.latencies.summary_ms()
        first = tally.faults.first
        load = Load(
            protocol=self.protocol,
            connections=connections,
            rate=rate,
            duration_s=wall_s,
            offered_rps=tally.offered / (planned_s if is_open else wall_s),
            achieved_rps=tally.succeeded / (max(wall_s, planned_s) if is_open else wall_s),
            latency_ms=latency_ms,
            sent_ms=tally.sent_latencies.summary_ms() if is_open else latency_ms,
            errors=tally.faults.total,
            errors_by_kind=dict(tally.faults.by_kind.most_common()),
            first_error=first.sentence if first else None,
            generator_cpu=cpu,
            lag_p99_ms=tally.lags.percentile_ms(99) if is_open else None,
        )
        return Measured(load, tally.latencies, tally.late, tally.offered, tally.stopped_early)


def _allow_files(count: int) -> None:
    """Lets this process open so many files, as far as the system allows; a shell's usual limit is 1,024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _report(watch: Watch, tally: Tally) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        watch(time.perf_counter() - tally.started_s, tally)
