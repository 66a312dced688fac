"""A network between a client and a server that can be broken: it delays or swallows what passes.

In:      the server's port; `delay_s` and `swallows`, which may be changed at any time.
Out:     a URL that leads to the server.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.servers import Server


class Middleman:
    """Passes bytes on, in both directions."""

    def __init__(self, host: str, port: int) -> None:
        self.server = host, port  # may be changed, as when a server starts again elsewhere
        self.url = ""
        self.delay_s = 0.0  # of the server's answers
        self.swallows = False  # whether bytes of either side get lost, as in a network that is gone

    async def serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        """Until `over` is set."""
        async with await asyncio.start_server(self._connect, "127.0.0.1", 0) as listener:
            self.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            ready.set()
            await over.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                there, back = await asyncio.open_connection(*self.server)
                asked = asyncio.create_task(self._pass(reader, back, answers=False))
                await self._pass(there, writer, answers=True)
                asked.cancel()
                back.close()
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if not self.swallows:
                    writer.write(data)
            writer.close()


@contextmanager
def middleman(host: str, port: int) -> Iterator[Middleman]:
    """It runs on a thread of its own."""
    between, ready = Middleman(host, port), threading.Event()
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        loop.run_until_complete(between.serve(ready, over))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield between
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


SLOWER_S = 0.18  # three times the deadline of the clients that are tested for it


def stop(server: Server, _: Middleman) -> Callable[[], None]:
    """Freezes the server; what is returned mends it, here as below."""
    server.process.send_signal(signal.SIGSTOP)
    return lambda: server.process.send_signal(signal.SIGCONT)


def swallow(_: Server, between: Middleman) -> Callable[[], None]:
    """Loses all bytes of both sides."""
    between.swallows = True
    return lambda: setattr(between, "swallows", False)


def delay(_: Server, between: Middleman) -> Callable[[], None]:
    """Gives every answer `SLOWER_S` later."""
    between.delay_s = SLOWER_S
    return lambda: setattr(between, "delay_s", 0.0)
