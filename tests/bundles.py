"""Bundles for tests: real ONNX files of small policies whose answers can be computed by hand.

`linear_policy`: q_values = observation · W + b, action = argmax(q_values + noise).
`q_network_policy`: a Q-network with ReLU layers and random weights, of a usual size.
`gaussian_policy`: loc = observation · W, scale = 0.5, action = 2 · tanh(loc + scale · noise).
`softplus_policy`: loc = observation · W, scale = softplus(loc), action = tanh(loc + scale · noise).
`greedy_policy`: `linear_policy` without noise.
`robot_policy`: q_values = camera · 0.01 + joints.arm · W[:3]; the observation is an object of the two.
`embedding_policy`: q_values = Σ table[observation], action 0 where the sum of the observation is above 13.5.
`remembering_policy`: sum = (reset ? 0 : sum) + Σ table[observation], q_values = sum.
`narrow_policy`: `linear_policy` for at most 1,000 rows at once.
`summing_policy`: sum = (reset ? 0 : sum) + observation, q_values = sum · W + b; the sum is its policy state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from onnx import TensorProto, helper

from rlway_client.common.files import folder_that_appears_whole, sha256
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, encode_manifest
from rlway_client.contract.specs import AnyArray, TensorSpec
from tests.lite_models import LiteModel
from tests.onnx_models import ACTION, Values, make_model, random_weights, relu_layers

WEIGHTS = np.array([[1.0, -1.0], [0.5, 0.5], [2.0, -2.0], [0.0, 1.0]], np.float32)  # [4, 2]
BIAS = np.array([0.1, 0.0], np.float32)


def linear_policy(models: Path, name: str = "linear", version: int = 1, bias: float = 0.0) -> Bundle:
    """A discrete policy over float32[4] with two actions; `bias` is added to its Q-values."""
    nodes = [helper.make_node("Gemm", ["observation", "weights", "bias"], ["q_values"])]
    model = _discrete_model(nodes, {"weights": WEIGHTS, "bias": BIAS + np.float32(bias)})
    return write_bundle(models, _discrete_manifest(name, version), model)


def greedy_policy(models: Path, name: str = "greedy") -> Bundle:
    """`linear_policy` without noise and outputs, as it is exported from a source without exploration."""
    nodes = [
        helper.make_node("Gemm", ["observation", "weights", "bias"], ["q_values"]),
        helper.make_node("ArgMax", ["q_values"], ["action"], axis=1, keepdims=0),
    ]
    manifest = replace(_discrete_manifest(name, 1), algorithm=None, env=None, noise=None, outputs=[])
    inputs: Values = [("observation", TensorProto.FLOAT, ["B", 4])]
    return write_bundle(models, manifest, make_model(nodes, inputs, [ACTION], {"weights": WEIGHTS, "bias": BIAS}))


def robot_policy(models: Path, name: str = "robot") -> Bundle:
    """A discrete policy over {"camera": uint8[2], "joints": {"arm": float32[3]}} with two actions."""
    nodes = [
        helper.make_node("Cast", ["camera"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "percent"], ["bright"]),
        helper.make_node("MatMul", ["joints_arm", "weights"], ["moved"]),
        helper.make_node("Add", ["bright", "moved"], ["q_values"]),
    ]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="dqn",
        env=None,
        observation=[
            TensorSpec("camera", (2,), "uint8", path=("camera",)),
            TensorSpec("joints_arm", (3,), "float32", path=("joints", "arm")),
        ],
        action=TensorSpec("action", (), "int64", 0, 1),
        noise=TensorSpec("noise", (2,), "float32"),
        outputs=[TensorSpec("q_values", (2,), "float32")],
    )
    inputs: Values = [
        ("camera", TensorProto.UINT8, ["B", 2]),
        ("joints_arm", TensorProto.FLOAT, ["B", 3]),
        ("noise", TensorProto.FLOAT, ["B", 2]),
    ]
    constants = {"percent": np.full(2, 0.01, np.float32), "weights": WEIGHTS[:3]}
    return write_bundle(models, manifest, _discrete_model(nodes, constants, inputs))


def embedding_policy(models: Path, name: str = "embedding", marked: bool = True, lite: bool = False) -> Bundle:
    """A discrete policy over int64[3] that looks up its observation in a table of ten rows.

    A `marked` one names the table's bounds in the manifest; otherwise the manifest only says that the training saw
    values from 0 to 9. A `lite` one is a TFLite file without noise.
    """
    nodes = [
        helper.make_node("Gather", ["table", "observation"], ["embedded"]),
        helper.make_node("ReduceSum", ["embedded", "places"], ["q_values"], keepdims=0),
    ]
    manifest = _discrete_manifest(name, 1)
    low, high = (0, 9) if marked else (None, None)
    manifest = replace(manifest, observation=[TensorSpec("observation", (3,), "int64", 0, 9, (), low, high)])
    table = np.stack([np.arange(10), np.full(10, 4.5)], axis=1).astype(np.float32)
    if lite:
        return write_bundle(models, replace(manifest, noise=None), None, {"model.tflite": _embedding_tflite(table)})
    inputs: Values = [("observation", TensorProto.INT64, ["B", 3]), ("noise", TensorProto.FLOAT, ["B", 2])]
    constants = {"table": table, "places": np.array([1], np.int64)}
    return write_bundle(models, manifest, _discrete_model(nodes, constants, inputs))


def _embedding_tflite(table: AnyArray) -> bytes:
    model = LiteModel()
    observation = model.tensor("observation", (1, 3), "int64")
    embedded = model.tensor("embedded", (1, 3, 2), "float32")
    model.operate("GATHER", [model.constant("table", table), observation], embedded, axis=0)
    q_values = model.tensor("q_values", (1, 2), "float32")
    places = model.constant("places", np.array([1], np.int32))
    model.operate("SUM", [embedded, places], q_values, options_of="Reducer", keepDims=False)
    return model.finish({"observation": observation}, {"action": model.best_of(q_values), "q_values": q_values})


def remembering_policy(models: Path, name: str, marked: bool = True) -> Bundle:
    """`embedding_policy` that sums up all that it has looked up: the sum is its Q-values and its policy state."""
    nodes = [
        helper.make_node("Gather", ["table", "observation"], ["embedded"]),
        helper.make_node("ReduceSum", ["embedded", "places"], ["seen"], keepdims=0),
        helper.make_node("Unsqueeze", ["reset", "places"], ["reset_column"]),
        helper.make_node("Where", ["reset_column", "nothing", "sum"], ["before"]),
        helper.make_node("Add", ["before", "seen"], ["q_values"]),
        helper.make_node("Identity", ["q_values"], ["next_sum"]),
    ]
    low, high = (0, 9) if marked else (None, None)
    observation = [TensorSpec("observation", (3,), "int64", 0, 9, (), low, high)]
    manifest = replace(_discrete_manifest(name, 1), observation=observation, state=[TensorSpec("sum", (2,), "float32")])
    table = np.stack([np.arange(10), np.full(10, 4.5)], axis=1).astype(np.float32)
    constants = {"table": table, "places": np.array([1], np.int64), "nothing": np.zeros(2, np.float32)}
    inputs: Values = [
        ("observation", TensorProto.INT64, ["B", 3]),
        ("noise", TensorProto.FLOAT, ["B", 2]),
        ("sum", TensorProto.FLOAT, ["B", 2]),
        ("reset", TensorProto.BOOL, ["B"]),
    ]
    further: Values = [("next_sum", TensorProto.FLOAT, ["B", 2])]
    return write_bundle(models, manifest, _discrete_model(nodes, constants, inputs, further))


def narrow_policy(models: Path, name: str = "narrow") -> Bundle:
    """`linear_policy` whose model fails on more than 1,000 rows at once."""
    nodes = [
        helper.make_node("Shape", ["observation"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Gather", ["allowed", "rows"], ["nothing"]),
        helper.make_node("Gemm", ["observation", "weights", "bias"], ["weighed"]),
        helper.make_node("Add", ["weighed", "nothing"], ["q_values"]),
    ]
    constants = {
        "weights": WEIGHTS,
        "bias": BIAS,
        "first": np.array(0, np.int64),
        "allowed": np.zeros(1001, np.float32),
    }
    return write_bundle(models, _discrete_manifest(name, 1), _discrete_model(nodes, constants))


def summing_policy(models: Path, name: str = "summing", version: int = 1, bias: float = 0.0) -> Bundle:
    """A policy over float32[4] that acts on the sum of its episode's observations; `bias` is added to its Q-values."""
    nodes = [
        helper.make_node("Unsqueeze", ["reset", "last"], ["reset_column"]),
        helper.make_node("Where", ["reset_column", "nothing", "sum"], ["before"]),
        helper.make_node("Add", ["before", "observation"], ["next_sum"]),
        helper.make_node("Gemm", ["next_sum", "weights", "bias"], ["q_values"]),
    ]
    constants = {"weights": WEIGHTS, "bias": BIAS + np.float32(bias)}
    constants |= {"nothing": np.zeros(4, np.float32), "last": np.array([1], np.int64)}
    inputs: Values = [
        ("observation", TensorProto.FLOAT, ["B", 4]),
        ("noise", TensorProto.FLOAT, ["B", 2]),
        ("sum", TensorProto.FLOAT, ["B", 4]),
        ("reset", TensorProto.BOOL, ["B"]),
    ]
    manifest = replace(_discrete_manifest(name, version), state=[TensorSpec("sum", (4,), "float32")])
    further: Values = [("next_sum", TensorProto.FLOAT, ["B", 4])]
    return write_bundle(models, manifest, _discrete_model(nodes, constants, inputs, further))


