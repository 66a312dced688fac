"""Policies of several kinds, without files."""

from __future__ import annotations

from msgspec.structs import replace

from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.naming import with_names

LINEAR = Manifest(
    schema_version=MANIFEST_SCHEMA,
    policy="linear",
    version=3,
    algorithm="dqn",
    env=None,
    observation=[TensorSpec("observation", (4,), "float32")],
    action=TensorSpec("action", (), "int64", 0, 1),
    noise=TensorSpec("noise", (2,), "float32"),
    outputs=[TensorSpec("q_values", (2,), "float32")],
)
CONTINUOUS = replace(LINEAR, policy="continuous", action=TensorSpec("action", (2,), "float32", -2, 2))
CAMERA = TensorSpec("camera", (2,), "uint8", path=("camera",))
ARM = TensorSpec("joints_arm", (3,), "float32", path=("joints", "arm"))
ROBOT = replace(
    LINEAR,
    policy="robot",
    observation=[CAMERA, ARM],
    action=[
        TensorSpec("action_gear", (), "int64", 0, 3, ("gear",)),
        TensorSpec("action_wheel", (2,), "float32", path=("wheel",)),
    ],
)
TUPLE = replace(
    LINEAR,
    policy="tuple",
    observation=[
        TensorSpec("observation_0", (2,), "uint8", path=("0",)),
        TensorSpec("observation_1", (), "float32", path=("1",)),
    ],
)
RECURRENT = replace(LINEAR, policy="recurrent", state=[TensorSpec("sum", (2,), "float32", path=("0",))])
FIRST_IS_AN_INPUT = replace(LINEAR, policy="first", observation=[TensorSpec("first", (), "bool", path=("first",)), ARM])
NAMED = with_names(LINEAR, "observation", ["x", "arm", "data", "first"])
MANIFESTS = (LINEAR, NAMED, ROBOT, TUPLE, RECURRENT, FIRST_IS_AN_INPUT)
