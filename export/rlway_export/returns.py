"""What a policy earns in its environment, file by file.

In:      the environment that the manifest names; a file, or the SavedModel, as something that can be run.
Out:     the return of every episode; episode i begins alike for all files.
Refuses: a policy of no known environment (UsageError), an environment that cannot be made (EnvironmentFault).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlway_client.episodes import make_env, play_locally
from rlway_client.errors import UsageError
from rlway_client.interface import NEXT, RESET
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
        player = _Player(run, self._manifest)
        return play_locally(self._make(), player.act, self.episodes, SEED, lambda _: player.forget()).returns

    def _make(self) -> Any:
        assert self._manifest.env is not None
        return make_env(self._manifest.env, self._manifest.action_values, self._manifest.max_episode_steps)


class _Player:
    """Takes an environment's observations, and gives its actions."""

    def __init__(self, run: Run, manifest: Manifest) -> None:
        self._run, self._manifest = run, manifest
        noise = manifest.noise
        self._noise: Arrays = {noise.name: np.zeros((1, *noise.shape), np.float32)} if noise else {}
        self._memory: Arrays = {}
        self.forget()

    def forget(self) -> None:
        """An episode begins."""
        state = self._manifest.state
        self._memory = {spec.name: np.zeros((1, *spec.shape), spec.numpy_dtype) for spec in state}
        if state:
            self._memory[RESET.name] = np.ones(1, np.bool_)

    def act(self, observation: Any) -> Any:
        inputs = self._noise | self._memory
        for spec in self._manifest.observation:
            part = observation
            for key in spec.path:
                part = part[key]
            inputs[spec.name] = np.asarray(part, spec.numpy_dtype).reshape(1, *spec.shape)
        outputs = self._run(inputs)
        for spec in self._manifest.state:
            self._memory[spec.name] = outputs[NEXT + spec.name]
            self._memory[RESET.name] = np.zeros(1, np.bool_)
        action = outputs["action"][0]
        return int(action) if self._manifest.action.is_discrete and not action.ndim else action
