"""The parts of a time step that a policy reads besides the observation: reward, discount and step type.

In:      a manifest's `time_step` specs; a request's `time_step`.
Out:     columns by name, each with one number per row; neutral ones for requests that say nothing.
Refuses: a part that the policy does not read, a number that is not finite, another number of rows, a step type that
         TF-Agents does not know (SpecViolated, with its path: `time_step.reward[3]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import NEUTRAL
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, describe
from rlway_client.contract.time_step import are_known, neutral_time_step, number_faults, unread_fault
from rlway_serve.codec.observation import ObservationForm
from rlway_serve.messages.request import TimeStep


class TimeStepForm:
    """The time step of one policy."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self._forms = {spec.name: ObservationForm([spec]) for spec in specs}

    def read(self, given: TimeStep, rows: int, batched: bool) -> Arrays | None:
        """The numbers that a request gives, by name; None if it gives none. Raises SpecViolated."""
        parts = {name: part for name in NEUTRAL if (part := getattr(given, name)) is not None}
        faults: list[Fault] = []
        columns: Arrays = {}
        for name, part in parts.items():
            try:
                columns[name] = self._column(name, part, rows, batched)
            except SpecViolated as error:
                faults += error.faults
        if faults:
            raise SpecViolated(faults[:MAX_FAULTS])
        return columns or None

    def _column(self, name: str, part: Any, rows: int, batched: bool) -> AnyArray:  # -> [rows]
        where = f"time_step.{name}"
        if name not in self.specs:
            raise SpecViolated([unread_fault(where, self.specs)])
        if batched and not (isinstance(part, list) and len(part) == rows):
            raise SpecViolated([Fault(where, f"an array of {rows}, one number per observation", describe(part))])
        numbers = part if batched else [part]
        column: Any = self._forms[name].convert(numbers)
        if column is not None and are_known(name, column):
            return column  # type: ignore[no-any-return]  # one input: an array
        places = [f"{where}[{i}]" for i in range(rows)] if batched else [where]
        found = (number_faults(number, self.specs[name], place) for number, place in zip(numbers, places, strict=True))
        raise SpecViolated(list(islice(chain.from_iterable(found), MAX_FAULTS)))

    def fill(self, parts: Sequence[tuple[int, Arrays | None]]) -> Arrays:
        """The columns of several calls, each with its number of rows; neutral where a call says nothing."""
        columns = [neutral_time_step(self.specs.values(), rows) | (given or {}) for rows, given in parts]
        return {name: np.concatenate([column[name] for column in columns]) for name in self.specs}
