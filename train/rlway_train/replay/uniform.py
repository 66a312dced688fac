"""The replay: what every kind of it does, and the ring inside TensorFlow's graph.

In:      transition rows float32[n, width].
Out:     of the ring: minibatches float32[iterations, batch, width], drawn uniformly with replacement.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from rlway_client.contract.specs import FloatArray

ROWS_FILE = "replay.npy"  # in a checkpoint: oldest first


class Replay(Protocol):
    """The latest rows. How they are drawn is a matter between the replay and what updates from it."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Rows that are kept."""

    @abstractmethod
    def write(self, rows: FloatArray) -> None:  # [n, width]
        """Adds them; the oldest make room."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes what would be lost with this process."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Reads what `save` wrote, before anything else is written."""

    def close(self) -> None:
        """Ends what belongs to it outside of this object."""


class RecentRows:
    """The last `capacity` rows, to look at from outside of a graph."""

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


class Ring(tf.Module, Replay):  # type: ignore[misc]  # TensorFlow carries no types
    """The last `capacity` rows; the oldest make room for new ones."""

    def __init__(self, capacity: int, width: int) -> None:
        super().__init__(name="replay")
        self.capacity = capacity
        self._rows = tf.Variable(tf.zeros([capacity, width]), trainable=False)
        self._cursor = tf.Variable(0, trainable=False)
        self._size = tf.Variable(0, trainable=False)
        self._write = tf.function(self.append, input_signature=[tf.TensorSpec([None, width], tf.float32)])

    @property
    def size(self) -> int:
        return int(self._size.numpy())

    def write(self, rows: FloatArray) -> None:  # [n, width]
        # More rows than fit would write some places twice, in no certain order.
        self._write(rows[-self.capacity :])

    def rows(self) -> FloatArray:  # -> [size, width]
        """All that it holds, oldest first."""
        kept, cursor = self._rows.numpy(), int(self._cursor.numpy())
        rows: FloatArray = kept[:cursor] if self.size < self.capacity else np.roll(kept, -cursor, axis=0)
        return rows

    def save(self, folder: Path) -> None:
        np.save(folder / ROWS_FILE, self.rows())

    def restore(self, folder: Path) -> None:
        self.write(np.load(folder / ROWS_FILE, allow_pickle=False))

    def append(self, rows: Any) -> None:
        """`write` for use in a graph: at most `capacity` rows."""
        n = tf.shape(rows)[0]
        places = (self._cursor + tf.range(n)) % self.capacity
        self._rows.scatter_update(tf.IndexedSlices(rows, places))
        self._cursor.assign((self._cursor + n) % self.capacity)
        self._size.assign(tf.minimum(self._size + n, self.capacity))

    def sample(self, shape: tuple[int, ...], seed: Any) -> Any:  # seed int32[2] -> [*shape, width]
        """For use in a graph; the same seed draws the same places."""
        places = tf.random.stateless_uniform(shape, seed, 0, self._size, tf.int32)
        return tf.gather(self._rows, places)