def q_network_policy(
    models: Path, name: str = "q-network", hidden: tuple[int, ...] = (100,), version: int = 1
) -> Bundle:
    """A discrete policy over float32[4] with two actions and hidden ReLU layers."""
    generator = np.random.default_rng(0)
    constants: dict[str, Any] = {}
    nodes, value = relu_layers([4, *hidden], "observation", constants, generator)
    w, b = f"w{len(hidden)}", f"b{len(hidden)}"
    constants |= {w: random_weights(([4, *hidden][-1], 2), generator), b: np.zeros(2, np.float32)}
    nodes.append(helper.make_node("Gemm", [value, w, b], ["q_values"]))
    return write_bundle(models, _discrete_manifest(name, version), _discrete_model(nodes, constants))


def gaussian_policy(models: Path, name: str = "gaussian", version: int = 1, brittle: bool = False) -> Bundle:
    """A continuous policy over float32[4], float32[2] within [−2, 2]; a brittle one gives NaN where |loc| > 1e8."""
    constants = {"weights": WEIGHTS, "std": np.full(2, 0.5, np.float32), "magnitude": np.full(2, 2.0, np.float32)}
    constants["large"] = np.full(2, 1e30 if brittle else 1.0, np.float32)
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["loc"]),
        helper.make_node("Mul", ["loc", "large"], ["larger"]),
        helper.make_node("Sub", ["larger", "larger"], ["nothing"]),  # ∞ − ∞, once float32 overflows
        helper.make_node("Add", ["loc", "nothing"], ["sound"]),
        helper.make_node("Mul", ["noise", "std"], ["spread"]),
        helper.make_node("Add", ["sound", "spread"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["squashed"]),
        helper.make_node("Mul", ["squashed", "magnitude"], ["action"]),
    ]
    outputs: Values = [("action", TensorProto.FLOAT, ["B", 2]), ("loc", TensorProto.FLOAT, ["B", 2])]
    return write_bundle(
        models,
        Manifest(
            schema_version=MANIFEST_SCHEMA,
            policy=name,
            version=version,
            algorithm="sac",
            env=None,
            observation=[TensorSpec("observation", (4,), "float32")],
            action=TensorSpec("action", (2,), "float32", -2, 2),
            noise=TensorSpec("noise", (2,), "float32"),
            outputs=[TensorSpec("loc", (2,), "float32")],
        ),
        make_model(nodes, _vectors(4, 2), outputs, constants),
    )


