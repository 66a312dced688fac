"""Replay of images, within TensorFlow's graph: each frame is kept once.

In:      rows uint8[n, width], see rlway_train.collect.transition.ImageColumns.
Out:     minibatches, sampled uniformly with replacement: the frames of observations and successors, and the numbers
         float32[…, action_dim + 2] of the transitions.

A transition holds 2 · `stack` frames, and consecutive transitions share all but one of them. So frames are kept in one
table, and a transition has their places in it:

    frames   uint8[places, height · width · channels]
    stacks   int32[capacity, 2 · stack]    frames of the observation, oldest first, then those of the successor
    numbers  float32[capacity, action_dim + 2]

A frame is found again by the hash of its bytes, whichever environment it is from, and its place is free once the last
transition with it is gone. There are places for `capacity` frames and an eighth more. In episodes of fewer than eight
steps the first frames need more, and the oldest transitions are dropped before `capacity` is reached.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from rlway_client.contract.specs import AnyArray, FloatArray, IntArray
from rlway_train.replay.base import FRAMES_FILE, Replay

ROWS_AT_ONCE = 512  # of large images, their frames are another copy in memory


class Columns(Protocol):
    """The columns of the rows."""

    width: int
    observation: slice
    successor: slice

    def numbers(self, rows: AnyArray) -> FloatArray:  # uint8[n, width] -> [n, action_dim + 2]
        """A view of the rows' numbers."""


class FrameStacks(NamedTuple):
    """How an image consists of frames: uint8[places, channels · stack], of which each has `channels`."""

    places: int  # height · width
    channels: int
    stack: int

    def split(self, images: AnyArray) -> AnyArray:  # [n, places · stack · channels] -> [n, stack, places · channels]
        parts = images.reshape(len(images), self.places, self.stack, self.channels).swapaxes(1, 2)
        return parts.reshape(len(images), self.stack, -1)

    def join(self, frames: Any) -> Any:  # tensor [n, stack, places · channels] -> [n, places · stack · channels]
        parts = tf.reshape(frames, [-1, self.stack, self.places, self.channels])
        return tf.reshape(tf.transpose(parts, [0, 2, 1, 3]), [-1, self.places * self.stack * self.channels])


