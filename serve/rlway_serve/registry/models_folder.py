"""What lies in a models folder, at the price of a few `stat` calls when nothing has changed.

In:      `models/<policy>/<version>/` and `models/<policy>/labels.json`.
Out:     `Found` by policy: its versions, each with a stamp that changes with its files, and its labels.
Refuses: a folder that cannot be read (OSError). A faulty labels.json is told as such, for one policy.

A folder's modification time tells of entries that came or went. It has the file system's coarse clock, so a folder that
changed a moment ago is read again until its time is `SETTLED_S` old.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from rlway_client.contract.bundle import is_version_name
from rlway_client.contract.manifest import POLICY_NAME

LABELS_FILE = "labels.json"
MAX_LABELS_BYTES = 64 * 1024  # some thousands of labels
STABLE = "stable"  # the label whose version acts
REFUSED_FILE = ".refused.json"  # what a mirror could not copy
SETTLED_S = 2.0

Stamp = tuple[int, ...]  # equal as long as nobody has touched what it was taken from
LabelMap = dict[Annotated[str, Meta(pattern=rf"^{POLICY_NAME.pattern}$")], Annotated[int, Meta(ge=1)]]


class Found(NamedTuple):
    """One policy's folder."""

    versions: dict[int, Stamp]  # newest first
    labels: dict[str, int] | None  # None when the file cannot be read
    labels_fault: str
    refused: dict[int, str]  # versions of the store that could not be copied, and why


class KnownFolder(NamedTuple):
    """What was found, and the stamps under which it will be found again; None where it may be changing."""

    stamp: Stamp | None
    labels_stamp: Stamp | None
    found: Found


class ModelsFolder:
    """Reads a folder again and again. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: Stamp | None = None
        self._names: list[str] = []
        self._folders: dict[str, KnownFolder] = {}

    def scan(self) -> dict[str, Found]:
        """Every folder that may be a policy's, versions or not; equal to the last answer when nothing has changed."""
        stamp = stamp_of(self.path)
        if not stamp or stamp != self._stamp:
            with os.scandir(self.path) as entries:  # raises where the folder is out of reach
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
        except FileNotFoundError:  # gone, as is its right
            return None
        except OSError:  # out of reach, which says nothing of what it holds
            return known
        versions = {version: stamp_of(f"{path}/{version}/manifest.json") for version in numbers}
        try:
            labels, fault = read_labels(path / LABELS_FILE)
        except OSError as error:  # read again the next time, changed or not
            labels, fault, labels_stamp = None, f"{LABELS_FILE}: cannot be read: {error.strerror}.", None
        found = Found(versions, labels, fault, read_refused(path / REFUSED_FILE))
        # What is behind a link may change, and the folder with the link in it has the same time as before.
        return KnownFolder(None if linked else if_settled(stamp), if_settled(labels_stamp), found)


def list_versions(path: Path) -> tuple[list[int], bool]:
    """The versions in a policy's folder, newest first, and whether one of them is a link to elsewhere."""
    with os.scandir(path) as entries:
        versions = [entry for entry in entries if is_version_name(entry.name) and is_folder(entry)]
    return sorted((int(entry.name) for entry in versions), reverse=True), any(e.is_symlink() for e in versions)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise  # who knows what it is


def read_labels(path: Path) -> tuple[dict[str, int] | None, str]:
    """The labels, or None and what is wrong with them."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for whoever writes to it
        return None, f"{path.name}: is not a file."
    try:
        with path.open("rb") as file:
            return decode_labels(file.read(MAX_LABELS_BYTES + 1))
    except FileNotFoundError:
        return {}, ""


def decode_labels(content: bytes) -> tuple[dict[str, int] | None, str]:
    """The labels in a file's bytes, or None and what is wrong with them."""
    if len(content) > MAX_LABELS_BYTES:
        return None, f"{LABELS_FILE}: expected at most {MAX_LABELS_BYTES} bytes."
    try:
        return msgspec.json.decode(content, type=LabelMap), ""
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return None, f'{LABELS_FILE}: expected version numbers by label, such as {{"stable": 3}}: {error}.'


def read_refused(path: Path) -> dict[int, str]:
    """What a mirror says that it could not copy; nothing where no mirror is."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[int, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def stamp_of(path: Path | str) -> Stamp:
    """What tells a file from its successor; empty where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  # thousands of them, in between requests
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def if_settled(stamp: Stamp | None) -> Stamp | None:
    """The stamp, unless it is so young that a further change may come under the same time."""
    return stamp if not stamp or time.time_ns() - stamp[2] > SETTLED_S * 1e9 else None


def stamp_of_all(folder: Path) -> Stamp:
    """A stamp of every file below a folder: for bundles that were broken, which somebody may be mending."""
    return tuple(
        number
        for directory, _, files in sorted(os.walk(folder))
        for file in sorted(files)
        for number in stamp_of(f"{directory}/{file}")
    )
