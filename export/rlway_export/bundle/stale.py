"""Drafts, the hidden folders of versions that are being written: removes those whose exporter was killed.

In:      the folder of a draft, or that of a policy.
Out:     a locked draft; a policy's folder without abandoned drafts.

An exporter locks its draft, and the operating system releases the lock however the exporter ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlway_client.contract.bundle import DRAFT

YOUNG_S = 60.0  # a new draft may not be locked yet


@contextmanager
def alive(draft: Path) -> Iterator[None]:
    """Keeps a draft locked while the block writes it."""
    lock = os.open(draft, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove_dead(policy: Path) -> None:
    """Removes the drafts that no exporter writes any more."""
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
