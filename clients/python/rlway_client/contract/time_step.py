"""The parts of TF-Agents' time step that a policy may read besides the observation: reward, discount and step type.

In:      the specs of those that a policy reads; what a caller gives of them, such as {"reward": 1.0}.
Out:     an array for each that it reads; what the caller does not give is as within an episode. The faults of a number.
Refuses: a part that the policy does not read, anything but a finite number of its type, a step type that TF-Agents does
         not know (SpecViolated).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import NEUTRAL
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, Fault, TensorSpec, describe, find_faults

STEP_TYPE = "step_type"
LAST = 2  # step types are 0 (first), 1 (mid) and 2 (last)


def neutral_time_step(specs: Iterable[TensorSpec], rows: int) -> Arrays:  # -> [rows] by name
    """What a policy reads where a caller says nothing: reward 0, discount 1, a step within an episode."""
    return {spec.name: np.full(rows, NEUTRAL[spec.name], spec.numpy_dtype) for spec in specs}


def read_time_step(given: Mapping[str, Any], specs: Sequence[TensorSpec]) -> Arrays:  # -> [1] by name
    """What a caller gives of one time step, the rest neutral. Raises SpecViolated."""
    known = {spec.name: spec for spec in specs}
    numbers = {name: _number(value) for name, value in given.items()}
    faults: list[Fault] = []
    for name, number in numbers.items():
        where = f"time_step.{name}"
        faults += number_faults(number, known[name], where) if name in known else [unread_fault(where, known)]
    if faults:
        raise SpecViolated(faults)
    parts = {name: np.full(1, number, known[name].numpy_dtype) for name, number in numbers.items()}
    return neutral_time_step(specs, 1) | parts


def unread_fault(where: str, read: Iterable[str]) -> Fault:
    """What is wrong with a part that a policy does not read; `read` names those that it reads."""
    return Fault(where, f"nothing: the policy reads {', '.join(read) or 'nothing of the time step'}", "it")


def number_faults(number: Any, spec: TensorSpec, where: str) -> list[Fault]:
    """What is wrong with a number for this part; empty if nothing is."""
    faults = find_faults(number, spec, where)
    if faults or are_known(spec.name, np.asarray(number)):
        return faults
    return [Fault(where, "0 (first), 1 (mid) or 2 (last)", describe(number))]


def are_known(name: str, numbers: AnyArray) -> bool:
    """Whether TF-Agents knows all of these step types; true of the other parts."""
    return name != STEP_TYPE or bool(((numbers >= 0) & (numbers <= LAST)).all())


def time_step_of(specs: Sequence[TensorSpec], reward: float, first: bool) -> dict[str, float]:
    """What a policy reads of an environment's step: `reward` was earned by the action before; none before the first."""
    found = {"reward": 0.0 if first else reward, "discount": 1.0, STEP_TYPE: 0 if first else NEUTRAL[STEP_TYPE]}
    return {spec.name: found[spec.name] for spec in specs}


def sample_time_step(specs: Sequence[TensorSpec], rows: int, generator: np.random.Generator) -> Arrays:
    """What environments may give: rewards of a usual size, both ends of the discount, every step type; [rows] each."""
    found: dict[str, AnyArray] = {
        "reward": generator.standard_normal(rows),
        "discount": generator.integers(2, size=rows),
        STEP_TYPE: generator.integers(LAST + 1, size=rows),
    }
    return {spec.name: found[spec.name].astype(spec.numpy_dtype) for spec in specs}


def _number(value: object) -> object:
    """A number of numpy, or an array of one, as Python's."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
