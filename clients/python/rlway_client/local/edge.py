"""Runs a policy's file in this process, as on a robot: without a server, and in LiteRT without TensorFlow.

In:      one observation, as the environment gives it.
Out:     one action, as the environment takes it.
Refuses: a bundle without the file, or with a file that its manifest does not describe (BundleInvalid); an observation
         that does not fit (SpecViolated); an action that the bundle's guard refuses (ActionRefused); a machine without
         LiteRT and TensorFlow (RuntimeMissing).

    policy = EdgePolicy("models/cartpole/1")
    action = policy.act(observation)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.bundle import Bundle, newest_bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.exploration import Explore, check_explore, draw_noise
from rlway_client.contract.guard import Violations
from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.nesting import grow, read, row_of
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import FloatArray
from rlway_client.contract.time_step import neutral_time_step, read_time_step
from rlway_client.local.edge_guard import EdgeGuard
from rlway_client.local.row_runner import open_row_runner


class EdgePolicy:
    """One policy in one interpreter, with the policy state of its episode. Not for several threads at once."""

    def __init__(
        self, bundle: str | Path, file: str = "model.tflite", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`bundle` is models/<policy>/<version>, or models/<policy> for its newest version. Raises BundleInvalid.

        `file` is one of its TFLite or ONNX files. `clock` tells the seconds for which a guard limits changes.
        """
        self.bundle = Bundle.open(newest_bundle(Path(bundle)))
        self.manifest = self.bundle.manifest
        if file not in self.manifest.files:
            raise BundleInvalid(f"{self.bundle.path}: has no {file}; export the policy with that format.")
        interface = self.manifest.interface
        self._run = open_row_runner(self.bundle.path / file, interface)
        self._tree, self._action = grow(interface.observation), grow(interface.actions)
        self._draws = interface.noise_draws
        self._fixed: Arrays = neutral_time_step(interface.time_step, 1)  # the inputs of an action without options
        if interface.noise is not None:
            self._fixed[interface.noise.name] = np.zeros((1, interface.noise.size), np.float32)
        self._generator = np.random.default_rng()
        guard = self.bundle.read_guard()
        self._guard = None if guard is None else EdgeGuard(guard, interface.actions, clock)
        self._state: Arrays = {}
        self.reset()

    def act(
        self,
        observation: Any,
        *,
        explore: Explore | None = None,
        seed: int | None = None,
        time_step: Mapping[str, Any] | None = None,
    ) -> Any:
        """The action: an int (one discrete number), an array of the action's shape, or a dict or tuple of these.

        Without `explore`, what the manifest says: to act greedily, unless the policy was exported to be sampled.
        `time_step` is what the policy reads besides the observation, such as {"reward": 1.0}. Raises SpecViolated, and
        ActionRefused where the bundle's guard does; the policy is then as before, and the step may be repeated.
        """
        inputs = read(observation, self._tree) | self._fixed
        if explore is not None:
            check_explore(explore, self._draws)
        explore = explore or self.manifest.explore
        if explore is not None:
            inputs["noise"] = self._noise(explore, seed)
        if time_step is not None:
            inputs |= read_time_step(time_step, self.manifest.time_step)
        outputs = self.run(inputs | self._state)
        if self._guard is not None:
            outputs = self._guard.apply(outputs)
        if self._state:
            self._state = {spec.name: outputs[NEXT + spec.name] for spec in self.manifest.state}
            self._state[RESET.name] = np.zeros(1, np.bool_)
        return row_of(outputs, self._action)

    def reset(self) -> None:
        """The next action begins an episode: from the policy's initial state, and with no action before it."""
        if self._guard is not None:
            self._guard.reset()
        if self.manifest.state:
            self._state = {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in self.manifest.state}
            self._state[RESET.name] = np.ones(1, np.bool_)

    @property
    def guarded(self) -> Violations:
        """The rules of the guard that the last action violated, by action tensor; empty if none, or without a guard."""
        return {} if self._guard is None else self._guard.violated

    def run(self, inputs: Arrays) -> Arrays:  # [1, …] by name -> likewise
        """The file's outputs for one row of each input."""
        return self._run(inputs)

    def _noise(self, explore: Explore, seed: int | None) -> FloatArray:  # -> [1, n]
        generator = self._generator if seed is None else np.random.default_rng(seed)
        return draw_noise(explore, 1, self._draws, generator)
