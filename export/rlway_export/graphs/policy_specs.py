"""The bounds of a policy's tensors, which a SavedModel itself does not have.

In:      `policy_specs.pbtxt`, which PolicySaver writes beside it.
Out:     `Bounds` of the observation and of the action.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_export.graphs.nests import KeyPath, Leaf, field, leaves

SPECS = "policy_specs.pbtxt"


class Bounds(NamedTuple):
    """The leaves with bounds, by path."""

    observation: dict[KeyPath, Leaf]
    action: dict[KeyPath, Leaf]


def read_bounds(saved_model: Path) -> Bounds | None:
    """None if the file is missing, or cannot be read."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.struct_pb2 import StructuredValue

    try:
        message = text_format.Parse((saved_model / SPECS).read_text(encoding="utf-8"), StructuredValue())
        trajectory = field(message, "collect_data_spec")
        found = [field(trajectory, key) for key in ("observation", "action")]
        return Bounds(*({leaf.path: leaf for leaf in leaves(part)} for part in found))
    except (OSError, ValueError, AttributeError, TypeError, text_format.ParseError):
        return None
