"""Deadlines for calls that may never return.

In:      a call, and how long it may take.
Out:     what the call returns or raises.
Refuses: ServerUnreachable, which says what gave no answer, and for how long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rlway_client.contract.errors import ServerUnreachable

Returned = TypeVar("Returned")


class BackgroundCall(threading.Thread):
    """A call in a daemon thread, which does not keep the process alive."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._returned: Any = None
        self._raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._returned = self._call()
        except BaseException as error:  # raised by `result`
            self._raised = error

    @property
    def result(self) -> Any:
        if self._raised is not None:
            raise self._raised
        return self._returned


def within(timeout_s: float, what: str, call: Callable[[], Returned]) -> Returned:
    """The result of the call. `what` is the subject of the error sentence."""
    running = BackgroundCall(call)
    running.join(timeout_s)
    if running.is_alive():
        raise ServerUnreachable(f"{what}: no answer within {timeout_s:g} s.")
    returned: Returned = running.result
    return returned


def watched(call: Callable[[], Returned], look: Callable[[], Any], every_s: float = 1.0) -> Returned:
    """The result of a call of any length. Until then, `look` is called regularly; it raises to end the waiting."""
    running = BackgroundCall(call)
    while running.is_alive():
        running.join(every_s)
        if running.is_alive():
            look()
    returned: Returned = running.result
    return returned
