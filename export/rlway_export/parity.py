"""Whether the exported files act as the SavedModel does.

In:      the SavedModel, observations that the trained policy visited.
Out:     `Evidence`: the same inputs for every file, and the SavedModel's answers to hold theirs against.

Half of the rows are greedy (zero noise), half carry noise, so that sampled actions are compared too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlway_client.evidence import Evidence
from rlway_client.exploration import Explore, draw_noise
from rlway_client.manifest import Parity
from rlway_client.parity import Runner, Tolerance, compare, limit_for, spread
from rlway_client.run import Job
from rlway_client.specs import AnyArray, FloatArray, TensorSpec
from rlway_export.source import SavedPolicy

ROWS = 2048


def gather(policy: SavedPolicy, observations: AnyArray) -> Evidence:
    """What the SavedModel answers to at most `ROWS` of the observations."""
    observations = spread(observations, ROWS)
    noise = sample_noise(policy.run, len(observations))
    return Evidence({"observation": observations, "noise": noise}, policy.run_act(observations, noise))


def judge(evidence: Evidence, action: TensorSpec, file: Path, runner: Runner, tolerance: Tolerance) -> list[Parity]:
    """One `Parity` per batch size of the runner."""
    limit = limit_for(action, tolerance, evidence.expected)
    return compare(file.name, runner, action, limit, evidence.inputs, evidence.expected)


def sample_noise(run: Job, rows: int) -> FloatArray:  # -> [rows, n]
    """Zeros for even rows; Gumbel or normal noise, as the action space takes it, for odd ones."""
    explore = Explore(temperature=1.0) if run.action.is_discrete else Explore(sigma=1.0)
    noise = draw_noise(explore, rows, run.noise.size, np.random.default_rng(0))
    noise[::2] = 0.0
    return noise
