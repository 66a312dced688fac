"""What `rlway export` publishes from a real run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf

from rlway_client.common.files import folder_that_appears_whole
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.exploration import Explore, draw_noise
from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.interface import Draw
from rlway_client.contract.manifest import METADATA_KEY, decode_manifest
from rlway_client.contract.specs import AnyArray
from rlway_export.bundle import stale
from rlway_export.bundle.writer import write_bundle
from rlway_export.formats.registry import FORMATS
from rlway_export.sources.run import RunSource
from tests.conftest import TRAIN
from tests.export.conftest import Rlway

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def observations(trained_run: Path) -> AnyArray:
    rows: AnyArray = np.load(trained_run / "observations.npz")["observation"]
    return rows[:500]


def run_onnx(bundle: Bundle, observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]:
    session = ort.InferenceSession(bundle.path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"observation": observations, "noise": noise}), strict=True))


def run_tflite(bundle: Bundle, observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]:
    act = tf.lite.Interpreter(str(bundle.path / "model.tflite")).get_signature_runner("act")
    rows = [act(observation=o[None], noise=n[None]) for o, n in zip(observations, noise, strict=True)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def test_a_bundle_holds_what_the_contract_lists(bundle: Bundle) -> None:
    """Each file of the contract is there, is listed, and has the checksum that the manifest says."""
    expected = {
        "model.onnx",
        "model.tflite",
        "saved_model.pb",
        "parity.json",
        "parity.npz",
        "README.md",
        "learning_curve.png",
    }
    assert expected <= set(bundle.manifest.files)
    on_disk = {str(p.relative_to(bundle.path)) for p in bundle.path.rglob("*") if p.is_file()}
    assert on_disk == set(bundle.manifest.files) | {"manifest.json"}
    assert any(name.startswith("variables/") for name in on_disk)


def test_nothing_else_is_left_beside_the_version(models: Path, bundle: Bundle) -> None:
    """The draft is gone; only Triton's configuration, which is for all versions, lies beside it."""
    assert {p.name for p in (models / "cartpole").iterdir()} == {bundle.path.name, "config.pbtxt"}


