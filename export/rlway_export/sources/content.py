"""What a source on disk consists of, to notice whether it is another than before.

In:      a file, or a folder; of an ONNX model, the files that `sources.onnx.parts` finds.
Out:     its files; a checksum over all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from rlway_client.common.files import sha256


def content_files(path: Path) -> list[Path]:
    """In the order of their names; none if there is nothing yet."""
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    return [path] if path.is_file() else []


def content_of(files: Sequence[Path]) -> str:
    """The SHA-256 of a single file; of several, one over their checksums and names, as seen from the first."""
    if len(files) == 1:
        return sha256(files[0])
    digest = hashlib.sha256()
    for one in files:
        digest.update(os.fsencode(os.path.relpath(one, files[0].parent)) + f"\0{sha256(one)}\n".encode())
    return digest.hexdigest()
