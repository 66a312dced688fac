"""The queue of express calls: connections that wait for one action each, whose bodies are decoded and run together.

In:      connections, each with a body that may be plain; JSON is decoded only when it runs.
Out:     their answers, if all bodies are plain, in time and sound. Otherwise the calls move into the fair queue, and
         those whose body is not plain are submitted again in the ordinary way.
Refuses: bodies whose size shows that they are not plain; octets while JSON or octets of another protocol wait, and
         JSON while octets wait; all bodies once the queue is half full. The connection then submits them in the
         ordinary way.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from rlway_serve.backends.base import Runtime
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.messages.call import ExpressCall
from rlway_serve.messages.response import Response
from rlway_serve.messages.wire import Wire
from rlway_serve.scheduling.batch_runner import BatchRunner
from rlway_serve.scheduling.fair_queue import FairQueue, drop_abandoned

log = logging.getLogger(__name__)

EXPRESS_RUN_CALLS = 256  # with more, their sockets have left the processor's cache when they are answered


class ExpressQueue:
    """The express calls of one policy version. They count in the `rows` of its fair queue."""

    def __init__(
        self,
        policy: str,
        queue: FairQueue,
        runner: BatchRunner,
        runtime: Runtime,
        decoder: ActDecoder,
        *,
        max_batch: int,
        enabled: bool,
        wake: Callable[[], None],
        run_early: Callable[[], None],
        on_answers: Callable[[list[ExpressCall], list[Response], float], None],
    ) -> None:
        self._policy = policy
        self._queue = queue
        self._runner = runner
        self._runtime = runtime
        self._decode = decoder.decode_plain
        self._inline_rows = runtime.inline_rows
        runs = enabled and self._inline_rows > 0
        self._plain_bytes = decoder.max_plain_bytes if runs else -1
        self._plain_octets = decoder.plain_octets if runs else -1
        self._max_batch = max_batch
        self._wake = wake  # called when the first call waits
        self._run_early = run_early  # called when enough wait
        self._on_answers = on_answers
        self.calls: list[ExpressCall] = []  # in order of arrival; all octets, or none; all of one wire
        self._octets = 0  # how many calls are octets
        self._wire: Wire | None = None  # of the calls that are octets

    def submit(self, call: ExpressCall, body_bytes: int) -> bool:
        """Queues a call with `body_bytes` of JSON, if they may be plain and there is room; returns whether it did."""
        queue = self._queue
        if queue.rows >= queue.ample_rows or body_bytes > self._plain_bytes or self._octets:
            return False
        if len(self.calls) >= EXPRESS_RUN_CALLS:
            self._run_early()
        queue.rows += 1
        self.calls.append(call)
        if len(self.calls) == 1:
            self._wake()
        return True

    def submit_octets(self, call: ExpressCall, size: int) -> bool:
        """As `submit`, for a body of `size` octets. Octets of one wire wait at a time."""
        queue = self._queue
        if queue.rows >= queue.ample_rows or size != self._plain_octets or self._octets < len(self.calls):
            return False
        if call.wire is not self._wire:
            if self.calls:
                return False
            self._wire = call.wire
        if len(self.calls) >= EXPRESS_RUN_CALLS:
            self._run_early()
        queue.rows += 1
        self._octets += 1
        self.calls.append(call)
        if len(self.calls) == 1:
            self._wake()
        return True

    def withdraw(self, call: ExpressCall) -> bool:
        """Removes a call, unless it has left the queue already; returns whether it did."""
        try:
            self.calls.remove(call)
        except ValueError:
            return False
        self._octets -= call.raw
        self._queue.rows -= 1
        return True

    @property
    def alone(self) -> bool:
        """Whether only express calls wait."""
        return len(self.calls) == self._queue.rows and not self._queue.large_rows

    def run(self) -> bool:
        """Runs and answers a batch on the loop, if all of it is plain, in time and sound; returns whether it did."""
        calls, later = self.calls[: self._max_batch], self.calls[self._max_batch :]
        if len(calls) > self._inline_rows:
            return False
        if later:  # each connection waits with one call, so the order of arrival is fair
            calls = [call for call in calls if not drop_abandoned(call)]
            self._keep(calls + later)
        bodies = [call.observations for call in calls]
        raw = self._octets > 0
        try:
            requests = [] if raw else [self._decode(body) for body in bodies]
        except Exception:
            return False
        began_s = time.perf_counter()
        deadlines_ms = [request.deadline_ms for request in requests]
        if deadlines_ms.count(None) < len(requests):
            ends_s = began_s + self._runtime.expected_s(len(calls))
            waits_s = [math.inf if ms is None else ms / 1000 for ms in deadlines_ms]
            if any(ends_s > call.arrived_s + wait_s for call, wait_s in zip(calls, waits_s, strict=True)):
                return False
        observations = bodies if raw else [request.observation for request in requests]
        responses = self._runner.run_plain_rows(observations, raw, self._wire if raw else None) if calls else []
        if responses is None:
            return False
        self._keep(later)
        if calls:
            self._on_answers(calls, responses, began_s)
        return True

    def _keep(self, calls: list[ExpressCall]) -> None:
        self.calls = calls
        self._octets = len(calls) if self._octets else 0
        self._queue.rows = len(calls)

    def move_to_fair_queue(self) -> None:
        """Moves all calls into the fair queue, after those that wait there; submits those that are not plain again."""
        calls, self.calls, self._octets = self.calls, [], 0
        self._queue.rows -= len(calls)
        not_plain = []
        for call in calls:
            try:
                call.deadline_s = None  # type: ignore[misc]  # a slot of subclasses
                if not call.raw:
                    call.take(self._decode(call.observations))
            except Exception:  # whatever is wrong, the endpoint says it in its refusal
                not_plain.append(call)
                continue
            self._queue.add_plain(call)
        for call in not_plain:
            try:
                call.submit_again()
            except Exception:
                log.exception("policy %s: a request was lost", self._policy)
