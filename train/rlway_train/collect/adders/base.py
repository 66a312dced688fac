"""What every adder does: it turns the single steps of E environments into the rows that replay keeps.

In:      transitions float32[E, width], one of each environment; how each step ended.
Out:     the rows that are complete now, of the kind that the settings learn from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rlway_client.contract.specs import AnyArray
from rlway_train.collect.transition import Columns, TransitionColumns

if TYPE_CHECKING:
    from rlway_train.envs.vector import BoolArray


class Adder(Protocol):
    """Makes rows for the replay."""

    @property
    def columns(self) -> Columns:
        """The columns of the rows that it makes."""

    def add(self, rows: AnyArray, ended: BoolArray, real: BoolArray) -> AnyArray:  # [E, …] -> [m, width]
        """The rows that are complete now. Where `real` is False the environment took no step."""


class TransitionAdder:
    """Each step is a row by itself."""

    def __init__(self, columns: TransitionColumns) -> None:
        self.columns = columns

    def add(self, rows: AnyArray, ended: AnyArray, real: AnyArray) -> AnyArray:  # noqa: ARG002
        return rows if real.all() else rows[real]
