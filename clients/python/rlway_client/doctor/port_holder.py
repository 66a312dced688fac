"""Which process listens on a port of this machine.

In:      a port; Linux's /proc.
Out:     the process, or None: another user's, or another system than Linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
LISTENS = "0A"  # the state TCP_LISTEN in /proc/net/tcp
RLWAY_SERVE = re.compile(r"(^|[/ ])rlway( --debug)? serve( |$)")


class Holder(NamedTuple):
    """A process and its command line."""

    pid: int
    command: str

    @property
    def is_rlway_server(self) -> bool:
        return RLWAY_SERVE.search(self.command) is not None


def holder_of(port: int) -> Holder | None:
    """The process that listens there, if this user may see it."""
    wanted = {f"socket:[{inode}]" for inode in _sockets(port)}
    if not wanted:
        return None
    for process in PROC.iterdir():
        if process.name.isdigit() and _holds(process, wanted):
            with suppress(OSError):  # it has just ended
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return Holder(int(process.name), " ".join(words).strip())
    return None


def _sockets(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on the port."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "self/net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _holds(process: Path, sockets: set[str]) -> bool:
    with suppress(OSError):  # another user's process, or one that has just ended
        for file in (process / "fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()) in sockets:
                    return True
    return False
