"""What a source on disk consists of, to notice whether it is another than before.

In:      a file with what lies beside it under its name (`policy.onnx.data`), or a folder.
Out:     its files; a checksum over all of them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rlway_client.common.files import sha256


def content_files(path: Path) -> list[Path]:
    """In the order of their names; none if there is nothing yet."""
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    if not path.is_file():
        return []
    return [path, *sorted(one for one in path.parent.iterdir() if _belongs(one, path))]


def content_of(path: Path) -> str:
    """The SHA-256 of a single file; of several, one over their names and checksums."""
    files = content_files(path)
    if files == [path]:
        return sha256(path)
    digest = hashlib.sha256()
    for one in files:
        digest.update(os.fsencode(one.relative_to(path.parent)) + f"\0{sha256(one)}\n".encode())
    return digest.hexdigest()


def _belongs(one: Path, to: Path) -> bool:
    return one.name.startswith(f"{to.name}.") and one.is_file()
