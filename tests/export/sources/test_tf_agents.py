"""Sources other than our runs: folders of TF-Agents' trigger, single SavedModels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.q_policy import QPolicy
from tf_agents.trajectories import time_step_spec

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.interface import Draw, Interface
from rlway_client.contract.specs import TensorSpec, make_spec
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.observations import Observations
from rlway_export.formats.onnx.simplify import BATCH
from rlway_export.formats.registry import FORMATS
from rlway_export.sources.detect import open_source
from rlway_export.sources.tf_agents import SavedModelSource
from tests.export import stock
from tests.export.conftest import Rlway

pytestmark = pytest.mark.slow


def exported(folder: Path, models: Path, checkpoint: str = "best") -> Bundle:
    return write_bundle(open_source(folder, checkpoint), models, "p", [FORMATS["onnx"]], lambda _: None)


def baked(folder: Path, models: Path, checkpoint: str = "best") -> Bundle:
    """Exports the SavedModel alone, which is quick."""
    return write_bundle(open_source(folder, checkpoint), models, "p", [], lambda _: None)


def bias(bundle: Bundle) -> float:
    """The last layer's first bias; each checkpoint of `trigger` adds one to it."""
    reader = tf.train.load_checkpoint(str(bundle.path / "variables/variables"))
    value = reader.get_tensor("model_variables/3/.ATTRIBUTES/VARIABLE_VALUE")
    return float(value[0])


def test_a_trigger_folder_is_exported_at_any_of_its_checkpoints(trigger: Path, tmp_path: Path) -> None:
    """Nothing says which is the best: the default is the latest, and the bundle says so."""
    best, latest, first = (exported(trigger, tmp_path, number) for number in ("best", "latest", "10"))
    assert [b.manifest.training["checkpoint"] for b in (best, latest, first)] == [20, 20, 10]
    assert [note for b in (latest, first) for note in b.manifest.notes] == []
    (note,) = best.manifest.notes
    assert "nothing says which checkpoint is the best; taking the latest, 20" in note
    assert note in (best.path / "README.md").read_text()
    assert bias(best) == pytest.approx(bias(first) + 1)
    with pytest.raises(UsageError, match=r"has no checkpoint 15; it has 10, 20\.$"):
        open_source(trigger, "15")


