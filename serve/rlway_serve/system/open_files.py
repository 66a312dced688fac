"""How many files this process may have open.

In:      how many connections it should hold.
Out:     how many it can; whether there is room for another file at this moment.
"""

from __future__ import annotations

import errno
import logging
import os
import resource

OTHER_FILES = 256  # besides connections: models that are loaded, keys, pipes
EXHAUSTED = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger(__name__)


def allow_connections(count: int) -> int:
    """Raises this process's limit of open files as far as it may be; returns how many connections it then allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return count
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted == wanted:
        return count
    allowed = min(count, granted - min(OTHER_FILES, granted // 2))
    log.warning("--max-connections %d: the system allows %d open files, so %d connections.", count, granted, allowed)
    return allowed


def are_exhausted() -> bool:
    """Whether no file can be opened: what fails for that may be tried again."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False


def for_want_of_files(error: BaseException | None) -> bool:
    """Whether it was this that failed, by itself or in what it came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return True
        error = error.__cause__ or error.__context__
    return are_exhausted()  # a library may have put it into words of its own
