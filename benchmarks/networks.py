"""Policies of usual sizes for benchmarks: real ONNX files with random weights.

`q_network`:  float32[4] → hidden ReLU layers → 2 actions, as DQN on CartPole; it is in tests.bundles.
`actor`:      float32[28] → hidden ReLU layers → float32[8] within [−1, 1], as SAC's actor on Minitaur, with its loc and
              scale. Without hidden layers its own cost is negligible, and only the cost of the request remains.
`camera`:     uint8[84, 84, 4] → the convolutions of Mnih et al., "Human-level control through deep reinforcement
              learning", 2015 → 6 actions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import write_bundle
from tests.onnx_models import ACTION, Values, make_model, random_weights, relu_layers

MINITAUR = (28, 8)
FRAME = (84, 84, 4)
CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # filters, their side, stride
GENERATOR = np.random.default_rng(0)


def actor(models: Path, name: str, hidden: tuple[int, ...]) -> Bundle:
    """SAC's actor."""
    size, actions = MINITAUR
    constants: dict[str, Any] = {}
    nodes, value = relu_layers([size, *hidden], "observation", constants, GENERATOR)
    for head in ("loc", "spread"):
        constants[f"{head}_w"] = random_weights(([size, *hidden][-1], actions), GENERATOR)
        nodes.append(helper.make_node("MatMul", [value, f"{head}_w"], [head]))
    nodes += [
        helper.make_node("Softplus", ["spread"], ["scale"]),
        helper.make_node("Mul", ["scale", "noise"], ["moved"]),
        helper.make_node("Add", ["loc", "moved"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["action"]),
    ]
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", size]), ("noise", TensorProto.FLOAT, ["B", actions])]
    outputs: Values = [(output, TensorProto.FLOAT, ["B", actions]) for output in ("action", "loc", "scale")]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="sac",
        env=None,
        observation=[TensorSpec("observation", (size,), "float32")],
        action=TensorSpec("action", (actions,), "float32", -1, 1),
        noise=TensorSpec("noise", (actions,), "float32"),
        outputs=[TensorSpec(output, (actions,), "float32") for output in ("loc", "scale")],
    )
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, constants))


def camera(models: Path, name: str, actions: int = 6) -> Bundle:
    """DQN on images."""
    constants: dict[str, Any] = {"shades": np.float32(255)}
    nodes = [
        helper.make_node("Cast", ["observation"], ["shade"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["shade", "shades"], ["bright"]),
        helper.make_node("Transpose", ["bright"], ["image"], perm=[0, 3, 1, 2]),
    ]
    value, channels, side = "image", FRAME[2], FRAME[0]
    for i, (filters, reach, stride) in enumerate(CONVOLUTIONS):
        constants[f"filter_{i}"] = random_weights((filters, channels, reach, reach), GENERATOR)
        nodes.append(helper.make_node("Conv", [value, f"filter_{i}"], [f"seen_{i}"], strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", [f"seen_{i}"], [value := f"found_{i}"]))
        channels, side = filters, (side - reach) // stride + 1
    nodes.append(helper.make_node("Flatten", [value], ["flat"]))
    dense, value = relu_layers([channels * side * side, 512], "flat", constants, GENERATOR)
    constants["last_w"] = random_weights((512, actions), GENERATOR)
    nodes += [
        *dense,
        helper.make_node("MatMul", [value, "last_w"], ["q_values"]),
        helper.make_node("Add", ["q_values", "noise"], ["noisy"]),
        helper.make_node("ArgMax", ["noisy"], ["action"], axis=1, keepdims=0),
    ]
    inputs: Values = [("observation", TensorProto.UINT8, ["B", *FRAME]), ("noise", TensorProto.FLOAT, ["B", actions])]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", actions])]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="dqn",
        env=None,
        observation=[TensorSpec("observation", FRAME, "uint8", 0, 255)],
        action=TensorSpec("action", (), "int64", 0, actions - 1),
        noise=TensorSpec("noise", (actions,), "float32"),
        outputs=[TensorSpec("q_values", (actions,), "float32")],
    )
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, constants))
