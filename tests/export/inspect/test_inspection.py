"""What `rlway inspect` finds of every kind of source, and that it refuses what an export refuses, in the same words."""

from __future__ import annotations

import shutil
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
from tf_agents.utils import common

import rlway_export
from rlway_client.contract.errors import RlwayError, RunInvalid
from rlway_client.contract.interface import Draw
from rlway_export.inspect.inspection import inspect_path
from rlway_export.inspect.report import Report
from tests.export import onnx_forms, stock

pytestmark = pytest.mark.slow

CONVERTED = {"onnx": None, "tflite": None, "c": None}


def saved(kind: str, which: str, folder: Path) -> Path:
    """One of an agent's three policies, saved by PolicySaver."""
    agent = stock.agent(kind)
    policies = {"greedy": lambda: stock.greedy(kind), "policy": lambda: agent.policy}
    return stock.save(policies.get(which, lambda: agent.collect_policy)(), folder)


def network(folder: Path, name: str = "network.keras") -> Path:
    """A Keras network of two layers, whose output says nothing of what it means."""
    layers = tf.keras.layers
    made = tf.keras.Sequential([layers.Input((4,)), layers.Dense(16, "relu"), layers.Dense(3, name="out")])
    made.save(folder / name)
    return folder / name


def precise_policy() -> Any:
    """A policy whose actions are of 64 bits."""
    action = BoundedTensorSpec([2], tf.float64, -1, 1, "action")
    layers = [tf.keras.layers.Dense(2, "tanh"), tf.keras.layers.Lambda(lambda seen: tf.cast(seen, tf.float64))]
    actor = Sequential(layers, input_spec=stock.VECTOR)
    return ActorPolicy(time_step_spec(stock.VECTOR), action, actor_network=actor)


def refused_alike(report: Report, path: Path, models: Path) -> str:
    """The sentence of the report, once it is that of the export, which published nothing."""
    with pytest.raises(RlwayError) as refusal:
        rlway_export.export(path, models, "p")
    assert report.export.refused == str(refusal.value)
    assert not models.exists()
    return str(refusal.value)


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


def test_a_run_is_told_whether_it_has_ended_or_not(trained_run: Path, tmp_path: Path) -> None:
    """An unfinished one with the policy's tensors as its record has them, and with the sentence of the export."""
    report = inspect_path(trained_run)
    training = report.training
    assert training is not None
    assert (report.kind, training.has_ended, report.written.by) == ("run", True, "rlway train")
    assert report.checkpoints is not None
    assert report.checkpoints.exported == training.best_checkpoint
    assert report.export.formats == CONVERTED
    unfinished = Path(shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("run.json")))
    begun = inspect_path(unfinished)
    assert begun.training is not None
    assert (begun.training.has_ended, begun.training.steps) == (False, None)
    assert begun.policy == report.policy
    assert "has no run.json" in refused_alike(begun, unfinished, tmp_path / "models")


