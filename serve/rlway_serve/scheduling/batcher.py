"""Groups concurrent calls into one run of the policy.

In:      calls, each with a deadline or none.
Out:     a response to each, in order of arrival.
Refuses: QueueFull once `capacity` rows wait (as many again in calls of more than `max_batch` rows, so that large calls
         never keep small ones out), or once half of that wait and the caller's connection has its share among them;
         DeadlineExceeded before running, never after.

Batching is natural: whatever has arrived by the time the runtime is free is one batch, and nothing waits on a timer.
When more waits than fits into one batch, connections take turns, so that nobody gains by asking much at once.
A short run happens on the event loop; a long one on a thread, while the next batch gathers. Which it is going to be is
told by its rows and by what was measured at load.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from rlway_client.contract.errors import DeadlineExceeded, NotReady, QueueFull, RlwayError
from rlway_client.contract.manifest import Manifest
from rlway_serve.backends.base import RunFailed, Runtime
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.messages.call import AnyCall, OwnCall, PlainCall
from rlway_serve.messages.response import JSON, Response, problem_response
from rlway_serve.scheduling.batch_runner import BatchRunner
from rlway_serve.scheduling.run_thread import RunThread
from rlway_serve.telemetry.drift import Drift
from rlway_serve.telemetry.metrics import PolicyMetrics

log = logging.getLogger(__name__)

Run = Callable[[list[AnyCall]], list[Response]]

JSON_CALLS, RAW_CALLS, OTHER_CALLS, TIMED_CALLS = 1, 2, 4, 8  # the first two are plain, and any may be the last
ENOUGH = 256  # calls in a run: with more, sockets have left the processor's cache before they are answered
LATE = DeadlineExceeded("deadline_ms: cannot be met.")
ABANDONED = Response(499, JSON, b"")  # nobody reads it


class Batcher:
    """The queue in front of one policy's runtime. It lives on one event loop."""

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
    ) -> None:
        self._name = manifest.policy
        self._runtime = runtime
        self._decode = decoder.decode_plain
        self._inline_rows = runtime.inline_rows
        self._plain_bytes = decoder.plain_bytes if self._inline_rows else -1
        self._plain_octets = decoder.plain_octets if self._inline_rows else -1
        self._runner = BatchRunner(manifest, runtime, decoder, drift)
        self._remembers = bool(manifest.state)
        self._metrics = metrics
        self._max_batch = min(max_batch, runtime.enough_rows)
        self._capacity = capacity
        self._ample_rows = max(1, capacity // 2)  # so many may wait, whoever they belong to
        self._queue: list[AnyCall] = []  # in order of arrival
        self._own: list[OwnCall] = []  # likewise; their bodies are not read; all octets, or none
        self._own_octets = 0  # how many of these are
        self._turns: dict[object, deque[AnyCall]] = {}  # by connection, once more waits than fits into a batch
        self._rows = 0  # waiting in these
        self._large_rows = 0  # likewise, in calls of more than `max_batch` rows
        self._kinds = 0  # of what waits, and perhaps of what waited: a union of those above
        self._scheduled = False  # whether `_next_batch` is about to run, or a batch is on the thread
        self._on_thread = False  # whether a batch is there
        self._thread = RunThread(f"rlway-{self._name}")
        self._late = problem_response(LATE)
        self._lingered = False  # for one turn of the loop
        self._closed = False

    @property
    def queued_rows(self) -> int:
        return self._rows + self._large_rows

    def submit_plain(self, call: PlainCall) -> None:
        """Queues the call; its `answer` is called later from the event loop. Raises QueueFull, NotReady."""
        if self._rows >= self._ample_rows:
            self._check_room(call)
        self._rows += 1
        self._queue.append(call)
        self._kinds |= RAW_CALLS if call.raw else JSON_CALLS
        if call.deadline_s is not None:
            self._kinds |= TIMED_CALLS
        if not self._scheduled:
            self._schedule()

    def submit(self, call: AnyCall) -> None:
        """The same for any call."""
        rows = call.rows
        if rows > self._max_batch:
            if self._closed or (self._large_rows and self._large_rows + rows > self._capacity):
                raise self._refusal(self._large_rows)
            self._large_rows += rows
        else:
            if self._rows + rows > self._ample_rows:
                self._check_room(call)
            self._rows += rows
        self._queue.append(call)
        self._kinds |= OTHER_CALLS if call.deadline_s is None else OTHER_CALLS | TIMED_CALLS
        if not self._scheduled:
            self._schedule()

    def submit_own(self, call: OwnCall, body_bytes: int) -> bool:
        """The same, if there is ample room and a body of so many bytes of JSON may be plain. Whether it did."""
        if self._rows >= self._ample_rows or body_bytes > self._plain_bytes or self._own_octets:
            return False
        if len(self._own) >= ENOUGH:
            self._run_early()
        self._rows += 1
        self._own.append(call)
        if not self._scheduled:
            self._schedule()
        return True

    def submit_own_octets(self, call: OwnCall, size: int) -> bool:
        """The same for so many octets."""
        if self._rows >= self._ample_rows or size != self._plain_octets or self._own_octets < len(self._own):
            return False
        if len(self._own) >= ENOUGH:
            self._run_early()
        self._rows += 1
        self._own_octets += 1
        self._own.append(call)
        if not self._scheduled:
            self._schedule()
        return True

    def _run_early(self) -> None:
        """Does not wait for what else may come in this turn of the loop."""
        if self._only_own and (self._on_thread or not self._run_own()):
            self._mix_own()

    def withdraw(self, call: OwnCall) -> bool:
        """Forgets a connection's own call, unless it has been read. Whether it did."""
        try:
            self._own.remove(call)
        except ValueError:
            return False
        self._own_octets -= call.raw
        self._rows -= 1
        return True

    def close(self) -> None:
        """Refuses what comes from now on, and waits for the batch that runs."""
        self._closed = True
        self._capacity = self._ample_rows = 0
        self._thread.close()

    def _schedule(self) -> None:
        self._scheduled = True
        # After the callbacks of this turn of the loop: every socket that is readable now joins the batch.
        asyncio.get_running_loop().call_soon(self._next_batch)

    def _check_room(self, call: AnyCall) -> None:
        """Raises unless the call may wait, too."""
        if self._closed or (self._rows and self._rows + call.rows > self._capacity):
            raise self._refusal(self._rows)
        self._sort_into_turns()
        waiting = self._turns.get(call.connection)
        if not waiting:
            return
        share = max(1, self._ample_rows // len(self._turns))
        if sum(other.rows for other in waiting if other.rows <= self._max_batch) + call.rows > share:
            raise self._refusal(self._rows)

    def _refusal(self, waiting: int) -> RlwayError:
        if self._closed:
            return NotReady(f"policy {self._name!r}: the server is stopping.")
        return QueueFull(f"policy {self._name!r}: {waiting} observations are waiting already; try again in a second.")

    def _next_batch(self) -> None:
        if 1 < len(self._queue) + len(self._own) < self._max_batch and not self._turns and not self._lingered:
            # Callers are many: those who arrived while the others were read join this batch, too.
            self._lingered = True
            self._schedule()
            return
        self._lingered = False
        try:
            batch, plain = self._gather()
        except Exception:
            self._schedule_next()  # whatever went wrong, the others go on
            raise
        if not batch:
            self._schedule_next()
            return
        run: Run = self._runner.run_plain if plain else self._runner.run  # type: ignore[assignment]  # as `_take` says
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

    def _start_on_thread(self, batch: list[AnyCall], plain: bool, run: Run, began_s: float) -> None:
        def run_whatever() -> list[Response]:
            try:
                return run(batch)
            except RunFailed:
                return self._runner.run_apart(batch)

        def answer(responses: list[Response]) -> None:
            self._on_thread = False
            self._answer(batch, plain, responses, began_s)

        self._on_thread = True
        self._thread.start(run_whatever, answer)

    def _gather(self) -> tuple[list[AnyCall], bool]:
        """The next batch, and whether it is plain; none, where connections' own calls were one and are answered."""
        if self._own:
            if self._only_own and self._run_own():
                return [], True
            self._mix_own()
        return self._take()

    @property
    def _only_own(self) -> bool:
        """Whether nothing but connections' own calls waits."""
        return len(self._own) == self._rows and not self._large_rows

    def _run_own(self) -> bool:
        """Runs and answers a batch of connections' own calls, if all are plain, in time and finite. Whether it did."""
        calls, later = self._own[: self._max_batch], self._own[self._max_batch :]
        if len(calls) > self._inline_rows:
            return False
        if later:  # as everybody waits with one, turns are taken in order of arrival
            calls = [call for call in calls if not self._drop_abandoned(call)]
            self._own = calls + later
            self._own_octets = len(self._own) if self._own_octets else 0
            self._rows = len(self._own)
        bodies = [call.observations for call in calls]
        raw = self._own_octets > 0
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
        responses = self._runner.run_plainly(observations, raw) if calls else []
        if responses is None:
            return False
        self._own = later
        self._own_octets = len(later) if raw else 0
        self._rows = len(later)
        if calls:
            self._metrics.count_batch(calls, len(calls), began_s, time.perf_counter())
            if responses[0].status != 200:
                self._metrics.count_failed(calls, responses)
            self._give(calls, responses)
        return True

    def _mix_own(self) -> None:
        """Connections' own calls become calls like others, and wait behind these."""
        calls, self._own, self._own_octets = self._own, [], 0
        unread = []
        for call in calls:
            try:
                call.deadline_s = None  # type: ignore[misc]  # a slot of subclasses
                if not call.raw:
                    call.take(self._decode(call.observations))
            except Exception:  # whatever it is, the endpoint will say it
                unread.append(call)
                continue
            self._queue.append(call)
            kind = RAW_CALLS if call.raw else JSON_CALLS
            self._kinds |= kind if call.deadline_s is None else kind | TIMED_CALLS
        self._rows -= len(unread)
        for call in unread:
            try:
                call.ask_again()
            except Exception:
                log.exception("policy %s: a request was lost", self._name)

    def _answer(self, batch: list[AnyCall], plain: bool, responses: list[Response], began_s: float) -> None:
        try:
            rows = len(batch) if plain else sum(call.rows for call in batch)
            self._metrics.count_batch(batch, rows, began_s, time.perf_counter())
            self._metrics.count_failed(batch, responses)
            self._give(batch, responses)
        finally:
            self._schedule_next()

    def _give(self, batch: Sequence[AnyCall], responses: list[Response]) -> None:
        for call, response in zip(batch, responses, strict=True):
            try:
                call.answer(response)
            except Exception:
                log.exception("policy %s: an answer was lost", self._name)

    def _schedule_next(self) -> None:
        self._scheduled = False
        if self._own or self._queue or self._turns:
            self._schedule()

    def _take(self) -> tuple[list[AnyCall], bool]:
        """Up to `max_batch` rows (a larger single call runs alone) without the calls that are too late.

        And whether they are plain, of one kind.
        """
        kinds, max_batch = self._kinds, self._max_batch
        plain = kinds & ~TIMED_CALLS in (JSON_CALLS, RAW_CALLS)
        if self._rows <= max_batch and not self._large_rows and not self._turns:
            taken, self._queue = self._queue, []
            self._rows = self._kinds = 0
        elif plain and not self._turns and len({call.connection for call in self._queue}) == len(self._queue):
            # Everybody waits with one call of one row: turns are taken in order of arrival.
            taken = self._queue[:max_batch]
            del self._queue[:max_batch]
            self._rows -= len(taken)
            taken = [call for call in taken if not self._drop_abandoned(call)]
        else:
            taken = self._take_in_turn()
        if self._remembers:
            taken = self._one_per_episode(taken, kinds)
        if kinds & TIMED_CALLS:
            taken = self._without_late(taken)
        return taken, plain

    def _sort_into_turns(self) -> None:
        if self._own:
            self._mix_own()
        turns = self._turns
        for call in self._queue:
            calls = turns.get(call.connection)
            if calls is None:
                turns[call.connection] = deque((call,))
            else:
                calls.append(call)
        self._queue.clear()

    def _take_in_turn(self) -> list[AnyCall]:
        """One call of each connection after the other; those of connections that have gone are dropped."""
        self._sort_into_turns()
        turns, max_batch = self._turns, self._max_batch
        taken: list[AnyCall] = []
        rows, full = 0, False
        while turns and not full:
            for connection in list(turns):
                call = turns[connection][0]
                full = rows > 0 and rows + call.rows > max_batch and not call.abandoned
                if full:
                    break
                calls = turns.pop(connection)
                calls.popleft()
                if calls:
                    turns[connection] = calls  # behind the others
                self._count_rows(call, -1)
                if not self._drop_abandoned(call):
                    taken.append(call)
                    rows += call.rows
        if not turns:
            self._kinds = 0
        return taken

    def _drop_abandoned(self, call: AnyCall) -> bool:
        """Whether nobody waits for the call any more: then it is answered."""
        abandoned = call.abandoned
        if abandoned:
            call.answer(ABANDONED)
        return abandoned

    def _count_rows(self, call: AnyCall, sign: int) -> None:
        if call.rows > self._max_batch:
            self._large_rows += sign * call.rows
        else:
            self._rows += sign * call.rows

    def _one_per_episode(self, taken: list[AnyCall], kinds: int) -> list[AnyCall]:
        """A step needs what the one before it has left: the further steps of an episode wait for the next run."""
        batch: list[AnyCall] = []
        later: list[AnyCall] = []
        playing: set[object] = set()
        for call in taken:
            (later if call.episode in playing else batch).append(call)
            playing.add(call.episode)
        for call in reversed(later):
            if call.connection in self._turns:
                self._turns[call.connection].appendleft(call)
            else:
                self._queue.insert(0, call)
                self._kinds |= kinds
            self._count_rows(call, 1)
        return batch

    def _without_late(self, taken: list[AnyCall]) -> list[AnyCall]:
        ends_s = time.perf_counter() + self._runtime.expected_s(sum(call.rows for call in taken))
        late = [call for call in taken if call.deadline_s is not None and ends_s > call.deadline_s]
        if not late:
            return taken
        self._metrics.count_refusal(LATE, len(late))
        for call in late:
            call.answer(self._late)
        return [call for call in taken if call.deadline_s is None or ends_s <= call.deadline_s]