class FrameReplay(tf.Module, Replay):  # type: ignore[misc]  # TensorFlow carries no types
    """The last `capacity` transitions between images."""

    def __init__(self, capacity: int, columns: Columns, stacks: FrameStacks) -> None:
        super().__init__(name="replay")
        self.capacity, self._columns, self._split = capacity, columns, stacks
        places = capacity + capacity // 8 + 2 * stacks.stack
        n_numbers = columns.numbers(np.zeros((1, columns.width), np.uint8)).shape[1]
        frame = stacks.places * stacks.channels
        with tf.device("CPU:0"):  # where there is most memory
            self._frames = tf.Variable(tf.zeros([places, frame], tf.uint8), trainable=False)
            self._stacks = tf.Variable(tf.zeros([capacity, 2 * stacks.stack], tf.int32), trainable=False)
            self._numbers = tf.Variable(tf.zeros([capacity, n_numbers]), trainable=False)
            self._oldest = tf.Variable(0, trainable=False)
            self._size = tf.Variable(0, trainable=False)
        self._table = FrameTable(places)
        self._held = np.zeros((capacity, 2 * stacks.stack), np.int32)  # `_stacks`, here
        self._first, self._count = 0, 0  # `_oldest` and `_size`, here
        self._append = tf.function(
            self._assign,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, frame], tf.uint8),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, 2 * stacks.stack], tf.int32),
                tf.TensorSpec([None, n_numbers], tf.float32),
            ],
        )

    @property
    def size(self) -> int:
        return self._count

    def write(self, rows: AnyArray) -> None:  # uint8[n, width]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            self._write(rows[start : start + ROWS_AT_ONCE][-self.capacity :])

    def _write(self, rows: AnyArray) -> None:
        columns = self._columns
        images = (rows[:, columns.observation], rows[:, columns.successor])
        frames = np.concatenate([self._split.split(part) for part in images], axis=1)
        self._add(np.ascontiguousarray(frames), columns.numbers(rows))  # for the hash of each frame

    def _add(self, frames: AnyArray, numbers: AnyArray) -> None:  # [n, 2 · stack, frame], [n, action_dim + 2]
        fresh: dict[int, AnyArray] = {}  # frames by place; a place may be freed and taken again within these rows
        written = []
        for stack in frames:
            if self._count == self.capacity:
                self._drop_oldest()
            row = (self._first + self._count) % self.capacity
            for i, frame in enumerate(stack):
                place = self._table.find(frame)
                while place is None:  # a transition that is dropped may be an earlier one of these rows
                    self._drop_oldest()
                    place = self._table.find(frame)
                if self._table.use(place):
                    fresh[place] = frame
                self._held[row, i] = place
            self._count += 1
            written.append(row)
        kept = {row: i for i, row in enumerate(written)}  # the last one of each row
        rows = np.fromiter(kept, np.int32, len(kept))
        places = np.fromiter(fresh, np.int32, len(fresh))
        new = np.stack([*fresh.values()]) if fresh else frames[:0, 0]
        self._append(places, new, rows, self._held[rows], numbers[[*kept.values()]])
        self._oldest.assign(self._first)
        self._size.assign(self._count)

    def _drop_oldest(self) -> None:
        self._table.release(self._held[self._first])
        self._first = (self._first + 1) % self.capacity
        self._count -= 1

    def _assign(self, places: Any, frames: Any, rows: Any, stacks: Any, numbers: Any) -> None:
        self._frames.scatter_update(tf.IndexedSlices(frames, places))
        self._stacks.scatter_update(tf.IndexedSlices(stacks, rows))
        self._numbers.scatter_update(tf.IndexedSlices(numbers, rows))

    def sample(self, shape: tuple[int, ...], seed: Any) -> tuple[Any, Any]:
        """Samples within a graph: frames uint8[*shape, 2 · stack, frame], numbers. A seed repeats the places."""
        nth = tf.random.stateless_uniform(shape, seed, 0, self._size, tf.int32)
        rows = (self._oldest + nth) % self.capacity
        return tf.gather(self._frames, tf.gather(self._stacks, rows)), tf.gather(self._numbers, rows)

    def images(self, frames: Any) -> tuple[Any, Any]:  # [n, 2 · stack, frame] -> [n, obs_dim] twice
        """Within a graph, the observations and the successors that consist of these frames."""
        stack = self._split.stack
        return self._split.join(frames[:, :stack]), self._split.join(frames[:, stack:])

    def rows(self) -> AnyArray:  # -> [size, width]
        """All rows, oldest first."""
        columns, order = self._columns, self._order()
        rows = np.empty((len(order), columns.width), np.uint8)
        frames = tf.gather(self._frames, self._held[order])
        rows[:, columns.observation], rows[:, columns.successor] = (part.numpy() for part in self.images(frames))
        columns.numbers(rows)[:] = self._numbers.numpy()[order]
        return rows

    def _order(self) -> IntArray:
        return (self._first + np.arange(self._count)) % self.capacity

    def save(self, folder: Path) -> None:
        order = self._order()
        used, stacks = np.unique(self._held[order], return_inverse=True)
        frames, numbers = tf.gather(self._frames, used).numpy(), self._numbers.numpy()[order]
        stacks = stacks.reshape(len(order), -1).astype(np.int32)
        np.savez(folder / FRAMES_FILE, frames=frames, stacks=stacks, numbers=numbers)

    def restore(self, folder: Path) -> None:
        with np.load(folder / FRAMES_FILE, allow_pickle=False) as kept:
            frames, stacks, numbers = kept["frames"], kept["stacks"], kept["numbers"]
        for start in range(0, len(stacks), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            self._add(frames[stacks[part]], numbers[part])


class FrameTable:
    """The places of frames: which are taken, by how many transitions, and by which bytes."""

    def __init__(self, places: int) -> None:
        self._free = [*range(places)][::-1]
        self._users = np.zeros(places, np.int64)
        self._place_of: dict[bytes, int] = {}
        self._hash_in: dict[int, bytes] = {}

    def find(self, frame: AnyArray) -> int | None:
        """The frame's place, or a free one that is now the frame's. None if all are taken."""
        key = blake2b(frame.data, digest_size=16).digest()
        place = self._place_of.get(key)
        if place is None and self._free:
            place = self._free.pop()
            self._place_of[key], self._hash_in[place] = place, key
        return place

    def use(self, place: int) -> bool:
        """Counts one more use of the place. True if it is the first, so that the frame has to be written."""
        self._users[place] += 1
        return bool(self._users[place] == 1)

    def release(self, places: AnyArray) -> None:
        """Counts one use less of each place. Those without any are free."""
        for place in places.tolist():
            self._users[place] -= 1
            if self._users[place] == 0:
                del self._place_of[self._hash_in.pop(place)]
                self._free.append(place)
