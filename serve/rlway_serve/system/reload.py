"""Reads files again while the server runs: when they change, and on SIGHUP.

In:      files, such as keys and certificates, and what to call when they change.
Out:     calls from the event loop.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rlway_serve.system.open_files import open_files_are_exhausted

POLL_S = 1.0


class Watched(NamedTuple):
    """Files that are read together, and what reads them."""

    files: list[Path]
    reload: Callable[[], None]


class Reloader:
    """Checks the files once a second.

    A file that is read while it is being written changes once more, and so is read again. While the process can open
    no file, nothing is reloaded.
    """

    def __init__(self, watched: list[Watched], on_hangup: list[Callable[[], None]]) -> None:
        self._on_hangup = on_hangup  # called on SIGHUP, after the reloads
        self._watched = [(files, reload, _signature(files)) for files, reload in watched if files]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to watch the files, and to handle SIGHUP."""
        with suppress(ValueError, RuntimeError):  # only the main thread can handle SIGHUP
            loop.add_signal_handler(signal.SIGHUP, self._reload_all)
        if self._watched:
            loop.call_later(POLL_S, self._poll, loop)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        for i, (files, reload, before) in enumerate([] if open_files_are_exhausted() else self._watched):
            if (now := _signature(files)) != before:
                self._watched[i] = (files, reload, now)
                reload()
        loop.call_later(POLL_S, self._poll, loop)

    def _reload_all(self) -> None:
        for reload in (*(reload for _, reload, _ in self._watched), *self._on_hangup):
            reload()


def _signature(files: list[Path]) -> tuple[tuple[int, int, int] | None, ...]:
    """Modification time, size and inode of each file; None for one that cannot be reached."""

    def stat_of(path: Path) -> tuple[int, int, int] | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    return tuple(stat_of(path) for path in files)
