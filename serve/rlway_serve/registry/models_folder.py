"""Scans a models folder repeatedly; while nothing changes, a scan costs a few `stat` calls.

In:      `models/<policy>/<version>/` and `models/<policy>/labels.json`.
Out:     `Found` by policy: its versions, each with a stamp that changes with its files, and its labels.
Refuses: a folder that cannot be read (OSError). A faulty labels.json is a fault of its policy alone.

A folder's modification time changes when an entry is added or removed. File systems keep that time with a coarse
clock, so two changes may share one time: a folder is read again until its time is `SETTLED_S` old.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from rlway_client.contract.bundle import is_version_name
from rlway_client.contract.labels import LABELS_FILE, read_labels
from rlway_client.contract.manifest import POLICY_NAME

REFUSED_FILE = ".refused.json"  # written by a mirror: versions that it could not copy
SETTLED_S = 2.0

Stamp = tuple[int, ...]  # of a file or folder; it changes when that changes


class Found(NamedTuple):
    """What a scan finds in one policy's folder."""

    versions: dict[int, Stamp]  # newest first
    labels: dict[str, int] | None  # None when the file cannot be read
    labels_fault: str
    refused: dict[int, str]  # versions in the store that could not be copied, and why


class KnownFolder(NamedTuple):
    """What was read of a policy's folder, and the stamps at that time; None for one that may still be changing."""

    stamp: Stamp | None
    labels_stamp: Stamp | None
    found: Found


class ModelsFolder:
    """Remembers what it read, and reads only what has changed. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: Stamp | None = None
        self._names: list[str] = []
        self._folders: dict[str, KnownFolder] = {}

    def scan(self) -> dict[str, Found]:
        """Every folder with a policy's name, with or without versions. Equal to the last result if nothing changed."""
        stamp = stamp_of(self.path)
        if not stamp or stamp != self._stamp:
            with os.scandir(self.path) as entries:  # raises if the folder cannot be reached
                names = [entry.name for entry in entries if POLICY_NAME.fullmatch(entry.name) and is_folder(entry)]
            self._names = sorted(names)
            self._stamp = if_settled(stamp)
        folders = {name: self._read(name) for name in self._names}
        self._folders = {name: folder for name, folder in folders.items() if folder is not None}
        return {name: folder.found for name, folder in self._folders.items()}

    def _read(self, name: str) -> KnownFolder | None:
        path = self.path / name
        known = self._folders.get(name)
        stamp = stamp_of(path)
        labels_stamp: Stamp | None = stamp_of(path / LABELS_FILE)
        if known and (stamp, labels_stamp) == (known.stamp, known.labels_stamp):
            return known
        try:
            numbers, linked = list_versions(path)
        except FileNotFoundError:  # removed since it was listed
            return None
        except OSError:  # unreachable for now: what was known stays
            return known
        versions = {version: stamp_of(f"{path}/{version}/manifest.json") for version in numbers}
        try:
            labels, fault = read_labels(path / LABELS_FILE)
        except OSError as error:  # without a stamp, so that it is read again
            labels, fault, labels_stamp = None, f"{LABELS_FILE}: cannot be read: {error.strerror}.", None
        found = Found(versions, labels, fault, read_refused(path / REFUSED_FILE))
        # The target of a link may change without changing the time of the folder that holds the link.
        return KnownFolder(None if linked else if_settled(stamp), if_settled(labels_stamp), found)


def list_versions(path: Path) -> tuple[list[int], bool]:
    """The versions in a policy's folder, newest first, and whether any of them is a symbolic link."""
    with os.scandir(path) as entries:
        versions = [entry for entry in entries if is_version_name(entry.name) and is_folder(entry)]
    return sorted((int(entry.name) for entry in versions), reverse=True), any(e.is_symlink() for e in versions)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise  # it may be a folder that cannot be reached


def read_refused(path: Path) -> dict[int, str]:
    """The versions that a mirror could not copy, and why; empty where no mirror writes."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[int, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def stamp_of(path: Path | str) -> Stamp:
    """The file's device, inode, modification time and size; empty if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116  # faster than Path.stat; thousands of files, between requests
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def if_settled(stamp: Stamp | None) -> Stamp | None:
    """The stamp, or None if it is so recent that a further change might have the same time."""
    return stamp if not stamp or time.time_ns() - stamp[2] > SETTLED_S * 1e9 else None


def stamp_of_all(folder: Path) -> Stamp:
    """A stamp of every file below a folder: it shows when a broken bundle is being repaired."""
    return tuple(
        number
        for directory, _, files in sorted(os.walk(folder))
        for file in sorted(files)
        for number in stamp_of(f"{directory}/{file}")
    )
