"""Replay on a Reverb server: the table of rows, what is written to it, and the batches that are drawn from it.

In:      transition rows float32[n, width], see collector; the address of a server.
Out:     a dataset of batches: rows float32[batch, width], and of each row its key and its probability.
Refuses: ReplayStalled where the table takes no row for `patience_s`; the dataset then ends.

A row is one item of one step and one column, in a chunk of its own. To draw a row, Reverb takes its whole chunk apart:
rows that share a chunk cost less to write and more to draw, and every row is drawn many times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import reverb
import tensorflow as tf

from rlway_client.contract.errors import RlwayError, ServerUnreachable, UsageError
from rlway_client.contract.specs import FloatArray
from rlway_train.common.deadline import watched
from rlway_train.common.quiet import native_stderr_muted
from rlway_train.config.settings import DqnSettings, Selector, TrainingSettings
from rlway_train.replay.uniform import ROWS_FILE, RecentRows, Replay

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel

ROWS = "rows"  # the table's name
UNCONFIRMED_ROWS = 32  # of some sixty that the server has not confirmed yet, Reverb warns
ATTEMPTS = 5  # to write the same rows, of which the server says that something is wrong
LOOK_UP_S = 2.0  # while nothing is taken
# Samples on their way, in batches. Reverb's own default of a few samples, with a worker per core, costs three times the
# CPU: one worker that always fetches many at once takes the table's lock rarely and the cores from nobody.
BATCHES_IN_FLIGHT = 2
BATCHES_READY = 1  # put together while an update runs


class ReplayStalled(RlwayError):
    """The table's limiter let nothing through for too long."""


@dataclass(frozen=True)
class TableOptions:
    """How the table keeps rows, draws them, and keeps writers and learners in step."""

    capacity: int
    min_size: int = 1  # rows, before the first is drawn
    selector: Selector = "uniform"
    priority_exponent: float = 0.6
    samples_per_insert: float | None = None  # None: writers and learners never wait for each other
    ahead: int = 1_000  # rows by which either may be ahead of that ratio before it waits

    @classmethod
    def of(cls, settings: TrainingSettings, writers: int = 1) -> TableOptions:
        """What these settings mean for their table, with so many processes that write blocks to it."""
        per_insert = settings.batch_size * settings.block_iterations / settings.block_steps
        in_flight = math.ceil((BATCHES_IN_FLIGHT + BATCHES_READY + 1) * settings.batch_size / per_insert)
        return cls(
            capacity=settings.replay_capacity,
            min_size=max(1, min(settings.initial_steps, settings.replay_capacity)),
            selector=settings.selector,
            priority_exponent=settings.priority_exponent if isinstance(settings, DqnSettings) else 0.0,
            samples_per_insert=per_insert if settings.limiter == "ratio" else None,
            # A block is written before it is learnt from, and drawing runs ahead of the learning.
            ahead=(1 + writers) * settings.block_steps + in_flight,
        )

    def make(self) -> reverb.Table:
        drawn = (
            reverb.selectors.Prioritized(self.priority_exponent)
            if self.selector == "prioritized"
            else reverb.selectors.Uniform()
        )
        return reverb.Table(ROWS, drawn, reverb.selectors.Fifo(), self.capacity, self._limiter())

    def _limiter(self) -> Any:
        if self.samples_per_insert is None:
            return reverb.rate_limiters.MinSize(self.min_size)
        ratio = self.samples_per_insert
        return reverb.rate_limiters.SampleToInsertRatio(ratio, self.min_size, error_buffer=self.ahead * ratio)


class LocalServer:
    """A server within this process, which then draws without a network. Close it."""

    def __init__(self, table: TableOptions, others: Sequence[reverb.Table] = ()) -> None:
        with native_stderr_muted():  # Reverb's notices know no level
            self._server = reverb.Server([table.make(), *others])
        self.address = f"localhost:{self._server.port}"

    def close(self) -> None:
        with native_stderr_muted():
            self._server.stop()


