"""Replay on a Reverb server: the table of rows, what is written to it, and the batches that are drawn from it.

In:      transition rows float32[n, width], see collector; the address of a server.
Out:     a dataset of batches: rows float32[batch, width], and of each row its key and its probability.
Refuses: ReplayStalled where the table takes no row for `patience_s`; the dataset then ends.

A row is one item of one step and one column, in a chunk of its own. To draw a row, Reverb takes its whole chunk apart:
rows that share a chunk cost less to write and more to draw, and every row is drawn many times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import reverb
import tensorflow as tf

from rlway_client.errors import RlwayError
from rlway_client.specs import FloatArray
from rlway_train.replay import Replay
from rlway_train.settings import DqnSettings, Selector, Settings
from rlway_train.silence import stderr_closed

ROWS = "rows"  # the table's name
UNCONFIRMED_ROWS = 32  # of some sixty that the server has not confirmed yet, Reverb warns
# Samples on their way, in batches. Reverb's own default of a few samples, with a worker per core, costs three times the
# CPU: one worker that always fetches many at once takes the table's lock rarely and the cores from nobody.
BATCHES_IN_FLIGHT = 2


class ReplayStalled(RlwayError):
    """The table's limiter let nothing through for too long."""


@dataclass(frozen=True)
class Table:
    """How the table keeps rows, draws them, and keeps writers and learners in step."""

    capacity: int
    min_size: int = 1  # rows, before the first is drawn
    selector: Selector = "uniform"
    priority_exponent: float = 0.6
    samples_per_insert: float | None = None  # None: writers and learners never wait for each other
    ahead: int = 1_000  # rows by which either may be ahead of that ratio before it waits

    @classmethod
    def of(cls, settings: Settings) -> Table:
        """What these settings mean for their table."""
        per_insert = settings.batch_size * settings.block_iterations / settings.block_steps
        in_flight = math.ceil((BATCHES_IN_FLIGHT + 1) * settings.batch_size / per_insert)
        return cls(
            capacity=settings.replay_capacity,
            min_size=max(1, min(settings.initial_steps, settings.replay_capacity)),
            selector=settings.selector,
            priority_exponent=settings.priority_exponent if isinstance(settings, DqnSettings) else 0.0,
            samples_per_insert=per_insert if settings.limiter == "ratio" else None,
            # A block is written before it is learnt from, and drawing runs ahead of the learning.
            ahead=2 * settings.block_steps + in_flight,
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

    def __init__(self, table: Table) -> None:
        with stderr_closed():  # Reverb's notices know no level
            self._server = reverb.Server([table.make()])
        self.address = f"localhost:{self._server.port}"

    def close(self) -> None:
        with stderr_closed():
            self._server.stop()


class ReverbReplay(Replay):
    """The rows on a server; one that is given lives as long as this."""

    def __init__(self, server: LocalServer | str, width: int, patience_s: float = 60.0) -> None:
        self._server = server if isinstance(server, LocalServer) else None
        self.address = server.address if isinstance(server, LocalServer) else server
        self._width, self.patience_s = width, patience_s
        self.priority = 1.0  # of new rows: that of the most surprising one so far, so that each is soon drawn once
        self._client = reverb.Client(self.address)
        self._writer = self._client.trajectory_writer(num_keep_alive_refs=1)

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

    def write(self, rows: FloatArray) -> None:  # [n, width]
        """Returns once the server has them all."""
        for start in range(0, len(rows), UNCONFIRMED_ROWS):
            for row in rows[start : start + UNCONFIRMED_ROWS]:
                self._writer.append(row)
                self._writer.create_item(ROWS, self.priority, self._writer.history[-1])
            try:
                # Not `flush`: the writer would remember every row until the end of an episode.
                self._writer.end_episode(timeout_ms=int(self.patience_s * 1e3))
            except reverb.errors.DeadlineExceededError:
                raise ReplayStalled(
                    f"replay at {self.address}: took no rows for {self.patience_s:g} s, for its limiter waits until "
                    f"more are drawn; is a learner running?"
                ) from None

    def dataset(self, batch_size: int) -> Any:
        """`ReplaySample`s of that many rows: `data` [batch, width], `info` [batch] each. Ends when none come."""
        drawn = reverb.TimestepDataset(
            self.address,
            ROWS,
            tf.float32,
            tf.TensorShape([self._width]),
            max_in_flight_samples_per_worker=BATCHES_IN_FLIGHT * batch_size,
            num_workers_per_iterator=1,
            rate_limiter_timeout_ms=int(self.patience_s * 1e3),
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        return drawn.batch(batch_size, drop_remainder=True).with_options(options)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
