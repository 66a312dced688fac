"""What a user says of the tensors of a file that does not say it itself.

In:      the options of `rlway export`.
Out:     `TensorOptions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class TensorOptions(NamedTuple):
    """`--observation`, `--action`, `--as`, `--state`, `--fix`, `--reference`; empty where not given."""

    observation: tuple[str, ...] = ()  # names of inputs
    action: tuple[str, ...] = ()  # names of outputs
    meaning: tuple[str, ...] = ()  # one for all of the action's tensors, or one for each
    state: tuple[str, ...] = ()  # IN:OUT
    fixed: tuple[str, ...] = ()  # NAME=NUMBER
    reference: Path | None = None

    @property
    def given(self) -> list[str]:
        """The options that were used."""
        names = ("--observation", "--action", "--as", "--state", "--fix", "--reference")
        return [name for name, value in zip(names, self, strict=True) if value]


NOTHING_SAID = TensorOptions()
