"""Actions of several parts, draws and the time step, for a policy in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from rlway_client import EdgePolicy, Explore
from rlway_client.contract.errors import BundleInvalid, SpecViolated, UsageError
from rlway_client.contract.exploration import draw_noise
from rlway_client.local.runners import OnnxRunner
from tests.bundles import summing_policy, write_bundle
from tests.racing import racing_manifest, racing_policy

pytest.importorskip("ai_edge_litert")
FILES = pytest.mark.parametrize("file", ["model.tflite", "model.onnx"])
OBSERVATION = [0.25, -1.0]


@FILES
def test_an_action_is_a_dict_or_a_tuple_as_the_environment_takes_it(file: str, tmp_path: Path) -> None:
    """A whole number in it is an int, the rest are arrays."""
    action = EdgePolicy(racing_policy(tmp_path).path, file).act(OBSERVATION)
    assert (action["gear"], type(action["gear"])) == (0, int)
    np.testing.assert_array_equal(action["steering"], np.array(OBSERVATION, np.float32))
    pair = EdgePolicy(racing_policy(tmp_path, "pair", paths=("0", "1")).path, file).act(OBSERVATION)
    assert isinstance(pair, tuple)
    assert pair[0] == 0


@FILES
def test_the_time_step_is_neutral_unless_it_is_given(file: str, tmp_path: Path) -> None:
    """The reward moves the steering; what the policy does not read is refused."""
    policy = EdgePolicy(racing_policy(tmp_path).path, file)
    np.testing.assert_array_equal(policy.act(OBSERVATION, time_step={"reward": 2.0})["steering"], [2.25, 1.0])
    np.testing.assert_array_equal(policy.act(OBSERVATION, time_step={})["steering"], [0.25, -1.0])
    with pytest.raises(SpecViolated, match=r"time_step\.discount"):
        policy.act(OBSERVATION, time_step={"discount": 0.0})


@FILES
def test_draws_of_both_kinds_are_explored_together(file: str, tmp_path: Path) -> None:
    """The noise is that of the contract: Gumbel numbers for the gear, normal ones for the steering."""
    policy = EdgePolicy(racing_policy(tmp_path).path, file)
    explore = Explore(temperature=2.0, sigma=0.5)
    noise = draw_noise(explore, 1, racing_manifest().draws, np.random.default_rng(7))[0]
    action = policy.act(OBSERVATION, explore=explore, seed=7)
    assert action["gear"] == int(np.argmax(np.array(OBSERVATION) + noise[:2]))
    np.testing.assert_allclose(action["steering"], np.array(OBSERVATION) + noise[2:], rtol=1e-6)
    with pytest.raises(SpecViolated, match="temperature or sigma for a mixed action, got epsilon"):
        policy.act(OBSERVATION, explore=Explore(epsilon=0.5))


@FILES
def test_a_policy_explores_by_default_if_its_manifest_says_so(file: str, tmp_path: Path) -> None:
    """An exploration by zero then asks for the greedy action."""
    default = Explore(temperature=1.0, sigma=1.0)
    policy = EdgePolicy(racing_policy(tmp_path, explore=default).path, file)
    seeded = policy.act(OBSERVATION, seed=3)["steering"]
    np.testing.assert_array_equal(seeded, policy.act(OBSERVATION, seed=3, explore=default)["steering"])
    drawn = {tuple(policy.act(OBSERVATION)["steering"]) for _ in range(5)}
    assert len(drawn) == 5
    np.testing.assert_array_equal(policy.act(OBSERVATION, explore=Explore(sigma=0.0))["steering"], OBSERVATION)


def test_an_onnx_file_keeps_the_state_of_its_episode(tmp_path: Path) -> None:
    """As a TFLite file does."""
    policy = EdgePolicy(summing_policy(tmp_path).path, "model.onnx")
    assert [policy.act([-1, 0, 0, 0]), policy.act([3, 0, 0, 0])] == [1, 0]
    assert policy.act([-3, 0, 0, 0]) == 1
    policy.reset()
    assert policy.act([0.5, 0, 0, 0]) == 0


def test_an_onnx_file_of_one_row_is_run(tmp_path: Path) -> None:
    """A graph whose batch is fixed."""
    bundle = racing_policy(tmp_path, rows=1)
    assert EdgePolicy(bundle.path, "model.onnx").act(OBSERVATION)["gear"] == 0
    runner, rows = OnnxRunner(bundle.path / "model.onnx"), np.arange(6, dtype=np.float32).reshape(3, 2)
    assert runner.batch_sizes == (1,)
    found = runner.run({"observation": rows, "noise": np.zeros((3, 4), np.float32), "reward": rows[:, 0]})
    np.testing.assert_array_equal(found["action_steering"], rows + rows[:, :1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time_step": []}, "input reward: the manifest has none of this name"),
        ({"outputs": []}, "output logits_gear: the manifest has none of this name"),
        ({"noise": None, "draws": []}, "input noise: the manifest has none"),
    ],
)
@FILES
def test_a_file_that_is_not_as_its_manifest_says_is_refused(
    file: str, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    """Whichever runtime it is for."""
    with pytest.raises(BundleInvalid, match=says):
        EdgePolicy(racing_policy(tmp_path, **change).path, file)


def test_another_kind_of_file_is_no_policy(tmp_path: Path) -> None:
    """The sentence says which files act."""
    bundle = racing_policy(tmp_path)
    other = write_bundle(tmp_path, replace(bundle.manifest, policy="other", files={}), b"", {"notes.txt": b""})
    with pytest.raises(UsageError, match=r"notes.txt: expected a file .tflite, .onnx, .c or .cc"):
        EdgePolicy(other.path, "notes.txt")
