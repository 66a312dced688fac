"""The replay in a process of its own: a Reverb server with the rows, the job, the policy and the episodes.

In:      the table's options, a port, and optionally a folder for checkpoints.
Out:     a server, until an event is set. With the same folder, it starts with the rows that it saved last.
Refuses: UsageError for a port in use, and for checkpoints of another kind of table.

It knows nothing of environments and algorithms.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import reverb

from rlway_client.contract.errors import ServerUnreachable, UsageError
from rlway_train.distributed.channel import Channel, message_tables
from rlway_train.replay.reverb import TableOptions


class ReplayServer:
    """Use it in `with`. With a folder, it saves a checkpoint at the end."""

    def __init__(self, table: TableOptions, port: int, checkpoints: Path | None) -> None:
        _check_port(port)
        self._folder = checkpoints
        tables = [table.make(), *message_tables()]
        self._server = reverb.Server(tables, port=port, checkpointer=_checkpointer(checkpoints))
        self.port = port
        self._channel = Channel(f"localhost:{port}", patience_s=10.0)

    def __enter__(self) -> ReplayServer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            self._server.stop()

    @property
    def size(self) -> int:
        """How many rows are kept."""
        return self._channel.rows().size

    def save(self) -> None:
        """Writes a checkpoint. Reverb then removes the one before."""
        if self._folder is not None:
            self._channel.save()

    def run(self, ending: threading.Event, save_every_s: float, note: Callable[[str], None]) -> None:
        """Saves every `save_every_s` seconds, until the event is set."""
        while not ending.wait(save_every_s if self._folder is not None else None):
            try:
                self.save()
            except ServerUnreachable as error:
                note(f"{self._folder}: no checkpoint could be written: {error}")


def _checkpointer(folder: Path | None) -> Any:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return reverb.platform.checkpointers_lib.DefaultCheckpointer(str(folder))


def _check_port(port: int) -> None:
    # Reverb would share the port with another server, and each would get half of the calls.
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(("localhost", port)) == 0:
            raise UsageError(f"--port: {port} is in use already; name another, or end what listens there.")
