"""Copies from a store into a local models folder the versions that a server needs.

In:      a `Store`, looked at once per `follow`.
Out:     `<folder>/<policy>/<version>/`, renamed into place once every file has the SHA-256 of its manifest; and
         labels.json. What was removed from the store is removed here. A version that cannot be copied changes nothing,
         and is listed in `<folder>/<policy>/.refused.json`.
Refuses: a store that cannot be read (StoreFailed); what could not be looked at stays as it is. If only one file cannot
         be read, its version is refused and the others are copied.

Of each policy it copies the newest versions, the labelled ones, and the newest ones below `stable`, one of which is
active if `stable` is unsound. It copies labelled versions first, then labels.json, then newer versions. So the server
always activates a version that either the old labels or the new ones allow.
"""

from __future__ import annotations

import logging
import shutil
import time
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from rlway_client.common.files import write_atomically
from rlway_client.contract.bundle import Bundle, bundle_versions, is_version_name
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.labels import LABELS_FILE, MAX_LABELS_BYTES, STABLE, decode_labels, read_labels
from rlway_client.contract.manifest import POLICY_NAME, decode_manifest
from rlway_serve.registry.load_queue import Key
from rlway_serve.registry.models_folder import REFUSED_FILE
from rlway_serve.sync.store import Store, StoreFailed

SPARE = 2  # more versions of each kind than stay loaded, since some may turn out to be unsound
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
FIRST_DELAY_S, MAX_DELAY_S = 1.0, 60.0  # before a refused version is tried again; it doubles each time
DRAFT = ".draft"  # the folder for unfinished copies; no policy can have this name
REPLACED = "replaced"  # below it, by policy and number: versions that are being replaced

log = logging.getLogger(__name__)


class Refused(NamedTuple):
    """A version that could not be copied, with the manifest that it had."""

    manifest: bytes
    fault: str
    delay_s: float
    again_s: float  # by the monotonic clock


