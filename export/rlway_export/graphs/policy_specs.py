"""What a policy says of its tensors beside its SavedModel: bounds, which the SavedModel does not have, and paths.

In:      `policy_specs.pbtxt`, which PolicySaver writes.
Out:     `Specs` of the observation, the action, the policy state and the information.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rlway_export.graphs.nests import KeyPath, Leaf, UnknownType, field, leaves

SPECS = "policy_specs.pbtxt"


class Specs(NamedTuple):
    """The leaves of each part."""

    observation: list[Leaf]
    action: list[Leaf]
    state: list[Leaf]
    info: list[Leaf]

    def by_path(self, role: str) -> dict[KeyPath, Leaf]:
        """The leaves of one part; none of a time step's other parts."""
        return {leaf.path: leaf for leaf in getattr(self, role, ())}


def read_specs(saved_model: Path) -> Specs | None:
    """None if the file is missing, or cannot be read."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.struct_pb2 import StructuredValue

    try:
        message = text_format.Parse((saved_model / SPECS).read_text(encoding="utf-8"), StructuredValue())
        trajectory, state = field(message, "collect_data_spec"), field(message, "policy_state_spec")
        observation, action = (list(leaves(field(trajectory, key))) for key in ("observation", "action"))
        return Specs(observation, action, _leaves(state), _leaves(field(trajectory, "policy_info")))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, text_format.ParseError):
        return None


def _leaves(part: Any) -> list[Leaf]:
    try:
        return list(leaves(part)) if part is not None else []
    except UnknownType:
        return []
