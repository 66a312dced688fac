"""The policies that the JavaScript client asks and runs, and what Python's clients make of them.

In:      a folder.
Out:     bundles in it; in `expected.json` the actions of the ONNX files for random observations, greedy and with noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from onnx import TensorProto, helper

from rlway_client import Bundle, EdgePolicy
from rlway_client.contract.guard import FILE as GUARD_FILE
from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, encode_manifest
from rlway_client.contract.meaning import Meaning, TensorMeaning
from rlway_client.contract.nesting import grow, nest
from rlway_client.contract.specs import TensorSpec
from tests.bundles import (
    embedding_policy,
    gaussian_policy,
    linear_policy,
    robot_policy,
    softplus_policy,
    summing_policy,
    write_bundle,
)
from tests.onnx_models import Values, make_model
from tests.replaying import guarded
from tests.steered import TUPLE, steered_policy

# Of the actions 2 · tanh(loc): within a range, never beyond it, and in small steps.
RANGE = ActionLimits(minimum=-1.25, maximum=1.25, safe=0.0)
GUARDS = {
    "bounded": Guard(schema_version=1, actions={"action": RANGE}),
    "refusing": Guard(schema_version=1, actions={"action": RANGE}, out_of_range="refuse"),
    "slow": Guard(schema_version=1, actions={"action": ActionLimits(change_per_step=0.25, safe=0.0)}),
}
NAMES = ["hip", "knee", "ankle", "toe"]
ROWS = 50  # the observations of each policy; those of a policy with state are one episode


def write_policies(models: Path) -> None:
    """Every kind of observation and of action."""
    bundles = [
        linear_policy(models),
        gaussian_policy(models),
        softplus_policy(models),
        robot_policy(models),
        embedding_policy(models),
        summing_policy(models),
        steered_policy(models),
        steered_policy(models, "steered-tuple", paths=TUPLE),
        echo_policy(models),
        named(linear_policy(models, "named"), {"observation": NAMES}),
        named(echo_policy(models, "named-grid"), {"observation": NAMES}),
        named(robot_policy(models, "named-robot"), {"joints_arm": NAMES[:3]}),
    ]
    expected = {bundle.manifest.policy: answers(bundle) for bundle in bundles}
    (models.parent / "expected.json").write_text(json.dumps(expected))
    for name, guard in GUARDS.items():
        guarded(gaussian_policy(models, name), guard)


def named(bundle: Bundle, names: Mapping[str, Sequence[str]]) -> Bundle:
    """The bundle, with names for the elements of these tensors."""
    tensors = {tensor: TensorMeaning(names=[*elements]) for tensor, elements in names.items()}
    manifest = replace(bundle.manifest, meaning=Meaning(tensors=tensors))
    (bundle.path / "manifest.json").write_bytes(encode_manifest(manifest))
    return Bundle(bundle.path, manifest)


def echo_policy(models: Path, name: str = "echo") -> Bundle:
    """action.places = observation, action.sum = the sum of it: whole numbers of 64 bits."""
    nodes = [
        helper.make_node("Identity", ["observation"], ["action_places"]),
        helper.make_node("ReduceSum", ["observation", "axis"], ["action_sum"], keepdims=0),
    ]
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=[TensorSpec("observation", (2, 2), "int64")],
        action=[
            TensorSpec("action_places", (2, 2), "int64", path=("places",)),
            TensorSpec("action_sum", (2,), "int64", path=("sum",)),
        ],
        noise=None,
    )
    outputs: Values = [
        ("action_places", TensorProto.INT64, ["B", 2, 2]),
        ("action_sum", TensorProto.INT64, ["B", 2]),
    ]
    inputs: Values = [("observation", TensorProto.INT64, ["B", 2, 2])]
    return write_bundle(models, manifest, make_model(nodes, inputs, outputs, {"axis": np.array([1], np.int64)}))


def answers(bundle: Bundle) -> list[dict[str, Any]]:
    """Observations with the noise and the action of each, every tensor as a flat list."""
    generator = np.random.default_rng(0)
    policy = EdgePolicy(bundle.path, "model.onnx")
    manifest = policy.manifest
    interface = manifest.interface
    state = {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in manifest.state}
    rows = []
    for step in range(ROWS):
        inputs = {spec.name: _draw(spec, generator) for spec in manifest.observation}
        seen = nest({name: value[0].tolist() for name, value in inputs.items()}, grow(manifest.observation))
        if manifest.noise is not None:
            scale = step % 2  # every other action is greedy
            inputs["noise"] = (scale * generator.standard_normal((1, manifest.noise.size))).astype(np.float32)
        reset = {"reset": np.array([step == 0])} if state else {}
        outputs = policy.run(inputs | state | reset)
        state = {name: outputs[f"next_{name}"] for name in state}
        actions = {spec.name: outputs[spec.name][0].ravel().tolist() for spec in interface.actions}
        noise = inputs["noise"][0].tolist() if "noise" in inputs else None
        rows.append({"observation": seen, "noise": noise, "action": nest(actions, grow(interface.actions))})
    return rows


def _draw(spec: TensorSpec, generator: np.random.Generator) -> Any:
    shape = (1, *spec.shape)
    if spec.dtype == "float32":
        return generator.standard_normal(shape).astype(np.float32)
    return generator.integers(0, 10, shape).astype(spec.dtype)


def damage_bundles(models: Path, folder: Path) -> None:
    """Copies of a bundle that must not run, by what is wrong with them."""
    source = models / "linear/1"
    manifest = Bundle.open(source).manifest
    raw = json.loads((source / "manifest.json").read_text())
    observation = replace(manifest.observation[0], shape=(5,))
    faults: dict[str, Any] = {
        "schema": raw | {"schema_version": 2},
        "shape": raw | {"observation": [msgspec.to_builtins(observation)]},
        "name": raw | {"outputs": [raw["outputs"][0] | {"name": "values"}]},
        "more": raw | {"outputs": []},
        "names": raw | {"meaning": {"tensors": {"observation": {"names": ["hip"]}}}},
        "unlisted": raw | {"files": {}},
        "damaged": raw,
    }
    model = (source / "model.onnx").read_bytes()
    for name, content in faults.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text(json.dumps(content))
        (folder / name / "model.onnx").write_bytes(model[:-1] + b"!" if name == "damaged" else model)
    (folder / "without").mkdir()
    (folder / "without" / "manifest.json").write_text(json.dumps(raw))
    loose = Guard(schema_version=1, actions={"action": ActionLimits(maximum=9, safe=0)})
    guarded(linear_policy(folder, "guard"), loose)
    guarded(linear_policy(folder, "unguarded"), loose).path.joinpath(GUARD_FILE).unlink()
    linear_policy(folder, "stray").path.joinpath(GUARD_FILE).write_text("{}")
