"""Policies that TF-Agents alone made and saved: every kind acts alike in every file, in a graph without waste."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from tf_agents.trajectories import StepType, TimeStep

from rlway_client import EdgePolicy
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.runners import OnnxRunner, open_runner
from rlway_client.local.verification import verify_bundle
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks import parity
from rlway_export.checks.observations import Observations
from rlway_export.formats.registry import FORMATS, parse_formats
from rlway_export.sources.tf_agents import SavedModelSource
from tests.export import stock
from tests.export.bundle.model_card_commands import run_commands

pytestmark = pytest.mark.slow

ROWS = 6
STEPS = 9
# Operations on shapes: none that is left depends on the observation.
SHAPE_ARITHMETIC = {"Shape", "Expand", "ConstantOfShape", "Gather", "Slice", "Cast", "Unsqueeze", "Squeeze", "Range"}
# Solve linear equations in a loop that ends when the result is exact enough: the loop is in the files, too.
LOOPING = {"lin-ucb"}
CASTING = {"image", "masked", "ppo-mixed"}
# Formats besides ONNX and TFLite, by the policies that they are tried with.
SMALLER = "onnx-fp16,tflite-fp16,tflite-dynamic"
OTHER_FORMATS = {
    "sac": f"{SMALLER},c",
    "dict": f"{SMALLER},tflite-int8,c",
    "recurrent-dqn": f"{SMALLER},c",
    "image": "tflite-int8,c",
    "categorical-dqn": "c",
    "recurrent-ppo": "c",
}
Exported = Callable[[str], tuple[Any, Bundle]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A policy by the name of its kind, and its bundle with ONNX and TFLite; each made once."""
    folder = tmp_path_factory.mktemp("stock")
    made: dict[str, tuple[Any, Bundle]] = {}

    def export(name: str) -> tuple[Any, Bundle]:
        if name not in made:
            policy = stock.greedy(name)
            source = SavedModelSource.open(stock.save(policy, folder / name), "best")
            formats = parse_formats("onnx,tflite")
            made[name] = policy, write_bundle(source, folder / "models", name, formats, lambda _: None)
        return made[name]

    return export


def nested(policy: Any, inputs: Arrays) -> Any:
    """The observation as TF-Agents' policy takes it."""
    leaves = list(inputs.values())
    return tf.nest.pack_sequence_as(policy.time_step_spec.observation, [tf.constant(leaf) for leaf in leaves])


def walk(policy: Any, observations: Arrays) -> list[list[Any]]:
    """The parts of the policy's own actions, step by step; every third step is the first of an episode."""
    state, actions = policy.get_initial_state(ROWS), []
    for step in range(STEPS):
        rows = {name: array[step * ROWS : (step + 1) * ROWS] for name, array in observations.items()}
        kind = StepType.MID if step % 3 else StepType.FIRST
        zeros = tf.zeros(ROWS)
        answer = policy.action(TimeStep(tf.fill([ROWS], kind), zeros, zeros + 1, nested(policy, rows)), state)
        state = answer.state
        actions.append([part.numpy() for part in tf.nest.flatten(answer.action)])
    return actions


@pytest.mark.parametrize("name", stock.KINDS)
def test_a_stock_policy_acts_in_onnx_as_in_tf_agents(name: str, exported: Exported) -> None:
    """Over whole episodes, where the gate compares single steps: the state is reset at the first step of an episode."""
    policy, bundle = exported(name)
    interface = bundle.manifest.interface
    observations = Observations.find(interface, None, None).arrays
    runner = OnnxRunner(bundle.path / "model.onnx")
    state = {spec.name: np.ones((ROWS, *spec.shape), spec.dtype) for spec in interface.state}
    for step, expected in enumerate(walk(policy, observations)):
        inputs = {name: array[step * ROWS : (step + 1) * ROWS] for name, array in observations.items()}
        if state:
            inputs |= state | {"reset": np.full(ROWS, step % 3 == 0)}
        found = runner.run(inputs)
        for spec, part in zip(interface.actions, expected, strict=True):
            np.testing.assert_allclose(found[spec.name], part, rtol=0, atol=1e-5)
            assert found[spec.name].dtype == part.dtype
        state = {name: found[f"next_{name}"] for name in state}


@pytest.mark.parametrize("name", ["scalar", "dict", "tuple", "sac", "ppo-mixed", "recurrent-dqn", "recurrent-ppo"])
def test_a_stock_policy_acts_on_a_robot_as_in_tf_agents(name: str, exported: Exported) -> None:
    """One nested observation after the other, with the state reset where an episode begins."""
    policy, bundle = exported(name)
    observations = Observations.find(bundle.manifest.interface, None, None).arrays
    robot, row = EdgePolicy(bundle.path), 2
    for step, expected in enumerate(walk(policy, observations)):
        if step % 3 == 0:
            robot.reset()
        seen = [array[step * ROWS + row] for array in observations.values()]
        action = robot.act(tf.nest.pack_sequence_as(policy.time_step_spec.observation, seen))
        for part, own in zip(tf.nest.flatten(action), expected, strict=True):
            np.testing.assert_allclose(part, own[row], rtol=0, atol=1e-5)
    assert isinstance(action, int) == bundle.manifest.interface.is_discrete


