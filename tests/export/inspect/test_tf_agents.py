"""What `rlway inspect` tells of SavedModels and of triggers' folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tf_agents.networks.sequential import Sequential
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import time_step_spec

from rlway_client.contract.interface import Draw
from rlway_export.inspect.inspection import inspect_path
from tests.export import stock
from tests.export.inspect.alike import CONVERTED, refused_alike

pytestmark = pytest.mark.slow


def saved(kind: str, which: str, folder: Path) -> Path:
    """One of an agent's three policies, saved by PolicySaver."""
    agent = stock.agent(kind)
    policies = {"greedy": lambda: stock.greedy(kind), "policy": lambda: agent.policy}
    return stock.save(policies.get(which, lambda: agent.collect_policy)(), folder)


def precise_policy() -> Any:
    """A policy whose actions are of 64 bits."""
    action = BoundedTensorSpec([2], tf.float64, -1, 1, "action")
    layers = [tf.keras.layers.Dense(2, "tanh"), tf.keras.layers.Lambda(lambda seen: tf.cast(seen, tf.float64))]
    actor = Sequential(layers, input_spec=stock.VECTOR)
    return ActorPolicy(time_step_spec(stock.VECTOR), action, actor_network=actor)


def test_a_policy_that_explores_is_told_with_its_epsilon_and_its_size(tmp_path: Path) -> None:
    """DQN's collect policy: 4 · 16 + 16 + 16 · 3 + 3 parameters, a Gumbel draw for each of three actions."""
    report = inspect_path(saved("dqn", "collect", tmp_path))
    assert (report.kind, report.train_step) == ("SavedModel", 7)
    assert (report.written.by, report.written.version) == (
        "TF-Agents' PolicySaver",
        f"TensorFlow {tf.version.VERSION}",
    )
    assert (report.written.agent, report.written.agent_seen) == ("DQN", "QNetwork")
    policy = report.policy
    assert policy is not None
    assert (policy.chooses, policy.draws) == ("epsilon-greedy", [Draw("gumbel", 3)])
    assert policy.epsilon == pytest.approx(0.1)
    assert [(spec.label, spec.minimum, spec.maximum) for spec in policy.observation] == [("float32[4]", -2, 2)]
    memory = report.memory
    assert memory is not None
    assert (memory.parameters, memory.weight_bytes) == (131, 524)
    assert memory.activation_bytes is not None
    assert 4 * (16 + 16) <= memory.activation_bytes <= 4 * 64
    assert (report.export.refused, report.export.formats) == (None, CONVERTED)
    assert report.export.command == f"rlway export {tmp_path} --models models --policy NAME"


def test_nests_state_and_information_are_told(tmp_path: Path) -> None:
    """PPO's recurrent collect policy: a state of two parts, and the distribution of its actions."""
    policy = inspect_path(saved("recurrent-ppo", "collect", tmp_path / "ppo")).policy
    assert policy is not None
    assert (policy.chooses, policy.draws) == ("sampled", [Draw("normal", 2)])
    assert [spec.path for spec in policy.state] == [("actor_network_state", "0"), ("actor_network_state", "1")]
    assert [spec.name for spec in policy.outputs] == ["info_dist_params_loc", "info_dist_params_scale"]
    policy = inspect_path(saved("dict", "greedy", tmp_path / "dict")).policy
    assert policy is not None
    assert [spec.path for spec in policy.observation] == [("body", "at"), ("body", "speed"), ("wall",)]
    assert (policy.chooses, policy.draws, policy.noise) == ("greedy", [], None)


def test_a_fixed_batch_is_told_beside_what_the_files_take(tmp_path: Path) -> None:
    """PolicySaver's batch_size=1: the exported graph takes any number of rows."""
    PolicySaver(stock.greedy("dqn"), batch_size=1, train_step=tf.Variable(7, dtype=tf.int64)).save(str(tmp_path))
    report = inspect_path(tmp_path)
    assert (report.saved_rows, report.exported_rows) == (1, None)


