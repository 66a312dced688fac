"""What an environment's numbers stand for: as it says, and as far as settings leave them what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client.contract.errors import EnvironmentFault
from rlway_train.envs.domain import find_domain

OWN = """
import gymnasium
import numpy as np

class Arm(gymnasium.Env):
    metadata = {
        "meaning": {
            "control_period_s": 0.004,
            "tensors": {"observation": {"names": ["hip", "knee"], "units": "rad"}},
        }
    }
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, True, False, {}

class Wrong(Arm):
    metadata = {"meaning": {"tensors": {"observation": {"names": ["hip"]}}}}

class Odd(Arm):
    metadata = {"meaning": ["hip"]}
"""


def test_a_known_task_has_names_and_units() -> None:
    """A setting that changes the action leaves out the meaning of the action."""
    plain = find_domain("Pendulum-v1", continuous=True).meaning
    stepped = find_domain("Pendulum-v1", discretize=5).meaning
    assert plain is not None
    assert stepped is not None
    assert plain.control_period_s == stepped.control_period_s == 0.05
    assert (set(plain.tensors), set(stepped.tensors)) == ({"observation", "action"}, {"observation"})


def test_an_environment_says_it_in_its_metadata(tmp_path: Path) -> None:
    """And a meaning that does not fit its spaces is its fault."""
    file = tmp_path / "arms.py"
    file.write_text(OWN)
    meaning = find_domain(f"{file}:Arm").meaning
    assert meaning is not None
    assert (meaning.control_period_s, meaning.names) == (0.004, {"observation": ["hip", "knee"]})
    with pytest.raises(
        EnvironmentFault, match=r'metadata\["meaning"\]: observation.names: expected 2, one per element'
    ):
        find_domain(f"{file}:Wrong")
    with pytest.raises(EnvironmentFault, match=r'metadata\["meaning"\]: expected names, units and kinds by tensor'):
        find_domain(f"{file}:Odd")
