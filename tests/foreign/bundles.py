"""The policies that other people's clients play: they solve their environments by formulas that fit in a line.

`balancing_policy`: CartPole-v1; q_values = [0, 0.1·x + 0.2·ẋ + θ + θ̇], which balances for all 500 steps.
`swinging_policy`: Pendulum-v1; swings up by energy, and holds by −10·sin θ − 2·θ̇ where cos θ > 0.9.
`picture_policy`: q_values = the sums of the channels of uint8[16, 16, 3]; the action is the brightest channel.

Each takes noise, which no request of a foreign client gives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import write_bundle
from tests.onnx_models import ACTION, Values, make_model

BALANCE = np.array([[0, 0.1], [0, 0.2], [0, 1], [0, 1]], np.float32)  # [x, ẋ, θ, θ̇] -> a Q-value each for left, right


def balancing_policy(models: Path) -> Bundle:
    """A discrete policy over float32[4]."""
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["q_values"]),
        helper.make_node("Add", ["q_values", "noise"], ["noisy"]),
        helper.make_node("ArgMax", ["noisy"], ["action"], axis=1, keepdims=0),
    ]
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 4]), ("noise", TensorProto.FLOAT, ["B", 2])]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 2])]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="balancing",
        version=1,
        algorithm="dqn",
        env="CartPole-v1",
        observation=[TensorSpec("observation", (4,), "float32")],
        action=TensorSpec("action", (), "int64", 0, 1),
        noise=TensorSpec("noise", (2,), "float32"),
        outputs=[TensorSpec("q_values", (2,), "float32")],
    )
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, {"weights": BALANCE}))


def swinging_policy(models: Path) -> Bundle:
    """A continuous policy over float32[3] with one action within [−2, 2]. Its values do not depend on the batch."""
    constants = {
        "parts": np.array([1, 1, 1], np.int64),
        "half": np.float32(0.5),
        "gravity": np.float32(15.0),  # of the pendulum's energy θ̇²/2 + 15·cos θ, which is 15 where it stands upright
        "upright": np.float32(0.9),
        "angle_gain": np.float32(-10.0),
        "speed_gain": np.float32(-2.0),
        "push": np.float32(1e-6),  # decides for a side where the pendulum hangs still
        "low": np.float32(-2.0),
        "high": np.float32(2.0),
    }
    nodes = [
        helper.make_node("Split", ["observation", "parts"], ["cos", "sin", "speed"], axis=1),
        helper.make_node("Mul", ["sin", "angle_gain"], ["by_angle"]),
        helper.make_node("Mul", ["speed", "speed_gain"], ["by_speed"]),
        helper.make_node("Add", ["by_angle", "by_speed"], ["holding"]),
        helper.make_node("Mul", ["speed", "speed"], ["square"]),
        helper.make_node("Mul", ["square", "half"], ["kinetic"]),
        helper.make_node("Mul", ["cos", "gravity"], ["potential"]),
        helper.make_node("Add", ["kinetic", "potential"], ["energy"]),
        helper.make_node("Sub", ["gravity", "energy"], ["missing"]),
        helper.make_node("Add", ["speed", "push"], ["moving"]),
        helper.make_node("Sign", ["moving"], ["direction"]),
        helper.make_node("Mul", ["missing", "direction"], ["swinging"]),
        helper.make_node("Greater", ["cos", "upright"], ["near"]),
        helper.make_node("Where", ["near", "holding", "swinging"], ["torque"]),
        helper.make_node("Add", ["torque", "noise"], ["noisy"]),
        helper.make_node("Clip", ["noisy", "low", "high"], ["action"]),
    ]
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 3]), ("noise", TensorProto.FLOAT, ["B", 1])]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="swinging",
        version=1,
        algorithm="sac",
        env="Pendulum-v1",
        observation=[TensorSpec("observation", (3,), "float32")],
        action=TensorSpec("action", (1,), "float32", -2, 2),
        noise=TensorSpec("noise", (1,), "float32"),
    )
    outputs: Values = [("action", TensorProto.FLOAT, ["B", 1])]
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, constants))


def picture_policy(models: Path) -> Bundle:
    """A discrete policy over pictures with three actions."""
    nodes = [
        helper.make_node("Cast", ["observation"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["pixels", "places"], ["q_values"], keepdims=0),
        helper.make_node("Add", ["q_values", "noise"], ["noisy"]),
        helper.make_node("ArgMax", ["noisy"], ["action"], axis=1, keepdims=0),
    ]
    inputs: Values = [("observation", TensorProto.UINT8, ["B", 16, 16, 3]), ("noise", TensorProto.FLOAT, ["B", 3])]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 3])]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="picture",
        version=1,
        algorithm="dqn",
        env=None,
        observation=[TensorSpec("observation", (16, 16, 3), "uint8")],
        action=TensorSpec("action", (), "int64", 0, 2),
        noise=TensorSpec("noise", (3,), "float32"),
        outputs=[TensorSpec("q_values", (3,), "float32")],
    )
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, {"places": np.array([1, 2], np.int64)}))
