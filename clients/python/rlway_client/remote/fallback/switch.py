"""Which side answers: the server, or after a failure the local side until the server has proved itself again.

In:      failures of the server, and how its probes went.
Out:     the side that answers next; counts; a call of `on_change` for each change.

    server --failure--> local --`needed` good probes in a row--> server

A failure within `CALM_S` after the return doubles `needed`, up to `MOST_PROBES`: a server that answers now and then
does not make the control loop flap. A failure later than that counts as the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

import msgspec

log = logging.getLogger(__name__)

CALM_S = 10.0
MOST_PROBES = 64

Side = Literal["server", "local"]
OnChange = Callable[[Side, str], None]


class Counts(msgspec.Struct):
    """What happened since the client was made.

    server, local:  actions by who gave them.
    held:           actions that neither could give, such as for an observation with NaN; among neither of the two.
    late:           server answers that did not come within the deadline.
    failed:         server errors of any other kind, such as a refused connection.
    overdue:        observations that were older than the deadline when `act` was called; the server was not asked.
    probes:         requests to the server that only tested it.
    changes:        how often the side changed.
    """

    server: int = 0
    local: int = 0
    held: int = 0
    late: int = 0
    failed: int = 0
    overdue: int = 0
    probes: int = 0
    changes: int = 0


class Switch:
    """The side that answers. Not for several threads at once."""

    def __init__(
        self, probes: int, on_change: OnChange | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """It begins on the local side: the server has not been reached yet, and has to give one good answer."""
        self.side: Side = "local"
        self.why = "the server has not answered yet"
        self.counts = Counts()
        self.needed = 1
        self._probes = probes
        self._good = 0  # probes in a row
        self._back_s: float | None = None  # when the server was last given back
        self._on_change = on_change
        self._clock = clock

    def fail(self, why: str) -> None:
        """The server failed, or the local side has to answer for another reason."""
        self._good = 0
        if self.side == "local":
            self.why = why
            return
        relapsed = self._back_s is not None and self._clock() - self._back_s < CALM_S
        self.needed = min(2 * max(self.needed, self._probes), MOST_PROBES) if relapsed else self._probes
        self._change("local", why)

    def probed(self, fault: str | None) -> None:
        """A probe was answered in time, or failed with this fault."""
        self.counts.probes += 1
        self._good = self._good + 1 if fault is None else 0
        if fault is not None and self.side == "local":
            self.why = fault

    @property
    def is_proved(self) -> bool:
        """Whether enough probes in a row were good."""
        return self._good >= self.needed

    def give_back(self) -> None:
        """The server answers from now on."""
        self._back_s = self._clock()
        self._change("server", f"probes in a row that were answered in time: {self._good}")

    def _change(self, side: Side, why: str) -> None:
        self.side, self.why = side, why
        self.counts.changes += 1
        if self._on_change is None:
            return
        try:
            self._on_change(side, why)
        except Exception:  # the action of this step must not be lost
            log.exception("on_change failed")