@pytest.mark.parametrize("name", ["greedy_policy", ".", "greedy_policy/saved_model.pb"])
def test_a_saved_model_beside_checkpoints_has_the_latest_weights(
    name: str, trigger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own variables are untrained. The latest checkpoint counts, whatever the path; others can be named."""
    monkeypatch.chdir(trigger / "greedy_policy")
    folder = Path(name) if name == "." else trigger / name
    bundle = baked(folder, tmp_path)
    (note,) = bundle.manifest.notes
    assert "nothing says which checkpoint is the best; taking the latest, 20" in note
    assert bundle.manifest.training["checkpoint"] == 20
    assert bias(bundle) == pytest.approx(bias(baked(folder, tmp_path, "10")) + 1)


@pytest.mark.parametrize("name", ["", "greedy_policy"])
def test_untrained_weights_are_exported_only_when_they_are_asked_for(name: str, trigger: Path, tmp_path: Path) -> None:
    """From a trigger's folder without checkpoints, and from its SavedModel by itself: their train step is 0."""
    ignored = shutil.ignore_patterns("checkpoints", *(["policy", "collect_policy"] if name else []))
    copy = Path(shutil.copytree(trigger, tmp_path / "copy", ignore=ignored)) / name
    with pytest.raises(ExportRefused, match=r"its train step is 0: .* --checkpoint initial") as refusal:
        baked(copy, tmp_path / "models")
    assert "trigger(train_step, force_trigger=True)" in str(refusal.value)
    assert len(str(refusal.value).replace(str(tmp_path), "")) < 300
    assert not (tmp_path / "models").exists()
    bundle = baked(copy, tmp_path / "models", "initial")
    assert ["its train step is 0" in note for note in bundle.manifest.notes] == [True]
    assert bias(bundle) == pytest.approx(bias(baked(trigger, tmp_path / "models", "initial")))
    assert bias(bundle) == pytest.approx(bias(baked(trigger, tmp_path / "models", "10")) - 1)


def test_a_saved_model_without_checkpoints_has_its_own_weights(tmp_path: Path) -> None:
    """As PolicySaver saves it at the end, under any name; an uncounted train step is not step 0."""
    for number, step in enumerate((7, -1), start=1):
        stock.save(stock.greedy("dqn"), tmp_path / f"{step}/greedy_policy", train_step=step)
        bundle = baked(tmp_path / f"{step}/greedy_policy", tmp_path / "models")
        assert (bundle.manifest.version, bundle.manifest.notes) == (number, [])


@pytest.mark.parametrize(
    ("name", "kind", "epsilon", "scores"),
    [("policy", "sampled", None, "logits"), ("collect_policy", "epsilon-greedy", 0.1, "q_values")],
)
def test_a_policy_of_the_trigger_is_exported_where_it_is_named(
    name: str, kind: str, epsilon: float | None, scores: str, trigger: Path, tmp_path: Path
) -> None:
    """With the latest weights, and with its draws as noise: that of DQN chooses by its Q-values, or explores."""
    manifest = exported(trigger / name, tmp_path).manifest
    assert manifest.training["checkpoint"] == 20
    assert manifest.sampling is not None
    assert (manifest.sampling.kind, manifest.sampling.epsilon) == (kind, epsilon)
    assert [spec.name for spec in manifest.outputs] == [scores]
    assert manifest.noise == TensorSpec("noise", (3,), "float32")
    assert manifest.draws == [Draw("gumbel", 3)]


def test_a_trigger_without_a_greedy_policy_has_its_policy_exported(trigger: Path, tmp_path: Path) -> None:
    """With save_greedy_policy=False; the collect policy is never taken instead."""
    copy = shutil.copytree(trigger, tmp_path / "copy", ignore=shutil.ignore_patterns("greedy_policy"))
    for folder in (copy, copy / "policy"):
        source = open_source(folder, "latest")
        assert isinstance(source, SavedModelSource)
        assert (source.graph.name, source.checkpoint) == ("policy", 20)
    shutil.rmtree(copy / "policy")
    with pytest.raises(RunInvalid):
        open_source(copy, "latest")


def test_a_note_says_that_the_bounds_are_unknown(trigger: Path, tmp_path: Path) -> None:
    """A SavedModel without its policy_specs.pbtxt is exported with unbounded observations."""
    shutil.copytree(trigger / "greedy_policy", tmp_path / "copy")
    (tmp_path / "copy/policy_specs.pbtxt").unlink()
    manifest = exported(tmp_path / "copy", tmp_path, "initial").manifest
    assert "the bounds of its tensors are not known" in manifest.notes[0]
    assert manifest.observation == [TensorSpec("observation", (4,), "float32")]


def test_observations_can_be_given(trigger: Path, tmp_path: Path, rlway: Rlway) -> None:
    """By the name of the tensor, through the command; the card says so."""
    np.savez(tmp_path / "rows.npz", observation=np.random.default_rng(0).random((2500, 4)))
    words = ("--models", tmp_path / "models", "--policy", "p", "--formats", "onnx")
    done = rlway("export", trigger, *words, "--observations", tmp_path / "rows.npz")
    assert done.status == 0, done.stderr
    assert "note: " in done.stderr
    bundle = Bundle.open(tmp_path / "models/p/1")
    assert bundle.manifest.compared_over == "given"
    assert bundle.manifest.observed[0].rows == 2500
    assert bundle.manifest.parity[0].observations == 2048
    assert Evidence.read(bundle.path / "parity.npz", bundle.manifest).inputs["observation"].min() >= 0
    assert "given for it" in (bundle.path / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_whole_numbers_are_sampled_from_their_whole_range(dtype: str) -> None:
    """float64 bounds cannot represent the largest int64 exactly."""
    limits = np.iinfo(dtype)
    spec = make_spec("observation", (3,), dtype, limits.min, limits.max)
    interface = Interface(
        observation=[spec], actions=[TensorSpec("action", (), "int64", 0, 2)], noise=None, state=[], outputs=[]
    )
    sampled = Observations.find(interface, None, None).arrays["observation"]
    assert sampled.dtype == dtype
    span = int(limits.max) - int(limits.min)
    assert int(sampled.min()) < int(limits.min) + span / 100
    assert int(sampled.max()) > int(limits.max) - span / 100


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"observation": np.zeros((9, 3))},
            r"observation: expected rows of float32\[4\], got .* shape \[9, 3\]",
        ),
        ({"observation": np.zeros((0, 4))}, r"expected rows of float32\[4\], got an array of shape \[0, 4\]"),
        ({"observation": np.full((9, 4), np.nan)}, "expected finite float32"),
        ({"rows": np.zeros((9, 4))}, "expected the arrays observation"),
        (None, "cannot be read"),
    ],
)
def test_observations_that_do_not_fit_are_refused(arrays: Any, expected: str, trigger: Path, tmp_path: Path) -> None:
    """One sentence with the array and both shapes; nothing is published."""
    path = tmp_path / "rows.npz"
    path.write_bytes(b"nonsense")
    if arrays is not None:
        np.savez(path, **arrays)
    source = open_source(trigger, "latest")
    with pytest.raises(UsageError, match=expected):
        write_bundle(source, tmp_path / "models", "p", [FORMATS["onnx"]], lambda _: None, observations=path)
    assert not (tmp_path / "models").exists()


