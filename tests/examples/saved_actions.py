"""What TF-Agents itself makes of saved policies: the oracle of the tutorials' bundles. .venv-train runs it.

In:      JSON on stdin: by name, a SavedModel, a checkpoint for it or null, observations.
Out:     JSON on stdout: by name, the actions of `policy.action`, one for each observation.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tf_agents.policies.py_tf_eager_policy import SavedModelPyTFEagerPolicy
from tf_agents.trajectories import time_step as ts


def actions(saved: str, checkpoint: str | None, observations: list[Any]) -> list[Any]:
    policy = SavedModelPyTFEagerPolicy(saved, load_specs_from_pbtxt=True)
    if checkpoint is not None:
        policy.update_from_checkpoint(checkpoint)
    dtype = policy.time_step_spec.observation.dtype
    return [policy.action(ts.restart(np.asarray(seen, dtype))).action.tolist() for seen in observations]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps({name: actions(**one) for name, one in asked.items()}))
