"""The cost of one SAC update: as TF-Agents' tutorial calls it, as bare computation in one graph, and in RLway.

In:      nothing but this machine: .venv-train/bin/python benchmarks/sac_learner.py
Out:     milliseconds an update and updates a second, with and without XLA.

All of them train TF-Agents' `SacAgent` at the size of its Minitaur tutorial: 28 observed numbers, 8 actions, actor and
critics of 256-256, batches of 256. "One call an update" wraps `agent.train` in `common.function` and passes it a
constant batch: the tutorial's replay and environment come on top. "Bare, fused" runs 64 updates on one constant batch
within one graph. "rlway" writes 64 rows to the replay, samples 64 batches from it and runs 64 updates.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.common.quiet import quiet_compiler, quiet_libraries
from rlway_train.config.settings import SacSettings

OBSERVED, ACTIONS, BLOCK = 28, 8, 64


def make_learner(xla: bool) -> tuple[Any, FloatArray]:
    """A learner whose replay holds 10,000 random rows, and the next block of them."""
    from rlway_train.agents.factory import make_replay
    from rlway_train.agents.sac import SacLearner
    from rlway_train.collect.transition import TransitionColumns
    from rlway_train.envs.domain import Domain

    domain = Domain(
        env="random numbers",
        spec=EnvSpec("Imagined-v0"),
        leaves=[TensorSpec("observation", (OBSERVED,), "float32")],
        action=TensorSpec("action", (ACTIONS,), "float32", -1.0, 1.0),
        discretize=None,
        action_values=None,
    )
    settings, columns = (
        SacSettings(xla=xla, block_steps=BLOCK, block_iterations=BLOCK),
        TransitionColumns(OBSERVED, ACTIONS),
    )
    learner = SacLearner(settings, domain, 0, make_replay(settings, columns.width))
    rows = np.random.default_rng(0).standard_normal((10_000, columns.width), np.float32)
    rows[:, columns.action] = np.tanh(rows[:, columns.action])
    rows[:, columns.discount] = 1.0
    learner.replay.write(rows)
    return learner, rows[:BLOCK]


def measure(rounds: int) -> dict[str, float]:
    """The median milliseconds of one update, for each way to run it. The first calls, which trace, are left out."""
    import tensorflow as tf
    from tf_agents.utils import common

    quiet_compiler()
    plain, block = make_learner(xla=False)
    compiled, _ = make_learner(xla=True)
    batch = plain._transition(tf.constant(np.resize(block, (plain.settings.batch_size, block.shape[1]))))
    one = common.function(plain.agent.train)

    @tf.function  # type: ignore[untyped-decorator]
    def many() -> None:
        for _ in tf.range(BLOCK):
            plain.agent.train(batch)

    def singly() -> None:
        for _ in range(BLOCK):
            one(batch)

    ways: dict[str, Callable[[], Any]] = {
        "one call an update": singly,
        "bare, fused": many,
        "rlway": lambda: plain.learn(block, 0),
        "rlway --xla": lambda: compiled.learn(block, 0),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # in turn, so that other load on the machine affects all of them
        for name, run in ways.items():
            start_s = time.perf_counter()
            run()
            if turn:
                taken[name].append((time.perf_counter() - start_s) * 1e3 / BLOCK)
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="blocks of 64 updates")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    quiet_libraries()
    measured = measure(options.rounds)
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in measured.items()}))
        return
    print(f"| SAC update, batch 256, 256-256, {os.cpu_count()} CPUs | ms | updates/s |")
    print("|---|---|---|")
    for name, value in measured.items():
        print(f"| {name} | {value:.2f} | {1e3 / value:,.0f} |")


if __name__ == "__main__":
    main()