def test_a_run_is_inspected_without_playing(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it has too few observations, for which an export would play its environment."""
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "observations.npz").unlink()
    monkeypatch.setattr("rlway_export.bundle.conversion.collect_observations", lambda *_: pytest.fail("it played"))
    assert inspect_path(run).export.refused is None


def test_an_onnx_file_is_told_with_the_options_that_it_needs(tmp_path: Path) -> None:
    """Its opset, its writer, its operators. Its command has a place for what has to be said."""
    path = onnx_forms.save(onnx_forms.sb3_dqn(), tmp_path / "dqn.onnx")
    report = inspect_path(path)
    assert report.onnx is not None
    assert (report.kind, report.onnx.opset, report.onnx.operators["Conv"]) == ("ONNX", 17, 2)
    assert report.written.by == "pytorch 2.6.0"
    (signature,) = report.signatures
    assert [(one.name, one.label) for one in signature.inputs] == [("input.1", "uint8[batch, 4, 36, 36]")]
    assert report.export.flags == ["--observation", "input.1", "--action", "18", "--as", "MEANING"]
    assert "--as MEANING" in report.export.command
    assert "say it with --as" in refused_alike(report, path, tmp_path / "models")


def test_the_form_of_an_onnx_file_is_recognised(tmp_path: Path) -> None:
    """rsl_rl's recurrent actor for one row: its state's names say themselves what they are."""
    report = inspect_path(onnx_forms.save(onnx_forms.rsl_rl_lstm(), tmp_path / "actor.onnx"))
    assert report.title == "an ONNX file in the form of rsl_rl"
    assert (report.saved_rows, report.exported_rows) == (1, None)
    assert report.policy is not None
    assert [spec.shape for spec in report.policy.state] == [(2, 8), (2, 8)]
    assert report.export.flags[-4:] == ["--state", "h_in:h_out", "--state", "c_in:c_out"]
    assert "--state" not in report.export.command
    assert report.export.formats == CONVERTED


LEAPP = """\
models:
  policy:
    parameters:
      backend: onnx
      model_path: policy.onnx
pipeline:
  inputs:
    policy: [obs]
  outputs:
    policy: [actions]
"""


def test_a_bundle_of_leapp_is_told_by_its_wiring(tmp_path: Path) -> None:
    """Which needs no options."""
    onnx_forms.save(onnx_forms.rsl_rl(), tmp_path / "policy.onnx")
    (tmp_path / "walk.yaml").write_text(LEAPP)
    report = inspect_path(tmp_path)
    assert (report.kind, report.title, report.export.flags) == ("ONNX", "a bundle of LEAPP", [])
    assert report.policy is not None
    assert [spec.label for spec in report.policy.observation] == ["float32[8]"]
    assert report.export.refused is None


def test_checkpoints_without_a_graph_are_told_by_what_they_hold(tmp_path: Path) -> None:
    """As common.Checkpointer writes them: their agent, its networks, and that its code is needed. None is run."""
    step = tf.Variable(0, dtype=tf.int64)
    writer = common.Checkpointer(str(tmp_path / "ckpt"), max_to_keep=2, agent=stock.agent("sac"), global_step=step)
    for number in (100, 200):
        step.assign(number)
        writer.save(number)
    report = inspect_path(tmp_path / "ckpt")
    assert (report.kind, report.written.agent, report.train_step) == ("checkpoints", "SAC", 200)
    assert report.checkpoints is not None
    assert (report.checkpoints.numbers, report.checkpoints.exported) == ([100, 200], 200)
    assert report.contents["agent/_actor_network"] == 4 * 16 + 16 + 16 * 16 + 16 + 16 * 4 + 4
    assert "--agent MODULE:FUNCTION" in report.export.command
    assert "holds weights without a graph" in refused_alike(report, tmp_path / "ckpt", tmp_path / "models")
    (tmp_path / "ckpt/ckpt-200.index").write_bytes(b"\xff" * 100)
    with pytest.raises(RunInvalid, match="is a damaged checkpoint"):
        inspect_path(tmp_path / "ckpt")


def test_a_keras_network_is_told_with_the_options_that_it_needs(tmp_path: Path) -> None:
    """As a file, and as a SavedModel that Keras wrote."""
    for name, kind in (("network.keras", "Keras"), ("network", "SavedModel")):
        path = network(tmp_path, name)
        report = inspect_path(path)
        assert report.kind == kind
        assert (report.written.by or "").startswith("Keras")
        assert report.memory is not None
        assert report.memory.parameters == 131
        assert report.export.flags[2:] == ["--action", "out", "--as", "MEANING"]
        assert "say it with --as" in refused_alike(report, path, tmp_path / "models")
    assert report.keras is None
    keras = inspect_path(tmp_path / "network.keras").keras
    assert keras is not None
    assert keras.layers["Dense"] == 2


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


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("garbage/saved_model.pb", r"its saved_model\.pb is damaged"),
        ("garbage", r"its saved_model\.pb is damaged"),
        ("garbage.onnx", "is no ONNX file, or a damaged one"),
        ("garbage.keras", "is no network of Keras"),
        ("notes.txt", "is a file, and no saved_model"),
        ("nowhere", "no such file or folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_exports_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    """Damaged files, files of another kind, paths that do not exist."""
    (tmp_path / "garbage/variables").mkdir(parents=True)
    for file in ("garbage/saved_model.pb", "garbage.onnx", "garbage.keras", "notes.txt"):
        (tmp_path / file).write_bytes(b"\xff\x01" * 500)
    with pytest.raises(RunInvalid, match=sentence) as refusal:
        inspect_path(tmp_path / name)
    with pytest.raises(RlwayError) as exported:
        rlway_export.export(tmp_path / name, tmp_path / "models", "p")
    assert str(refusal.value) == str(exported.value)


def test_missing_weights_are_told_beside_the_graph(tmp_path: Path) -> None:
    """A shard that was not copied: the graph is whole, and an export is refused with the file's own path."""
    folder = saved("dqn", "greedy", tmp_path / "policy")
    (folder / "variables/variables.data-00000-of-00001").unlink()
    report = inspect_path(folder)
    assert report.memory is not None
    assert report.memory.parameters == 131
    assert str(folder / "variables") in (report.export.refused or "")
