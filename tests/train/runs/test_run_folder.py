"""The run folder of `rlway train dqn`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import msgspec
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import policy_loader

from rlway_client.cli.main import main
from rlway_client.contract.run import kept_checkpoints, read_job, read_run
from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_train.collect.evaluator import Evaluator
from rlway_train.envs.domain import find_domain
from rlway_train.policies.numpy import StatelessPolicy
from tests.train.conftest import Finished

pytestmark = pytest.mark.slow


def observations(finished: Finished) -> Any:
    return np.load(finished.folder / "observations.npz")["observation"]


def evaluations(finished: Finished) -> list[dict[str, str]]:
    with (finished.folder / "evaluations.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def deployed(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The greedy policy with the best checkpoint's weights, as an exporter loads it."""
    policies, out = finished.folder / "policies", tmp_path_factory.mktemp("deployed") / "policy"
    checkpoint = policies / "checkpoints" / f"policy_checkpoint_{finished.run.best_checkpoint:010d}"
    policy_loader.materialize_saved_model(str(policies / "greedy_policy"), str(checkpoint), str(out))
    return tf.saved_model.load(str(out))


def test_a_few_seconds_of_training_beat_random_actions_by_far(finished: Finished) -> None:
    """CartPole's return is several times that of random actions."""
    assert 15 < finished.run.random_return < 35
    assert finished.run.final_return > 4 * finished.run.random_return


def test_the_folder_holds_every_file_that_a_run_has(finished: Finished) -> None:
    """Nothing of the documented layout is missing."""
    files = {path.name for path in finished.folder.iterdir()}
    assert files == {
        "job.json", "run.json", "policies", "train", "evaluations.csv", "learning_curve.png", "training_curve.png",
        "trained.mp4", "random.mp4", "observations.npz",
    }  # fmt: skip
    assert {path.name for path in (finished.folder / "policies").iterdir()} == {
        "policy", "collect_policy", "greedy_policy", "checkpoints",
    }  # fmt: skip
    assert list((finished.folder / "train").glob("events.out.tfevents.*"))


def test_run_json_reads_back_as_it_was_printed(finished: Finished) -> None:
    """`--json` prints the file's own content, and the file says what was asked for."""
    run = finished.run
    assert json.loads((finished.folder / "run.json").read_bytes()) == finished.printed
    assert (run.algorithm, run.env, run.preset, run.seed) == ("dqn", "CartPole-v1", "cartpole", 1)
    assert run.hyperparameters["envs"] == 4
    assert 6_000 <= run.steps < 6_000 + run.hyperparameters["block_steps"]
    assert run.iterations_per_s > 0
    assert (run.observation[0].shape, run.action.maximum, run.noise.shape) == ((4,), 1, (2,))


def test_a_running_training_says_what_it_trains_and_which_checkpoints_are_complete(finished: Finished) -> None:
    """job.json is the first part of run.json. Every checkpoint says when it was kept."""
    job = read_job(finished.folder)
    assert job is not None
    assert msgspec.structs.asdict(job).items() <= msgspec.structs.asdict(finished.run).items()
    kept = kept_checkpoints(finished.folder)
    assert len(kept) == len(list((finished.folder / "policies/checkpoints").iterdir()))
    assert kept[-1].iteration == finished.run.latest_checkpoint
    assert (kept[-1].step, 0 < kept[-1].wall_s <= finished.run.wall_s) == (finished.run.steps, True)


def test_only_our_own_lines_are_printed(finished: Finished) -> None:
    """Without a terminal, stderr has a line for each evaluation and some between, and no notices of libraries."""
    lines = finished.stderr.splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("step ")] == []
    assert sum(" return " in line for line in lines) == len(evaluations(finished))


def test_the_best_checkpoint_is_the_one_that_evaluated_best(finished: Finished) -> None:
    """Its number is an iteration of evaluations.csv, with the highest mean return."""
    rows = evaluations(finished)
    columns = "step iteration wall_s mean_return std_return low_return high_return mean_length episodes"
    assert list(rows[0]) == columns.split()
    best = max(rows[1:], key=lambda row: float(row["mean_return"]))
    assert int(best["iteration"]) == finished.run.best_checkpoint
    assert finished.run.chosen_among == len(rows) - 1
    for row in rows:
        assert float(row["low_return"]) <= float(row["mean_return"]) <= float(row["high_return"])


def test_the_fresh_return_has_an_interval(finished: Finished) -> None:
    """Of 20 episodes; without width if all of them get the full return."""
    assert finished.run.final_interval is not None
    low, high = finished.run.final_interval
    assert 0 < low <= finished.run.final_return <= high <= 500
    assert (low < high) == (finished.run.final_return < 500)


def test_the_best_and_the_latest_checkpoints_are_there(finished: Finished) -> None:
    """An exporter finds both under their numbers."""
    folder = finished.folder / "policies" / "checkpoints"
    for number in (finished.run.best_checkpoint, finished.run.latest_checkpoint):
        assert (folder / f"policy_checkpoint_{number:010d}" / "variables" / "variables.index").is_file()
    assert finished.run.latest_checkpoint == finished.run.iterations


@pytest.mark.parametrize("name", ["trained.mp4", "random.mp4"])
def test_the_films_are_short_and_show_something(finished: Finished, name: str) -> None:
    """A few seconds, in which the picture changes."""
    film = imageio.get_reader(finished.folder / name)
    frames = [np.asarray(frame) for frame in film.iter_data()]
    assert 1 < len(frames) / film.get_meta_data()["fps"] <= 10.5
    assert (frames[0] != frames[-1]).any()


