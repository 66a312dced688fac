"""The limit of open files, and what happens when it is reached.

In:      the number of connections that the process should hold.
Out:     the number that it can hold; whether it can open another file at this moment.
"""

from __future__ import annotations

import errno
import logging
import os
import resource

OTHER_FILES = 256  # kept free besides connections: models being loaded, keys, pipes
EXHAUSTED = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger(__name__)


def allow_connections(count: int, ports: int = 1) -> int:
    """Raises this process's limit of open files as far as the system allows.

    Returns how many connections fit on each of its ports.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count * ports + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return count
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted == wanted:
        return count
    allowed = min(count, (granted - min(OTHER_FILES, granted // 2)) // ports)
    each = " of each port" if ports > 1 else ""
    sentence = "--max-connections %d: the system allows %d open files, so %d connections%s."
    log.warning(sentence, count, granted, allowed, each)
    return allowed


def open_files_are_exhausted() -> bool:
    """Whether the process can open no further file. What fails for that reason can be tried again later."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False


def is_caused_by_open_files(error: BaseException | None) -> bool:
    """Whether a lack of open files caused this error, directly or through the errors it was raised from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return True
        error = error.__cause__ or error.__context__
    return open_files_are_exhausted()  # a library may have raised an error of its own in place of the OSError