class Mirror:
    """The copies of a store in one folder. Only one process at a time may have a mirror there."""

    def __init__(self, store: Store, folder: Path, keep_versions: int) -> None:
        self._store = store
        self._folder = folder
        self._count = keep_versions + SPARE  # versions of each kind to copy
        self._sound: dict[Key, bytes] = {}  # manifests of verified copies
        self._refused: dict[Key, Refused] = {}
        self._labels: dict[str, dict[str, int]] = {}  # as last read without a fault
        self._asked: set[Key] = set()  # versions that this look needed
        self._unread: dict[Key, StoreFailed] = {}  # versions whose manifests this look could not read
        self._has_read = False  # whether this look could read any file
        self._draft = folder / DRAFT
        self._clear()
        for draft in (*folder.glob(f"*/.{LABELS_FILE}.*"), *folder.glob(f"*/.{REFUSED_FILE}.*")):
            draft.unlink()

    def follow(self) -> None:
        """Looks at the store once; copies what is missing and removes what is no longer needed."""
        self._store.connect()
        self._asked, self._unread, self._has_read = set(), {}, False
        try:
            entries = self._store.entries()
        except FileNotFoundError:
            raise StoreFailed(self._store.name, "no such folder, or nothing in it") from None
        policies = [entry.name for entry in entries if POLICY_NAME.fullmatch(entry.name) and not entry.is_file]
        failure: StoreFailed | None = None
        for policy in policies:
            try:
                self._follow_policy(policy)
            except StoreFailed as error:  # the other policies may be readable
                failure = failure or error
        if self._has_read or len(self._unread) == 1:
            self._refuse_unread()
        elif self._unread:  # no file could be read, so the fault is the store's, not a version's
            failure = failure or next(iter(self._unread.values()))
        here = [path.name for path in self._folder.iterdir() if POLICY_NAME.fullmatch(path.name) and path.is_dir()]
        for policy in set(here) - set(policies):
            self._labels.pop(policy, None)
            self._remove(self._folder / policy)
        self._forget(policies)
        if failure is not None:
            raise failure

    def _follow_policy(self, policy: str) -> None:
        try:
            entries = self._store.entries(policy)
        except FileNotFoundError:  # removed since it was listed; the next look removes it here
            return
        there = sorted((int(e.name) for e in entries if not e.is_file and is_version_name(e.name)), reverse=True)
        here = self._folder / policy
        here.mkdir(exist_ok=True)
        content = self._read_labels(policy) if any(entry.name == LABELS_FILE for entry in entries) else None
        has_copy = cache(partial(self._ensure_copy, policy))  # so that each version is checked once
        wanted = (decode_labels(content)[0] if content is not None else None) or {}
        copied = [has_copy(version) for version in wanted.values() if version in there]
        # If a labelled version cannot be copied, the old labels stay, unless no version at all is here.
        if all(copied) or not bundle_versions(here):
            _write(here / LABELS_FILE, content)
        labels = self._labels_in_force(policy)
        kept = {version for version in (*wanted.values(), *labels.values()) if version in there and has_copy(version)}
        kept |= set(islice(filter(has_copy, there), self._count))
        if STABLE in labels:
            allowed = [version for version in there if version <= labels[STABLE]]
            kept |= set(islice(filter(has_copy, allowed), self._count))
        for version in set(bundle_versions(here)) - kept:
            if version not in there or len(kept) >= self._count:
                self._sound.pop((policy, version), None)
                self._remove(here / str(version))
        self._refused = {k: refused for k, refused in self._refused.items() if k[0] != policy or k in self._asked}
        self._write_refused(policy)

    def _ensure_copy(self, policy: str, version: int) -> bool:
        """Whether a copy of the version is here; copies it first if it is new or has changed."""
        key, here = (policy, version), self._folder / policy / str(version)
        self._asked.add(key)
        try:
            content = self._read(policy, str(version), "manifest.json", limit=MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            self._refuse(key, b"", "has no manifest.json yet")
            return False
        except StoreFailed as error:
            self._note_unread(key, error)
            return here.is_dir()
        if self._sound.get(key) == content or self._is_whole(here, content):
            self._sound[key] = content
            self._refused.pop(key, None)
            return True
        refused = self._refused.get(key)
        if refused is None or refused.manifest != content or time.monotonic() >= refused.again_s:
            try:
                began_s = time.monotonic()
                self._copy(policy, version, content)
            except BundleInvalid as error:
                self._refuse(key, content, str(error))
            else:
                self._sound[key] = content
                self._refused.pop(key, None)
                log.info("%s: version %d copied in %.1f s.", policy, version, time.monotonic() - began_s)
        return here.is_dir()  # the earlier copy stays if there is one

    def _read(self, *file: str, limit: int) -> bytes:
        content = self._store.read(*file, limit=limit)
        self._has_read = True
        return content

    def _note_unread(self, key: Key, error: StoreFailed) -> None:
        """Notes a manifest that could not be read; raises at once if only the store can be at fault.

        Otherwise the end of the look shows whether it is the version or the store.
        """
        self._store.connect()
        try:
            self._store.entries(key[0])
        except FileNotFoundError:
            raise error from None
        self._unread[key] = error
        if not self._has_read and len(self._unread) > self._count:  # each failure may take long
            raise error

    def _refuse_unread(self) -> None:
        for key, error in self._unread.items():
            self._refuse(key, b"", f"manifest.json: {error.why}")
        for policy in {policy for policy, _ in self._unread}:
            self._write_refused(policy)

    def _is_whole(self, here: Path, content: bytes) -> bool:
        """Whether an earlier process has already copied this version."""
        try:
            if (here / "manifest.json").read_bytes() != content:
                return False
            Bundle.open(here)
        except (OSError, BundleInvalid):
            return False
        return True

    def _copy(self, policy: str, version: int, content: bytes) -> None:
        """Copies and verifies the version, then renames it into place; raises BundleInvalid."""
        manifest = decode_manifest(content, "manifest.json")
        draft, here = self._draft / "new", self._folder / policy / str(version)
        replaced = self._draft / REPLACED / policy / here.name
        self._clear()
        draft.mkdir(parents=True)
        bundle = Bundle(draft, manifest)
        try:
            for name in manifest.files:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                self._store.copy(policy, str(version), *name.split("/"), to=draft / name)
            (draft / "manifest.json").write_bytes(content)
            bundle.verify()
            if here.exists():
                replaced.parent.mkdir(parents=True)
                here.rename(replaced)
            draft.rename(here)
        except FileNotFoundError:
            raise BundleInvalid(f"{name}: missing, though the manifest lists it") from None
        except StoreFailed as error:
            raise BundleInvalid(f"{name}: {error.why}") from error
        except BundleInvalid as error:
            raise BundleInvalid(str(error).removeprefix(f"{draft}/").rstrip(".")) from error
        except OSError as error:
            raise BundleInvalid(f"cannot be written here: {error.strerror}") from error
        finally:
            self._clear()

    def _refuse(self, key: Key, manifest: bytes, fault: str) -> None:
        """Logs the fault if it is a new one, and doubles the delay before the next attempt."""
        before = self._refused.get(key)
        if before is not None and before.manifest != manifest:
            before = None
        if before is None or _kind(before.fault) != _kind(fault):
            log.warning("%s: version %d is not copied: %s. It is tried again.", *key, fault)
        delay_s = min(MAX_DELAY_S, 2 * before.delay_s) if before else FIRST_DELAY_S
        self._refused[key] = Refused(manifest, fault, delay_s, time.monotonic() + delay_s)

    def _write_refused(self, policy: str) -> None:
        """Writes the refused versions where servers read them."""
        faults = {k[1]: refused.fault for k, refused in sorted(self._refused.items()) if k[0] == policy}
        _write(self._folder / policy / REFUSED_FILE, msgspec.json.encode(faults) if faults else None)

    def _read_labels(self, policy: str) -> bytes:
        try:
            return self._read(policy, LABELS_FILE, limit=MAX_LABELS_BYTES + 1)
        except FileNotFoundError:  # listed but missing is a fault, not an absence of labels
            raise StoreFailed(self._store.name, f"{policy}/{LABELS_FILE} is listed, yet not found") from None

    def _labels_in_force(self, policy: str) -> dict[str, int]:
        """The labels that servers use: those here, as last read without a fault."""
        labels, _ = read_labels(self._folder / policy / LABELS_FILE)
        if labels is not None:
            self._labels[policy] = labels
        return self._labels.get(policy, {})

    def _remove(self, path: Path) -> None:
        """Removes a folder by one rename first, so that servers never see half of it."""
        self._clear()
        self._draft.mkdir()
        path.rename(self._draft / "gone")
        self._clear()
        log.info("%s: gone from the store or no longer needed, and removed here.", path.relative_to(self._folder))

    def _clear(self) -> None:
        """Removes unfinished work; a replaced version whose successor was not completed is moved back."""
        for replaced in self._draft.glob(f"{REPLACED}/*/*"):
            here = self._folder / replaced.relative_to(self._draft / REPLACED)
            if here.parent.is_dir() and not here.exists():
                replaced.rename(here)
        shutil.rmtree(self._draft, ignore_errors=True)

    def _forget(self, policies: list[str]) -> None:
        """Forgets the policies that are not among these."""
        self._sound = {key: content for key, content in self._sound.items() if key[0] in policies}
        self._refused = {key: refused for key, refused in self._refused.items() if key[0] in policies}


def _kind(fault: str) -> str:
    """The fault without its `got …`, which changes from look to look while a file grows."""
    return fault.partition(", got ")[0]


def _write(path: Path, content: bytes | None) -> None:
    """Writes or removes a file, but only if that changes it: servers read changed files again."""
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
