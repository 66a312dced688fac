"""Policies with actions of several parts, in ONNX and TFLite, whose answers numpy can compute.

`steered_policy`: gear = argmax(logits + noise[:3]), logits = observation · GEARS;
                  steer = observation · STEERING + 0.5 · noise[3:], which is NaN where |steer| > 1e8 if it is brittle.
`drive`:          the same in numpy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.exploration import Explore
from rlway_client.contract.interface import Draw
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import AnyArray, TensorSpec
from tests.bundles import write_bundle
from tests.lite_models import LiteModel
from tests.onnx_models import Values, make_model

GEARS = np.array([[1, -1, 0], [0.5, 0.5, -1], [2, -2, 1], [0, 1, -0.5]], np.float32)  # [4, 3]
STEERING = np.array([[0.5, 0], [0, -0.25], [1, 1], [-0.5, 2]], np.float32)  # [4, 2]
# Weights [9, …] of the observation and the noise together.
GEARS_AND_NOISE = np.concatenate([GEARS, np.eye(3), np.zeros((2, 3))]).astype(np.float32)
STEERING_AND_NOISE = np.concatenate([STEERING, np.zeros((3, 2)), 0.5 * np.eye(2)]).astype(np.float32)
DRAWS = [Draw("gumbel", 3), Draw("normal", 2)]
DICT = (("gear",), ("wheel", "steer"))
TUPLE = (("0",), ("1",))


class Drive(NamedTuple):
    """The actions for rows of observations."""

    gear: list[int]
    steer: AnyArray  # [rows, 2]


def drive(rows: AnyArray, noise: AnyArray | None = None) -> Drive:
    """What the policy must answer to rows [B, 4]; greedily without noise [B, 5]."""
    noise = np.zeros((len(rows), 5), np.float32) if noise is None else noise
    given = np.concatenate([rows, noise], axis=1).astype(np.float32)
    return Drive((given @ GEARS_AND_NOISE).argmax(axis=1).tolist(), given @ STEERING_AND_NOISE)


def steered_policy(
    models: Path,
    name: str = "steered",
    *,
    paths: tuple[tuple[str, ...], tuple[str, ...]] = DICT,
    explore: Explore | None = None,
    rows: str | int = "B",
    lite: bool = False,
    brittle: bool = False,
) -> Bundle:
    """The bundle. `rows` is the first dimension of the ONNX file; a `lite` one has a TFLite file only."""
    gear, steer = ("_".join(("action", *path)) for path in paths)
    suffix = gear.removeprefix("action")
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (4,), "float32")],
        action=[TensorSpec(gear, (), "int64", 0, 2, paths[0]), TensorSpec(steer, (2,), "float32", -9, 9, paths[1])],
        noise=TensorSpec("noise", (5,), "float32"),
        draws=DRAWS,
        explore=explore,
        outputs=[TensorSpec(f"logits{suffix}", (3,), "float32"), TensorSpec("info_loc", (2,), "float32")],
    )
    names = (gear, steer, f"logits{suffix}")
    if lite:
        return write_bundle(models, manifest, None, {"model.tflite": _tflite(*names)})
    return write_bundle(models, manifest, _onnx(*names, rows, brittle))


def _onnx(gear: str, steer: str, logits: str, rows: str | int, brittle: bool) -> bytes:
    nodes = [
        helper.make_node("Concat", ["observation", "noise"], ["given"], axis=1),
        helper.make_node("MatMul", ["given", "gears_and_noise"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], [gear], axis=1, keepdims=0),
        helper.make_node("MatMul", ["given", "steering_and_noise"], ["steered"]),
        helper.make_node("Mul", ["steered", "large"], ["larger"]),
        helper.make_node("Sub", ["larger", "larger"], ["nothing"]),  # ∞ − ∞, once float32 overflows
        helper.make_node("Add", ["steered", "nothing"], [steer]),
        helper.make_node("MatMul", ["observation", "gears"], [logits]),
        helper.make_node("MatMul", ["observation", "steering"], ["info_loc"]),
    ]
    constants: dict[str, Any] = {
        "gears": GEARS,
        "gears_and_noise": GEARS_AND_NOISE,
        "steering": STEERING,
        "steering_and_noise": STEERING_AND_NOISE,
        "large": np.full(2, 1e30 if brittle else 1.0, np.float32),
    }
    inputs: Values = [("observation", TensorProto.FLOAT, [rows, 4]), ("noise", TensorProto.FLOAT, [rows, 5])]
    outputs: Values = [
        (gear, TensorProto.INT64, [rows]),
        (steer, TensorProto.FLOAT, [rows, 2]),
        (logits, TensorProto.FLOAT, [rows, 3]),
        ("info_loc", TensorProto.FLOAT, [rows, 2]),
    ]
    return make_model(nodes, inputs, outputs, constants)


def _tflite(gear: str, steer: str, logits: str) -> bytes:
    model = LiteModel()
    observation, noise = model.tensor("observation", (1, 4), "float32"), model.tensor("noise", (1, 5), "float32")
    given = model.operate("CONCATENATION", [observation, noise], model.tensor("given", (1, 9), "float32"), axis=1)

    def weigh(source: int, name: str, weights: AnyArray) -> int:
        constant = model.constant(f"{name}.weights", weights.T.copy())
        result = model.tensor(name, (1, weights.shape[1]), "float32")
        return model.operate("FULLY_CONNECTED", [source, constant, -1], result)

    outputs = {
        gear: model.best_of(weigh(given, "scores", GEARS_AND_NOISE)),
        steer: weigh(given, steer, STEERING_AND_NOISE),
        logits: weigh(observation, logits, GEARS),
        "info_loc": weigh(observation, "info_loc", STEERING),
    }
    return model.finish({"observation": observation, "noise": noise}, outputs)
