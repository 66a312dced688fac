"""The run folder of `rlway train sac`, where it differs from a DQN run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import policy_loader

from rlway_client.contract.run import TrainingRun, read_run
from rlway_client.contract.specs import AnyArray, TensorSpec
from tests.train.summaries import read_scalars

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def run(continuous_run: Path) -> TrainingRun:
    return read_run(continuous_run)


@pytest.fixture(scope="session")
def visited(continuous_run: Path) -> AnyArray:
    rows: AnyArray = np.load(continuous_run / "observations.npz")["observation"]
    return rows


@pytest.fixture(scope="session")
def deployed(continuous_run: Path, run: TrainingRun, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The greedy policy with the best checkpoint's weights, as an exporter loads it."""
    policies, out = continuous_run / "policies", tmp_path_factory.mktemp("deployed") / "policy"
    checkpoint = policies / "checkpoints" / f"policy_checkpoint_{run.best_checkpoint:010d}"
    policy_loader.materialize_saved_model(str(policies / "greedy_policy"), str(checkpoint), str(out))
    return tf.saved_model.load(str(out))


def test_a_few_seconds_of_training_swing_the_pendulum_up(run: TrainingRun) -> None:
    """Random actions return some −1,200; a pendulum that is soon upright loses several times less."""
    assert -1_500 < run.random_return < -900
    assert run.final_return > run.random_return / 3


def test_run_json_says_what_is_continuous(run: TrainingRun) -> None:
    """The action's bounds, which the SavedModel loses, and the outputs and noise that `act` has."""
    assert (run.algorithm, run.env, run.preset) == ("sac", "Pendulum-v1", "pendulum-sac")
    assert run.action == TensorSpec("action", (1,), "float32", -2.0, 2.0)
    assert run.action_values is None
    assert run.noise == TensorSpec("noise", (1,), "float32")
    assert run.outputs == [TensorSpec("loc", (1,), "float32"), TensorSpec("scale", (1,), "float32")]
    assert run.steps - run.hyperparameters["initial_steps"] == run.iterations  # one update a step


def test_the_folder_holds_every_file_that_a_run_has(continuous_run: Path) -> None:
    """The layout is that of any run. With --no-films there are no films."""
    assert {path.name for path in continuous_run.iterdir()} == {
        "job.json", "run.json", "policies", "train", "evaluations.csv", "learning_curve.png", "training_curve.png",
        "observations.npz",
    }  # fmt: skip


def test_the_curve_begins_at_step_0_and_the_loss_is_logged_every_200_updates(
    continuous_run: Path, run: TrainingRun
) -> None:
    """Blocks have 20 updates and 20 steps."""
    scalars = read_scalars(continuous_run)
    assert [scalars[f"Metrics/{name}"][0][0] for name in ("AverageReturn", "AverageEpisodeLength")] == [0, 0]
    updates = {step - run.hyperparameters["initial_steps"] for step, _ in scalars["training/loss"]}
    assert set(range(200, run.iterations + 1, 200)) <= updates
    assert np.isfinite([loss for _, loss in scalars["training/loss"]]).all()


def test_zero_noise_is_the_action_of_the_greedy_saved_model(deployed: Any, visited: AnyArray) -> None:
    """`act` agrees with the signature that TF-Agents wrote for its greedy policy, with the trained weights."""
    n = len(visited)
    acted = deployed.act(visited, np.zeros((n, 1), np.float32))
    signed = deployed.signatures["action"](
        **{
            "0/observation": tf.constant(visited),
            "0/discount": tf.ones([n]),
            "0/reward": tf.zeros([n]),
            "0/step_type": tf.ones([n], tf.int32),
        }
    )
    np.testing.assert_allclose(acted["action"], signed["action"], atol=1e-5)
    np.testing.assert_allclose(acted["action"], 2 * np.tanh(acted["loc"]), atol=1e-5)


def test_no_noise_however_large_leaves_the_bounds(deployed: Any, visited: AnyArray) -> None:
    """The action is squashed into the range that run.json states."""
    for size in (-1e6, 1e6):
        action = deployed.act(visited, np.full((len(visited), 1), size, np.float32))["action"].numpy()
        np.testing.assert_allclose(action, 2 * np.sign(size))


@pytest.mark.parametrize("policy", ["policy", "collect_policy", "greedy_policy"])
def test_every_saved_policy_can_act_on_any_batch(continuous_run: Path, policy: str) -> None:
    """`act` is in all three SavedModels, with a free batch dimension."""
    loaded = tf.saved_model.load(str(continuous_run / "policies" / policy))
    for batch in (1, 3, 64):
        acted = loaded.act(np.zeros((batch, 3), np.float32), np.zeros((batch, 1), np.float32))
        assert {name: tuple(value.shape) for name, value in acted.items()} == dict.fromkeys(
            ("action", "loc", "scale"), (batch, 1)
        )
        assert acted["action"].dtype == tf.float32
