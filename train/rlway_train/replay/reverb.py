"""Replay on a Reverb server: its table of rows, writing to it, and sampling from it.

In:      rows float32[n, width], see rlway_train.collect.transition; the address of a server.
Out:     a dataset of batches: rows float32[batch, width], with the key and the probability of each row.
Refuses: ReplayStalled if the table accepts no row for `patience_s`. If it gives none for as long, the dataset ends.

Each row is one item, in a chunk of its own. To sample a row, Reverb decodes its whole chunk. If rows shared a chunk,
writing would cost less and sampling more, and every row is sampled many times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from rlway_client.contract.errors import RlwayError, ServerUnreachable, UsageError
from rlway_client.contract.specs import FloatArray
from rlway_train.common.quiet import native_stderr_muted
from rlway_train.config.settings import DqnSettings, Selector, TrainingSettings
from rlway_train.replay.base import ROWS_FILE, Replay

ROWS = "rows"  # the table's name
UNCONFIRMED_ROWS = 32  # Reverb warns of some sixty rows that the server has not confirmed
ATTEMPTS = 5  # to write rows that the server refuses with an error
CONFIRM_S = 2.0  # between two calls of `waiting`
# Samples in flight, in batches. One worker that fetches many samples at once rarely takes the table's lock. Reverb's
# default, a few samples for each of as many workers as there are cores, costs three times the CPU.
BATCHES_IN_FLIGHT = 2
BATCHES_READY = 1  # assembled while an update runs


class ReplayStalled(RlwayError):
    """The table's limiter let nothing through for too long."""


@dataclass(frozen=True)
class TableOptions:
    """How the table keeps and samples rows, and how it paces writers and learners."""

    capacity: int
    min_size: int = 1  # rows before the first sample
    selector: Selector = "uniform"
    priority_exponent: float = 0.6
    samples_per_insert: float | None = None  # None: writers and learners never wait for each other
    ahead: int = 1_000  # rows by which either side may be ahead of that ratio before it waits

    @classmethod
    def of(cls, settings: TrainingSettings, writers: int = 1) -> TableOptions:
        """The table that these settings need, with so many processes that write blocks to it."""
        per_insert = settings.batch_size * settings.block_iterations / settings.block_steps
        in_flight = math.ceil((BATCHES_IN_FLIGHT + BATCHES_READY + 1) * settings.batch_size / per_insert)
        return cls(
            capacity=settings.replay_capacity,
            min_size=max(1, min(settings.initial_steps, settings.replay_capacity)),
            selector=settings.selector,
            priority_exponent=settings.priority_exponent if isinstance(settings, DqnSettings) else 0.0,
            samples_per_insert=per_insert if settings.limiter == "ratio" else None,
            # A block is written before the learner samples from it, and samples are fetched ahead of the updates.
            ahead=(1 + writers) * settings.block_steps + in_flight,
        )

    def make(self) -> reverb.Table:
        sampler = (
            reverb.selectors.Prioritized(self.priority_exponent)
            if self.selector == "prioritized"
            else reverb.selectors.Uniform()
        )
        return reverb.Table(ROWS, sampler, reverb.selectors.Fifo(), self.capacity, self._limiter())

    def _limiter(self) -> Any:
        if self.samples_per_insert is None:
            return reverb.rate_limiters.MinSize(self.min_size)
        ratio = self.samples_per_insert
        return reverb.rate_limiters.SampleToInsertRatio(ratio, self.min_size, error_buffer=self.ahead * ratio)


class LocalServer:
    """A server within this process, which samples from it without a network. Close it."""

    def __init__(self, table: TableOptions, others: Sequence[reverb.Table] = ()) -> None:
        with native_stderr_muted():  # Reverb's notices cannot be turned off
            self._server = reverb.Server([table.make(), *others])
        self.address = f"localhost:{self._server.port}"

    def close(self) -> None:
        with native_stderr_muted():
            self._server.stop()


