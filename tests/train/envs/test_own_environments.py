"""Users' own environments: gymnasium's and TF-Agents' interfaces, and all shapes of observations and actions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.wrappers import FlattenObservation
from tf_agents.policies import policy_loader

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.run import checkpoint_name, read_run
from rlway_client.envs.episodes import open_env, play_locally
from rlway_client.envs.find import find_environment
from rlway_train.agents.factory import make_learner
from rlway_train.collect.collector import LocalCollector
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import Domain, find_domain
from tests.train.games import GYMNASIUM, PY, checked, run, steps

SMALL: dict[str, Any] = {"hidden": (8,), "block_steps": 32, "block_iterations": 2, "batch_size": 8, "xla": False}


@pytest.fixture(scope="module")
def py(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of TF-Agents' environments."""
    path = tmp_path_factory.mktemp("own") / "games.py"
    path.write_text(PY)
    return path


@pytest.mark.parametrize(
    ("name", "shape", "actions"),
    [
        ("CardGame", [1], (0, 1)),
        ("Wrapped", [1], (0, 1)),
        ("guided", [1], (0, 1)),
        ("batched", [1], (0, 1)),
        ("lonely", [1], (0, 1)),
        ("pole", [4], (0, 1)),
        ("Native", [2], (1, 3)),
        ("Shaped", [3, 3], (1, 2)),
    ],
)
def test_tf_agents_environments_are_taken_in_every_form(
    name: str, shape: list[int], actions: tuple[int, int], py: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes, functions and partials; PyEnvironments, those within TensorFlow's and batches, and TensorFlow's own."""
    found = checked(f"{py}:{name}", capsys)
    assert found["observation"][0]["shape"] == shape
    assert (found["action"][0]["minimum"], found["action"][0]["maximum"]) == actions
    assert found["episodes"] == 3


def test_a_registered_environment_may_be_tf_agents_too(py: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the arguments that it was registered with. It may be a wrapper, which gymnasium itself does not make."""
    find_environment(f"{py}:CardGame")
    games = sys.modules["rlway_environment_games"]
    gymnasium.register("own/Native-v0", entry_point=games.Native, kwargs={"batch_size": 1}, max_episode_steps=2)
    assert checked("own/Native-v0", capsys)["action"][0]["maximum"] == 3

    class Flat(FlattenObservation[Any, Any, Any]):
        def __init__(self, name: str) -> None:
            super().__init__(gymnasium.make(name))

    kind: Any = Flat
    gymnasium.register("own/Flat-v0", entry_point=kind, kwargs={"name": "FrozenLake-v1"})
    assert checked("own/Flat-v0", capsys)["observation"][0]["shape"] == [16]


def test_an_environment_is_checked_with_its_own_nests(py: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tuples and dicts, of observations and of actions."""
    assert [leaf["path"] for leaf in checked(f"{py}:Pair", capsys)["observation"]] == [["0"], ["1"]]
    assert [leaf["path"] for leaf in checked(f"{py}:Nested", capsys)["action"]] == [["a"], ["b", "0"]]
    assert checked(f"{py}:Tower", capsys)["action"][0]["shape"] == [2]


def test_a_file_alone_is_answered_with_its_environments(py: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one sentence, from each command."""
    for words in (["env", "check", str(py)], ["train", "dqn", "--env", str(py)]):
        assert run(*words) == 1
        printed = capsys.readouterr().err
        assert f"{py}: has CardGame, Shaped, " in printed
        assert f"such as {py}:CardGame." in printed
        assert "TFPyEnvironment" not in printed
        assert len(printed.strip().splitlines()) == 1


def always(action: Any) -> Callable[[Any], Any]:
    """A policy of one action."""
    return lambda _: action


def test_environments_that_draw_globally_do_not_draw_from_each_other(py: Path) -> None:
    """An episode follows from its seed, whatever else uses the global generators."""
    alone, beside, other = (find_domain(f"{py}:CardGame").make() for _ in range(3))

    def sums(*played: Any) -> list[list[int]]:
        for env in played:
            env.reset(seed=5 if env is not other else 6)
        return [[int(env.step(0)[0][0]) for env in played] for _ in range(2)]

    np.random.seed(0)
    expected = [row[0] for row in sums(alone)]
    assert [row[0] for row in sums(beside, other)] == expected
    assert np.random.random() == np.random.RandomState(0).random()


def learned(domain: Domain, settings: TrainingSettings) -> tuple[Any, Any]:
    """A learner after some updates, and observations as vectors."""
    learner = make_learner(settings, domain, seed=0)
    collector = LocalCollector(domain.make_many(2), 0)
    learner.write(collector.collect(learner.random, 32))
    rows = collector.collect(learner.exploring(0), 32)
    learner.learn(rows, 0)
    collector.close()
    return learner, rows[:, : domain.obs_dim]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Pair", "InAList", "Hands"])
def test_a_policy_takes_and_gives_the_environments_own_shapes(name: str, py: Path) -> None:
    """Observations are flattened within its graph. Whole numbers are counted as the environment counts."""
    continuous = name == "Hands"
    settings: TrainingSettings = SacSettings(**SMALL) if continuous else DqnSettings(**SMALL)
    domain = find_domain(f"{py}:{name}", time_limit=20, continuous=continuous)
    learner, vectors = learned(domain, settings)
    observation = learner.preprocessing.unpack(tf.constant(vectors))
    noise = np.zeros((len(vectors), *learner.noise.shape), np.float32)
    actions = learner.act()(observation, noise)["action"].numpy()
    assert actions.shape[1:] == domain.action.shape
    acted, _ = learner.policy()(vectors)
    first = 0.0 if continuous else domain.first_action
    np.testing.assert_allclose(actions.reshape(len(actions), -1), acted.reshape(len(acted), -1) + first, atol=1e-5)
    low, high = domain.action.bounds()
    assert ((actions >= low - 1e-5) & (actions <= high + 1e-5)).all()
    shown = tf.nest.map_structure(lambda part: (part.dtype.name, part.shape[1:].as_list()), observation)
    expected = {
        "Pair": {"0": ("float32", [2, 2]), "1": ("bool", [])},
        "InAList": ("float32", [3, 3]),
        "Hands": ("float32", [1]),
    }
    assert shown == expected[name]


@pytest.mark.slow
def test_what_was_trained_in_an_environment_of_tf_agents_plays_there(
    py: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 × 3 whole numbers are observed, and actions are 1 or 2: in training, in the exported function, in play."""
    name, folder = f"{py}:Shaped", tmp_path / "run"
    words = (
        "--steps 64 --initial-steps 32 --block-steps 16 --block-iterations 2 --hidden 8 --envs 2 --no-xla --no-films"
    )
    words += " --eval-every 32 --eval-episodes 2 --confirm-episodes 0 --final-episodes 2 --json"
    assert run("train", "dqn", "--env", name, "--run", str(folder), *words.split()) == 0
    trained = json.loads(capsys.readouterr().out)
    assert (trained["action"]["minimum"], trained["action"]["maximum"]) == (1, 2)
    assert trained["observation"][0]["shape"] == [3, 3]
    checkpoint = folder / checkpoint_name(read_run(folder).best_checkpoint)
    greedy, deployed = folder / "policies/greedy_policy", tmp_path / "deployed"
    policy_loader.materialize_saved_model(str(greedy), str(checkpoint), str(deployed))
    policy, chosen = tf.saved_model.load(str(deployed)), []

    def choose(observation: Any) -> int:
        answer = policy.act(tf.constant(observation[None], tf.float32), tf.zeros([1, 2]))["action"]
        chosen.append(int(answer[0]))
        return chosen[-1]

    played = play_locally(open_env(name), choose, 5, 0, lambda _: None)
    assert len(played.returns) == 5
    assert set(chosen) <= {1, 2}


def test_whole_numbers_may_begin_anywhere_and_lie_in_an_array(tmp_path: Path) -> None:
    """Agents count from 0, and the environment gets its own number."""
    path = tmp_path / "own.py"
    path.write_text(
        GYMNASIUM
        + """
class Negative(Plain):
    action_space = Discrete(3, start=-1)
class Single(Plain):
    action_space = Box(5, 7, (1,), np.int8)
class Alone(Plain):
    action_space = Box(5, 7, (), np.uint8)
class Switch(Plain):
    action_space = MultiBinary(1)
class Turned(Plain):
    action_space = Box(-1, 1, (), np.float32)
"""
    )
    for name, first, n, answer in (
        ("Negative", -1, 3, -1),
        ("Single", 5, 3, np.array([7])),
        ("Alone", 5, 3, np.array(6)),
        ("Switch", 0, 2, np.array([1])),
    ):
        domain = find_domain(f"{path}:{name}")
        assert (domain.first_action, domain.n_actions) == (first, n)
        steps(domain)
        play_locally(open_env(domain.env), always(answer), 1, 0, lambda _: None)
    turned = find_domain(f"{path}:Turned", discretize=3)
    steps(turned)
    assert turned.action_values == [-1, 0, 1]
    play_locally(open_env(turned.env, turned.action_values), always(2), 1, 0, lambda _: None)


def test_elements_of_a_tuple_are_in_tensorflows_order(tmp_path: Path) -> None:
    """TensorFlow sorts the keys of a dict as text: the eleventh comes before the third."""
    path = tmp_path / "own.py"
    path.write_text(
        GYMNASIUM + "class Long(Plain):\n    observation_space = Tuple([Box(i, i + 1, (1,)) for i in range(12)])"
    )
    domain = find_domain(f"{path}:Long")
    keys = [leaf.path[0] for leaf in domain.leaves]
    assert all(one < other for one, other in pairwise(keys))
    seen = domain.make_many(1).reset(seed=0)[0]
    assert [str(int(value)) for value in seen] == keys


def test_metadata_that_are_not_a_dict_are_refused(tmp_path: Path) -> None:
    """gymnasium expects a dict."""
    path = tmp_path / "own.py"
    path.write_text(GYMNASIUM + "class Odd(Plain):\n    metadata = ['human']\n")
    with pytest.raises(EnvironmentFault, match="metadata: expected a dict, got a list"):
        find_domain(f"{path}:Odd")
