"""Replay within TensorFlow's graph, sampled uniformly.

In:      rows float32[n, width].
Out:     minibatches float32[iterations, batch, width], sampled with replacement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rlway_client.contract.specs import FloatArray
from rlway_train.replay.base import ROWS_FILE, Replay


class Ring(tf.Module, Replay):  # type: ignore[misc]  # TensorFlow carries no types
    """A ring of the last `capacity` rows."""

    def __init__(self, capacity: int, width: int) -> None:
        super().__init__(name="replay")
        self.capacity = capacity
        self._rows = tf.Variable(tf.zeros([capacity, width]), trainable=False)
        self._cursor = tf.Variable(0, trainable=False)
        self._size = tf.Variable(0, trainable=False)
        signature = [tf.TensorSpec([None, width], tf.float32)]
        self._write = tf.function(self.append, input_signature=signature, autograph=False)

    @property
    def size(self) -> int:
        return int(self._size.numpy())

    def write(self, rows: FloatArray) -> None:  # [n, width]
        # With more rows than fit, some places would be written twice, in an undefined order.
        self._write(rows[-self.capacity :])

    def rows(self) -> FloatArray:  # -> [size, width]
        """All rows, oldest first."""
        kept, cursor = self._rows.numpy(), int(self._cursor.numpy())
        rows: FloatArray = kept[:cursor] if self.size < self.capacity else np.roll(kept, -cursor, axis=0)
        return rows

    def save(self, folder: Path) -> None:
        np.save(folder / ROWS_FILE, self.rows())

    def restore(self, folder: Path) -> None:
        self.write(np.load(folder / ROWS_FILE, allow_pickle=False))

    def append(self, rows: Any) -> None:
        """`write` within a graph: at most `capacity` rows."""
        n = tf.shape(rows)[0]
        places = (self._cursor + tf.range(n)) % self.capacity
        self._rows.scatter_update(tf.IndexedSlices(rows, places))
        self._cursor.assign((self._cursor + n) % self.capacity)
        self._size.assign(tf.minimum(self._size + n, self.capacity))

    def sample(self, shape: tuple[int, ...], seed: Any) -> Any:  # seed int32[2] -> [*shape, width]
        """Samples within a graph. The same seed gives the same places."""
        places = tf.random.stateless_uniform(shape, seed, 0, self._size, tf.int32)
        return tf.gather(self._rows, places)