class ReverbRows:
    """The rows on a server, wherever it runs."""

    def __init__(self, address: str, width: int, patience_s: float) -> None:
        self.address, self.width, self.patience_s = address, width, patience_s
        self.priority = 1.0  # of new rows: the highest priority so far, so that they are sampled soon
        self._client = reverb.Client(address)
        self._writer = self._new_writer()

    @property
    def size(self) -> int:
        """How many rows are kept."""
        return int(self._info.current_size)

    @property
    def inserted(self) -> int:
        """How many rows were ever written."""
        return int(self._info.rate_limiter_info.insert_stats.completed)

    @property
    def _info(self) -> Any:
        return self._client.server_info()[ROWS]

    def write(self, rows: FloatArray, waiting: Callable[[], None] = lambda: None) -> None:  # [n, width]
        """Returns once the server has all rows. Until then, `waiting` is called every few seconds."""
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
                    # A restored server has lost what this writer sent: begin with a new writer.
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
        # The writer keeps every row in memory until the end of an episode.
        self._writer.end_episode()

    def _flushed(self) -> bool:
        try:
            self._writer.flush(timeout_ms=int(min(CONFIRM_S, self.patience_s) * 1e3))
        except reverb.errors.DeadlineExceededError:
            return False
        return True

    @property
    def _limiter_timeout_ms(self) -> int:
        return int(self.patience_s * 1e3)

    def guard(self, call: Callable[[], Any]) -> Any:
        """The result of a call that samples."""
        return call()

    def dataset(self, batch_size: int, prepare: Callable[[Any], Any] = lambda sample: sample) -> Any:
        """Batches that `prepare` makes from a `ReplaySample`: `data` [batch, width], and `info` of [batch] each.

        It ends when the server gives no rows for `patience_s`.
        """
        samples = reverb.TimestepDataset(
            self.address,
            ROWS,
            tf.float32,
            tf.TensorShape([self.width]),
            max_in_flight_samples_per_worker=BATCHES_IN_FLIGHT * batch_size,
            num_workers_per_iterator=1,
            rate_limiter_timeout_ms=self._limiter_timeout_ms,
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        batches = samples.batch(batch_size, drop_remainder=True).map(prepare).prefetch(BATCHES_READY)
        return batches.with_options(options)


class RecentRows:
    """A copy of the last `capacity` rows, for checkpoints."""

    def __init__(self, capacity: int, width: int) -> None:
        self._rows = np.zeros((capacity, width), np.float32)
        self._written = 0

    def write(self, rows: FloatArray) -> None:  # [n, width]
        capacity = len(self._rows)
        latest = rows[-capacity:]
        self._written += len(rows)
        self._rows[np.arange(self._written - len(latest), self._written) % capacity] = latest

    def rows(self) -> FloatArray:  # -> [size, width], oldest first
        capacity = len(self._rows)
        if self._written <= capacity:
            return self._rows[: self._written].copy()
        return np.roll(self._rows, -(self._written % capacity), axis=0)


class ReverbReplay(ReverbRows, Replay):
    """The rows on a server within this process."""

    def __init__(self, table: TableOptions, width: int, patience_s: float = 60.0) -> None:
        self._table, self._latest = table, RecentRows(table.capacity, width)
        self._server = LocalServer(table)
        super().__init__(self._server.address, width, patience_s)

    def write(self, rows: FloatArray, waiting: Callable[[], None] = lambda: None) -> None:  # [n, width]
        # Rows beyond the capacity would be replaced at once, but the limiter would still wait for them to be sampled.
        super().write(rows[-self._table.capacity :], waiting)
        self._latest.write(rows)

    def save(self, folder: Path) -> None:
        # Reverb's own checkpoint would restore the limiter and the capacity, too, and the settings may have changed.
        np.save(folder / ROWS_FILE, self._latest.rows())

    def restore(self, folder: Path) -> None:
        if not (folder / ROWS_FILE).exists():
            raise UsageError(
                f"{folder}: its replay was on a server with actors; go on with --actors N, or with "
                f"`rlway train learner --replay HOST:PORT`."
            )
        rows = np.load(folder / ROWS_FILE, allow_pickle=False)[-self._table.capacity :]
        self._server.close()
        # The new server's limiter counts from its first rows, which are these.
        table = replace(self._table, min_size=max(1, len(rows)))
        self._server = LocalServer(table)
        ReverbRows.__init__(self, self._server.address, self.width, self.patience_s)
        self.write(rows)

    def close(self) -> None:
        self._server.close()
