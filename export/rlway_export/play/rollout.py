"""The returns that a policy earns in its environment, file by file.

In:      the environment; a file, or the SavedModel, as a function that can be run.
Out:     the return of every episode; episode i begins in the same way for all files.
Refuses: an environment that cannot be made, or that fails (EnvironmentFault).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlway_client.contract.interface import NEXT, RESET, Interface
from rlway_client.contract.nesting import grow, read, row_of
from rlway_client.contract.parity import Arrays
from rlway_client.contract.time_step import neutral_time_step, read_time_step
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
        time_step = self._interface.time_step
        return play_locally(env, player.act, self.episodes, SEED, lambda _: None, player.reset, time_step).returns


class Player:
    """Takes an environment's observations, and gives its actions."""

    def __init__(self, run: ActFunction, interface: Interface) -> None:
        self._run, self._interface = run, interface
        noise = interface.noise
        self._fixed: Arrays = neutral_time_step(interface.time_step, 1)
        if noise is not None:
            self._fixed[noise.name] = np.zeros((1, *noise.shape), np.float32)
        self._state: Arrays = {}  # the policy state, and `reset`
        self._tree, self._action = grow(interface.observation), grow(interface.actions)
        self.reset()

    def reset(self) -> None:
        """Begins an episode."""
        state = self._interface.state
        self._state = {spec.name: np.zeros((1, *spec.shape), spec.numpy_dtype) for spec in state}
        if state:
            self._state[RESET.name] = np.ones(1, np.bool_)

    def act(self, observation: Any, time_step: Mapping[str, Any] | None = None) -> Any:
        told = read_time_step(time_step, self._interface.time_step) if time_step else {}
        outputs = self._run(self._fixed | self._state | self.read(observation) | told)
        for spec in self._interface.state:
            self._state[spec.name] = outputs[NEXT + spec.name]
            self._state[RESET.name] = np.zeros(1, np.bool_)
        return row_of(outputs, self._action)

    def read(self, observation: Any) -> Arrays:  # -> [1, …] by name
        """One row of each of the observation's tensors."""
        return read(observation, self._tree)
