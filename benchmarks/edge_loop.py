"""EdgePolicy beside a LiteRT loop that is written by hand for one policy; `edge.py` starts it.

In:      PYTHONPATH=. .venv/bin/python benchmarks/edge_loop.py BUNDLE
Out:     in JSON, microseconds of an action of EdgePolicy and of the loop by hand, and their ratio: medians over rounds.

It runs where LiteRT is installed without TensorFlow, as on a robot. The loop by hand checks nothing: it copies each
array into its tensor, runs, and reads the action; of a recurrent policy it also keeps the state. Both run by turns, and
the processor's time of this thread counts, since other work on the machine disturbs it least.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from rlway_client import EdgePolicy
from rlway_client.common.muting import muted
from rlway_client.contract.nesting import grow, nest
from rlway_client.local.runners import open_tflite

ROUNDS, CALLS = 201, 100


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
            begun_s = time.thread_time()
            for i in range(CALLS):
                act(observations[i % 64])
            times[name].append((time.thread_time() - begun_s) / CALLS * 1e6)
    ratios = [edge / own for edge, own in zip(times["edge"], times["hand"], strict=True)]
    return median(times["edge"]), median(times["hand"]), median(ratios)


def main() -> None:
    with muted():  # LiteRT's delegate prints a line
        edge, hand, ratio = ratio_of(EdgePolicy(sys.argv[1]))
    print(json.dumps({"edge_us": edge, "hand_us": hand, "ratio": ratio}))


if __name__ == "__main__":
    main()
