"""Writes files and folders so that no reader ever sees half of one.

In:      bytes, or a folder filled beside its destination.
Out:     the finished file or folder, put in place by one rename.
Refuses: to replace a folder that exists (FolderTaken).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class FolderTaken(FileExistsError):
    """The destination exists already."""


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames over it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft = Path(name)
        draft.chmod(0o644)  # mkstemp's 0600 would hide the file from a server under another user
        draft.replace(path)
    except BaseException:
        Path(name).unlink()
        raise


@contextmanager
def folder_that_appears_whole(path: Path, *, replace_empty: bool = False) -> Iterator[Path]:
    """Yields a hidden folder beside `path`, which becomes `path` at the end of the block; on an error it is removed.

    Raises FolderTaken if `path` exists by then: a published folder is never overwritten. With `replace_empty` it may
    be an empty folder.
    """
    made = [parent for parent in path.parents if not parent.exists()]  # innermost first
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield draft
        draft.chmod(0o755)
        # An empty folder is replaced silently by the rename.
        if path.exists() and not (replace_empty and path.is_dir() and not path.is_symlink()):
            raise FolderTaken(f"{path} exists already")
        try:
            draft.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
                raise FolderTaken(f"{path} exists already") from error
            raise
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):  # a parent may hold another process's folder by now
            for parent in made:
                parent.rmdir()
        raise


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
