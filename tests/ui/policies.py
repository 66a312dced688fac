"""The policies that the page shows: some that play, and one of each kind of observation.

In:      a folder.
Out:     bundles in it.

`balancing_policy`: plays CartPole for hours, with a straight line through its observations.
`swinging_policy`: acts on Pendulum's observations, linearly.
`seeing_policy`: takes a picture, uint8[24, 24, 1], and says whether it is bright.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rlway_client import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.meaning import Meaning, TensorMeaning
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.meanings import KNOWN
from tests.bundles import gaussian_policy, robot_policy, summing_policy, write_bundle
from tests.onnx_models import ACTION, Values, make_model

GAINS = np.array([0.1, 0.3, 2.0, 0.6], np.float32)  # how much each observation speaks for the right
CARD = """# {name}, version {version}

A policy **by hand** for `CartPole-v1`.

| | |
|---|---|
| mean return | 500 |

![Mean return over training](learning_curve.png)

- It is a [line](https://gymnasium.farama.org).
- <script>alert(1)</script> is text.
"""


def write_policies(models: Path) -> None:
    """All of them. `cartpole` has two versions, of which the second is active."""
    balancing_policy(models, "cartpole", 1, gains=-GAINS)
    balancing_policy(models, "cartpole", 2)
    swinging_policy(models, "pendulum")
    seeing_policy(models, "seeing")
    robot_policy(models)
    summing_policy(models)
    gaussian_policy(models)


def balancing_policy(models: Path, name: str, version: int, gains: Any = GAINS) -> Bundle:
    """q_values = (−1, 1) · observation · gains."""
    nodes = [
        helper.make_node("MatMul", ["observation", "gains"], ["q_values"]),
        helper.make_node("Add", ["q_values", "noise"], ["noisy"]),
        helper.make_node("ArgMax", ["noisy"], ["action"], axis=1, keepdims=0),
    ]
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 4]), ("noise", TensorProto.FLOAT, ["B", 2])]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 2])]
    model = make_model(nodes, inputs, outputs, {"gains": np.stack([-gains, gains], 1).astype(np.float32)})
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=version,
        algorithm="by hand",
        env="CartPole-v1",
        observation=[
            TensorSpec("observation", (4,), "float32", [-4.8, None, -0.4189, None], [4.8, None, 0.4189, None])
        ],
        action=TensorSpec("action", (), "int64", 0, 1),
        meaning=KNOWN["CartPole-v1"],
        max_episode_steps=500,
        noise=TensorSpec("noise", (2,), "float32"),
        outputs=[TensorSpec("q_values", (2,), "float32")],
        training={
            "final_return": 500.0,
            "final_episodes": 100,
            "final_interval": [500.0, 500.0],
            "random_return": 21.7,
        },
    )
    files = {
        "README.md": CARD.format(name=name, version=version).encode(),
        "learning_curve.png": png(64, 32),
    }
    return write_bundle(models, manifest, model, files)


def swinging_policy(models: Path, name: str) -> Bundle:
    """action = 2 · tanh(observation · gains + σ · noise)."""
    constants = {
        "gains": np.array([[0.0], [-6.0], [-1.5]], np.float32),
        "std": np.full(1, 0.5, np.float32),
        "most": np.full(1, 2.0, np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["observation", "gains"], ["loc"]),
        helper.make_node("Mul", ["noise", "std"], ["spread"]),
        helper.make_node("Add", ["loc", "spread"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["squashed"]),
        helper.make_node("Mul", ["squashed", "most"], ["action"]),
    ]
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 3]), ("noise", TensorProto.FLOAT, ["B", 1])]
    outputs: Values = [("action", TensorProto.FLOAT, ["B", 1]), ("loc", TensorProto.FLOAT, ["B", 1])]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="by hand",
        env="Pendulum-v1",
        observation=[TensorSpec("observation", (3,), "float32", [-1, -1, -8], [1, 1, 8])],
        action=TensorSpec("action", (1,), "float32", -2, 2),
        meaning=KNOWN["Pendulum-v1"],
        noise=TensorSpec("noise", (1,), "float32"),
        outputs=[TensorSpec("loc", (1,), "float32")],
    )
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, constants))


def seeing_policy(models: Path, name: str) -> Bundle:
    """q_values = (100, the mean of the pixels)."""
    nodes = [
        helper.make_node("Cast", ["observation"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["bright"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["bright", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "hundred"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["q_values"], axis=1),
        helper.make_node("ArgMax", ["q_values"], ["action"], axis=1, keepdims=0),
    ]
    inputs: Values = [("observation", TensorProto.UINT8, ["B", 24, 24, 1])]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 2])]
    constants = {"nothing": np.zeros(1, np.float32), "hundred": np.full(1, 100.0, np.float32)}
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (24, 24, 1), "uint8", 0, 255)],
        action=TensorSpec("action", (), "int64", 0, 1),
        meaning=Meaning(tensors={"action": TensorMeaning(choices=["dark", "bright"])}),
        noise=None,
        outputs=[TensorSpec("q_values", (2,), "float32")],
    )
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, constants))


def png(width: int, height: int, shade: int = 255) -> bytes:
    """A picture of one grey."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes([shade]) * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
