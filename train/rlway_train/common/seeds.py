"""All seeds of a training, derived from the run's seed.

In:      the run's seed.
Out:     31-bit seeds, one for each purpose and turn. The ranges of two purposes never overlap, so the final evaluation
         plays other episodes than the evaluations that chose the checkpoint.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

RANGE_BITS = 27  # per purpose; 16 purposes fill 31 bits
ROOM = 1 << 16  # gymnasium seeds parallel environments with seed, seed + 1, …


class Purpose(IntEnum):
    """What a seed is for."""

    NETWORK = 0
    REPLAY = 1
    EXPLORATION = 2
    COLLECTION = 3
    EVALUATION = 4
    FINAL = 5
    RANDOM = 6
    OBSERVATIONS = 7
    VIDEO = 8


def seed_for(root: int, purpose: Purpose, turn: int = 0) -> int:
    """The seed of this purpose's `turn`-th use."""
    (number,) = np.random.SeedSequence((root, int(purpose), turn)).generate_state(1, np.uint64)
    return (int(purpose) << RANGE_BITS) + int(number) % ((1 << RANGE_BITS) - ROOM)
