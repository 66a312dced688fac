"""The parts of TF-Agents' time step that a policy may read besides the observation: reward, discount and step type.

In:      the specs of those that a policy reads; what a caller gives of them, such as {"reward": 1.0}.
Out:     an array for each that it reads; what the caller does not give is as within an episode.
Refuses: a part that the policy does not read, anything but a finite number of its type, a step type that TF-Agents does
         not know (SpecViolated).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import NEUTRAL
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, Fault, TensorSpec, describe, find_faults

LAST = 2  # step types are 0 (first), 1 (mid) and 2 (last)


def neutral_time_step(specs: Sequence[TensorSpec], rows: int) -> Arrays:  # -> [rows] by name
    """What a policy reads where a caller says nothing: reward 0, discount 1, a step within an episode."""
    return {spec.name: np.full(rows, NEUTRAL[spec.name], spec.numpy_dtype) for spec in specs}


def read_time_step(given: Mapping[str, Any], specs: Sequence[TensorSpec]) -> Arrays:  # -> [1] by name
    """What a caller gives of one time step, the rest neutral. Raises SpecViolated."""
    known = {spec.name: spec for spec in specs}
    faults: list[Fault] = []
    for name, value in given.items():
        where = f"time_step.{name}"
        if name not in known:
            reads = ", ".join(known) or "nothing of the time step"
            faults.append(Fault(where, f"nothing: the policy reads {reads}", "it"))
        else:
            faults += find_faults(_number(value), known[name], where) or _step_type_faults(name, value, where)
    if faults:
        raise SpecViolated(faults)
    parts = {name: np.full(1, value, known[name].numpy_dtype) for name, value in given.items()}
    return neutral_time_step(specs, 1) | parts


def time_step_of(specs: Sequence[TensorSpec], reward: float, first: bool) -> dict[str, float]:
    """What a policy reads of an environment's step: `reward` was earned by the action before; none before the first."""
    found = {"reward": 0.0 if first else reward, "discount": 1.0, "step_type": 0 if first else NEUTRAL["step_type"]}
    return {spec.name: found[spec.name] for spec in specs}


def sample_time_step(specs: Sequence[TensorSpec], rows: int, generator: np.random.Generator) -> Arrays:
    """What environments may give: rewards of a usual size, both ends of the discount, every step type; [rows] each."""
    found: dict[str, AnyArray] = {
        "reward": generator.standard_normal(rows),
        "discount": generator.integers(2, size=rows),
        "step_type": generator.integers(LAST + 1, size=rows),
    }
    return {spec.name: found[spec.name].astype(spec.numpy_dtype) for spec in specs}


def _number(value: object) -> object:
    """A number of numpy, or an array of one, as Python's."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value


def _step_type_faults(name: str, value: Any, where: str) -> list[Fault]:
    if name != "step_type" or 0 <= value <= LAST:
        return []
    return [Fault(where, "0 (first), 1 (mid) or 2 (last)", describe(value))]
