"""Versions that were being written when their exporter was killed: hidden, but in the way of nobody's disk for ever.

In:      the folder of a draft, or that of a policy.
Out:     a draft that is known to be alive; a policy's folder without dead ones.

A living exporter holds its draft locked, and the operating system gives the lock back however the exporter ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = re.compile(r"\.\d+\.\w{8}")  # as rlway_client.common.files names them, for folders that are named by a number
YOUNG_S = 60.0  # a draft may just have been made, and not be locked yet


@contextmanager
def alive(draft: Path) -> Iterator[None]:
    """A block that writes a draft."""
    lock = os.open(draft, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_dead(policy: Path) -> None:
    """Removes the drafts that nobody writes any more."""
    for draft in policy.glob(".*"):
        if not DRAFT.fullmatch(draft.name) or not draft.is_dir():
            continue
        with suppress(OSError):  # locked, or gone by now
            if time.time() - draft.stat().st_mtime > YOUNG_S:
                lock = os.open(draft, os.O_RDONLY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(draft, ignore_errors=True)
                finally:
                    os.close(lock)
