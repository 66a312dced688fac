"""Kills the copier when a look at the store has made no progress for `STUCK_S`; a server then starts another copier.

In:      the beginning and end of each look, the store that it reads, and the folder in which its copies grow.
Out:     one line in the log and exit status 1.

A slow look is not stuck: it sends further requests, uses processor time, or a file grows. The watchdog is needed
because some libraries of object stores wait forever on a dead connection, and Python cannot end a thread that waits in
one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlway_serve.registry.models_folder import stamp_of_all
from rlway_serve.sync.store import Store

STUCK_S = 300.0
MOVING_S = 3.0  # processor time that counts as progress; while it waits, fsspec uses a fifth of that

log = logging.getLogger(__name__)


class Watchdog:
    """A thread that watches the looks at one store."""

    def __init__(self, store: Store, draft: Path) -> None:
        self._store = store
        self._draft = draft
        self._turn = 0  # odd during a look
        threading.Thread(target=self._watch, name="rlway-watchdog", daemon=True).start()

    @contextmanager
    def look(self) -> Iterator[None]:
        """Watches what happens in this context."""
        self._turn += 1
        try:
            yield
        finally:
            self._turn += 1

    def _watch(self) -> None:
        at, used_s, since_s = self._state(), time.process_time(), time.monotonic()
        while True:
            time.sleep(STUCK_S / 10)
            state = self._state()
            if state[0] % 2 == 0 or state != at or time.process_time() - used_s > MOVING_S:
                at, used_s, since_s = state, time.process_time(), time.monotonic()
            elif time.monotonic() - since_s >= STUCK_S:
                log.error("%s: nothing has come for %.0f s; the process that copies ends.", self._store.name, STUCK_S)
                os._exit(1)

    def _state(self) -> tuple[int, ...]:
        return self._turn, self._store.asked, *stamp_of_all(self._draft)
