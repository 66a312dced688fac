"""The returns that a policy earns in its environment, file by file.

In:      the environment; a file, or the SavedModel, as a function that can be run.
Out:     the return of every episode; episode i begins in the same way for all files.
Refuses: an environment that cannot be made, or that fails (EnvironmentFault).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlway_client.contract.interface import NEXT, RESET, Interface
from rlway_client.contract.nesting import grow, read
from rlway_client.contract.parity import Arrays
from rlway_client.envs.episodes import play_locally
from rlway_export.play.environment import SEED, Environment

ActFunction = Callable[[Arrays], Arrays]  # the policy's inputs to its results, by name, over any rows


class Rollout:
    """A number of episodes, to be played by one file after the other."""

    def __init__(self, environment: Environment, interface: Interface, episodes: int) -> None:
        self._environment, self._interface, self.episodes = environment, interface, episodes

    def returns(self, run: ActFunction) -> list[float]:
        """Plays greedily."""
        player = Player(run, self._interface)
        env = self._environment.open()
        return play_locally(env, player.act, self.episodes, SEED, lambda _: None, player.reset).returns


class Player:
    """Takes an environment's observations, and gives its actions."""

    def __init__(self, run: ActFunction, interface: Interface) -> None:
        self._run, self._interface = run, interface
        noise = interface.noise
        self._noise: Arrays = {noise.name: np.zeros((1, *noise.shape), np.float32)} if noise else {}
        self._state: Arrays = {}  # the policy state, and `reset`
        self._tree = grow(interface.observation)
        self.reset()

    def reset(self) -> None:
        """Begins an episode."""
        state = self._interface.state
        self._state = {spec.name: np.zeros((1, *spec.shape), spec.numpy_dtype) for spec in state}
        if state:
            self._state[RESET.name] = np.ones(1, np.bool_)

    def act(self, observation: Any) -> Any:
        outputs = self._run(self._noise | self._state | self.read(observation))
        for spec in self._interface.state:
            self._state[spec.name] = outputs[NEXT + spec.name]
            self._state[RESET.name] = np.zeros(1, np.bool_)
        action = outputs["action"][0]
        return int(action) if self._interface.actions[0].is_discrete and not action.ndim else action

    def read(self, observation: Any) -> Arrays:  # -> [1, …] by name
        """One row of each of the observation's tensors."""
        return read(observation, self._tree)