@pytest.mark.parametrize("name", stock.KINDS)
def test_the_manifest_has_the_tensors_of_a_stock_policy(name: str, exported: Exported) -> None:
    """Shapes and bounds are those of its specs, without noise; the gate compared 2,000 rows in three batch sizes."""
    policy, bundle = exported(name)
    manifest = bundle.manifest
    leaves = tf.nest.flatten(policy.time_step_spec.observation)
    assert [spec.shape for spec in manifest.observation] == [tuple(leaf.shape) for leaf in leaves]
    assert [spec.dtype for spec in manifest.observation] == [leaf.dtype.name for leaf in leaves]
    bound = [(spec.minimum, spec.maximum) for spec in manifest.observation]
    assert bound == [(getattr(leaf, "minimum", None), getattr(leaf, "maximum", None)) for leaf in leaves]
    for spec, own in zip(manifest.actions, tf.nest.flatten(policy.action_spec), strict=True):
        assert (spec.dtype, spec.shape) == (own.dtype.name, tuple(own.shape))
        for limit, expected in zip(spec.bounds(), (own.minimum, own.maximum), strict=True):
            np.testing.assert_array_equal(limit, np.broadcast_to(expected, spec.shape))
    assert (manifest.noise, manifest.algorithm, manifest.env) == (None, None, None)
    assert ["no smaller graph was found" in note for note in manifest.notes] == [True] * (name in LOOPING)
    assert (manifest.compared_over, manifest.observed) == ("sampled", [])
    assert bool(manifest.state) == name.startswith("recurrent")
    assert all(row.passed and row.observations >= 2000 for row in manifest.parity)
    assert [row.batch_sizes for row in manifest.parity] == [[1, 7, 64], [1]]
    assert all((row.state_difference is not None) == bool(manifest.state) for row in manifest.parity)


def test_a_dict_keeps_its_keys(exported: Exported) -> None:
    """One input per leaf, in TensorFlow's order, each with the path to it."""
    manifest = exported("dict")[1].manifest
    assert manifest.observation == [
        TensorSpec("observation_body_at", (3,), "float32", None, None, ("body", "at")),
        TensorSpec("observation_body_speed", (), "float32", -1, 1, ("body", "speed")),
        TensorSpec("observation_wall", (2, 2), "float32", 0, 1, ("wall",)),
    ]


@pytest.mark.parametrize("name", [name for name in stock.KINDS if name not in LOOPING])
def test_a_stock_graph_has_no_leftover_shape_arithmetic(name: str, exported: Exported) -> None:
    """The batch is the only free dimension, and no operation reads it; only pixels, masks and choices are cast."""
    model = onnx.load(exported(name)[1].path / "model.onnx")
    operations = [node.op_type for node in model.graph.node]
    wasted = [kind for kind in operations if kind in SHAPE_ARITHMETIC]
    assert wasted == (["Cast"] if name in CASTING else [])
    for value in [*model.graph.input, *model.graph.output]:
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == "batch"
        assert all(dim.dim_value for dim in others)


@pytest.mark.parametrize(("name", "most"), [("dqn", 8), ("double-dqn", 8), ("sac", 16)])
def test_a_stock_graph_is_as_small_as_a_hand_made_one(name: str, most: int, exported: Exported) -> None:
    """Products, activations, and the choice of an action."""
    assert len(onnx.load(exported(name)[1].path / "model.onnx").graph.node) <= most


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_a_stock_policy_acts_alike_in_other_formats(name: str, exported: Exported, tmp_path: Path) -> None:
    """Within the thresholds of each format, with several inputs and with state."""
    formats = parse_formats(OTHER_FORMATS[name])
    source = SavedModelSource.open(exported(name)[1].path, "best")
    manifest = write_bundle(source, tmp_path, name, formats, lambda _: None).manifest
    assert [row.file for row in manifest.parity] == [one.files[-1] for one in formats]
    for row, one in zip(manifest.parity, formats, strict=True):
        assert row.passed
        assert row.allowed_flips == (None if manifest.actions[0].dtype == "float32" else one.tolerance.flips or 0)


@pytest.mark.parametrize("name", ["dict", "recurrent-ppo"])
def test_a_stock_bundle_verifies(name: str, exported: Exported) -> None:
    """Its inputs, states and answers are kept, and compared again without TensorFlow."""
    verdicts = verify_bundle(exported(name)[1])
    assert [verdict.verdict for verdict in verdicts] == ["alike", "alike"]


def test_a_file_that_ignores_reset_does_not_pass(exported: Exported, tmp_path: Path) -> None:
    """It differs in its state, even where its actions are the same."""
    bundle = exported("recurrent-dqn")[1]
    model = onnx.load(bundle.path / "model.onnx")
    never = onnx.numpy_helper.from_array(np.zeros(1, np.bool_), "never")
    model.graph.initializer.append(never)
    for node in model.graph.node:
        node.input[:] = ["never" if name == "reset" else name for name in node.input]
    onnx.save(model, tmp_path / "model.onnx")
    runner = open_runner(tmp_path / "model.onnx", bundle.manifest)
    policy = SavedModelSource.open(bundle.path, "best").materialize(tmp_path)
    evidence = parity.gather(policy, Observations.find(policy.interface, None, None).arrays)
    found = parity.judge(evidence, policy, tmp_path / "model.onnx", runner, FORMATS["onnx"].tolerance)
    assert not any(row.passed for row in found)
    assert all((row.state_difference or 0) > (row.allowed_state_difference or 0) for row in found)


def test_the_commands_of_cards_without_an_environment_work(exported: Exported, tmp_path: Path) -> None:
    """Such policies cannot be played; they act at a robot's pace instead, whatever their observation and state."""
    bundles = [exported(name)[1] for name in ("sac", "tuple", "image", "recurrent-dqn")]
    assert run_commands(bundles, tmp_path / "log") == [["serve", "edge", "verify"]] * len(bundles)
