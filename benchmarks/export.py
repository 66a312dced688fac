"""What an exported policy costs: beside files of the same network that were built by hand, and beside the SavedModel.

In:      nothing but this machine: .venv-train/bin/python benchmarks/export.py
Out:     a table: each file's time of one action with its bound, and how long exporting in every format takes.

Two DQN policies of CartPole are trained for a moment and exported: 4→100→2, and in every format 4→128→128→2.
The files built by hand hold the small one's weights in as few operations as there are. What is compared runs by turns,
round after round, so that a machine that slows down slows both; ratios are medians over the rounds. Python's share of a
call is in every time but that of C, which a compiled loop calls.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.muting import muted
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.evidence import FILE, Evidence
from rlway_client.contract.parity import Arrays
from rlway_export.checks.latency import action_us, make_call, saved_model_us
from rlway_export.common.quiet import quiet_conversion
from rlway_export.formats.registry import FORMATS
from rlway_export.reference.policy import ActPolicy

RLWAY = Path(sys.executable).parent / "rlway"
SMALL = ["--preset", "cartpole-dqn", "--env", "CartPole-v1", "--hidden", "100", "--steps", "2000"]
LARGE = ["--preset", "cartpole", "--hidden", "128,128", "--steps", "6000"]
ROUNDS = 41
ROUND_CALLS = 2_000
ONNX_RATIO, TFLITE_RATIO, C_US, EXPORT_S = 1.15, 1.2, 1.0, 30.0


class Weights(NamedTuple):
    """Of 4→100→2."""

    hidden: Any  # [4, 100]
    hidden_bias: Any
    output: Any  # [100, 2]
    output_bias: Any


def rlway(*words: object) -> float:
    """Runs a command to its end, and says how many seconds it took."""
    start_s = time.perf_counter()
    done = subprocess.run([str(word) for word in (RLWAY, *words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start_s


def read_weights(bundle: Path) -> Weights:
    import tensorflow as tf
    import tf_agents  # noqa: F401  registers the type specs that the SavedModel refers to

    model = tf.saved_model.load(str(bundle))
    return Weights(*(variable.numpy() for variable in model.model_variables[:4]))


def build_onnx(weights: Weights, noisy: bool, path: Path) -> None:
    """Five operations with noise and Q-values, four of the greedy action alone."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    scores = "scores" if noisy else "q_values"
    nodes = [
        helper.make_node("Gemm", ["observation", "hidden", "hidden_bias"], ["layer"]),
        helper.make_node("Relu", ["layer"], ["active"]),
        helper.make_node("Gemm", ["active", "output", "output_bias"], ["q_values"]),
        *([helper.make_node("Add", ["q_values", "noise"], [scores])] if noisy else []),
        helper.make_node("ArgMax", [scores], ["action"], axis=1, keepdims=0),
    ]
    floats, names = TensorProto.FLOAT, ["observation"] + ["noise"] * noisy
    inputs = [helper.make_tensor_value_info(n, floats, ["batch", 4 if n == "observation" else 2]) for n in names]
    outputs = [helper.make_tensor_value_info("action", TensorProto.INT64, ["batch"])]
    if noisy:
        outputs.append(helper.make_tensor_value_info("q_values", floats, ["batch", 2]))
    constants = [numpy_helper.from_array(value, name) for name, value in weights._asdict().items()]
    graph = helper.make_graph(nodes, "by_hand", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def build_tflite(weights: Weights, path: Path) -> None:
    import tensorflow as tf

    def act(observation: Any, noise: Any) -> dict[str, Any]:
        active = tf.nn.relu(observation @ weights.hidden + weights.hidden_bias)
        q_values = active @ weights.output + weights.output_bias
        return {"action": tf.argmax(q_values + noise, axis=1), "q_values": q_values}

    signature = [tf.TensorSpec([1, n], tf.float32, name) for n, name in ((4, "observation"), (2, "noise"))]
    module = tf.Module()
    module.act = tf.function(act, input_signature=signature)
    with tempfile.TemporaryDirectory() as folder, muted():
        tf.saved_model.save(module, folder, signatures={"act": module.act})
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["act"]).convert())


def compare(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float, float]:
    """Microseconds of both, and the ratio: medians over rounds in which each goes first by turns."""

    def round_us(call: Callable[[], object]) -> float:
        start_ns = time.perf_counter_ns()
        for _ in range(ROUND_CALLS):
            call()
        return (time.perf_counter_ns() - start_ns) / ROUND_CALLS / 1e3

    rounds = []
    for turn in range(ROUNDS):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        taken = {first: round_us(first), second: round_us(second)}
        rounds.append((taken[ours], taken[theirs], taken[ours] / taken[theirs]))
    a, b, ratio = np.median(rounds[1:], axis=0)  # the first warms up
    return float(a), float(b), float(ratio)


