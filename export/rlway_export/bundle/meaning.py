"""What a policy's numbers stand for, as a file of the user's says it.

In:      `--meaning FILE`; the specs of the policy's tensors.
Out:     a `Meaning` that fits the specs.
Refuses: a file that cannot be read, or that does not fit the policy (UsageError).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from rlway_client.contract.errors import UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.meaning import Meaning, check_meaning, read_meaning


class GivenMeaning(NamedTuple):
    """A file, and what it says."""

    file: Path
    meaning: Meaning

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises UsageError."""
        return cls(file, read_meaning(file))

    def check(self, interface: Interface) -> None:
        """Raises UsageError unless it fits the policy's tensors."""
        specs = [*interface.observation, *interface.actions, *interface.state]
        try:
            check_meaning(self.meaning, specs, interface.actions)
        except ValueError as error:
            raise UsageError(f"{self.file}: {error}.") from None