def no_policy(folder: Path) -> Path:
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    tf.saved_model.save(module, str(folder))
    return folder


def cut(folder: Path) -> Path:
    stock.save(stock.greedy("dqn"), folder)
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:500])
    return folder


def no_variables(folder: Path) -> Path:
    stock.save(stock.greedy("dqn"), folder)
    shutil.rmtree(folder / "variables")
    return folder


def other_checkpoint(folder: Path) -> Path:
    """The checkpoint of a continuous policy beside the graph of a discrete one."""
    stock.save(stock.greedy("dqn"), folder / "greedy_policy")
    stock.save(stock.greedy("ddpg"), folder / "checkpoints/policy_checkpoint_0000000001")
    return folder


REFUSED: dict[str, tuple[Any, type[RlwayError], str]] = {
    "no policy": (no_policy, ExportRefused, "has no `action` signature .*PolicySaver"),
    "a cut graph": (cut, RunInvalid, "its saved_model.pb is damaged, or no SavedModel; save or copy it again"),
    "no variables": (no_variables, RunInvalid, "variables: missing"),
    "another checkpoint": (
        other_checkpoint,
        RunInvalid,
        "checkpoint_0000000001 in greedy_policy: cannot be loaded: .*shape",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    """Which folder, what is wrong with it, and what would help."""
    make, kind, expected = REFUSED[case]
    folder = make(tmp_path / "source")
    with pytest.raises(kind, match=expected) as refusal:
        exported(folder, tmp_path / "models")
    assert str(tmp_path / "source") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_an_operation_that_a_format_lacks_is_named(form: str, tmp_path: Path) -> None:
    """And so is the layer that is made of it."""

    def odd(seen: Any) -> Any:
        halves = tf.sigmoid(seen)
        return tf.math.betainc(halves, halves, halves)

    layer = tf.keras.layers.Lambda(odd, name="odd_layer")
    network = QNetwork(stock.VECTOR, stock.CHOICE, preprocessing_layers=layer, fc_layer_params=(8,))
    policy = GreedyPolicy(QPolicy(time_step_spec(stock.VECTOR), stock.CHOICE, network))
    source = open_source(stock.save(policy, tmp_path / "source"), "best")
    with pytest.raises(ExportRefused, match=r"Betainc.*odd_layer") as refusal:
        write_bundle(source, tmp_path / "models", "p", [FORMATS[form]], lambda _: None)
    assert "\n" not in str(refusal.value)


def test_a_note_says_that_no_simpler_onnx_graph_was_found(tmp_path: Path) -> None:
    """This policy reads the batch's size for a reason: it acts differently at the one size that the simplifier tries.

    Its actions are continuous, so that the difference shows in every row. A discrete action might be the same.
    """

    def odd(seen: Any) -> Any:
        return seen + tf.cast(tf.shape(seen)[0] == BATCH, tf.float32)

    layer = tf.keras.layers.Lambda(odd)
    actor = ActorDistributionNetwork(stock.VECTOR, stock.PUSH, preprocessing_layers=layer, fc_layer_params=(8,))
    policy = GreedyPolicy(ActorPolicy(time_step_spec(stock.VECTOR), stock.PUSH, actor))
    bundle = exported(stock.save(policy, tmp_path / "source"), tmp_path / "models")
    assert any("no smaller graph was found" in note for note in bundle.manifest.notes)


def test_a_module_that_cannot_be_imported_is_named(trigger: Path, tmp_path: Path, rlway: Rlway) -> None:
    """--import is for modules that register types; a missing one is named."""
    words = ("--models", tmp_path, "--policy", "p", "--import", "nowhere.at_all")
    done = rlway("export", trigger, *words)
    assert done.status == 2
    assert done.stderr.strip().splitlines()[-1].startswith("rlway: --import nowhere.at_all: ModuleNotFoundError")
