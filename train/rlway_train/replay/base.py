"""What every replay does.

In:      rows [n, width], see rlway_train.collect.transition.
Out:     a replay that keeps the latest of them. How rows are sampled is up to the replay and its learner.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Protocol

from rlway_client.contract.specs import AnyArray

ROWS_FILE = "replay.npy"  # in a checkpoint: oldest first
FRAMES_FILE = "replay.npz"  # likewise, of images


class Replay(Protocol):
    """Keeps the latest rows."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many rows are kept."""

    @abstractmethod
    def write(self, rows: AnyArray) -> None:  # [n, width]
        """Adds rows. If there is no room, they replace the oldest."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the rows that would be lost with this process."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Reads what `save` wrote. Call it before the first `write`."""

    def close(self) -> None:
        """Ends what the replay has started."""
