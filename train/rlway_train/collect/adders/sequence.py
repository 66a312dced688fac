"""Sequences of steps, for learners of recurrent policies.

In:      transitions float32[E, width], one of each environment; how each step ended.
Out:     rows of `length` steps each, which are length + 1 frames one after the other.

Every step ends a sequence, so two successive sequences share all but one of their steps. A frame is laid out as in a
trajectory of TF-Agents: reward and discount say what the frame's action led to. Where an episode ends, its last
observation has a frame of its own: its type is LAST, and its action is not taken. The next frame is the FIRST of the
next episode. A sequence may hold the end of one episode and the beginning of the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlway_client.contract.specs import FloatArray
from rlway_train.collect.transition import FIRST, LAST, MID, SequenceColumns

if TYPE_CHECKING:
    from rlway_train.envs.vector import BoolArray


class SequenceAdder:
    """Keeps the last `length` frames of each environment."""

    def __init__(self, envs: int, columns: SequenceColumns) -> None:
        self.columns = columns
        self._frames = np.zeros((envs, columns.frames - 1, columns.frame_width), np.float32)
        self._held = np.zeros(envs, np.int64)
        self._begins = np.ones(envs, np.bool_)

    def add(self, rows: FloatArray, ended: BoolArray, real: BoolArray) -> FloatArray:  # [E, …] -> [m, width]
        """The sequences that end with these steps. Where `real` is False the environment took no step."""
        types = np.where(self._begins, FIRST, MID).astype(np.float32)
        self._append(self.columns.frame(types, rows), real)
        successor = self.columns.successor_frame(np.where(ended, LAST, MID), rows)
        full = real & (self._held >= self._frames.shape[1])
        sequences = np.concatenate([self._frames[full], successor[full, None]], axis=1)
        self._append(successor, real & ended)
        self._begins = np.where(real, ended, self._begins)
        complete: FloatArray = sequences.reshape(-1, self.columns.width)
        return complete

    def _append(self, frames: FloatArray, where: BoolArray) -> None:  # [E, frame_width]
        self._frames[where, :-1] = self._frames[where, 1:]
        self._frames[where, -1] = frames[where]
        self._held[where] += 1
