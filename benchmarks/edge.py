"""What EdgePolicy costs: beside a LiteRT loop that is written by hand for one policy, and as a process of its own.

In:      PYTHONPATH=. .venv-train/bin/python benchmarks/edge.py
Out:     a table: the time of one action of a policy with a dict observation and of a recurrent one, beside the loop by
         hand with their ratio; and what a robot's program takes from its first import to its first action.

Two TF-Agents policies with 256 units per layer are exported to TFLite. What is compared runs by turns, round after
round, and ratios are medians over the rounds. The loop by hand checks nothing: it copies each array
into its tensor, runs, and reads the action; of the recurrent policy it also keeps the state. The programs run in
`.venv`, in LiteRT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.processor import processor
from rlway_client import EdgePolicy
from rlway_client.common.muting import muted
from rlway_client.contract.nesting import grow, nest
from rlway_client.local.runners import open_tflite
from rlway_export.bundle.writer import write_bundle
from rlway_export.common.quiet import quiet_conversion
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.detect import open_source

ROUNDS, CALLS, STARTS = 41, 500, 11
MOST_RATIO, MOST_START_S, MOST_MB = 1.25, 0.35, 60.0
UNITS = (256, 256)
START = """
import time
start = time.perf_counter()
import sys
from rlway_client import EdgePolicy
import numpy as np
policy = EdgePolicy(sys.argv[1])
policy.act(np.zeros(4, np.float32))
seconds = time.perf_counter() - start
from rlway_client.common.memory import peak_memory_mb
print(seconds, peak_memory_mb())
"""


def save_policies(folder: Path) -> list[str]:
    """SavedModels of a policy over a dict, and of one with an LSTM; their names."""
    import tensorflow as tf
    from tf_agents.agents.dqn.dqn_agent import DqnAgent
    from tf_agents.networks.q_network import QNetwork
    from tf_agents.networks.q_rnn_network import QRnnNetwork
    from tf_agents.policies.greedy_policy import GreedyPolicy
    from tf_agents.policies.policy_saver import PolicySaver
    from tf_agents.specs import BoundedTensorSpec, TensorSpec
    from tf_agents.trajectories.time_step import time_step_spec

    action = BoundedTensorSpec((), tf.int64, 0, 3)
    joints = {
        "arm": TensorSpec((7,), tf.float32),
        "gripper": TensorSpec((1,), tf.float32),
        "imu": TensorSpec((6,), tf.float32),
    }
    flatten = {name: tf.keras.layers.Flatten() for name in joints}
    networks: dict[str, tuple[Any, Any]] = {
        "dict": (
            joints,
            QNetwork(
                joints,
                action,
                preprocessing_layers=flatten,
                preprocessing_combiner=tf.keras.layers.Concatenate(),
                fc_layer_params=UNITS,
            ),
        ),
        "recurrent": (
            TensorSpec((8,), tf.float32),
            QRnnNetwork(
                TensorSpec((8,), tf.float32),
                action,
                input_fc_layer_params=UNITS,
                lstm_size=(128,),
                output_fc_layer_params=(128,),
            ),
        ),
    }
    for name, (observation, network) in networks.items():
        agent = DqnAgent(time_step_spec(observation), action, q_network=network, optimizer=None)
        agent.initialize()
        PolicySaver(GreedyPolicy(agent.policy), batch_size=None).save(str(folder / name))
    return list(networks)


def by_hand(policy: EdgePolicy) -> Callable[[Any], int]:
    """The loop that someone would write for this one policy."""
    interface = policy.manifest.interface
    interpreter, signature = open_tflite(policy.bundle.path / "model.tflite")
    inputs = {name: one["index"] for name, one in signature.get_input_details().items()}
    outputs = {name: one["index"] for name, one in signature.get_output_details().items()}
    del signature  # while it lives, `invoke` refuses to run
    parts = [(inputs[spec.name], spec.path[0] if spec.path else None) for spec in interface.observation]
    state = [(inputs[spec.name], outputs["next_" + spec.name]) for spec in interface.state]
    action, reset = outputs["action"], inputs.get("reset")
    if reset is not None:
        interpreter.set_tensor(reset, np.zeros(1, np.bool_))
        for index, _ in state:
            interpreter.set_tensor(index, np.zeros_like(interpreter.get_tensor(index)))

    def act(observation: Any) -> int:
        for index, key in parts:
            interpreter.set_tensor(index, (observation if key is None else observation[key])[None])
        interpreter.invoke()
        for index, after in state:
            interpreter.set_tensor(index, interpreter.get_tensor(after))
        return int(interpreter.get_tensor(action)[0])

    return act


def ratio_of(policy: EdgePolicy) -> tuple[float, float, float]:
    """The median times of one action in µs, of EdgePolicy and by hand, and the median of their ratio."""
    specs = policy.manifest.observation
    rng = np.random.default_rng(0)
    observations = [
        nest({spec.name: rng.normal(size=spec.shape).astype(np.float32) for spec in specs}, grow(specs))
        for _ in range(64)
    ]
    hand = by_hand(policy)
    policy.reset()
    assert [policy.act(one) for one in observations] == [hand(one) for one in observations]
    times: dict[str, list[float]] = {"edge": [], "hand": []}
    for _ in range(ROUNDS):
        for name, act in (("edge", policy.act), ("hand", hand)):
            begun_s = time.perf_counter()
            for i in range(CALLS):
                act(observations[i % 64])
            times[name].append((time.perf_counter() - begun_s) / CALLS * 1e6)
    ratios = [edge / own for edge, own in zip(times["edge"], times["hand"], strict=True)]
    return median(times["edge"]), median(times["hand"]), median(ratios)


def starts(bundle: Path) -> tuple[float, float]:
    """Seconds from the first import to the first action, and MB of resident memory: medians over processes."""
    found = []
    for _ in range(STARTS):
        done = subprocess.run(
            [".venv/bin/python", "-c", START, str(bundle)], capture_output=True, text=True, check=True
        )
        found.append([float(word) for word in done.stdout.split()])
    seconds, memory = zip(*found, strict=True)
    return median(seconds), median(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="of CartPole, whose start is measured, such as models/cartpole/1")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    record: dict[str, Any] = processor()
    met = True
    with tempfile.TemporaryDirectory(prefix="rlway-edge-") as scratch, quiet_conversion():
        folder = Path(scratch)
        print(record["processor"])
        print("\n| policy | EdgePolicy, µs | by hand, µs | ratio | bound | |\n|---|---|---|---|---|---|")
        for name in save_policies(folder):
            source = open_source(folder / name, "best")
            bundle = write_bundle(source, folder / "models", name, parse_formats("tflite"), lambda _: None)
            with muted():
                edge, hand, ratio = ratio_of(EdgePolicy(bundle.path))
            record[name] = {"edge_us": edge, "hand_us": hand, "ratio": ratio}
            met &= ratio <= MOST_RATIO
            verdict = "met" if ratio <= MOST_RATIO else "missed"
            print(f"| {name} | {edge:.1f} | {hand:.1f} | {ratio:.2f} | {MOST_RATIO} | {verdict} |")
    if options.bundle:
        seconds, memory_mb = starts(options.bundle)
        record["start"] = {"seconds": seconds, "memory_mb": memory_mb}
        met &= seconds <= MOST_START_S and memory_mb <= MOST_MB
        print(
            f"\nimport to first action: {seconds:.2f} s (bound {MOST_START_S}), {memory_mb:.0f} MB (bound {MOST_MB:g})"
        )
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(not met)


if __name__ == "__main__":
    main()