def export(scratch: Path, name: str, training: list[str], formats: str) -> tuple[Bundle, float]:
    """A policy trained and exported, and how many seconds the export took."""
    rlway("train", "dqn", *training, "--run", scratch / name)
    took_s = rlway("export", scratch / name, "--models", scratch, "--policy", f"{name}-policy", "--formats", formats)
    return Bundle.open(scratch / f"{name}-policy/1"), took_s


def one_row(bundle: Bundle) -> Arrays:
    """A single observation that the policy visited, and the noise that it was compared with."""
    return {name: array[:1] for name, array in Evidence.read(bundle.path / FILE, bundle.manifest).inputs.items()}


def beside_files_by_hand(scratch: Path, bundle: Bundle) -> list[dict[str, Any]]:
    """The 4→100→2 network: one row per number, with its bound where it has one."""
    inputs, weights = one_row(bundle), read_weights(bundle.path)
    build_onnx(weights, True, scratch / "by_hand.onnx")
    build_onnx(weights, False, scratch / "greedy.onnx")
    build_tflite(weights, scratch / "by_hand.tflite")

    def call(path: Path) -> Callable[[], object]:
        made = make_call(path, bundle.manifest, inputs)
        assert made is not None
        return made[0]

    rows: list[dict[str, Any]] = []
    for ours, theirs, what, bound in (
        ("model.onnx", "by_hand.onnx", "4→100→2 as ONNX, beside the same by hand", ONNX_RATIO),
        ("model.onnx", "greedy.onnx", "4→100→2 as ONNX, beside one without noise and Q-values", None),
        ("model.tflite", "by_hand.tflite", "4→100→2 as TFLite, beside the same by hand", TFLITE_RATIO),
    ):
        our_us, their_us, ratio = compare(call(bundle.path / ours), call(scratch / theirs))
        rows.append({"what": what, "ours": our_us, "peer": their_us, "ratio": ratio, "bound": bound, "unit": "µs"})
    took_us = action_us(bundle.path / "policy.c", bundle.manifest, inputs)
    rows.append({"what": "4→100→2 as C", "ours": took_us, "peer": None, "bound": C_US, "unit": "µs"})
    return rows


def beside_the_saved_model(bundle: Bundle) -> list[dict[str, Any]]:
    """Every format of the preset's network."""
    inputs = one_row(bundle)
    policy = ActPolicy(bundle.path, bundle.manifest.interface, str(bundle.path))
    first = saved_model_us(policy.timed(inputs))
    assert first is not None
    files = [found.file for found in bundle.manifest.measured[1:]]
    timed = {file: action_us(bundle.path / file, bundle.manifest, inputs) for file in files}
    took_us = {file: us for file, us in timed.items() if us is not None}
    return [
        {"what": f"4→128→128→2, {file}, beside the SavedModel's `action`", "ours": us, "peer": first, "bound": None}
        | {"faster": first / us, "unit": "µs"}
        for file, us in took_us.items()
    ]


def is_met(row: dict[str, Any]) -> bool:
    """Bounds are of the ratio, where there is one."""
    return row["bound"] is None or row.get("ratio", row["ours"]) <= row["bound"]


def show(rows: list[dict[str, Any]]) -> None:
    print(f"| one action on {os.cpu_count()} CPUs, {platform.machine()} | ours | beside | ratio | bound | |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        unit, peer = row["unit"], "–" if row["peer"] is None else f"{row['peer']:.2f} {row['unit']}"
        ratio = f"{row['ratio']:.2f}×" if "ratio" in row else f"{row['faster']:.1f}× faster" if "faster" in row else "–"
        bound = "–" if row["bound"] is None else f"{row['bound']:g}{'×' if 'ratio' in row else f' {unit}'}"
        verdict = "" if row["bound"] is None else "met" if is_met(row) else "MISSED"
        print(f"| {row['what']} | {row['ours']:.2f} {unit} | {peer} | {ratio} | {bound} | {verdict} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of the table")
    options = parser.parse_args()
    with quiet_conversion(), tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        small, _ = export(scratch, "small", SMALL, "onnx,tflite,c")
        large, export_s = export(scratch, "large", LARGE, ",".join(FORMATS))
        rows = beside_files_by_hand(scratch, small) + beside_the_saved_model(large)
    what = f"exporting CartPole in {len(FORMATS)} formats, with the gate"
    rows.append({"what": what, "ours": export_s, "peer": None, "bound": EXPORT_S, "unit": "s"})
    if options.json:
        print(json.dumps(rows))
    else:
        show(rows)
    sys.exit(0 if all(map(is_met, rows)) else 1)


if __name__ == "__main__":
    main()
