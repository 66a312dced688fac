"""One tensor that a policy's function takes or gives, and what it is to the policy."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from rlway_export.graphs.nests import KeyPath, Leaf

Role = Literal["step_type", "reward", "discount", "observation", "state", "action", "info"]
TIME_STEP: tuple[Role, ...] = ("step_type", "reward", "discount", "observation")
SAVE = "save one with TF-Agents' PolicySaver"


class Port(NamedTuple):
    """One input or output of the function."""

    role: Role
    leaf: Leaf  # its path is that within the observation, the state, …


def port_of(role: Role, path: KeyPath, tensor: Any) -> Port:
    """The port of a tensor of TensorFlow."""
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Port(role, Leaf(path, tensor.name, shape, tensor.dtype.name))
