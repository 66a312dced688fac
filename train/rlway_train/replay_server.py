"""The replay as a process of its own: a Reverb server with the rows, the job, the policy and the episodes.

In:      the table's options, a port, perhaps a folder for checkpoints.
Out:     a server until it is told to end; what it held, when it is started with the same folder again.
Refuses: UsageError for a port in use, and for checkpoints of another kind of table.

It knows nothing of environments or algorithms: rows are rows.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import reverb

from rlway_client.errors import UsageError
from rlway_train.exchange import message_tables
from rlway_train.reverb_replay import ROWS, Table

KEPT = 2  # checkpoints; the older one is for a disk that is full


class ReplayServer:
    """Use it in `with`. With a folder, its last act is a checkpoint."""

    def __init__(self, table: Table, port: int, checkpoints: Path | None) -> None:
        _check_port(port)
        self._folder = checkpoints
        tables = [table.make(), *message_tables()]
        self._server = reverb.Server(tables, port=port, checkpointer=_checkpointer(checkpoints))
        self.port = port
        self._client = reverb.Client(f"localhost:{port}")

    def __enter__(self) -> ReplayServer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            self._server.stop()

    @property
    def size(self) -> int:
        """Rows that are kept."""
        return int(self._client.server_info(timeout=10)[ROWS].current_size)

    def save(self) -> None:
        """Writes a checkpoint, whole or not at all, and removes all but the last ones."""
        if self._folder is None:
            return
        self._client.checkpoint()
        for old in sorted(path for path in self._folder.iterdir() if path.is_dir())[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def run(self, ending: threading.Event, save_every_s: float, note: Callable[[str], None]) -> None:
        """Saves now and then, until the event is set."""
        while not ending.wait(save_every_s if self._folder is not None else None):
            try:
                self.save()
            except RuntimeError as error:
                note(f"{self._folder}: no checkpoint could be written: {str(error).splitlines()[0]}.")


def _checkpointer(folder: Path | None) -> Any:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return reverb.platform.checkpointers_lib.DefaultCheckpointer(str(folder))


def _check_port(port: int) -> None:
    # Reverb would share the port with whoever has it already, and each would get half of the calls.
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(("localhost", port)) == 0:
            raise UsageError(f"--port: {port} is in use already; name another, or end what listens there.")
