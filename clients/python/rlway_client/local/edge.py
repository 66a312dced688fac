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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.bundle import Bundle, newest_bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.exploration import Explore, check_explore, draw_noise
from rlway_client.contract.guard import Violations
from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.nesting import Tree, grow, leaves, row_of
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_client.contract.time_step import neutral_time_step, read_time_step
from rlway_client.local.edge_guard import EdgeGuard
from rlway_client.local.observation_buffer import ObservationBuffer
from rlway_client.local.row_runner import open_row_runner

BEGINS, CONTINUES = np.ones(1, np.bool_), np.zeros(1, np.bool_)  # `reset`, as a policy with state takes it


class EdgePolicy:
    """One policy in one interpreter, with the policy state of its episode. Not for several threads at once."""

    def __init__(
        self, bundle: str | Path, file: str = "model.tflite", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`bundle` is models/<policy>/<version>, or models/<policy> for its newest version. Raises BundleInvalid.

        `file` is one of its TFLite, ONNX or C files. C source is compiled and run, so trust the bundle that it is from.
        `clock` tells the seconds for which a guard limits changes.
        """
        self.bundle = Bundle.open(newest_bundle(Path(bundle)))
        self.manifest = self.bundle.manifest
        if file not in self.manifest.files:
            raise BundleInvalid(f"{self.bundle.path}: has no {file}; export the policy with that format.")
        interface = self.manifest.interface
        self._runner = open_row_runner(self.bundle.path / file, self.manifest)
        names = self.manifest.meaning.names if self.manifest.meaning else {}
        self._observation = ObservationBuffer(grow(interface.observation), names)
        self._action = grow(interface.actions)
        self._draws = interface.noise_draws
        self._fixed: Arrays = neutral_time_step(interface.time_step, 1)  # the inputs of an action without options
        if interface.noise is not None:
            self._fixed[interface.noise.name] = np.zeros((1, interface.noise.size), np.float32)
        self._inputs = self._observation.arrays | self._fixed
        actions = [spec.name for spec in interface.actions]
        state = [spec.name for spec in interface.state]
        self._run = self._runner([*actions, *(NEXT + name for name in state)])
        self._state = [(name, len(actions) + i) for i, name in enumerate(state)]  # with the places of its outputs
        self._explore = self.manifest.explore
        self._to_action = _reader(self._action, actions)
        self._generator = np.random.default_rng()
        guard = self.bundle.read_guard()
        self._guard = None if guard is None else EdgeGuard(guard, interface.actions, clock)
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
        inputs = self._inputs
        explore = explore or self._explore
        if explore is not None or time_step is not None:
            inputs = inputs | self._options(explore, seed, time_step)
        self._observation.fill(observation)
        outputs = self._run(inputs)
        if self._guard is not None:
            outputs = self._guard.apply(outputs)
        if self._state:
            kept = self._inputs
            for name, place in self._state:
                kept[name] = outputs[place]
            kept[RESET.name] = CONTINUES
        return self._to_action(outputs)

    def executed(self, action: Any) -> None:
        """Tells the guard that this action was executed in place of the last one, such as a server's."""
        if self._guard is not None:
            self._guard.executed(self._tensors(action))

    def guard(self, action: Any) -> Any:
        """Another policy's action, such as a server's, as the guard lets it through. Raises ActionRefused."""
        if self._guard is None:
            return action
        guarded = self._guard.apply(self._tensors(action))
        return self._to_action(guarded) if self.guarded else action

    @property
    def needs_episode(self) -> bool:
        """Whether an action depends on the steps before it: by the policy's state, or by its guard."""
        return bool(self.manifest.state) or (self._guard is not None and self._guard.limits_changes)

    def _tensors(self, action: Any) -> list[AnyArray]:  # -> [1, …] each, in the manifest's order
        parts = {spec.name: (spec, part) for spec, part, _ in leaves(action, self._action, "action")}
        found = [parts[spec.name] for spec in self.manifest.actions]
        return [np.asarray(part, spec.dtype).reshape(1, *spec.shape) for spec, part in found]

    def reset(self) -> None:
        """The next action begins an episode: from the policy's initial state, and with no action before it."""
        if self._guard is not None:
            self._guard.reset()
        if self.manifest.state:
            for spec in self.manifest.state:
                self._inputs[spec.name] = np.zeros((1, *spec.shape), spec.dtype)
            self._inputs[RESET.name] = BEGINS

    @property
    def guarded(self) -> Violations:
        """The rules of the guard that the last action violated, by action tensor; empty if none, or without a guard."""
        return {} if self._guard is None else self._guard.violated

    def run(self, inputs: Arrays) -> Arrays:  # [1, …] by name -> likewise
        """The file's outputs for one row of each input."""
        names = [spec.name for spec in self.manifest.interface.results]
        return dict(zip(names, self._runner(names)(inputs), strict=True))

    def _options(self, explore: Explore | None, seed: int | None, time_step: Mapping[str, Any] | None) -> Arrays:
        """The inputs that differ from those of an action without options."""
        inputs: Arrays = {}
        if explore is not None:
            check_explore(explore, self._draws)
            inputs["noise"] = self._noise(explore, seed)
        if time_step is not None:
            inputs |= read_time_step(time_step, self.manifest.time_step)
        return inputs

    def _noise(self, explore: Explore, seed: int | None) -> FloatArray:  # -> [1, n]
        generator = self._generator if seed is None else np.random.default_rng(seed)
        return draw_noise(explore, 1, self._draws, generator)


def _reader(tree: Tree, names: Sequence[str]) -> Callable[[Sequence[AnyArray]], Any]:
    """What makes the action of one row from its tensors [1, …], which come first in a sequence."""
    if not isinstance(tree, TensorSpec):
        return lambda outputs: row_of(dict(zip(names, outputs, strict=False)), tree)
    if tree.is_discrete and not tree.shape:
        return lambda outputs: int(outputs[0].item())
    return lambda outputs: outputs[0][0]
