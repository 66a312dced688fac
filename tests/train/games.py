"""Environments as users write them, as the text of a file. A test adds its own.

`PY` are TF-Agents', around the card game of its guide to environments; `GYMNASIUM` is one of gymnasium's.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlway_client.cli.main import main
from rlway_train.envs.domain import Domain

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


def run(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return ended.value.code


def checked(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `rlway env check` finds."""
    status = run("env", "check", name, "--episodes", "3", "--time-limit", "50", "--json")
    printed = capsys.readouterr()
    assert status == 0, printed.err
    found: dict[str, Any] = json.loads(printed.out)
    return found


def steps(domain: Domain) -> None:
    """Some steps of two environments, at random, as training takes them."""
    environments = domain.make_many(2)
    environments.reset(seed=0)
    space = environments._vector.action_space
    space.seed(0)
    for _ in range(8):
        environments.step(space.sample())
    environments.close()