def softplus_policy(models: Path, name: str = "softplus", quantized: bool = False) -> Bundle:
    """A continuous policy over float32[3] with a softplus; an action's last bits depend on how many rows are run.

    A quantized one rounds all rows relative to their largest value.
    """
    generator = np.random.default_rng(0)
    constants = {"weights": generator.standard_normal((3, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["loc"]),
        helper.make_node("Softplus", ["loc"], ["scale"]),
        helper.make_node("Mul", ["scale", "noise"], ["spread"]),
        helper.make_node("Add", ["loc", "spread"], ["sum"]),
    ]
    if quantized:
        nodes += [
            helper.make_node("DynamicQuantizeLinear", ["sum"], ["whole", "step", "zero"]),
            helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["rounded"]),
        ]
    nodes.append(helper.make_node("Tanh", ["rounded" if quantized else "sum"], ["action"]))
    outputs: Values = [("action", TensorProto.FLOAT, ["B", 3]), ("scale", TensorProto.FLOAT, ["B", 3])]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="sac",
        env=None,
        observation=[TensorSpec("observation", (3,), "float32")],
        action=TensorSpec("action", (3,), "float32", -1, 1),
        noise=TensorSpec("noise", (3,), "float32"),
        outputs=[TensorSpec("scale", (3,), "float32")],
    )
    return write_bundle(models, manifest, make_model(nodes, _vectors(3, 3), outputs, constants))


def _discrete_manifest(name: str, version: int) -> Manifest:
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=version,
        algorithm="dqn",
        env="Linear-v0",
        observation=[TensorSpec("observation", (4,), "float32")],
        action=TensorSpec("action", (), "int64", 0, 1),
        noise=TensorSpec("noise", (2,), "float32"),
        outputs=[TensorSpec("q_values", (2,), "float32")],
    )


def _discrete_model(
    network: list[Any], constants: dict[str, Any], inputs: Values | None = None, further: Values | None = None
) -> bytes:
    """The network up to `q_values`, followed by the choice of the action, as in every discrete policy of RLway."""
    nodes = [
        *network,
        helper.make_node("Add", ["q_values", "noise"], ["noisy"]),
        helper.make_node("ArgMax", ["noisy"], ["action"], axis=1, keepdims=0),
    ]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 2]), *(further or [])]
    return make_model(nodes, inputs or _vectors(4, 2), outputs, constants)


def _vectors(observation: int, noise: int) -> Values:
    return [("observation", TensorProto.FLOAT, ["B", observation]), ("noise", TensorProto.FLOAT, ["B", noise])]


def write_bundle(models: Path, manifest: Manifest, model: bytes | None, more: dict[str, bytes] | None = None) -> Bundle:
    """Writes a bundle of an ONNX file, unless that is None, and of more files by name."""
    path = models / manifest.policy / str(manifest.version)
    with folder_that_appears_whole(path) as draft:
        files = {}
        for name, content in (({"model.onnx": model} if model is not None else {}) | (more or {})).items():
            (draft / name).write_bytes(content)
            files[name] = sha256(draft / name)
        (draft / "manifest.json").write_bytes(encode_manifest(replace(manifest, files=files)))
    return Bundle.open(path)
