"""The calls that wait for one policy, and whose turn it is.

In:      calls, in order of arrival.
Out:     batches of up to `max_batch` rows; a larger call is a batch alone.
Refuses: QueueFull once `capacity` rows wait. Large calls, of more than `max_batch` rows, have a capacity of their own,
         so that they never keep small ones out. Once half of the capacity is taken, also a call whose connection has
         its share of that half already.

While all waiting calls fit into one batch, they leave in order of arrival. Beyond that, connections take turns, so that
none gains by sending many calls at once.
"""

from __future__ import annotations

from collections import deque

from rlway_client.contract.errors import QueueFull
from rlway_serve.messages.call import AnyCall, ExpressCall, PlainCall
from rlway_serve.messages.response import JSON, Response

JSON_CALLS, RAW_CALLS, OTHER_CALLS, TIMED_CALLS = 1, 2, 4, 8  # flags: the first two are plain; the last joins any
ABANDONED = Response(499, JSON, b"")  # for a connection that has gone; it is never sent


class FairQueue:
    """The calls that wait for one policy version."""

    def __init__(self, policy: str, max_batch: int, capacity: int, stateful: bool) -> None:
        self._policy = policy
        self._max_batch = max_batch
        self._capacity = capacity
        self._stateful = stateful  # steps of one episode have to run one after the other
        self.ample_rows = max(1, capacity // 2)  # while fewer wait, a connection's share is not checked
        self.rows = 0  # waiting, here and as express calls; large calls do not count
        self.large_rows = 0  # waiting in large calls
        self.calls: list[AnyCall] = []  # in order of arrival
        self.turns: dict[object, deque[AnyCall]] = {}  # by connection, once more waits than fits into a batch
        self._kinds = 0  # flags of the calls that wait, and perhaps of calls that have left

    @property
    def timed(self) -> bool:
        """Whether a call that waits may have a deadline."""
        return bool(self._kinds & TIMED_CALLS)

    def add_plain(self, call: PlainCall | ExpressCall) -> None:
        """Queues a plain call; the batcher has checked that there is room."""
        self.rows += 1
        self.calls.append(call)
        self._kinds |= RAW_CALLS if call.raw else JSON_CALLS
        if call.deadline_s is not None:
            self._kinds |= TIMED_CALLS

    def add(self, call: AnyCall) -> None:
        """As `add_plain`, for any call."""
        self._count_rows(call, 1)
        self.calls.append(call)
        self._kinds |= OTHER_CALLS if call.deadline_s is None else OTHER_CALLS | TIMED_CALLS

    def check_large(self, rows: int) -> None:
        """Raises QueueFull unless a large call may wait; one may always wait alone."""
        if self.large_rows and self.large_rows + rows > self._capacity:
            raise self._full(self.large_rows)

    def check_room(self, rows: int) -> None:
        """Raises QueueFull unless a call of so many rows may wait; one may always wait alone."""
        if self.rows and self.rows + rows > self._capacity:
            raise self._full(self.rows)

    def check_share(self, call: AnyCall) -> None:
        """Raises QueueFull if the call's connection has its share of the places already."""
        self._sort_into_turns()
        waiting = self.turns.get(call.connection)
        if not waiting:
            return
        share = max(1, self.ample_rows // len(self.turns))
        if sum(other.rows for other in waiting if other.rows <= self._max_batch) + call.rows > share:
            raise self._full(self.rows)

    def _full(self, waiting: int) -> QueueFull:
        return QueueFull(f"policy {self._policy!r}: {waiting} observations are waiting already; try again in a second.")

    def take(self) -> tuple[list[AnyCall], bool, bool]:
        """The next batch; whether its calls are plain and of one kind; whether any may have a deadline."""
        kinds, max_batch = self._kinds, self._max_batch
        plain = kinds & ~TIMED_CALLS in (JSON_CALLS, RAW_CALLS)
        if self.rows <= max_batch and not self.large_rows and not self.turns:
            taken, self.calls = self.calls, []
            self.rows = self._kinds = 0
        elif plain and not self.turns and len({call.connection for call in self.calls}) == len(self.calls):
            # Each connection waits with one call of one row, so the order of arrival is fair.
            taken = self.calls[:max_batch]
            del self.calls[:max_batch]
            self.rows -= len(taken)
            taken = [call for call in taken if not drop_abandoned(call)]
        else:
            taken = self._take_in_turn()
        if self._stateful and kinds & OTHER_CALLS:  # plain calls are in no episode
            taken = self._one_step_per_episode(taken, kinds)
        return taken, plain, bool(kinds & TIMED_CALLS)

    def _sort_into_turns(self) -> None:
        turns = self.turns
        for call in self.calls:
            calls = turns.get(call.connection)
            if calls is None:
                turns[call.connection] = deque((call,))
            else:
                calls.append(call)
        self.calls.clear()

    def _take_in_turn(self) -> list[AnyCall]:
        """The next batch, one call of each connection in turn; calls of connections that have gone are dropped."""
        self._sort_into_turns()
        turns, max_batch = self.turns, self._max_batch
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
                if not drop_abandoned(call):
                    taken.append(call)
                    rows += call.rows
        if not turns:
            self._kinds = 0
        return taken

    def _count_rows(self, call: AnyCall, sign: int) -> None:
        if call.rows > self._max_batch:
            self.large_rows += sign * call.rows
        else:
            self.rows += sign * call.rows

    def _one_step_per_episode(self, taken: list[AnyCall], kinds: int) -> list[AnyCall]:
        """Keeps one step of each episode; later steps need its state, so they return to the queue."""
        batch: list[AnyCall] = []
        later: list[AnyCall] = []
        playing: set[object] = set()
        for call in taken:
            if call.state is None:  # the request holds the state itself
                batch.append(call)
                continue
            (later if call.state in playing else batch).append(call)
            playing.add(call.state)
        for call in reversed(later):
            if call.connection in self.turns:
                self.turns[call.connection].appendleft(call)
            else:
                self.calls.insert(0, call)
                self._kinds |= kinds
            self._count_rows(call, 1)
        return batch


def drop_abandoned(call: AnyCall) -> bool:
    """Answers a call whose connection has gone; returns whether it had."""
    abandoned = call.abandoned
    if abandoned:
        call.answer(ABANDONED)
    return abandoned
