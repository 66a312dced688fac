"""Environments that training refuses, with the sentence it prints and the code that follows its advice."""

from __future__ import annotations

from typing import NamedTuple


class Refused(NamedTuple):
    """A refusal, and code that follows its advice."""

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
        "Spaced",
        "a gymnasium.ObservationWrapper around it that renames it",
        """
class Spaced(Plain):
    observation_space = Dict({"my arm": Box(0, 9, (2,))})
class Renamed(gymnasium.ObservationWrapper):
    def __init__(self):
        super().__init__(Spaced())
        self.observation_space = Dict({"my_arm": Box(0, 9, (2,))})
    def observation(self, observation):
        return {"my_arm": observation["my arm"]}
""",
        "Renamed",
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
