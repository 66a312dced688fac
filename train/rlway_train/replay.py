"""The replay: what every kind of it does, and the ring inside TensorFlow's graph.

In:      transition rows float32[n, width].
Out:     of the ring: minibatches float32[iterations, batch, width], drawn uniformly with replacement.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import tensorflow as tf

from rlway_client.specs import FloatArray


class Replay(Protocol):
    """The latest rows. How they are drawn is a matter between the replay and what updates from it."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Rows that are kept."""

    @abstractmethod
    def write(self, rows: FloatArray) -> None:  # [n, width]
        """Adds them; the oldest make room."""

    def close(self) -> None:
        """Ends what belongs to it outside of this object."""


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
