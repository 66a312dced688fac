"""Environments that people bring: whose interface they have, their shapes, and whether the advice on them works."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.wrappers import FlattenObservation

from rlway_client.cli import main
from rlway_client.environments import find_environment
from rlway_client.episodes import open_env, play_locally
from rlway_client.errors import EnvironmentFault
from rlway_train.algorithms import make_learner
from rlway_train.collector import Collector
from rlway_train.environment import Domain, find_domain
from rlway_train.settings import DqnSettings, SacSettings, Settings
from tests.train.test_perception import SMALL, deployed

DOCS = Path(__file__).parents[2] / "docs/training.md"
LONGEST_SENTENCE = 300

# TF-Agents' guide to environments, and what people make of it.
PY = """
import functools
import numpy as np, tensorflow as tf
from tf_agents.environments import batched_py_environment, parallel_py_environment, py_environment
from tf_agents.environments import suite_gym, tf_environment, tf_py_environment
from tf_agents.environments.wrappers import PyEnvironmentBaseWrapper
from tf_agents.environments.examples.tic_tac_toe_environment import TicTacToeEnvironment
from tf_agents.specs import array_spec, tensor_spec
from tf_agents.trajectories import time_step as ts

class CardGame(py_environment.PyEnvironment):
    def __init__(self):
        super().__init__()
        self._action_spec = array_spec.BoundedArraySpec((), np.int32, 0, 1, name="action")
        self._observation_spec = array_spec.BoundedArraySpec((1,), np.int32, 0, 30, name="observation")
    def action_spec(self):
        return self._action_spec
    def observation_spec(self):
        return self._observation_spec
    def _reset(self):
        self._sum = 0
        return ts.restart(self._seen())
    def _seen(self):
        return np.array([self._sum], np.int32)
    def _step(self, action):
        if action not in (0, 1):
            raise ValueError(f"`action` should be 0 or 1, got {action!r}.")
        if action == 0:
            self._sum += np.random.randint(1, 11)
        if action == 1 or self._sum >= 21:
            return ts.termination(self._seen(), self._sum - 21 if self._sum <= 21 else -21)
        return ts.transition(self._seen(), 0.0)

class Shaped(CardGame):
    SPEC = array_spec.BoundedArraySpec((3, 3), np.int32, 0, 30)
    ACTIONS = array_spec.BoundedArraySpec((), np.int64, 1, 2)
    def __init__(self):
        super().__init__()
        self._observation_spec, self._action_spec = self.SPEC, self.ACTIONS
    def _seen(self):
        return np.full((3, 3), self._sum, np.int32)
    def _step(self, action):
        return super()._step(action - 1)

class Pair(Shaped):
    SPEC = (array_spec.BoundedArraySpec((2, 2), np.int32, 0, 30), array_spec.ArraySpec((), np.bool_))
    def _seen(self):
        return np.full((2, 2), self._sum, np.int32), np.array(self._sum > 10)

class InAList(Shaped):
    ACTIONS = array_spec.BoundedArraySpec((1,), np.int32, 1, 2)
    def _step(self, action):
        assert action.shape == (1,) and action.dtype == np.int32
        return super()._step(action[0])

class Wheel(CardGame):  # one float, by itself
    def __init__(self):
        super().__init__()
        self._action_spec = array_spec.BoundedArraySpec((), np.float32, -1, 1)
    def _step(self, action):
        assert action.shape == ()
        return super()._step(int(action > 0))

class Hands(CardGame):  # two by two floats
    def __init__(self):
        super().__init__()
        self._action_spec = array_spec.BoundedArraySpec((2, 2), np.float32, [[0, -2], [-1, -1]], 4)
    def _step(self, action):
        assert action.shape == (2, 2)
        return super()._step(int(action[0, 1] > 0))

