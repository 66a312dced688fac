"""ONNX files of other libraries as sources: every target, compared with the file itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

import rlway_export
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.contract.exploration import Explore
from rlway_client.local.verification import verify_bundle
from tests.conftest import TRAIN, run_command
from tests.export import onnx_forms
from tests.export.conftest import Rlway
from tests.export.onnx_forms import FLOAT, FORMS, INT64, Form, Graph


def _export(form: Form, folder: Path, formats: str = "onnx,tflite,c", **options: Any) -> Bundle:
    path = onnx_forms.save(form, folder / "policy.onnx")
    return rlway_export.export(path, folder / "models", "p", formats=formats, **{**form.options, **options})


@pytest.mark.parametrize("name", FORMS)
def test_ten_forms_become_onnx_tflite_and_c(name: str, tmp_path: Path) -> None:
    """All as exact as float32 is, with a SavedModel for TensorFlow Serving; the bundle can be verified again."""
    bundle = _export(FORMS[name](), tmp_path)
    manifest = bundle.manifest
    assert [row.file for row in manifest.parity] == ["model.onnx", "model.tflite", "policy.c"]
    assert manifest.parity[0].batch_sizes == [1, 7, 64]
    assert [row.file for row in manifest.measured][:2] == ["source.onnx", "saved_model.pb"]
    assert "saved_model.pb" in manifest.files
    assert "source.onnx" not in manifest.files
    assert [verdict.verdict for verdict in verify_bundle(bundle, compile_c=True)] == ["alike"] * 3
    assert manifest.training["producer"] == "pytorch 2.6.0"
    card = (bundle.path / "README.md").read_text()
    assert "A policy in the ONNX file `policy.onnx`, which pytorch 2.6.0 wrote" in card
    assert "## Parity with `policy.onnx`" in card


def test_the_saved_model_serves_the_tensors_of_the_contract(tmp_path: Path) -> None:
    """By its one signature, as TensorFlow Serving calls it."""
    import tensorflow as tf

    bundle = _export(onnx_forms.rsl_rl_lstm(), tmp_path, "onnx")
    act = tf.saved_model.load(str(bundle.path)).signatures["serving_default"]
    assert set(act.structured_input_signature[1]) == {spec.name for spec in bundle.manifest.interface.inputs}
    assert set(act.structured_outputs) == {spec.name for spec in bundle.manifest.interface.results}


@pytest.mark.parametrize("formats", ["onnx-fp16", "tflite-fp16", "tflite-dynamic", "tflm", "tflm-int8", "unity,godot"])
def test_smaller_targets_pass_the_same_gates(formats: str, tmp_path: Path) -> None:
    """By their own tolerances."""
    assert all(row.passed for row in _export(onnx_forms.cleanrl_ppo(), tmp_path, formats).manifest.parity)


def test_what_was_assumed_is_a_note(tmp_path: Path) -> None:
    """In the manifest, and so in the model card and in `rlway inspect`."""
    assert _export(onnx_forms.rsl_rl(), tmp_path, "onnx").manifest.notes == [
        "taken as rsl_rl's: the observation is obs, the action actions (as mean)."
    ]


def test_a_drawing_policy_is_compared_by_its_distribution_and_may_be_sampled_by_default(tmp_path: Path) -> None:
    """The manifest says what the policy was, and what a server does."""
    manifest = _export(onnx_forms.cleanrl_gaussian(), tmp_path, "onnx", actions="sampled").manifest
    assert manifest.explore == Explore(sigma=1.0)
    assert manifest.sampling is not None
    assert manifest.sampling.kind == "sampled"
    assert manifest.sampling.rows > 0


def test_actions_can_be_sampled_only_with_noise(tmp_path: Path) -> None:
    """A mean has no distribution."""
    with pytest.raises(UsageError, match=r"--actions sampled: .* without noise"):
        _export(onnx_forms.rsl_rl(), tmp_path, actions="sampled")
    assert not (tmp_path / "models").exists()


def _embedding() -> Form:
    g = Graph()
    seen = g.add("Flatten", g.add("Gather", g.weights(10, 4), "obs"))
    g.dense(seen, 8, 3, output="q_values")
    return Form(g.model([("obs", INT64, ["b", 2])], [("q_values", FLOAT, ["b", 3])]), {})


def test_values_that_are_looked_up_get_the_bounds_of_their_table(tmp_path: Path) -> None:
    """As in policies of TF-Agents: found by running the graph."""
    (spec,) = _export(_embedding(), tmp_path, "onnx,tflite").manifest.observation
    assert (spec.lookup_minimum, spec.lookup_maximum) == (0, 9)


def _branching() -> Form:
    g = Graph()
    branches = {}
    for name, kind in (("then_branch", "Relu"), ("else_branch", "Tanh")):
        result = helper.make_tensor_value_info(f"{name}_y", FLOAT, ["b", 4])
        branches[name] = helper.make_graph([helper.make_node(kind, ["h"], [f"{name}_y"])], name, [], [result])
    g.add("Identity", "obs", output="h")
    total = g.add("ReduceSum", g.constant(np.ones(3, np.float32)), keepdims=0)
    g.add("If", g.add("Greater", total, g.constant(np.array(0, np.float32))), output="mixed", **branches)
    g.dense("mixed", 4, 2, output="logits")
    g.add("NonZero", "obs", output="unused")
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("logits", FLOAT, ["b", 2])]), {})


def _sorting() -> Form:
    g = Graph()
    g.add("TopK", "obs", g.constant(np.array([2])), outputs=["best", "places"], axis=1)
    g.dense("best", 2, 3, output="logits")
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("logits", FLOAT, ["b", 3])]), {})


def test_a_graph_with_branches_is_exported_as_onnx(tmp_path: Path) -> None:
    """Names within the branches are those of the file as well."""
    assert _export(_branching(), tmp_path, "onnx").manifest.parity[0].passed


def test_what_tensorflow_cannot_express_has_no_saved_model_and_a_note(tmp_path: Path) -> None:
    """And no TFLite file: the sentence names the operator and what to leave out."""
    bundle = _export(_sorting(), tmp_path, "onnx")
    assert "saved_model.pb" not in bundle.manifest.files
    assert [row.file for row in bundle.manifest.measured] == ["source.onnx", "model.onnx"]
    assert any("has no lowering for TopK" in note for note in bundle.manifest.notes)
    with pytest.raises(ExportRefused, match=r"has no lowering for TopK, which \S*TopK_0 is made of; leave the formats"):
        _export(_sorting(), tmp_path, "onnx,tflite")
    assert sorted(path.name for path in (tmp_path / "models/p").iterdir()) == ["1", "config.pbtxt"]


BAD: list[tuple[bytes, type[RlwayError]]] = [(b"", RunInvalid), (b"garbage", RunInvalid)]


@pytest.mark.parametrize(("content", "kind"), BAD)
def test_a_bad_file_leaves_nothing_behind(content: bytes, kind: type[RlwayError], tmp_path: Path) -> None:
    """Not even the folder of bundles."""
    (tmp_path / "policy.onnx").write_bytes(content)
    with pytest.raises(kind):
        rlway_export.export(tmp_path / "policy.onnx", tmp_path / "models", "p")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]


def test_a_file_is_no_run(tmp_path: Path) -> None:
    """It has no checkpoints; and a run has no tensors to be named."""
    path = onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / "policy.onnx")
    with pytest.raises(UsageError, match="is one ONNX file without checkpoints"):
        rlway_export.export(path, tmp_path / "models", "p", checkpoint=7)


def test_the_command_takes_everything_by_options(tmp_path: Path, rlway: Rlway) -> None:
    """What a form suggests is not needed, and nothing is assumed then."""
    path = onnx_forms.save(onnx_forms.rllib(), tmp_path / "policy.onnx")
    words = ["--observation", "obs", "--action", "output", "--as", "logits", "--state", "state_ins:state_outs"]
    words += ["--fix", "seq_lens=1", "--formats", "onnx", "--actions", "sampled"]
    done = rlway("export", path, "--models", tmp_path / "models", "--policy", "p", *words, "--json")
    assert done.status == 0, done.stderr
    manifest = json.loads((Path(json.loads(done.stdout)["bundle"]) / "manifest.json").read_text())
    assert manifest["notes"] == []
    assert manifest["explore"] == {"temperature": 1.0}


def test_several_sources_are_exported_in_one_command(tmp_path: Path) -> None:
    """Each under its own name, as its notes are; what fails is reported in a sentence, and the rest is published."""
    names = ("rsl-rl", "cleanrl-ppo", "rllib")
    paths = [onnx_forms.save(FORMS[name](), tmp_path / f"{name}.onnx") for name in names]
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    words = ["--models", tmp_path / "models", "--formats", "onnx", "--jobs", 2]
    done = run_command(TRAIN, "export", *paths, tmp_path / "broken.onnx", *words)
    assert done.status == 1
    assert sorted(done.stdout.splitlines()) == [
        f"exported {name} version 1 to {tmp_path / 'models' / name / '1'}" for name in ("cleanrl-ppo", "rsl-rl")
    ]
    assert f"{tmp_path / 'broken.onnx'} is not published: {tmp_path / 'broken.onnx'}: is no ONNX file" in done.stderr
    assert "what its output output float32" in done.stderr
    told = {
        f"  {name}: note: {note}"
        for name in ("cleanrl-ppo", "rsl-rl")
        for note in Bundle.open(tmp_path / "models" / name / "1").manifest.notes
    }
    assert told
    assert told <= {*done.stderr.splitlines()}
    assert done.stderr.endswith("2 of 4 sources could not be published, as told above.\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("a.onnx", "b.onnx", "--policy", "p"), "--policy: names one policy, and there are several sources"),
        (("x/a.onnx", "y/a.onnx"), "would both be published as a"),
        (("a.onnx", "--policy", "p", "--jobs", "2"), "--jobs: exports several sources at a time"),
        (("a.onnx",), "--policy: expected the name"),
        (("a.onnx", "b.onnx", "--watch"), "--watch: follows one source, and there are several"),
    ],
)
def test_options_of_one_source_and_of_several_are_told_apart(
    words: tuple[str, ...], sentence: str, rlway: Rlway
) -> None:
    """Before anything is opened."""
    done = rlway("export", *words, "--models", "models")
    assert done.status == 2
    assert sentence in done.stderr


def test_the_manifest_of_a_bundle_survives_its_round_trip(tmp_path: Path) -> None:
    """The copy in the ONNX file's metadata as well."""
    bundle = _export(onnx_forms.ml_agents(), tmp_path, "onnx")
    model = onnx.load(bundle.path / "model.onnx")
    inside = json.loads({entry.key: entry.value for entry in model.metadata_props}["rlway.manifest"])
    assert inside["action"] == json.loads(msgspec.json.encode(bundle.manifest.action))