@pytest.mark.parametrize("explore", [None, Explore(temperature=2.0), Explore(epsilon=0.5)], ids=str)
@pytest.mark.parametrize("run_file", [run_onnx, run_tflite], ids=["onnx", "tflite"])
def test_every_file_acts_as_the_saved_model_does(
    bundle: Bundle, observations: AnyArray, run_file: object, explore: Explore | None
) -> None:
    """The same observation and noise give the same action in all three, greedy and sampled."""
    noise = np.zeros((len(observations), 2), np.float32)
    if explore is not None:
        noise = draw_noise(explore, len(observations), [Draw("gumbel", 2)], np.random.default_rng(5))
    saved_model = tf.saved_model.load(str(bundle.path))  # its functions hold only weak references to its variables
    expected = {name: value.numpy() for name, value in saved_model.act(observations, noise).items()}
    assert callable(run_file)
    found = run_file(bundle, observations, noise)
    np.testing.assert_allclose(found["q_values"], expected["q_values"], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(found["action"], expected["action"])
    np.testing.assert_array_equal(found["action"], np.argmax(expected["q_values"] + noise, axis=1))


def test_the_weights_are_those_of_the_best_checkpoint(trained_run: Path, bundle: Bundle) -> None:
    """The bundle's SavedModel has the checkpoint's weights, not those with which the graph was saved."""
    best = json.loads((trained_run / "run.json").read_text())["best_checkpoint"]
    checkpoint = trained_run / f"policies/checkpoints/policy_checkpoint_{best:010d}/variables/variables"

    def kernels(path: str) -> list[AnyArray]:
        reader = tf.train.load_checkpoint(path)
        names = sorted(n for n in reader.get_variable_to_shape_map() if "model_variables" in n and "VARIABLE" in n)
        return [reader.get_tensor(name) for name in names]

    baked, wanted = kernels(str(bundle.path / "variables/variables")), kernels(str(checkpoint))
    untrained = kernels(str(trained_run / "policies/greedy_policy/variables/variables"))
    assert wanted
    assert all(np.array_equal(a, b) for a, b in zip(baked, wanted, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(baked, untrained, strict=True))


def test_the_onnx_file_stands_alone(bundle: Bundle) -> None:
    """It holds the manifest, its tensors have the contract's names, and the batch is its only free dimension."""
    model = onnx.load(bundle.path / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    inside = decode_manifest(metadata[METADATA_KEY].encode(), "metadata")
    assert (inside.policy, inside.version) == ("cartpole", 1)
    assert inside.observation == bundle.manifest.observation
    assert [i.name for i in model.graph.input] == ["observation", "noise"]
    assert [o.name for o in model.graph.output] == ["action", "q_values"]
    values = [*model.graph.input, *model.graph.output]
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    assert shapes == {"observation": ["batch", 4], "noise": ["batch", 2], "action": ["batch"], "q_values": ["batch", 2]}


def test_the_onnx_graph_has_no_leftover_shape_arithmetic(bundle: Bundle) -> None:
    """A Q-network of three layers is seven operations, normalising is four, and none of them computes a shape."""
    operations = [node.op_type for node in onnx.load(bundle.path / "model.onnx").graph.node]
    assert set(operations) <= {"MatMul", "Gemm", "Add", "Relu", "ArgMax", "Sub", "Mul", "Min", "Max"}
    assert len(operations) <= 12


def test_the_tflite_file_needs_builtin_operations_only(bundle: Bundle) -> None:
    """A robot's interpreter has no flex delegate and no custom operations."""
    interpreter = tf.lite.Interpreter(str(bundle.path / "model.tflite"), experimental_preserve_all_tensors=True)
    operations = {op["op_name"] for op in interpreter._get_ops_details()}
    assert operations
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in operations)


def test_the_parity_report_covers_2000_visited_observations_and_three_batch_sizes(bundle: Bundle) -> None:
    """The summary in the manifest is the worst of parity.json's rows."""
    rows = json.loads((bundle.path / "parity.json").read_text())["parity"]
    assert all(row["observations"] >= 2000 and row["passed"] for row in rows)
    assert sorted(b for row in rows if row["file"] == "model.onnx" for b in row["batch_sizes"]) == [1, 7, 64]
    for summary in bundle.manifest.parity:
        worst = max(row["max_difference"] for row in rows if row["file"] == summary.file)
        assert summary.max_difference == worst


def test_tensorflows_own_tool_reads_the_bundle(bundle: Bundle) -> None:
    """saved_model_cli finds the signature that TensorFlow Serving uses."""
    command = [str(TRAIN.with_name("saved_model_cli")), "show", "--dir", str(bundle.path)]
    command += ["--tag_set", "serve", "--signature_def", "action"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "inputs['0/observation'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, 4)" in done.stdout
    assert "outputs['action'] tensor_info:\n      dtype: DT_INT64\n      shape: (-1)" in done.stdout


def test_two_exports_at_once_take_a_version_each(trained_run: Path, tmp_path: Path) -> None:
    """The slower one finds its number taken at its end, and starts again with the next number."""
    source, models, steps = RunSource.open(trained_run, "best"), tmp_path / "models", list[str]()

    def meanwhile(step: str) -> None:
        steps.append(step)
        if step.startswith("comparing") and not (models / "cartpole/1").exists():
            write_bundle(source, models, "cartpole", [], lambda _: None)

    assert write_bundle(source, models, "cartpole", [], meanwhile).manifest.version == 2
    assert "version 1 was published by another export meanwhile; taking the next" in steps
    assert [Bundle.open(models / f"cartpole/{n}").manifest.version for n in (1, 2)] == [1, 2]
    assert {path.name for path in (models / "cartpole").iterdir()} == {"1", "2"}


def test_the_next_export_removes_the_draft_of_a_killed_one(trained_run: Path, tmp_path: Path) -> None:
    """A draft that is being written stays, and so does a folder that only resembles one."""
    policy = tmp_path / "models/cartpole"
    for name in (".1.abcdefgh", ".git", ".1.notdraft9"):
        (policy / name).mkdir(parents=True)
        os.utime(policy / name, (0, 0))
    with folder_that_appears_whole(policy / "7") as draft, stale.alive(draft):
        os.utime(draft, (0, 0))
        write_bundle(RunSource.open(trained_run, "best"), tmp_path / "models", "cartpole", [], lambda _: None)
        assert {path.name for path in policy.iterdir()} == {"1", ".git", ".1.notdraft9", draft.name}


@pytest.mark.parametrize("rows", [0, 50])
def test_observations_are_collected_for_a_run_without_any(rows: int, trained_run: Path, tmp_path: Path) -> None:
    """The SavedModel plays in the run's environment; where that does not exist, the bundle says so."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    recorded = np.load(trained_run / "observations.npz")["observation"][:rows]
    (run / "observations.npz").unlink()
    if rows:
        np.savez(run / "observations.npz", observation=recorded)
    manifest = write_bundle(RunSource.open(run, "best"), tmp_path, "p", [FORMATS["onnx"]], lambda _: None).manifest
    assert (manifest.compared_over, manifest.notes) == ("visited", [])
    assert manifest.parity[0].observations == 2048
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"env": "Nowhere-v0"}))
    manifest = write_bundle(RunSource.open(run, "best"), tmp_path, "p", [FORMATS["onnx"]], lambda _: None).manifest
    assert manifest.compared_over == ("visited" if rows else "sampled")
    assert manifest.parity[0].observations == (rows or 2048)
    assert "no observations could be collected: there is no environment 'Nowhere-v0'" in manifest.notes[0]
    assert manifest.notes[1:] == (["the files were compared over 50 observations only."] if rows else [])


def test_every_file_is_timed_and_the_saved_model_is_the_slowest(every_format: Bundle) -> None:
    """One action takes microseconds, and TensorFlow's own call hundreds. Arrays for microcontrollers are not timed."""
    saved_model, *files = every_format.manifest.measured
    assert saved_model.file == "saved_model.pb"
    assert [found.file for found in files] == [row.file for row in every_format.manifest.parity]
    assert {found.file for found in files if found.action_us is None} == {"policy_model.cc", "policy_model_int8.cc"}
    assert all((found.times_faster(saved_model) or 2) > 1 for found in files)
    card = (every_format.path / "README.md").read_text()
    assert all(f"| `{found.file}` | {(every_format.path / found.file).stat().st_size:,} | " in card for found in files)


def test_the_manifest_says_what_a_batch_changes(every_format: Bundle) -> None:
    """For the files that take batches: each observation by itself is compared with batches of 7 and 64."""
    alone = {found.file for found in every_format.manifest.measured if found.batch_difference is None}
    tflite = {f"model{kind}.tflite" for kind in ("", ".fp16", ".dynamic", ".int8")}
    assert alone == tflite | {"model.godot.onnx", "policy.c", "policy_model.cc", "policy_model_int8.cc"}
    together = [found for found in every_format.manifest.measured if found.file not in alone]
    assert all(found.batch_sizes == [1, 7, 64] for found in together)
    session = ort.InferenceSession(every_format.path / "model.onnx")
    rows = np.load(every_format.path / "parity.npz")["inputs.observation"][:448]
    noise = np.zeros((len(rows), 2), np.float32)

    def q_values(batch: int) -> AnyArray:
        starts = range(0, len(rows), batch)
        parts = [
            session.run(["q_values"], {"observation": rows[i : i + batch], "noise": noise[i : i + batch]})[0]
            for i in starts
        ]
        return np.concatenate(parts)

    found = next(found for found in together if found.file == "model.onnx")
    changes = max(float(np.abs(q_values(1) - q_values(batch)).max()) for batch in (7, 64))
    assert found.batch_invariant == (found.batch_difference == 0)
    assert (changes == 0) == found.batch_invariant
    assert found.batch_difference is not None
    assert found.batch_difference < 1e-3


def test_the_model_card_tells_how_well_the_policy_does(trained_run: Path, bundle: Bundle) -> None:
    """The card has the run's return over fresh episodes, its interval, and among how many checkpoints it was chosen."""
    run = json.loads((trained_run / "run.json").read_text())
    card = (bundle.path / "README.md").read_text()
    fresh = FreshReturn.of(run)
    assert fresh is not None
    assert f"| mean return | {fresh.words} |" in card
    assert "95% interval" in card or f"in each of {run['final_episodes']} fresh episodes" in card
    assert f"| chosen among | {run['chosen_among']} evaluated checkpoints" in card
    of_run = {"final_return", "final_interval", "final_episodes", "chosen_among"}
    assert {name: bundle.manifest.training[name] for name in of_run} == {name: run[name] for name in of_run}


def test_a_second_export_takes_the_next_version_and_leaves_the_first_alone(
    trained_run: Path, models: Path, tmp_path: Path, rlway: Rlway
) -> None:
    """Versions count up; `--checkpoint latest` reports the checkpoint it took; --json has the bundle's path."""
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    before = (copy / "cartpole/1/manifest.json").read_bytes()
    words = ("--models", copy, "--policy", "cartpole", "--checkpoint", "latest", "--json")
    done = rlway("export", trained_run, *words)
    assert done.status == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["version"], printed["bundle"]) == (2, str(copy / "cartpole/2"))
    assert all(row["passed"] for row in printed["parity"])
    latest = json.loads((trained_run / "run.json").read_text())["latest_checkpoint"]
    assert Bundle.open(copy / "cartpole/2").manifest.training["checkpoint"] == latest
    assert (copy / "cartpole/1/manifest.json").read_bytes() == before


def test_episodes_are_played_with_every_file_from_equal_seeds(trained_run: Path, tmp_path: Path) -> None:
    """The float32 file earns the SavedModel's returns, episode by episode except for near ties; the card has them."""
    source = RunSource.open(trained_run, "best")
    formats = [FORMATS["onnx"], FORMATS["tflite"]]
    bundle = write_bundle(source, tmp_path / "models", "cartpole", formats, lambda _: None, episodes=4)
    assert [(m.file, m.episodes) for m in bundle.manifest.measured] == [
        ("saved_model.pb", 4),
        ("model.onnx", 4),
        ("model.tflite", 4),
    ]
    played = {row["file"]: row["returns"] for row in json.loads((bundle.path / "parity.json").read_text())["measured"]}
    for found in bundle.manifest.measured:
        assert found.mean_return == np.mean(played[found.file])
        assert sum(a == b for a, b in zip(played[found.file], played["saved_model.pb"], strict=True)) >= 3
    told = re.search(r"`model.onnx` \|.*\| (\S+) \|\n", (bundle.path / "README.md").read_text())
    assert told is not None
    assert float(told[1]) == pytest.approx(np.mean(played["model.onnx"]), rel=0.005)
    random = json.loads((trained_run / "run.json").read_text())["random_return"]
    assert min(np.mean(returns) for returns in played.values()) > 2 * random


def test_a_damaged_bundle_is_refused_by_name(models: Path, tmp_path: Path) -> None:
    """One flipped byte: the error names its file and both checksums."""
    path = tmp_path / "cartpole/1"
    shutil.copytree(models / "cartpole/1", path)
    content = bytearray((path / "model.tflite").read_bytes())
    content[1000] ^= 1
    (path / "model.tflite").write_bytes(content)
    with pytest.raises(BundleInvalid, match=r"model\.tflite: damaged: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        Bundle.open(path)
