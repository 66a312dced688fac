"""Keeps a local models folder like the one in a store, as far as a server needs it.

In:      a `Store`, looked at once per `follow`.
Out:     `<folder>/<policy>/<version>/`, by one rename once every byte has the SHA-256 that its manifest says; and
         labels.json. What has vanished from the store goes; what cannot be copied changes nothing, and is told in
         `<folder>/<policy>/.refused.json`.
Refuses: a store that cannot be read (StoreFailed): what it did not tell of stays as it is. One file that cannot is the
         fault of its version.

Of each policy: the newest versions, the labelled ones, and those just below `stable`, which would stand in for it.
Labelled versions come before the labels, and these before what is newer: so at no time does anything act that neither
the labels of before nor those of now allow.
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
from rlway_client.contract.manifest import POLICY_NAME, decode_manifest
from rlway_serve.registry.load_queue import Key
from rlway_serve.registry.models_folder import (
    LABELS_FILE,
    MAX_LABELS_BYTES,
    REFUSED_FILE,
    STABLE,
    decode_labels,
    read_labels,
)
from rlway_serve.sync.store import Store, StoreFailed

SPARE = 2  # versions of each kind beyond those that stay loaded: some may turn out not to run
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
FIRST_DELAY_S, MAX_DELAY_S = 1.0, 60.0  # before what could not be copied is tried again
DRAFT = ".draft"  # where copies grow; not a policy's name
REPLACED = "replaced"  # in it, by policy and number: versions whose successors are about to take their places

log = logging.getLogger(__name__)


class Refused(NamedTuple):
    """A version that could not be copied, and that looked like this."""

    manifest: bytes
    fault: str
    delay_s: float
    again_s: float  # by the monotonic clock


class Mirror:
    """One process at a time may have a mirror in a folder."""

    def __init__(self, store: Store, folder: Path, keep_versions: int) -> None:
        self._store = store
        self._folder = folder
        self._count = keep_versions + SPARE
        self._sound: dict[Key, bytes] = {}  # manifests of versions whose files here have been verified
        self._refused: dict[Key, Refused] = {}
        self._labels: dict[str, dict[str, int]] = {}  # the last ones that could be read
        self._asked: set[Key] = set()  # versions that were needed in this look
        self._unread: dict[Key, StoreFailed] = {}  # versions whose manifests could not be read in this look
        self._has_read = False  # whether the store gave any file in this look
        self._draft = folder / DRAFT
        self._clear()
        for draft in (*folder.glob(f"*/.{LABELS_FILE}.*"), *folder.glob(f"*/.{REFUSED_FILE}.*")):
            draft.unlink()

    def follow(self) -> None:
        """Looks once, and copies and removes what must be."""
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
            except StoreFailed as error:  # which the others need not share
                failure = failure or error
        if self._has_read or len(self._unread) == 1:
            self._refuse_unread()
        elif self._unread:  # no file at all: the fault of no version
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
        except FileNotFoundError:  # gone since its name was read, as the next look will tell
            return
        there = sorted((int(e.name) for e in entries if not e.is_file and is_version_name(e.name)), reverse=True)
        here = self._folder / policy
        here.mkdir(exist_ok=True)
        content = self._read_labels(policy) if any(entry.name == LABELS_FILE for entry in entries) else None
        hold = cache(partial(self._hold, policy))  # looked at once, whatever they are needed for
        wished = (decode_labels(content)[0] if content is not None else None) or {}
        held = [hold(version) for version in wished.values() if version in there]
        # A label that moves to what cannot be had changes nothing, unless nothing is here that could go on.
        if all(held) or not bundle_versions(here):
            _write(here / LABELS_FILE, content)
        labels = self._labels_in_force(policy)
        kept = {version for version in (*wished.values(), *labels.values()) if version in there and hold(version)}
        kept |= set(islice(filter(hold, there), self._count))
        if STABLE in labels:
            allowed = [version for version in there if version <= labels[STABLE]]
            kept |= set(islice(filter(hold, allowed), self._count))
        for version in set(bundle_versions(here)) - kept:
            if version not in there or len(kept) >= self._count:
                self._sound.pop((policy, version), None)
                self._remove(here / str(version))
        self._refused = {k: refused for k, refused in self._refused.items() if k[0] != policy or k in self._asked}
        self._tell_refused(policy)

    def _hold(self, policy: str, version: int) -> bool:
        """Whether a sound copy of the version is here; makes one if there is none of what it now is."""
        key, here = (policy, version), self._folder / policy / str(version)
        self._asked.add(key)
        try:
            content = self._read(policy, str(version), "manifest.json", limit=MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            self._refuse(key, b"", "has no manifest.json yet")
            return False
        except StoreFailed as error:
            self._leave_unread(key, error)
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
        return here.is_dir()  # as it was before, if it was

    def _read(self, *file: str, limit: int) -> bytes:
        content = self._store.read(*file, limit=limit)
        self._has_read = True
        return content

    def _leave_unread(self, key: Key, error: StoreFailed) -> None:
        """For the end of the look, when it is known whose fault it is; raises at once where it is the store's."""
        self._store.connect()
        try:
            self._store.entries(key[0])
        except FileNotFoundError:
            raise error from None
        self._unread[key] = error
        if not self._has_read and len(self._unread) > self._count:  # each may take its time to fail
            raise error

    def _refuse_unread(self) -> None:
        for key, error in self._unread.items():
            self._refuse(key, b"", f"manifest.json: {error.why}")
        for policy in {policy for policy, _ in self._unread}:
            self._tell_refused(policy)

    def _is_whole(self, here: Path, content: bytes) -> bool:
        """Whether that very version is here already, from an earlier process."""
        try:
            if (here / "manifest.json").read_bytes() != content:
                return False
            Bundle.open(here)
        except (OSError, BundleInvalid):
            return False
        return True

    def _copy(self, policy: str, version: int, content: bytes) -> None:
        """Puts the version in its place, whole and verified, or raises BundleInvalid."""
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
        """Tells it once, until it is another fault, and lets it rest the longer the more often it has failed."""
        before = self._refused.get(key)
        if before is not None and before.manifest != manifest:
            before = None
        if before is None or _kind(before.fault) != _kind(fault):
            log.warning("%s: version %d is not copied: %s. It is tried again.", *key, fault)
        delay_s = min(MAX_DELAY_S, 2 * before.delay_s) if before else FIRST_DELAY_S
        self._refused[key] = Refused(manifest, fault, delay_s, time.monotonic() + delay_s)

    def _tell_refused(self, policy: str) -> None:
        """For the servers, which have no other word of what is not here."""
        faults = {k[1]: refused.fault for k, refused in sorted(self._refused.items()) if k[0] == policy}
        _write(self._folder / policy / REFUSED_FILE, msgspec.json.encode(faults) if faults else None)

    def _read_labels(self, policy: str) -> bytes:
        try:
            return self._read(policy, LABELS_FILE, limit=MAX_LABELS_BYTES + 1)
        except FileNotFoundError:  # which is not the same as that nobody wants labels
            raise StoreFailed(self._store.name, f"{policy}/{LABELS_FILE} is listed, yet not found") from None

    def _labels_in_force(self, policy: str) -> dict[str, int]:
        """Those that servers go by: the last ones here that could be read."""
        labels, _ = read_labels(self._folder / policy / LABELS_FILE)
        if labels is not None:
            self._labels[policy] = labels
        return self._labels.get(policy, {})

    def _remove(self, path: Path) -> None:
        """At once for whoever looks, whatever time it takes."""
        self._clear()
        self._draft.mkdir()
        path.rename(self._draft / "gone")
        self._clear()
        log.info("%s: gone from the store or no longer needed, and removed here.", path.relative_to(self._folder))

    def _clear(self) -> None:
        """What is left of work that has ended or was killed; a version whose successor did not come goes back."""
        for replaced in self._draft.glob(f"{REPLACED}/*/*"):
            here = self._folder / replaced.relative_to(self._draft / REPLACED)
            if here.parent.is_dir() and not here.exists():
                replaced.rename(here)
        shutil.rmtree(self._draft, ignore_errors=True)

    def _forget(self, policies: list[str]) -> None:
        """What was known of policies that are gone."""
        self._sound = {key: content for key, content in self._sound.items() if key[0] in policies}
        self._refused = {key: refused for key, refused in self._refused.items() if key[0] in policies}


def _kind(fault: str) -> str:
    """The fault without what was found, which differs from look to look while a file grows."""
    return fault.partition(", got ")[0]


def _write(path: Path, content: bytes | None) -> None:
    """Nothing where it is so already: what has not changed need not be read again."""
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