def test_the_learning_curve_is_a_picture(finished: Finished) -> None:
    """A PNG of a readable size, not a blank one."""
    picture = imageio.imread(finished.folder / "learning_curve.png")
    assert picture.shape[0] >= 400
    assert picture.shape[1] >= 800
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20


def test_visited_observations_are_many_and_finite(finished: Finished) -> None:
    """Enough rows for parity and calibration, all of them states that the environment allows."""
    visited = observations(finished)
    assert visited.dtype == np.float32
    assert visited.shape[0] >= 2_000
    assert visited.shape[1:] == finished.run.observation[0].shape
    assert np.isfinite(visited).all()
    assert len(np.unique(visited, axis=0)) > 1_000
    assert np.abs(visited[:, 0]).max() < 2.4


def test_zero_noise_is_the_greedy_action(finished: Finished, deployed: Any) -> None:
    """`act` takes the best Q-value, and agrees with the policy's own signature."""
    visited = observations(finished)
    n = len(visited)
    acted = deployed.act(visited, np.zeros((n, 2), np.float32))
    np.testing.assert_array_equal(acted["action"], np.argmax(acted["q_values"], axis=1))
    signed = deployed.signatures["action"](
        **{
            "0/observation": tf.constant(visited),
            "0/discount": tf.ones([n]),
            "0/reward": tf.zeros([n]),
            "0/step_type": tf.ones([n], tf.int32),
        }
    )
    np.testing.assert_array_equal(acted["action"], signed["action"])


@pytest.mark.parametrize("forced", [0, 1])
def test_noise_forces_and_masks_actions(finished: Finished, deployed: Any, forced: int) -> None:
    """1e30 on an action's noise makes it the action; −∞ on it makes it the other."""
    visited = observations(finished)[:500]
    noise = np.zeros((500, 2), np.float32)
    noise[:, forced] = 1e30
    assert set(deployed.act(visited, noise)["action"].numpy()) == {forced}
    noise[:, forced] = -np.inf
    assert set(deployed.act(visited, noise)["action"].numpy()) == {1 - forced}


@pytest.mark.parametrize("policy", ["policy", "collect_policy", "greedy_policy"])
def test_every_saved_policy_can_act_on_any_batch(finished: Finished, policy: str) -> None:
    """`act` is in all three SavedModels, with a free batch dimension."""
    loaded = tf.saved_model.load(str(finished.folder / "policies" / policy))
    for batch in (1, 3, 64):
        acted = loaded.act(np.zeros((batch, 4), np.float32), np.zeros((batch, 2), np.float32))
        assert acted["action"].shape == (batch,)
        assert acted["action"].dtype == tf.int64
        assert acted["q_values"].shape == (batch, 2)


def test_a_checkpoint_changes_what_the_saved_model_does(finished: Finished, deployed: Any) -> None:
    """The SavedModel is saved untrained; materialised from a checkpoint, `act` follows the trained weights."""
    untrained = tf.saved_model.load(str(finished.folder / "policies" / "greedy_policy"))
    visited, noise = observations(finished)[:100], np.zeros((100, 2), np.float32)
    before, after = untrained.act(visited, noise)["q_values"], deployed.act(visited, noise)["q_values"]
    assert np.abs(before - after).max() > 1.0
    assert int(deployed.get_train_step()) == finished.run.best_checkpoint


class Deployed(StatelessPolicy):
    """A SavedModel as a policy that plays."""

    def __init__(self, loaded: Any) -> None:
        self._act = loaded.act

    def act(self, observations: FloatArray) -> AnyArray:
        actions: AnyArray = self._act(observations, np.zeros((len(observations), 2), np.float32))["action"].numpy()
        return actions


def test_the_deployed_policy_earns_the_return_that_run_json_claims(finished: Finished, deployed: Any) -> None:
    """Loaded from disk and played in the environment, it returns about as much."""
    evaluator = Evaluator(find_domain("CartPole-v1").make_many(40))
    played = evaluator.evaluate(Deployed(deployed), 40, seed=99)
    assert played.mean_return == pytest.approx(finished.run.final_return, rel=0.25)


def test_the_same_seed_trains_the_same_policy(tmp_path: Path) -> None:
    """Two short trainings with one seed agree to the last bit."""
    trained = {}
    for name in ("one", "again"):
        arguments = ["train", "dqn", "--env", "CartPole-v1", "--seed", "5", "--run", str(tmp_path / name)]
        arguments += ["--steps", "2000", "--hidden", "16", "--eval-every", "1000", "--no-films"]
        arguments += ["--eval-episodes", "4", "--confirm-episodes", "0", "--final-episodes", "4"]
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        latest = f"policy_checkpoint_{read_run(tmp_path / name).latest_checkpoint:010d}"
        saved = tf.train.load_checkpoint(str(tmp_path / name / "policies/checkpoints" / latest / "variables/variables"))
        trained[name] = np.concatenate(
            [saved.get_tensor(key).ravel() for key in sorted(saved.get_variable_to_shape_map()) if "model_var" in key]
        )
    assert trained["one"].size == 4 * 16 + 16 + 16 * 2 + 2
    np.testing.assert_array_equal(trained["one"], trained["again"])
