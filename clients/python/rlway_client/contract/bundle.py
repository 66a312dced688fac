"""A bundle on disk: `models/<policy>/<version>/`.

In:      a folder.
Out:     `Bundle`: its path and its manifest, once the checksums of its files are right.
Refuses: a folder without a manifest, or with another name than its manifest says; a missing file, a checksum that
         differs, a guard that contradicts the manifest (BundleInvalid, with the file's name).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from rlway_client.common.files import sha256
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.guard import FILE as GUARD_FILE
from rlway_client.contract.guard import Guard, read_guard
from rlway_client.contract.manifest import Manifest, decode_manifest

MAX_VERSION_DIGITS = 18
DRAFT = re.compile(r"\.\d+\.\w{8}")  # the name that common.files gives the draft of a numbered folder


class Bundle(NamedTuple):
    """One version of one policy."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Bundle:
        """Reads the manifest and, with `verify`, checks every file as `verify` does. Raises BundleInvalid."""
        path = Path(path)
        if not path.is_dir():
            raise BundleInvalid(f"{path}: no such bundle; expected a folder models/<policy>/<version>.")
        try:
            content = (path / "manifest.json").read_bytes()
        except FileNotFoundError:
            raise BundleInvalid(f"{path}: has no manifest.json, so it is not a bundle.") from None
        except OSError as error:
            raise BundleInvalid(f"{path / 'manifest.json'}: cannot be read: {error.strerror}.") from None
        bundle = cls(path, decode_manifest(content, str(path / "manifest.json")))
        if verify:
            bundle.verify()
        return bundle

    def verify(self) -> None:
        """Compares every file with its checksum, and the guard with the manifest. Raises BundleInvalid."""
        for name, expected in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                raise BundleInvalid(f"{file}: missing, though the manifest lists it; export the policy again.")
            found = sha256(file)
            if found != expected:
                raise BundleInvalid(
                    f"{file}: damaged: expected SHA-256 {expected}, got {found}; export the policy again."
                )
        self.read_guard()

    def check_place(self) -> None:
        """Compares the names of its folders with the manifest. Raises BundleInvalid."""
        policy, version = self.manifest.policy, self.manifest.version
        if (policy, str(version)) != (self.path.parent.name, self.path.name):
            raise BundleInvalid(
                f"{self.path}: its manifest says policy {policy!r} version {version}, and the folder does not."
            )

    def read_guard(self) -> Guard | None:
        """The guard of its actions; None if it has none. Raises BundleInvalid for one that contradicts the manifest."""
        file = self.path / GUARD_FILE
        if GUARD_FILE in self.manifest.files:
            return read_guard(file, self.manifest.actions)
        if file.exists():  # who put it there believes that it applies
            raise BundleInvalid(f"{file}: not in the manifest, so it would not apply; export the policy with --guard.")
        return None


def bundle_versions(policy: Path) -> list[int]:
    """The versions under `models/<policy>/`, newest first; drafts and other folders are left out."""
    return sorted((int(p.name) for p in policy.iterdir() if is_version(p)), reverse=True)


def is_version(path: Path) -> bool:
    """Whether a folder is named like a published version."""
    return is_version_name(path.name) and path.is_dir()


def is_version_name(name: str) -> bool:
    """Whether it is a positive integer without leading zeros that fits into 64 bits."""
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= MAX_VERSION_DIGITS


def newest_bundle(path: Path) -> Path:
    """`path` itself if it is a bundle, else the newest version below it (`models/<policy>`)."""
    if path.is_dir() and not (path / "manifest.json").exists():
        versions = bundle_versions(path)
        if versions:
            return path / str(versions[0])
    return path
