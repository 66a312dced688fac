"""A lock on a run folder: one training at a time.

In:      a folder.
Out:     a lock, which the operating system releases when the process ends, even if it is killed.
Refuses: UsageError while another process holds it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlway_client.contract.errors import UsageError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder, which must exist."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another training is writing it; name another folder with --run.") from None
        yield
    finally:
        os.close(descriptor)
