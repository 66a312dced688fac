"""A folder in which checkpoints appear: those beside a trigger's SavedModels, or those of an agent's code.

In:      the folder; how a checkpoint becomes a source, and by what a bundle that was made of it is known.
Out:     its checkpoints by their numbers, each once its index and all its shards are there and have not changed between
         two looks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from rlway_client.common.files import sha256
from rlway_client.contract.manifest import Manifest
from rlway_export.sources.base import Source
from rlway_export.sources.checkpoints import VARIABLES
from rlway_export.sources.saved_checkpoint import INDEX, SavedCheckpoint, saved_checkpoints
from rlway_export.watch.followed import Found, Stamp, stamp


class FollowedCheckpoints:
    """`folder` has the checkpoints; `path` is what the user named."""

    things, ends_itself = "checkpoints", False

    def __init__(
        self,
        path: Path,
        folder: Path,
        source: Callable[[SavedCheckpoint], Source],
        comparison: Callable[[SavedCheckpoint], Callable[[Manifest], bool]],
    ) -> None:
        self.path, self._folder = path, folder
        self._source, self._comparison = source, comparison
        self._stamps: dict[SavedCheckpoint, Stamp | None] = {}
        self.damage: set[str] = set()
        self.is_settled = False

    def has_ended(self) -> bool:
        return False

    def look(self, is_last: bool) -> list[Found]:
        there = saved_checkpoints(self._folder) if self._folder.is_dir() else []
        before, self._stamps = self._stamps, {one: stamp(one.files) for one in there}
        stable = [one for one in there if self._stamps[one] is not None and before.get(one) == self._stamps[one]]
        self.is_settled = len(stable) == len(there)
        self.damage = set()
        if is_last:
            self.damage = {f"checkpoint {one.title} is not complete." for one in stable if not one.is_complete}
        return [self._found(one) for one in stable if one.is_complete]

    def _found(self, one: SavedCheckpoint) -> Found:
        return Found(
            f"checkpoint {one.title}",
            (one, self._stamps[one]),
            partial(self._source, one),
            self._comparison(one),
            lambda: one.is_complete,
        )


def by_weights(one: SavedCheckpoint) -> Callable[[Manifest], bool]:
    """Whether a bundle's SavedModel has the checkpoint's variables: those of a trigger are copied as they are."""

    @cache
    def weights() -> dict[str, str]:
        shards = (path for path in one.files if path.suffix != INDEX)
        return {f"{VARIABLES}/{path.name}": sha256(path) for path in shards}

    return lambda manifest: all(manifest.files.get(name) == checksum for name, checksum in weights().items())


def by_content(one: SavedCheckpoint) -> Callable[[Manifest], bool]:
    """Whether a bundle says that it was made of this checkpoint."""
    content = cache(one.content)
    return lambda manifest: manifest.training.get("sha256") == content()
