"""What one check found.

In:      a check, which is a function without arguments that may fail.
Out:     a `Finding`: about what, what is so, and what to do where that is wrong.
Refuses: nothing; a check that fails is a finding that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from rlway_client.common.quote import reason

Area = Literal["versions", "runtimes", "machine", "ports", "models"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. `remedy` is empty where nothing is wrong; `facts` are for programs."""

    area: Area
    subject: str
    state: str
    remedy: str = ""
    facts: dict[str, Any] = {}

    @property
    def ok(self) -> bool:
        return not self.remedy

    def as_values(self) -> dict[str, Any]:
        """The finding as `--json` has it."""
        values = msgspec.structs.asdict(self)
        return {"area": self.area, "subject": self.subject, "ok": self.ok} | values


def found_by(area: Area, subject: str, check: Callable[[], Finding | Iterable[Finding]]) -> list[Finding]:
    """What the check finds; one finding that says why, if the system does not let it look."""
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # a report with one line missing is better than none
        return [Finding(area, subject, f"not known: {reason(error)}")]
