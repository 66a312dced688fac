"""What can be followed, whatever writes it.

Out:     `Followed`: what is new now, and whether it has ended; `Found`: one version of it.

    FollowedRun            a run of `rlway train`, which ends
    FollowedCheckpoints    the checkpoints beside a trigger's SavedModels, or those of an agent's code
    FollowedContent        a file or a SavedModel that is replaced

The last two never end by themselves: no file says that their program has.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from rlway_client.contract.manifest import Manifest
from rlway_export.sources.base import Source

Stamp = tuple[tuple[str, int, int, int], ...]  # of each file its path, its inode, its size and when it was written


class Found(NamedTuple):
    """One version that is complete."""

    title: str
    key: Hashable  # which differs from those of all other versions
    open: Callable[[], Source]
    is_made_of: Callable[[Manifest], bool]  # whether the manifest's bundle was made of it
    is_there: Callable[[], bool]  # whether it still exists


class Followed(Protocol):
    """Something that is looked at again and again."""

    path: Path
    things: str  # what is published of it, in messages
    ends_itself: bool
    damage: set[str]  # what could not be read at the last look, a sentence each
    is_settled: bool  # whether nothing changed since the look before

    def has_ended(self) -> bool:
        """Whether nothing more will come; always False for what does not end by itself."""

    def look(self, is_last: bool) -> list[Found]:
        """What is complete now, oldest first. Raises nothing: what cannot be read is in `damage`."""


def stamp(files: Iterable[Path]) -> Stamp | None:
    """By which a change of the files is noticed; None if one of them is gone."""
    found = []
    for path in sorted(files):
        try:
            told = path.stat()
        except OSError:
            return None
        found.append((str(path), told.st_ino, told.st_size, told.st_mtime_ns))
    return tuple(found)
