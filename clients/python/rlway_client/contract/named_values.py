"""Observations whose values come by name: the elements of a tensor have names in the manifest's meaning.

In:      an observation, with an object of names in place of a tensor's list.
Out:     the observation with each value in its element's place.
Refuses: names that are missing or not known (SpecViolated, by their path).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlway_client.common.quote import named
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.meaning import Names
from rlway_client.contract.nesting import at, parts_of
from rlway_client.contract.specs import MAX_FAULTS, Fault, TensorSpec


def in_order(observation: Any, tree: Any, names: Names, where: str = "observation") -> Any:
    """The observation with lists in place of objects whose keys are the names of a tensor's elements.

    `tree` is the specs in the nesting of the observation. Other parts stay as they are. Raises SpecViolated.
    """
    if not isinstance(tree, TensorSpec):
        parts = parts_of(observation, tree)
        if parts is None:
            return observation
        return {
            key: in_order(part, tree[key], names, at(where, key)) if key in tree else part
            for key, part in parts.items()
        }
    if tree.name not in names or not isinstance(observation, Mapping):
        return observation
    elements = names[tree.name]
    faults = [Fault(at(where, name), tree.dtype, "nothing") for name in elements if name not in observation]
    known = {*elements}
    faults += [
        Fault(at(where, str(key)), f"one of {named(elements)}", "another name")
        for key in observation
        if key not in known
    ]
    if faults:
        raise SpecViolated(faults[:MAX_FAULTS])
    values = np.empty(len(elements), object)
    values[:] = [observation[name] for name in elements]
    return values.reshape(tree.shape).tolist() if tree.shape else values[0]
