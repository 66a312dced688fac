"""The parts of a time step that a policy reads besides the observation: reward, discount and step type.

In:      a manifest's `time_step` specs; a request's `time_step`.
Out:     columns by name, each with one number per row; neutral ones for requests that say nothing.
Refuses: a part that the policy does not read, a number that is not finite, another number of rows, a step type that
         TF-Agents does not know (SpecViolated, with its path: `time_step.reward[3]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import NEUTRAL
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, describe, find_faults
from rlway_serve.codec.observation import ObservationForm
from rlway_serve.messages.request import TimeStep

STEP_TYPE = "step_type"
LAST = 2  # step types are 0 (first), 1 (mid) and 2 (last)


class TimeStepForm:
    """The time step of one policy."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.specs = tuple(specs)
        self._forms = {spec.name: ObservationForm([spec]) for spec in self.specs}

    def read(self, given: TimeStep, rows: int, batched: bool) -> Arrays | None:
        """The numbers that a request gives, by name; None if it gives none. Raises SpecViolated."""
        parts = {name: part for name in NEUTRAL if (part := getattr(given, name)) is not None}
        faults: list[Fault] = []
        columns: Arrays = {}
        for name, part in parts.items():
            where = f"time_step.{name}"
            if name not in self._forms:
                reads = ", ".join(self._forms) or "nothing of the time step"
                faults.append(Fault(where, f"nothing: the policy reads {reads}", "it"))
            elif batched and not (isinstance(part, list) and len(part) == rows):
                faults.append(Fault(where, f"an array of {rows}, one number per observation", describe(part)))
            else:
                found = self._read_column(name, part, batched)
                if isinstance(found, list):
                    faults += found
                else:
                    columns[name] = found
        if faults:
            raise SpecViolated(faults[:MAX_FAULTS])
        return columns or None

    def _read_column(self, name: str, part: Any, batched: bool) -> AnyArray | list[Fault]:
        numbers = part if batched else [part]
        column: Any = self._forms[name].convert(numbers)
        if column is not None and (name != STEP_TYPE or (column.min() >= 0 and column.max() <= LAST)):
            return column  # type: ignore[no-any-return]  # one input: an array
        (spec,) = self._forms[name].specs
        faults: list[Fault] = []
        for i, number in enumerate(numbers):
            where = f"time_step.{name}[{i}]" if batched else f"time_step.{name}"
            faults += find_faults(number, spec, where) or _step_type_faults(name, number, where)
            if len(faults) >= MAX_FAULTS:
                break
        return faults

    def fill(self, parts: Sequence[tuple[int, Arrays | None]]) -> Arrays:
        """The columns of several calls, each with its number of rows; neutral where a call says nothing."""
        return {
            spec.name: np.concatenate(
                [
                    np.full(rows, NEUTRAL[spec.name], spec.numpy_dtype)
                    if given is None or spec.name not in given
                    else given[spec.name]
                    for rows, given in parts
                ]
            )
            for spec in self.specs
        }


def _step_type_faults(name: str, number: Any, where: str) -> list[Fault]:
    if name != STEP_TYPE or 0 <= number <= LAST:
        return []
    return [Fault(where, "0 (first), 1 (mid) or 2 (last)", describe(number))]
