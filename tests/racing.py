"""A policy whose action has two parts, in ONNX and TFLite, and whose answers can be computed by hand.

`racing_policy`: gear = argmax(observation + noise[:2]), steering = observation + reward + noise[2:]; the logits of the
                  gear are the observation. Its action is a dict of the two, or a tuple.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from onnx import TensorProto, helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.interface import Draw
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import write_bundle
from tests.lite_models import LiteModel
from tests.onnx_models import Values, make_model

GEAR, STEERING, LOGITS = "action_gear", "action_steering", "logits_gear"


def racing_manifest(name: str = "racing", *, paths: tuple[str, str] = ("gear", "steering")) -> Manifest:
    """Its manifest; `paths` are the keys of the action's parts."""
    gear, steering = ((key,) for key in paths)
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (2,), "float32")],
        action=[
            TensorSpec(GEAR, (), "int64", 0, 1, gear),
            TensorSpec(STEERING, (2,), "float32", path=steering),
        ],
        noise=TensorSpec("noise", (4,), "float32"),
        draws=[Draw("gumbel", 2), Draw("normal", 2)],
        time_step=[TensorSpec("reward", (), "float32")],
        outputs=[TensorSpec(LOGITS, (2,), "float32")],
    )


def racing_policy(
    models: Path,
    name: str = "racing",
    *,
    paths: tuple[str, str] = ("gear", "steering"),
    rows: str | int = "B",
    **changes: Any,
) -> Bundle:
    """The bundle. Its ONNX file takes any number of rows, or one; `changes` are made to the manifest."""
    manifest = replace(racing_manifest(name, paths=paths), **changes)
    return write_bundle(models, manifest, racing_onnx(rows), {"model.tflite": _tflite(), "policy.c": b""})


def racing_onnx(rows: str | int = "B") -> bytes:
    """The ONNX file, for any number of rows or for one."""
    nodes = [
        helper.make_node("Split", ["noise", "halves"], ["gumbel", "normal"], axis=1),
        helper.make_node("Identity", ["observation"], [LOGITS]),
        helper.make_node("Add", [LOGITS, "gumbel"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], [GEAR], axis=1, keepdims=0),
        helper.make_node("Unsqueeze", ["reward", "last"], ["reward_column"]),
        helper.make_node("Add", ["observation", "reward_column"], ["mean"]),
        helper.make_node("Add", ["mean", "normal"], [STEERING]),
    ]
    inputs: Values = [
        ("observation", TensorProto.FLOAT, [rows, 2]),
        ("noise", TensorProto.FLOAT, [rows, 4]),
        ("reward", TensorProto.FLOAT, [rows]),
    ]
    outputs: Values = [
        (GEAR, TensorProto.INT64, [rows]),
        (STEERING, TensorProto.FLOAT, [rows, 2]),
        (LOGITS, TensorProto.FLOAT, [rows, 2]),
    ]
    return make_model(nodes, inputs, outputs, {"halves": np.array([2, 2], np.int64), "last": np.array([1], np.int64)})


def _tflite() -> bytes:
    model = LiteModel()
    observation, noise = model.tensor("observation", (1, 2), "float32"), model.tensor("noise", (1, 4), "float32")
    reward = model.tensor("reward", (1,), "float32")
    size = model.constant("size", np.array([1, 2], np.int32))
    halves = []
    for start in (0, 2):
        begin = model.constant(f"begin_{start}", np.array([0, start], np.int32))
        halves.append(model.operate("SLICE", [noise, begin, size], model.tensor(f"half_{start}", (1, 2), "float32")))
    scores = model.operate("ADD", [observation, halves[0]], model.tensor("scores", (1, 2), "float32"))
    gear = model.best_of(scores)
    mean = model.operate("ADD", [observation, reward], model.tensor("mean", (1, 2), "float32"))
    steering = model.operate("ADD", [mean, halves[1]], model.tensor("steering", (1, 2), "float32"))
    zero = model.constant("zero", np.zeros(2, np.float32))
    logits = model.operate("ADD", [observation, zero], model.tensor("logits", (1, 2), "float32"))
    inputs = {"observation": observation, "noise": noise, "reward": reward}
    return model.finish(inputs, {GEAR: gear, STEERING: steering, LOGITS: logits})
