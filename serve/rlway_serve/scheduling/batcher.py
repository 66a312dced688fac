"""Groups concurrent calls into one run of the policy.

In:      calls, each with a deadline or none.
Out:     a response to each, in order of arrival.
Refuses: what the fair queue refuses (QueueFull); DeadlineExceeded before running, never after; NotReady once closed.

Batching is natural: whatever has arrived by the time the runtime is free is one batch. Nothing waits on a timer, but
for a moment after long runs (`rejoin.py`).
A short run happens on the event loop, a long one on a thread while the next batch gathers. The number of rows and the
run times measured when the policy was loaded decide which.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from rlway_client.contract.errors import DeadlineExceeded, NotReady
from rlway_client.contract.manifest import Manifest
from rlway_serve.backends.base import RunFailed, Runtime
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.messages.call import AnyCall, ExpressCall, PlainCall
from rlway_serve.messages.response import Response, problem_response
from rlway_serve.scheduling.batch_runner import BatchRunner
from rlway_serve.scheduling.express import ExpressQueue
from rlway_serve.scheduling.fair_queue import FairQueue
from rlway_serve.scheduling.rejoin import Rejoin
from rlway_serve.scheduling.run_guard import RunGuard
from rlway_serve.scheduling.run_thread import RunThread
from rlway_serve.telemetry.drift import Drift
from rlway_serve.telemetry.metrics import PolicyMetrics

log = logging.getLogger(__name__)

RunCalls = Callable[[list[AnyCall]], list[Response]]

LATE = DeadlineExceeded("deadline: cannot be met; the request has not run.")


class Batcher:
    """Queues the calls for one policy version, and runs them in batches. Used on one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        runtime: Runtime,
        decoder: ActDecoder,
        metrics: PolicyMetrics,
        drift: Drift,
        *,
        max_batch: int,
        capacity: int,
        express: bool,
        guard: RunGuard | None = None,
    ) -> None:
        self._name = manifest.policy
        self._runtime = runtime
        self._inline_rows = runtime.inline_rows
        self._runner = BatchRunner(manifest, runtime, decoder, drift, guard)
        self._may_refuse = guard is not None and guard.may_refuse  # one of several plain calls
        self._metrics = metrics
        self._max_batch = min(max_batch, runtime.enough_rows)
        stateful = bool(manifest.state) or (guard is not None and guard.remembers)
        self._queue = FairQueue(self._name, self._max_batch, capacity, stateful)
        self.express = ExpressQueue(
            self._name,
            self._queue,
            self._runner,
            runtime,
            decoder,
            max_batch=self._max_batch,
            enabled=express,
            wake=self._wake,
            run_early=self._run_early,
            on_answers=self._answer_express,
        )
        self._scheduled = False  # whether `_next_batch` is about to run, or a batch is on the thread
        self._on_thread = False  # whether a batch is on the thread
        self._thread = RunThread(f"rlway-{self._name}")
        self._late = problem_response(LATE)
        self._rejoin = Rejoin(self._schedule)
        self._waited_a_turn = False  # whether the next batch has waited one more turn of the loop for further calls
        self._closed = False

    @property
    def queued_rows(self) -> int:
        """The observations that wait for a run, for `/metrics`."""
        return self._queue.rows + self._queue.large_rows

    def submit_plain(self, call: PlainCall) -> None:
        """Queues the call; its `answer` is called later from the event loop. Raises QueueFull, NotReady."""
        if self._queue.rows >= self._queue.ample_rows:
            self._check_room(call)
        self._queue.add_plain(call)
        self._wake()

    def submit(self, call: AnyCall) -> None:
        """As `submit_plain`, for any call."""
        if call.rows > self._max_batch:
            self._check_open()
            self._queue.check_large(call.rows)
        elif self._queue.rows + call.rows > self._queue.ample_rows:
            self._check_room(call)
        self._queue.add(call)
        self._wake()

    def close(self) -> None:
        """Refuses all further calls, and waits for the batch that runs."""
        self._closed = True
        self._queue.ample_rows = 0  # so that every call passes through `_check_room`, which refuses it
        self._thread.close()

    def _check_room(self, call: AnyCall) -> None:
        """Raises QueueFull or NotReady unless the call may wait. Express calls move into the fair queue first."""
        self._check_open()
        self._queue.check_room(call.rows)
        if self.express.calls:
            self.express.move_to_fair_queue()
        self._queue.check_share(call)

    def _check_open(self) -> None:
        if self._closed:
            raise NotReady(f"policy {self._name!r}: the server is stopping.")

    def _wake(self) -> None:
        if not self._scheduled:
            self._schedule()
        elif self._rejoin.timer is not None:
            self._rejoin.arrived(self._waiting)

    @property
    def _waiting(self) -> int:
        """How many calls wait, while they fit into a batch."""
        return len(self._queue.calls) + len(self.express.calls)

    def _schedule(self) -> None:
        self._scheduled = True
        # After the callbacks of this turn of the loop: every socket that is readable now joins the batch.
        asyncio.get_running_loop().call_soon(self._next_batch)

    def _run_early(self) -> None:
        """Runs express calls now, since enough wait, and not after this turn of the loop.

        Moves them into the fair queue if a batch is on the thread, or if they cannot run by themselves.
        """
        if self.express.alone and (self._on_thread or not self.express.run()):
            self.express.move_to_fair_queue()

    def _next_batch(self) -> None:
        queue = self._queue
        waiting = self._waiting
        if 1 < waiting < self._max_batch and not queue.turns and not self._waited_a_turn:
            # Several callers wait: one more turn of the loop lets calls join that arrived while these were read.
            self._waited_a_turn = True
            self._schedule()
            return
        self._waited_a_turn = False
        try:
            batch, plain = self._gather()
        except Exception:
            self._schedule_next()  # whatever failed, the other calls have to go on
            raise
        if not batch:
            self._schedule_next()
            return
        run: RunCalls = self._runner.run_plain if plain else self._runner.run  # type: ignore[assignment]  # all plain
        began_s = time.perf_counter()
        if (len(batch) if plain else sum(call.rows for call in batch)) > self._inline_rows:
            self._start_on_thread(batch, plain, run, began_s)
            return
        try:
            responses = run(batch)
        except RunFailed:
            self._start_on_thread(batch, plain, self._runner.run_apart, began_s)
        else:
            self._answer(batch, plain, responses, began_s)

    def _start_on_thread(self, batch: list[AnyCall], plain: bool, run: RunCalls, began_s: float) -> None:
        def run_or_isolate() -> list[Response]:
            try:
                return run(batch)
            except RunFailed:
                return self._runner.run_apart(batch)

        def answer(responses: list[Response]) -> None:
            self._on_thread = False
            self._answer(batch, plain, responses, began_s, may_rejoin=True)

        self._on_thread = True
        self._thread.start(run_or_isolate, answer)

    def _gather(self) -> tuple[list[AnyCall], bool]:
        """The next batch, and whether it is plain; empty after a batch of express calls, which is answered here."""
        if self.express.calls:
            if self.express.alone and self.express.run():
                return [], True
            self.express.move_to_fair_queue()
        batch, plain, timed = self._queue.take()
        return (self._without_late(batch) if timed else batch), plain

    def _without_late(self, taken: list[AnyCall]) -> list[AnyCall]:
        ends_s = time.perf_counter() + self._runtime.expected_s(sum(call.rows for call in taken))
        late = [call for call in taken if call.deadline_s is not None and ends_s > call.deadline_s]
        if not late:
            return taken
        self._metrics.count_refusal(LATE, len(late))
        for call in late:
            native = call.wire is None and call.reply is None
            call.answer(self._late if native else call.refusal(LATE))
        return [call for call in taken if call.deadline_s is None or ends_s <= call.deadline_s]

    def _answer(
        self,
        batch: list[AnyCall],
        plain: bool,
        responses: list[Response],
        began_s: float,
        may_rejoin: bool = False,
    ) -> None:
        ended_s = time.perf_counter()
        try:
            rows = len(batch) if plain else sum(call.rows for call in batch)
            self._metrics.count_batch(batch, rows, began_s, ended_s)
            self._metrics.count_failed(batch, responses)
            self._give(batch, responses)
        finally:
            fits = not (self._queue.turns or self._queue.timed) and self._waiting < self._max_batch
            if not (may_rejoin and fits and self._rejoin.begin(len(batch), self._waiting, ended_s - began_s)):
                self._schedule_next()

    def _answer_express(self, calls: list[ExpressCall], responses: list[Response], began_s: float) -> None:
        self._metrics.count_batch(calls, len(calls), began_s, time.perf_counter())
        if self._may_refuse or responses[0].status != 200:
            self._metrics.count_failed(calls, responses)
        self._give(calls, responses)

    def _give(self, batch: Sequence[AnyCall], responses: list[Response]) -> None:
        for call, response in zip(batch, responses, strict=True):
            try:
                call.answer(response)
            except Exception:
                log.exception("policy %s: an answer was lost", self._name)

    def _schedule_next(self) -> None:
        self._scheduled = False
        if self.express.calls or self._queue.calls or self._queue.turns:
            self._schedule()
