"""All formats of one run: their contents, and how far they may be from the SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid, ExportRefused, UsageError
from rlway_client.contract.exploration import FORCED, Explore, draw_noise
from rlway_client.contract.interface import Draw, Interface
from rlway_client.contract.manifest import Parity
from rlway_client.contract.parity import Limit, Runner, Tolerance, compare, limit_for, summarize
from rlway_client.contract.run import read_run
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.onnx_metadata import read_manifest
from rlway_client.local.runners import OnnxRunner, open_runner
from rlway_export.bundle.conversion import describe
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks import parity
from rlway_export.checks.observations import Observations
from rlway_export.common.provenance import Provenance
from rlway_export.formats.context import Context
from rlway_export.formats.registry import FORMATS, parse_formats
from rlway_export.reference.policy import ActPolicy
from rlway_export.sources.run import RunSource

pytestmark = pytest.mark.slow

FILES = {
    "model.onnx",
    "model.fp16.onnx",
    "model.tflite",
    "model.fp16.tflite",
    "model.dynamic.tflite",
    "model.int8.tflite",
    "policy.c",
    "policy_model.cc",
    "policy_model_int8.cc",
    "model.unity.onnx",
    "model.godot.onnx",
}
DISCRETE = Interface(
    observation=[TensorSpec("observation", (4,), "float32")],
    actions=[TensorSpec("action", (), "int64", 0, 1)],
    noise=TensorSpec("noise", (2,), "float32"),
    state=[],
    outputs=[TensorSpec("q_values", (2,), "float32")],
)


def parity_of(bundle: Bundle, file: str) -> Parity:
    return next(row for row in bundle.manifest.parity if row.file == file)


def operations(path: Path) -> list[str]:
    interpreter = tf.lite.Interpreter(str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return [op["op_name"] for op in interpreter._get_ops_details()]


def weights(path: Path) -> set[str]:
    """The types of the constants with 1,000 elements or more."""
    interpreter = tf.lite.Interpreter(str(path))
    details = interpreter.get_tensor_details()
    return {detail["dtype"].__name__ for detail in details if np.prod(detail["shape"]) >= 1000}


MEAN, SPREAD = np.array([100.0, 0.0, -5.0, 0.01]), np.array([10.0, 1.0, 0.1, 0.001])


@pytest.fixture
def normalizing(trained_run: Path, tmp_path: Path) -> ActPolicy:
    """A discrete policy whose observations are normalised as in rlway_train's preprocessing."""
    generator = np.random.default_rng(3)
    module = tf.Module()
    module.mean, module.variance = tf.Variable(MEAN.astype(np.float32)), tf.Variable((SPREAD**2).astype(np.float32))
    shapes = ((4, 64), (64, 64), (64, 2))
    module.kernels = [tf.Variable((generator.standard_normal(s) / np.sqrt(s[0])).astype(np.float32)) for s in shapes]

    def act(observation: Any, noise: Any) -> dict[str, Any]:
        flow = (observation - module.mean) * tf.math.rsqrt(module.variance + 1e-8)
        flow = tf.clip_by_value(flow, -10.0, 10.0)
        for kernel in module.kernels[:-1]:
            flow = tf.nn.relu(tf.linalg.matmul(flow, kernel))
        q_values = tf.linalg.matmul(flow, module.kernels[-1])
        return {"action": tf.argmax(q_values + noise, axis=-1, output_type=tf.int64), "q_values": q_values}

    signature = [tf.TensorSpec([None, n], tf.float32, name=name) for name, n in (("observation", 4), ("noise", 2))]
    module.act = tf.function(act, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    return ActPolicy(tmp_path / "saved", read_run(trained_run).interface, "saved")


def test_every_format_is_published_with_its_parity(every_format: Bundle) -> None:
    """Each file of each format is listed, and each that can run has passed over 2,000 observations."""
    files = {file for one in FORMATS.values() for file in one.files}
    assert files == FILES | {"policy.h", "policy_model.h", "policy_model_int8.h"}
    assert files <= set(every_format.manifest.files)
    assert {row.file for row in every_format.manifest.parity} == FILES
    assert all(row.passed and row.observations >= 2000 for row in every_format.manifest.parity)


def test_the_model_card_has_parity_and_size_of_every_file(every_format: Bundle) -> None:
    """One row per file in both tables, unbroken by the bars of |Δq|."""
    lines = (every_format.path / "README.md").read_text().splitlines()
    for row in every_format.manifest.parity:
        compared, measured = (line for line in lines if line.startswith(f"| `{row.file}` | "))
        assert compared.replace("\\|", "").count("|") == 7
        assert row.threshold in compared.replace("\\|", "|")
        assert measured.startswith(f"| `{row.file}` | {(every_format.path / row.file).stat().st_size:,} | ")


def test_a_threshold_is_given_in_words_and_in_numbers(every_format: Bundle) -> None:
    """float32 may change only near ties; fewer bits may change a stated share of actions."""
    exact, half = parity_of(every_format, "model.onnx"), parity_of(every_format, "model.fp16.onnx")
    assert "no flip unless the best two are closer than that" in exact.threshold
    assert "at most 1% of the actions changed" in half.threshold
    assert exact.allowed_flips is None
    assert half.allowed_flips == 0.01
    assert exact.allowed_difference is not None
    assert half.allowed_difference == pytest.approx(500 * exact.allowed_difference)
    assert exact.max_difference < half.max_difference


def test_the_float16_network_takes_and_gives_float32(every_format: Bundle) -> None:
    """Matrix products are of float16; the noise and the sum with it stay float32; the manifest is inside."""
    model = onnx.shape_inference.infer_shapes(onnx.load(every_format.path / "model.fp16.onnx"), strict_mode=True)
    kinds = {v.name: v.type.tensor_type.elem_type for v in [*model.graph.value_info, *model.graph.output]}
    products = [node.output[0] for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    assert len(products) == 3
    assert {kinds[name] for name in products} == {TensorProto.FLOAT16}
    assert [v.type.tensor_type.elem_type for v in model.graph.input] == [TensorProto.FLOAT] * 2
    assert (kinds["q_values"], kinds["action"]) == (TensorProto.FLOAT, TensorProto.INT64)
    assert [node.op_type for node in model.graph.node].count("Cast") == 2  # the observation in, the Q-values out
    noisy = next(node for node in model.graph.node if "noise" in node.input)
    assert kinds[noisy.output[0]] == TensorProto.FLOAT
    assert read_manifest(every_format.path / "model.fp16.onnx").policy == "cartpole"


@pytest.mark.parametrize("file", sorted(FILES))
def test_noise_can_force_any_action_in_every_format(every_format: Bundle, file: str, trained_run: Path) -> None:
    """+1e30 on one entry forces that action, however few bits the network has."""
    runner = open_runner(every_format.path / file, every_format.manifest)
    rows: AnyArray = np.load(trained_run / "observations.npz")["observation"][:20]
    for i, row in enumerate(rows):
        noise = np.zeros((1, 2), np.float32)
        noise[0, i % 2] = FORCED
        assert runner.run({"observation": row[None], "noise": noise})["action"] == [i % 2]


def test_fewer_bits_are_fewer_bytes(every_format: Bundle) -> None:
    """Weights take half in float16, and about a third in int8 with the scales and the small layers that stay float32.

    TFLite needs no operation that is not built in.
    """
    sizes = {file: (every_format.path / file).stat().st_size for file in FILES}
    network = onnx.load(every_format.path / "model.onnx").graph
    weights = sum(onnx.numpy_helper.to_array(constant).nbytes for constant in network.initializer)
    assert sizes["model.fp16.onnx"] < sizes["model.onnx"] - 0.5 * weights
    assert sizes["model.fp16.tflite"] < sizes["model.tflite"] - 0.4 * weights
    for file in ("model.dynamic.tflite", "model.int8.tflite"):
        assert sizes[file] < sizes["model.tflite"] - 0.65 * weights
    for file in FILES:
        if file.endswith(".tflite"):
            assert not [op for op in operations(every_format.path / file) if op.startswith(("Flex", "CUSTOM"))]


def test_int8_computes_in_eight_bits_between_its_first_and_its_last_layer(every_format: Bundle) -> None:
    """The largest weights are int8, and only they stand between QUANTIZE and DEQUANTIZE."""
    path = every_format.path / "model.int8.tflite"
    assert weights(path) == {"int8"}
    found = operations(path)
    assert found.index("QUANTIZE") < found.index("DEQUANTIZE")
    assert found[found.index("QUANTIZE") + 1 : found.index("DEQUANTIZE")] == ["FULLY_CONNECTED"]
    assert found.count("FULLY_CONNECTED") == 3
    assert weights(every_format.path / "model.dynamic.tflite") == {"int8"}
    assert "QUANTIZE" not in operations(every_format.path / "model.dynamic.tflite")


def test_a_format_that_fails_is_named_with_what_to_leave_out(trained_run: Path, tmp_path: Path) -> None:
    """With float32's threshold, float16 is refused, and nothing is published."""
    strict = FORMATS["tflite-fp16"]._replace(tolerance=FORMATS["tflite"].tolerance)
    with pytest.raises(ExportRefused, match=r"^model\.fp16\.tflite does not act .* leave tflite-fp16 out of --formats"):
        write_bundle(RunSource.open(trained_run, "best"), tmp_path / "m", "c", [strict], lambda _: None)
    assert not (tmp_path / "m").exists()


def test_formats_are_parsed_in_any_order_and_written_in_one() -> None:
    """A repeated name counts once; an unknown one is refused with all the known ones."""
    assert [t.name for t in parse_formats(" tflite-int8,onnx, onnx")] == ["onnx", "tflite-int8"]
    with pytest.raises(UsageError, match=r"expected some of onnx,onnx-fp16,tflite,.*,unity,godot, got tflight\.$"):
        parse_formats("onnx,tflight")


class Answering:
    """A runner with fixed answers: a file that is wrong in a known way."""

    batch_sizes = (1000,)

    def __init__(self, answers: dict[str, AnyArray]) -> None:
        self._answers = answers

    def run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:  # noqa: ARG002
        return self._answers


def judged(q_values: AnyArray, expected: AnyArray, tolerance: Tolerance) -> Parity:
    answers = {"q_values": expected, "action": expected.argmax(1)}
    limit: Limit = limit_for(DISCRETE, tolerance, answers)
    runner: Runner = Answering({"q_values": q_values, "action": q_values.argmax(1)})
    inputs = {"observation": np.zeros((1000, 4), np.float32), "noise": np.zeros((1000, 2), np.float32)}
    (found,) = compare("file", runner, DISCRETE, limit, inputs, answers)
    return found


def test_the_gate_counts_changed_actions_as_its_tolerance_says() -> None:
    """One per cent of changed actions passes at one per cent and fails at a half; NaN never passes."""
    expected = np.tile(np.array([100.0, 99.8], np.float32), (1000, 1))
    changed = expected.copy()
    changed[:10, 1] = 100.1
    assert judged(changed, expected, Tolerance(5e-3, flips=0.01)).passed
    assert not judged(changed, expected, Tolerance(5e-3, flips=0.005)).passed
    assert not judged(changed, expected, Tolerance(1e-3, flips=0.01)).passed
    assert not judged(changed, expected, Tolerance(1e-3)).passed
    assert judged(changed, expected, Tolerance(4e-3)).passed  # the best two are within the allowed 0.4
    assert not judged(np.full_like(expected, np.nan), expected, Tolerance(1.0, flips=1.0)).passed


def test_the_onnx_runner_names_a_file_that_it_cannot_load(tmp_path: Path) -> None:
    """With onnxruntime's own reason, in one sentence."""
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(BundleInvalid, match=r"model\.onnx: onnxruntime cannot load it: "):
        OnnxRunner(tmp_path / "model.onnx")


def test_a_continuous_policy_acts_alike_in_every_format(continuous_run: Path, tmp_path: Path) -> None:
    """A SAC run passes the gate in all formats, and each gives nearly the SavedModel's actions."""
    formats = list(FORMATS.values())
    source = RunSource.open(continuous_run, "best")
    bundle = write_bundle(source, tmp_path / "models", "pendulum", formats, lambda _: None)
    rows: AnyArray = np.load(continuous_run / "observations.npz")["observation"][:100]
    noise = draw_noise(Explore(sigma=1.0), len(rows), [Draw("normal", 1)], np.random.default_rng(3))
    noise[::2] = 0.0
    saved_model = tf.saved_model.load(str(bundle.path))  # its functions hold only weak references to its variables
    expected = saved_model.act(rows, noise)["action"].numpy()
    for one in formats:
        runner = open_runner(bundle.path / one.files[-1], bundle.manifest)
        singles = [runner.run({"observation": rows[i : i + 1], "noise": noise[i : i + 1]}) for i in range(len(rows))]
        found = np.concatenate([single["action"] for single in singles])
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * one.tolerance.relative, err_msg=one.name)


def test_a_policy_that_normalises_does_so_in_every_format(normalizing: ActPolicy, tmp_path: Path) -> None:
    """Mean and spread are folded into the files, and outliers are clipped, in C as in ONNX and TFLite."""
    rows = (np.random.default_rng(0).standard_normal((2100, 4)) * SPREAD + MEAN).astype(np.float32)
    rows[::50] *= 1e6  # far enough to be clipped
    observations = Observations({"observation": rows}, "given")
    trained = Provenance("dqn", None, None, None, {})
    manifest = describe(trained, normalizing, observations, [], "normalizing", 1)
    evidence = parity.gather(normalizing, {"observation": rows})
    context = Context(tmp_path, normalizing, manifest, evidence, normalizing)
    for one in FORMATS.values():
        one.write(context)
        path = tmp_path / one.files[-1]
        found = summarize(parity.judge(evidence, normalizing, path, one.open(context), one.tolerance))
        assert found.passed, (one.name, found)