class ReverbRows:
    """The rows on a server that is somewhere."""

    def __init__(self, address: str, width: int, patience_s: float) -> None:
        self.address, self._width, self.patience_s = address, width, patience_s
        self.priority = 1.0  # of new rows: that of the most surprising one so far, so that each is soon drawn once
        self._client = reverb.Client(address)
        self._writer = self._new_writer()

    @property
    def size(self) -> int:
        """Rows that are kept."""
        return int(self._info.current_size)

    @property
    def inserted(self) -> int:
        """Rows that were ever written."""
        return int(self._info.rate_limiter_info.insert_stats.completed)

    @property
    def _info(self) -> Any:
        return self._client.server_info()[ROWS]

    def write(self, rows: FloatArray, waiting: Callable[[], None] = lambda: None) -> None:  # [n, width]
        """Returns once the server has them all; `waiting` is called now and then while it does not take them."""
        for start in range(0, len(rows), UNCONFIRMED_ROWS):
            few = rows[start : start + UNCONFIRMED_ROWS]
            for attempt in range(ATTEMPTS):
                try:
                    self._write(few, waiting)
                    break
                except RuntimeError as error:
                    if attempt == ATTEMPTS - 1:
                        reason = str(error).splitlines()[0]
                        raise ServerUnreachable(f"replay at {self.address}: took no rows: {reason}.") from error
                    # A server that was restored knows nothing of what the writer has sent: begin anew.
                    self._writer = self._new_writer()
                    waiting()

    def _new_writer(self) -> Any:
        return self._client.trajectory_writer(num_keep_alive_refs=1, validate_items=False)

    def _write(self, few: FloatArray, waiting: Callable[[], None]) -> None:
        for row in few:
            self._writer.append(row)
            self._writer.create_item(ROWS, self.priority, self._writer.history[-1])
        start_s = time.monotonic()
        while not self._flushed():
            waiting()
            if time.monotonic() - start_s > self.patience_s:
                raise ReplayStalled(
                    f"replay at {self.address}: took no rows for {self.patience_s:g} s, for its limiter waits until "
                    f"more are drawn; is a learner running?"
                )
        # The writer would remember every row until the end of an episode.
        self._writer.end_episode()

    def _flushed(self) -> bool:
        try:
            self._writer.flush(timeout_ms=int(min(LOOK_UP_S, self.patience_s) * 1e3))
        except reverb.errors.DeadlineExceededError:
            return False
        return True

    @property
    def _limiter_timeout_ms(self) -> int:
        return int(self.patience_s * 1e3)

    def guard(self, call: Callable[[], Any]) -> Any:
        """The result of a call that draws, unless the server is lost."""
        return call()

    def dataset(self, batch_size: int, prepare: Callable[[Any], Any] = lambda sample: sample) -> Any:
        """Batches as `prepare` makes them of a `ReplaySample`: `data` [batch, width], `info` [batch] each.

        Ends when no rows come.
        """
        drawn = reverb.TimestepDataset(
            self.address,
            ROWS,
            tf.float32,
            tf.TensorShape([self._width]),
            max_in_flight_samples_per_worker=BATCHES_IN_FLIGHT * batch_size,
            num_workers_per_iterator=1,
            rate_limiter_timeout_ms=self._limiter_timeout_ms,
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        batches = drawn.batch(batch_size, drop_remainder=True).map(prepare).prefetch(BATCHES_READY)
        return batches.with_options(options)


class RemoteReplay(ReverbRows, Replay):
    """The rows on the server of an exchange, which saves them itself, and outlives this process."""

    def __init__(self, channel: Channel, width: int) -> None:
        super().__init__(channel.address, width, channel.patience_s)
        self._channel = channel

    @property
    def _limiter_timeout_ms(self) -> int:
        return -1  # actors may be away for as long as they like

    def guard(self, call: Callable[[], Any]) -> Any:
        try:
            return watched(call, self._channel.reach)
        except (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.NotFoundError) as error:
            raise ServerUnreachable(
                f"replay at {self.address}: gave no rows: {error.message.splitlines()[0]}; --resume goes on from the "
                f"last checkpoint."
            ) from error

    def save(self, folder: Path) -> None:
        pass

    def restore(self, folder: Path) -> None:
        pass

    def close(self) -> None:
        pass


class ReverbReplay(ReverbRows, Replay):
    """A server within this process, and the rows on it."""

    def __init__(self, table: TableOptions, width: int, patience_s: float = 60.0) -> None:
        self._table, self._latest = table, RecentRows(table.capacity, width)
        self._server = LocalServer(table)
        super().__init__(self._server.address, width, patience_s)

    def write(self, rows: FloatArray, waiting: Callable[[], None] = lambda: None) -> None:  # [n, width]
        # The limiter would wait for ever for someone to draw from rows that only make room for others.
        super().write(rows[-self._table.capacity :], waiting)
        self._latest.write(rows)

    def save(self, folder: Path) -> None:
        # Not Reverb's own checkpoint: a limiter and a capacity come back with it, and settings may have changed.
        np.save(folder / ROWS_FILE, self._latest.rows())

    def restore(self, folder: Path) -> None:
        if not (folder / ROWS_FILE).exists():
            raise UsageError(
                f"{folder}: its replay was on a server with actors; go on with --actors N, or with "
                f"`rlway train learner --replay HOST:PORT`."
            )
        rows = np.load(folder / ROWS_FILE, allow_pickle=False)[-self._table.capacity :]
        self._server.close()
        # A limiter counts from the first rows on, and these are the first.
        table = replace(self._table, min_size=max(1, len(rows)))
        self._server = LocalServer(table)
        ReverbRows.__init__(self, self._server.address, self._width, self.patience_s)
        self.write(rows)

    def close(self) -> None:
        self._server.close()
