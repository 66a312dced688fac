"""Runs a policy's TFLite file in this process, as on a robot: without a server, and in LiteRT without TensorFlow.

In:      one observation, as the environment gives it.
Out:     one action.
Refuses: a bundle without the file, or with a file that its manifest does not describe (BundleInvalid); an observation
         that does not fit (SpecViolated); a machine without LiteRT and TensorFlow (RuntimeMissing).

    policy = EdgePolicy("models/cartpole/1")
    action = policy.act(observation)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.bundle import Bundle, newest_bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.exploration import Explore, check_explore, draw_noise
from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.nesting import grow, read
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.runners import open_tflite


class EdgePolicy:
    """One policy in one interpreter, with the policy state of its episode. Not for several threads at once."""

    def __init__(self, bundle: str | Path, file: str = "model.tflite") -> None:
        """`bundle` is models/<policy>/<version>, or models/<policy> for its newest version. Raises BundleInvalid."""
        self.bundle = Bundle.open(newest_bundle(Path(bundle)))
        self.manifest = self.bundle.manifest
        if file not in self.manifest.files:
            raise BundleInvalid(f"{self.bundle.path}: has no {file}; export the policy with that format.")
        path = self.bundle.path / file
        self._interpreter, signature = open_tflite(path)
        interface = self.manifest.interface
        self._inputs = _indices(path, "input", signature.get_input_details(), interface.inputs)
        self._outputs = _indices(path, "output", signature.get_output_details(), interface.results)
        self._tree = grow(interface.observation)
        self._draws = interface.noise_draws
        self._no_noise = np.zeros((1, interface.noise.size if interface.noise else 0), np.float32)
        self._state: Arrays = {}
        self.reset()

    def act(self, observation: Any, *, explore: Explore | None = None, seed: int | None = None) -> Any:
        """The action: an int (one discrete number), or an array of the action's shape. Raises SpecViolated."""
        inputs = read(observation, self._tree)
        noise = self._no_noise
        if explore is not None:
            check_explore(explore, self._draws)
            noise = draw_noise(explore, 1, self._draws, np.random.default_rng(seed))
        if self.manifest.noise is not None:
            inputs[self.manifest.noise.name] = noise
        outputs = self.run(inputs | self._state)
        if self._state:
            self._state = {spec.name: outputs[NEXT + spec.name] for spec in self.manifest.state}
            self._state[RESET.name] = np.zeros(1, np.bool_)
        action = outputs["action"][0]
        return int(action) if action.ndim == 0 and self.manifest.actions[0].is_discrete else action

    def reset(self) -> None:
        """The next action begins an episode: a policy with state starts from its initial state."""
        if self.manifest.state:
            self._state = {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in self.manifest.state}
            self._state[RESET.name] = np.ones(1, np.bool_)

    def run(self, inputs: Arrays) -> Arrays:  # [1, …] by name -> likewise
        """The file's outputs for one row of each input."""
        interpreter = self._interpreter
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _indices(path: Path, kind: str, details: dict[str, Any], specs: list[TensorSpec]) -> dict[str, int]:
    """The interpreter's index of each tensor. Raises BundleInvalid if the tensors are not those of the manifest."""
    found = {name: f"{np.dtype(one['dtype'])}{one['shape'].tolist()}" for name, one in details.items()}
    for spec in specs:
        expected = f"{np.dtype(spec.dtype)}{[1, *spec.shape]}"
        if found.get(spec.name) != expected:
            got = found.get(spec.name, "none of the name")
            raise BundleInvalid(f"{path}: {kind} {spec.name}: expected {expected}, as the manifest says, got {got}.")
    unknown = found.keys() - {spec.name for spec in specs}
    if unknown:
        raise BundleInvalid(f"{path}: {kind} {min(unknown)}: the manifest has none of this name.")
    return {name: detail["index"] for name, detail in details.items()}