class Nested(CardGame):  # a dict of actions
    def __init__(self):
        super().__init__()
        self._action_spec = {"b": (array_spec.BoundedArraySpec((), np.int32, 0, 1),), "a": self._action_spec}
    def _step(self, action):
        assert action["b"][0].shape == ()
        return super()._step(action["a"])

class Native(tf_environment.TFEnvironment):
    def __init__(self, batch_size=1):
        number = tensor_spec.BoundedTensorSpec((2,), tf.float32, 0, 9)
        super().__init__(ts.time_step_spec(number), tensor_spec.BoundedTensorSpec((), tf.int32, 1, 3), batch_size)
        self._n = tf.Variable(tf.zeros([batch_size, 2]))
    def _current_time_step(self):
        return ts.transition(self._n, tf.ones(self.batch_size))
    @tf.function
    def _reset(self):
        self._n.assign(tf.zeros_like(self._n))
        return ts.restart(self._n, self.batch_size)
    @tf.function
    def _step(self, action):
        tf.debugging.assert_greater_equal(action, 1)
        self._n.assign_add(tf.ones_like(self._n))
        if self._n[0, 0] < 3:
            return ts.transition(self._n, tf.cast(action, tf.float32))
        return ts.termination(self._n, tf.cast(action, tf.float32))

class Bare(CardGame):  # begins otherwise each time, whatever the seed
    begun = 0
    def _reset(self):
        Bare.begun += 1
        self._sum = Bare.begun % 10
        return ts.restart(self._seen())

class Wrapped(tf_py_environment.TFPyEnvironment):
    def __init__(self):
        super().__init__(CardGame())

def guided():
    return tf_py_environment.TFPyEnvironment(CardGame())
def batched():
    return batched_py_environment.BatchedPyEnvironment([CardGame(), CardGame()])
def parallel():
    return parallel_py_environment.ParallelPyEnvironment([CardGame] * 2)
several = lambda: Native(batch_size=3)
pole = functools.partial(suite_gym.load, "CartPole-v0")
lonely = functools.partial(CardGame)
already = guided()
Tower = TicTacToeEnvironment
"""


def run(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return ended.value.code


@pytest.fixture(scope="module")
def py(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of TF-Agents' environments."""
    path = tmp_path_factory.mktemp("own") / "games.py"
    path.write_text(PY)
    return path


