"""What a policy earns in its environment, file by file.

In:      the environment that the manifest names; a file, or the SavedModel, as something that can be run.
Out:     the return of every episode; episode i begins alike for all files.
Refuses: a policy of no known environment (UsageError), an environment that cannot be made or fails (EnvironmentFault).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rlway_client.environments import sentence
from rlway_client.episodes import make_env, play_locally
from rlway_client.errors import EnvironmentFault, RlwayError, UsageError
from rlway_client.interface import NEXT, RESET, Interface
from rlway_client.manifest import Manifest
from rlway_client.parity import Arrays

SEED = 1000  # as of `rlway edge` and `rlway play`

Run = Callable[[Arrays], Arrays]


class Evaluation:
    """Some episodes, to be played by one policy after the other."""

    def __init__(self, manifest: Manifest, episodes: int) -> None:
        if not manifest.env:
            raise UsageError("--evaluate: the policy's environment is not known; leave it out.")
        self._manifest, self.episodes = manifest, episodes
        self._make().close()  # what is wrong with the environment is said before anything is converted

    def returns(self, run: Run) -> list[float]:
        """Greedily."""
        player = Player(run, self._manifest.interface)
        with playing(self._manifest.env):
            return play_locally(self._make(), player.act, self.episodes, SEED, lambda _: player.forget()).returns

    def _make(self) -> Any:
        assert self._manifest.env is not None
        return make_env(self._manifest.env, self._manifest.action_values, self._manifest.max_episode_steps)


@contextmanager
def playing(env: str | None) -> Iterator[None]:
    """A block that steps an environment, which may raise anything."""
    try:
        yield
    except RlwayError:
        raise
    except Exception as error:
        raise EnvironmentFault(f"environment {env!r}: failed while it was played: {sentence(error)}.") from error


class Player:
    """Takes an environment's observations, and gives its actions."""

    def __init__(self, run: Run, interface: Interface) -> None:
        self._run, self._interface = run, interface
        noise = interface.noise
        self._noise: Arrays = {noise.name: np.zeros((1, *noise.shape), np.float32)} if noise else {}
        self._memory: Arrays = {}
        self.forget()

    def forget(self) -> None:
        """An episode begins."""
        state = self._interface.state
        self._memory = {spec.name: np.zeros((1, *spec.shape), spec.numpy_dtype) for spec in state}
        if state:
            self._memory[RESET.name] = np.ones(1, np.bool_)

    def act(self, observation: Any) -> Any:
        outputs = self._run(self._noise | self._memory | self.leaves(observation))
        for spec in self._interface.state:
            self._memory[spec.name] = outputs[NEXT + spec.name]
            self._memory[RESET.name] = np.zeros(1, np.bool_)
        action = outputs["action"][0]
        return int(action) if self._interface.action.is_discrete and not action.ndim else action

    def leaves(self, observation: Any) -> Arrays:  # -> [1, …] by name
        """One row of each of the observation's tensors."""
        row = {}
        for spec in self._interface.observation:
            part = observation
            for key in spec.path:
                part = part[key]
            row[spec.name] = np.asarray(part, spec.numpy_dtype).reshape(1, *spec.shape)
        return row