def test_an_old_saved_model_is_told_with_its_version(tmp_path: Path) -> None:
    """Its type specs are unknown to this TensorFlow, and it is inspected like any other."""
    file = saved("sac", "policy", tmp_path) / "saved_model.pb"
    message = SavedModel.FromString(file.read_bytes())
    for function in message.meta_graphs[0].object_graph_def.concrete_functions.values():
        for field in ("canonicalized_input_signature", "output_signature"):
            _make_old(getattr(function, field))
    message.meta_graphs[0].meta_info_def.tensorflow_version = "2.4.1"
    file.write_bytes(message.SerializeToString())
    report = inspect_path(tmp_path)
    assert (report.written.version, report.written.agent) == ("TensorFlow 2.4.1", "SAC")
    assert report.policy is not None
    assert report.policy.chooses == "sampled"
    assert report.export.refused is None


def _make_old(structured: Any) -> None:
    """Gives every type spec of TensorFlow Probability the name that it had in 2021."""
    kind = structured.WhichOneof("kind")
    if kind == "type_spec_value" and "ACTTypeSpec" in structured.type_spec_value.type_spec_class_name:
        structured.type_spec_value.type_spec_class = 275837168
        structured.type_spec_value.type_spec_class_name = "_TFPTypeSpec"
    elif kind == "named_tuple_value":
        for pair in structured.named_tuple_value.values:
            _make_old(pair.value)


def test_a_triggers_folder_is_told_with_its_policies_and_checkpoints(trigger: Path) -> None:
    """Which of them draw, which one is exported, and at which checkpoint; or the folder above it."""
    for path in (trigger, trigger.parent):
        report = inspect_path(path)
        assert report.kind == "trigger"
        assert [(one.name, bool(one.draws), one.is_exported) for one in report.policies] == [
            ("greedy_policy", False, True),
            ("policy", True, False),
            ("collect_policy", True, False),
        ]
        assert report.checkpoints is not None
        assert (report.checkpoints.numbers, report.checkpoints.exported, report.train_step) == ([10, 20], 20, 20)
        assert ["taking the latest, 20" in note for note in report.export.notes] == [True]
    alone = inspect_path(trigger / "collect_policy")
    assert alone.kind == "SavedModel"
    assert alone.checkpoints == report.checkpoints
    assert alone.policy is not None
    assert alone.policy.chooses == "epsilon-greedy"


def test_a_refused_policy_is_told_by_its_signature(tmp_path: Path) -> None:
    """DDPG's collect policy: an export refuses it, and what it takes and gives is shown all the same."""
    folder = saved("ddpg", "collect", tmp_path / "policy")
    report = inspect_path(folder)
    assert report.policy is None
    (action,) = [one for one in report.signatures if one.name == "action"]
    assert [one.name for one in action.inputs] == ["0/discount", "0/observation", "0/reward", "0/step_type"]
    assert report.written.agent == "DDPG"
    assert "changes a variable while it acts" in refused_alike(report, folder, tmp_path / "models")


def test_a_format_that_cannot_be_had_is_named_with_its_reason(tmp_path: Path) -> None:
    """Actions of float64 are none for C and TFLite; ONNX takes them."""
    report = inspect_path(stock.save(precise_policy(), tmp_path))
    assert report.export.formats["onnx"] is None
    assert "float64" in (report.export.formats["tflite"] or "")


def test_a_policy_that_reads_files_is_refused_and_not_run(tmp_path: Path) -> None:
    """The graph is told by its message alone."""
    (tmp_path / "secret").write_text("0.5")

    def serve(x: Any) -> Any:
        return {"action": x + tf.strings.to_number(tf.io.read_file(str(tmp_path / "secret")))}

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "policy"), signatures={"serving_default": module.serve})
    report = inspect_path(tmp_path / "policy")
    assert report.signatures[0].name == "serving_default"
    assert "ReadFile" in refused_alike(report, tmp_path / "policy", tmp_path / "models")


def test_missing_weights_are_told_beside_the_graph(tmp_path: Path) -> None:
    """A shard that was not copied: the graph is whole, and an export is refused with the file's own path."""
    folder = saved("dqn", "greedy", tmp_path / "policy")
    (folder / "variables/variables.data-00000-of-00001").unlink()
    report = inspect_path(folder)
    assert report.memory is not None
    assert report.memory.parameters == 131
    assert str(folder / "variables") in (report.export.refused or "")
