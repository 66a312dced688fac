"""The checkpoints in a folder, as tf.train.Checkpoint and TF-Agents' common.Checkpointer write them.

In:      a folder with `PREFIX-NUMBER.index` and its shards, `PREFIX-NUMBER.data-00000-of-00001`; or with the folders of
         PolicySavedModelTrigger, `policy_checkpoint_NUMBER/variables/`.
Out:     `SavedCheckpoint`s; the latest, or that of a number.
Refuses: a number that is not there (UsageError lists those that are).
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rlway_client.contract.errors import UsageError
from rlway_export.sources.checkpoints import VARIABLES, checkpoint_numbers, checkpoint_path, parse_checkpoint

INDEX = ".index"
NUMBERED = re.compile(r"(.*)-(\d{1,18})")
SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})")
STATE = "checkpoint"  # the file in which TensorFlow notes which one is the latest
LATEST = re.compile(r'^model_checkpoint_path: "(?:[^"]*/)?([^"/]+)"', re.MULTILINE)


class SavedCheckpoint(NamedTuple):
    """One checkpoint, whose files begin with `prefix`."""

    prefix: Path
    number: int | None  # None for one that was written without a number

    @property
    def title(self) -> str:
        """Its name in messages."""
        return self.prefix.name if self.number is None else str(self.number)

    @property
    def files(self) -> list[Path]:
        """Its index and its shards."""
        found = self.prefix.parent.glob(f"{_escaped(self.prefix.name)}.*")
        suffixes = {path: path.name.removeprefix(self.prefix.name) for path in found}
        return sorted(path for path, suffix in suffixes.items() if suffix == INDEX or SHARD.fullmatch(suffix))

    @property
    def is_complete(self) -> bool:
        """Whether its index is there and every shard that the names of the shards tell of."""
        shards = [SHARD.fullmatch(path.name.removeprefix(self.prefix.name)) for path in self.files]
        found = {(int(shard[1]), int(shard[2])) for shard in shards if shard}
        totals = {total for _, total in found}
        return len(self.files) > len(found) and len(totals) == 1 and len(found) == max(totals)

    def content(self) -> str:
        """The SHA-256 of its files."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def saved_checkpoints(folder: Path) -> list[SavedCheckpoint]:
    """All in the folder, complete or not, by their numbers; those without a number come first."""
    found = []
    for path in folder.glob(f"*{INDEX}"):
        prefix = path.with_name(path.name.removesuffix(INDEX))
        numbered = NUMBERED.fullmatch(prefix.name)
        found.append(SavedCheckpoint(prefix, int(numbered[2]) if numbered else None))
    for number in checkpoint_numbers(folder):
        prefix = checkpoint_path(folder, number) / VARIABLES / VARIABLES
        if prefix.with_suffix(INDEX).is_file():
            found.append(SavedCheckpoint(prefix, number))
    return sorted(found, key=lambda one: (-1 if one.number is None else one.number, one.prefix.name))


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether the folder itself has checkpoints."""
    return folder.is_dir() and bool(saved_checkpoints(folder))


def find_checkpoint(folder: Path, checkpoint: str) -> SavedCheckpoint:
    """`checkpoint` is `best` or `latest`, which are the same, or a number."""
    there = saved_checkpoints(folder)
    if checkpoint in ("best", "latest"):
        return _latest(folder, there)
    number = parse_checkpoint(checkpoint)
    found = [one for one in there if one.number == number]
    if not found:
        numbers = ", ".join(str(one.number) for one in there if one.number is not None) or "none with a number"
        raise UsageError(f"{folder}: has no checkpoint {number}; it has {numbers}.")
    if len(found) > 1:
        names = " and ".join(one.prefix.name for one in found[:3])
        raise UsageError(f"{folder}: has several checkpoints {number} ({names}); move one of them to another folder.")
    return found[0]


def _latest(folder: Path, there: list[SavedCheckpoint]) -> SavedCheckpoint:
    """The one that TensorFlow noted; without a note, that of the highest number."""
    noted = None
    with suppress(OSError, UnicodeDecodeError):
        noted = LATEST.search((folder / STATE).read_text(encoding="utf-8"))
    by_name = {one.prefix.name: one for one in there}
    return by_name.get(noted[1] if noted else "", there[-1])


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)
