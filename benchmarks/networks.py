"""Policies of the sizes that people train, for benchmarks: real ONNX files with random weights.

`q_network`:  float32[4] → hidden ReLU layers → 2 actions, as DQN on CartPole; from tests.bundles.
`actor`:      float32[28] → hidden ReLU layers → float32[8] within [−1, 1], as SAC's actor on Minitaur, with its loc and
              scale. Without hidden layers it costs next to nothing, and everything else of a request is the same.
`camera`:     uint8[84, 84, 4] → the convolutions of Mnih et al., "Human-level control through deep reinforcement
              learning", 2015 → 6 actions.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rlway_client.bundle import Bundle
from rlway_client.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.specs import AnyArray, TensorSpec
from tests.bundles import ACTION, Values, make_model, write_bundle

MINITAUR = (28, 8)
FRAME = (84, 84, 4)
CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # filters, their side, stride
GENERATOR = np.random.default_rng(0)


def actor(models: Path, name: str, hidden: tuple[int, ...]) -> Bundle:
    """SAC's actor."""
    size, actions = MINITAUR
    constants: dict[str, Any] = {}
    nodes, value = _dense([size, *hidden], "observation", constants)
    for head in ("loc", "spread"):
        constants[f"{head}_w"] = _weights(([size, *hidden][-1], actions))
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
        constants[f"filter_{i}"] = _weights((filters, channels, reach, reach))
        nodes.append(helper.make_node("Conv", [value, f"filter_{i}"], [f"seen_{i}"], strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", [f"seen_{i}"], [value := f"found_{i}"]))
        channels, side = filters, (side - reach) // stride + 1
    nodes.append(helper.make_node("Flatten", [value], ["flat"]))
    dense, value = _dense([channels * side * side, 512], "flat", constants)
    constants["last_w"] = _weights((512, actions))
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


def _dense(sizes: list[int], value: str, constants: dict[str, Any]) -> tuple[list[Any], str]:
    """ReLU layers from `value` on, and what comes out of them."""
    nodes = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        constants[f"w{i}"], constants[f"b{i}"] = _weights((fan_in, fan_out)), np.zeros(fan_out, np.float32)
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"h{i}"]))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [value := f"r{i}"]))
    return nodes, value


def _weights(shape: tuple[int, ...]) -> AnyArray:
    fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
    weights: AnyArray = (GENERATOR.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
    return weights