def checked(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `rlway env check` finds."""
    status = run("env", "check", name, "--episodes", "3", "--time-limit", "50", "--json")
    printed = capsys.readouterr()
    assert status == 0, printed.err
    found: dict[str, Any] = json.loads(printed.out)
    return found


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
    """With the arguments that it was registered with; and a wrapper, which gymnasium itself does not make."""
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
    """In one sentence, whichever command is asked."""
    for words in (["env", "check", str(py)], ["train", "dqn", "--env", str(py)]):
        assert run(*words) == 1
        printed = capsys.readouterr().err
        assert f"{py}:CardGame, {py}:Shaped" in printed
        assert "TFPyEnvironment" not in printed
        assert len(printed.strip().splitlines()) == 1


class Refused(NamedTuple):
    """A refusal, and its own advice followed."""

    name: str
    says: str
    code: str  # that follows the advice
    then: str  # the name to give instead, or a flag to give with the same one


# `{continuous}`: with SAC; `{discretize}`: with --discretize.
BY_DQN = [
    Refused(
        "Nested",
        "a PyEnvironmentBaseWrapper (tf_agents.environments.wrappers) whose action_spec",
        """
class Chosen(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(Nested())
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int32, 0, 3)
    def _step(self, action):
        return self._env.step({"a": action % 2, "b": (action // 2,)})
""",
        "Chosen",
    ),
    Refused(
        "Tower",
        "whose action_spec is one whole number from 0 to n - 1 around it",
        """
class Numbered(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(TicTacToeEnvironment())
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int32, 0, 8)
    def _step(self, action):
        return self._env.step(np.array(divmod(int(action), 3)))
""",
        "Numbered",
    ),
    Refused("Wheel", "use SAC (rlway train sac), or --discretize N", "", "{continuous}"),
    Refused("Wheel", "use SAC (rlway train sac), or --discretize N", "", "{discretize}"),
    Refused("Hands", "use SAC (rlway train sac).", "", "{continuous}"),
    Refused(
        "Unbounded",
        "a PyEnvironmentBaseWrapper (tf_agents.environments.wrappers) whose action_spec",
        """
class Wide(CardGame):
    def action_spec(self):
        return array_spec.ArraySpec((2,), np.float32)
Unbounded = Wide
class Stepwise(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(Wide())
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int32, 0, 1)
""",
        "Stepwise",
    ),
    Refused(
        "Endless",
        "make it a BoundedArraySpec with both",
        """
class Endless(CardGame):
    def action_spec(self):
        return array_spec.ArraySpec((), np.int64)
class Ended(Endless):
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int64, 0, 1)
""",
        "Ended",
    ),
    Refused(
        "Many",
        "that numbers the best of them",
        """
class Many(CardGame):
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int32, 0, 10**6)
class Few(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(Many())
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int32, 0, 1)
""",
        "Few",
    ),
    Refused(
        "Camera",
        "put a PyEnvironmentBaseWrapper (tf_agents.environments.wrappers) whose observation_spec is",
        """
class Camera(CardGame):
    def observation_spec(self):
        return array_spec.ArraySpec((4, 4, 3), np.uint8)
    def _seen(self):
        return np.zeros((4, 4, 3), np.uint8)
class Pixels(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(Camera())
    def observation_spec(self):
        return array_spec.ArraySpec((48,), np.uint8)
    def _reset(self):
        return self._flat(super()._reset())
    def _step(self, action):
        return self._flat(super()._step(action))
    def _flat(self, step):
        return step._replace(observation=step.observation.ravel())
""",
        "Pixels",
    ),
    Refused(
        "Two",
        "a PyEnvironmentBaseWrapper that adds them up",
        """
class Two(CardGame):
    def reward_spec(self):
        return array_spec.ArraySpec((2,), np.float32)
    def _step(self, action):
        step = super()._step(action)
        return step._replace(reward=np.array([step.reward, 1], np.float32))
class Sum(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(Two())
    def _step(self, action):
        step = super()._step(action)
        return step._replace(reward=step.reward.sum())
""",
        "Sum",
    ),
    Refused(
        "Spoken",
        "show it as numbers",
        """
class Spoken(CardGame):
    def observation_spec(self):
        return array_spec.ArraySpec((), np.dtype("<U1"))
class Counted(Spoken):
    def observation_spec(self):
        return array_spec.BoundedArraySpec((1,), np.int32, 0, 30)
""",
        "Counted",
    ),
    Refused("parallel", "name the class or function that it is given", "", "CardGame"),
    Refused("several", "make it with batch_size=1", "one = lambda: Native(batch_size=1)", "one"),
    Refused(
        "batch",
        "name the class or function that makes a single one",
        """
class Batch(PyEnvironmentBaseWrapper):
    def __init__(self):
        super().__init__(batched())
batch = Batch
def single():
    return PyEnvironmentBaseWrapper(CardGame())
""",
        "single",
    ),
    Refused(
        "already",
        "`def make(): return TFPyEnvironment(…)`",
        """
def make():
    return tf_py_environment.TFPyEnvironment(CardGame())
""",
        "make",
    ),
    Refused(
        "Unfilled",
        "`def make(): return Unfilled(YourEnv())`",
        """
class Unfilled(PyEnvironmentBaseWrapper): pass
def filled(): return Unfilled(CardGame())
""",
        "filled",
    ),
    Refused(
        "OldPole",
        "`def make(): return tf_agents.environments.gym_wrapper.GymWrapper(OldPole())`",
        """
from gym.envs.classic_control import CartPoleEnv
class OldPole(CartPoleEnv): pass
import tf_agents
from tf_agents.environments import gym_wrapper
def new_pole(): return tf_agents.environments.gym_wrapper.GymWrapper(OldPole())
""",
        "new_pole",
    ),
]
GYMNASIUM = """
import gymnasium, numpy as np
from gymnasium.spaces import *
from gymnasium.wrappers import FlattenObservation

class Plain(gymnasium.Env):
    observation_space, action_space = Box(0, 9, (2,), np.float32), Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t = 0
        return self.observe(), {}
    def observe(self):
        return self.observation_space.sample()
    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is none of {self.action_space}"
        self.t += 1
        return self.observe(), 1.0, self.t == 3, False, {}
"""
BY_DQN_IN_GYMNASIUM = [
    Refused(
        "Lake",
        "put gymnasium.wrappers.FlattenObservation around the environment",
        """
def Lake(): return gymnasium.make("FrozenLake-v1")
class Flat(FlattenObservation):
    def __init__(self):
        super().__init__(Lake())
""",
        "Flat",
    ),
    Refused(
        "Mixed",
        "put gymnasium.wrappers.FlattenObservation around the environment",
        """
class Mixed(Plain):
    observation_space = Dict(wall=Box(0, 1, (2,)), door=Discrete(3))
def flat(): return FlattenObservation(Mixed())
""",
        "flat",
    ),
    Refused(
        "Hand",
        "put gymnasium.wrappers.FlattenObservation around the environment",
        """
def Hand(): return gymnasium.make("Blackjack-v1")
def flat(): return FlattenObservation(Hand())
""",
        "flat",
    ),
    Refused(
        "Crowd",
        "a gymnasium.ObservationWrapper around the environment whose observation_space is a Box",
        """
class Crowd(Plain):
    observation_space = Sequence(Box(0, 1, (2,)))
class Census(gymnasium.ObservationWrapper):
    def __init__(self):
        super().__init__(Crowd())
        self.observation_space = Box(0, np.inf, (1,))
    def observation(self, observation):
        return np.array([len(observation)], np.float32)
""",
        "Census",
    ),
    Refused(
        "Camera",
        "put FlattenObservation around it",
        """
class Camera(Plain):
    observation_space = Box(0, 255, (4, 4, 3), np.uint8)
class Flat(FlattenObservation):
    def __init__(self):
        super().__init__(Camera())
""",
        "Flat",
    ),
    Refused(
        "Switches",
        "a gymnasium.ActionWrapper whose action_space is Discrete(n)",
        """
class Switches(Plain):
    action_space = MultiDiscrete([2, 3])
class Numbered(gymnasium.ActionWrapper):
    def __init__(self):
        super().__init__(Switches())
        self.action_space = Discrete(6)
    def action(self, action):
        return np.array(divmod(action, 3))
""",
        "Numbered",
    ),
    Refused(
        "Free",
        "a gymnasium.ActionWrapper whose action_space is Discrete(n)",
        """
class Free(Plain):
    action_space = Box(-np.inf, np.inf, (2,))
class Numbered(gymnasium.ActionWrapper):
    def __init__(self):
        super().__init__(Free())
        self.action_space = Discrete(2)
    def action(self, action):
        return np.full(2, action, np.float32)
""",
        "Numbered",
    ),
    Refused(
        "Many",
        "that numbers the best of them",
        """
class Many(Plain):
    action_space = Discrete(10**6)
class Few(gymnasium.ActionWrapper):
    def __init__(self):
        super().__init__(Many())
        self.action_space = Discrete(3)
    def action(self, action):
        return 10**5 * action
""",
        "Few",
    ),
    Refused(
        "Grid",
        "use SAC (rlway train sac).",
        """
class Grid(Plain):
    action_space = Box(-1, 1, (2, 2))
""",
        "{continuous}",
    ),
]
BY_SAC = [
    Refused("Plain", "use DQN (rlway train dqn)", "", "{discrete}"),
    Refused(
        "Switches",
        "a gymnasium.ActionWrapper whose action_space is a Box of floats with both bounds",
        """
class Switches(Plain):
    action_space = MultiBinary(2)
class Pressed(gymnasium.ActionWrapper):
    def __init__(self):
        super().__init__(Switches())
        self.action_space = Box(0, 1, (2,))
    def action(self, action):
        return (action > 0.5).astype(np.int8)
""",
        "Pressed",
    ),
    Refused(
        "Free",
        "SAC needs bounds on every action",
        """
class Free(Plain):
    action_space = Box(-np.inf, np.inf, (2,))
class Bound(gymnasium.ActionWrapper):
    def __init__(self):
        super().__init__(Free())
        self.action_space = Box(-1, 1, (2,))
    def action(self, action):
        return action
""",
        "Bound",
    ),
]


def steps(domain: Domain) -> None:
    """Some steps of two environments, at random, as training takes them."""
    environments = domain.make_many(2)
    environments.reset(seed=0)
    space = environments._vector.action_space
    space.seed(0)
    for _ in range(8):
        environments.step(space.sample())
    environments.close()


def always(action: Any) -> Callable[[Any], Any]:
    """A policy of one action."""
    return lambda _: action


def followed(case: Refused, path: Path, continuous: bool) -> None:
    """Refused in one sentence that is not too long; what it advises works."""
    name = f"{path}:{case.name}"
    with pytest.raises(EnvironmentFault) as refused:
        find_domain(name, time_limit=20, continuous=continuous)
    sentence = str(refused.value).replace(str(path), "games.py")
    assert case.says in sentence
    assert len(sentence) <= LONGEST_SENTENCE
    match case.then:
        case "{continuous}":
            domain = find_domain(name, time_limit=20, continuous=True)
        case "{discrete}":
            domain = find_domain(name, time_limit=20)
        case "{discretize}":
            domain = find_domain(name, discretize=3, time_limit=20)
        case other:
            domain = find_domain(f"{path}:{other}", time_limit=20, continuous=continuous)
    steps(domain)


@pytest.mark.parametrize("case", BY_DQN, ids=lambda case: f"{case.name}-{case.then}")
def test_advice_on_tf_agents_environments_works(case: Refused, tmp_path: Path) -> None:
    """What a refusal says to do is done, and the environment is learned from."""
    path = tmp_path / f"py_{case.name}{case.then.strip('{}')}.py"
    path.write_text(PY + case.code)
    followed(case, path, continuous=False)


@pytest.mark.parametrize(
    ("case", "continuous"), [(case, False) for case in BY_DQN_IN_GYMNASIUM] + [(case, True) for case in BY_SAC]
)
def test_advice_on_gymnasiums_environments_works(case: Refused, continuous: bool, tmp_path: Path) -> None:
    """Wrappers as classes and as functions."""
    path = tmp_path / f"gym_{case.name}{continuous}.py"
    path.write_text(GYMNASIUM + case.code)
    followed(case, path, continuous)


def test_advice_on_seeds_works(py: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An environment of TF-Agents has no np_random of gymnasium's; it has either of two ways."""
    assert run("env", "check", f"{py}:Bare") == 1
    assert "draw from np.random, or override seed()" in capsys.readouterr().err
    path = tmp_path / "seeded.py"
    path.write_text(
        PY
        + """
class Drawn(CardGame):
    def _reset(self):
        self._sum = np.random.randint(10)
        return ts.restart(self._seen())
class Seeded(Bare):
    def seed(self, seed):
        self._rng = np.random.default_rng(seed)
    def _reset(self):
        self._sum = int(self._rng.integers(10))
        return ts.restart(self._seen())
"""
    )
    for name in ("Drawn", "Seeded"):
        checked(f"{path}:{name}", capsys)


def test_environments_that_draw_globally_do_not_draw_from_each_other(py: Path) -> None:
    """An episode follows from its seed, whatever is played beside it, and whatever else draws."""
    alone, beside, other = (find_domain(f"{py}:CardGame").make() for _ in range(3))

    def sums(*played: Any) -> list[list[int]]:
        for env in played:
            env.reset(seed=5 if env is not other else 6)
        return [[int(env.step(0)[0][0]) for env in played] for _ in range(2)]

    np.random.seed(0)
    expected = [row[0] for row in sums(alone)]
    assert [row[0] for row in sums(beside, other)] == expected
    assert np.random.random() == np.random.RandomState(0).random()


def learnt(domain: Domain, settings: Settings) -> tuple[Any, Any]:
    """A learner after some updates, and observations as vectors."""
    learner = make_learner(settings, domain, seed=0)
    collector = Collector(domain.make_many(2), 0)
    learner.write(collector.collect(learner.random, 32))
    rows = collector.collect(learner.exploring(0), 32)
    learner.learn(rows, 0.0)
    collector.close()
    return learner, rows[:, : domain.obs_dim]


@pytest.mark.parametrize("name", ["Pair", "InAList", "Hands"])
def test_a_policy_takes_and_gives_the_environments_own_shapes(name: str, py: Path) -> None:
    """Observations are flattened within its graph; whole numbers count as the environment does."""
    continuous = name == "Hands"
    settings: Settings = SacSettings(**SMALL) if continuous else DqnSettings(**SMALL)
    domain = find_domain(f"{py}:{name}", time_limit=20, continuous=continuous)
    learner, vectors = learnt(domain, settings)
    observation = learner.perception.unpack(tf.constant(vectors))
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
    policy, chosen = deployed(folder, tmp_path / "deployed"), []

    def choose(observation: Any) -> int:
        answer = policy.act(tf.constant(observation[None], tf.float32), tf.zeros([1, 2]))["action"]
        chosen.append(int(answer[0]))
        return chosen[-1]

    played = play_locally(open_env(name), choose, 5, 0, lambda _: None)
    assert len(played.returns) == 5
    assert set(chosen) <= {1, 2}


def test_whole_numbers_may_begin_anywhere_and_lie_in_an_array(tmp_path: Path) -> None:
    """Agents count from 0, and the environment is given its own."""
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
    """It sorts the keys of a dict as text: the eleventh comes before the third."""
    path = tmp_path / "own.py"
    path.write_text(
        GYMNASIUM + "class Long(Plain):\n    observation_space = Tuple([Box(i, i + 1, (1,)) for i in range(12)])"
    )
    domain = find_domain(f"{path}:Long")
    keys = [leaf.path[0] for leaf in domain.leaves]
    assert all(one < other for one, other in pairwise(keys))
    seen = domain.make_many(1).reset(seed=0)[0]
    assert [str(int(value)) for value in seen] == keys


def test_the_examples_of_the_documentation_are_learned_from(tmp_path: Path) -> None:
    """The wrappers that docs/training.md shows, as they stand there."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    for name, obs_dim, n in (("CardGame", 1, 2), ("Lake", 16, 4), ("TicTacToe", 9, 9)):
        (code,) = [block for block in blocks if f"class {name}(" in block]
        path = tmp_path / f"{name}.py"
        path.write_text(code)
        domain = find_domain(f"{path}:{name}", time_limit=50)
        assert (domain.obs_dim, domain.n_actions) == (obs_dim, n)
        steps(domain)


def test_metadata_that_are_no_dict_are_told(tmp_path: Path) -> None:
    """gymnasium reads a dict there."""
    path = tmp_path / "own.py"
    path.write_text(GYMNASIUM + "class Odd(Plain):\n    metadata = ['human']\n")
    with pytest.raises(EnvironmentFault, match="metadata: expected a dict, got a list"):
        find_domain(f"{path}:Odd")
