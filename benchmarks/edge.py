"""What EdgePolicy costs: beside a LiteRT loop that is written by hand for one policy, and as a process of its own.

In:      PYTHONPATH=. .venv-train/bin/python benchmarks/edge.py
Out:     a table: the time of one action of a policy with a dict observation and of a recurrent one, beside the loop by
         hand with their ratio; and what a robot's program takes from its first import to its first action.

Two TF-Agents policies with 256 units per layer are exported to TFLite. The loop by hand is in `edge_loop.py`, and
checks nothing. The programs that are measured run in `.venv`, in LiteRT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processor import processor
from rlway_export.bundle.writer import write_bundle
from rlway_export.common.quiet import quiet_conversion
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.detect import open_source

STARTS = 11
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


def compared(bundle: Path) -> dict[str, float]:
    """The median times of one action, of EdgePolicy and by hand, and the median of their ratio."""
    command = [".venv/bin/python", "benchmarks/edge_loop.py", str(bundle)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, text=True))
    return found


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
            found = record[name] = compared(bundle.path)
            met &= found["ratio"] <= MOST_RATIO
            verdict = "met" if found["ratio"] <= MOST_RATIO else "missed"
            times = f"{found['edge_us']:.1f} | {found['hand_us']:.1f} | {found['ratio']:.2f}"
            print(f"| {name} | {times} | {MOST_RATIO} | {verdict} |")
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
