"""A policy in this very process, from its TFLite file, as on a robot: no server, and no TensorFlow where LiteRT is.

In:      one observation, as the environment gives it.
Out:     one action.
Refuses: a bundle without the file, an observation that does not fit (SpecViolated).

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
    """One policy in one interpreter, and what it remembers of its episode. Not for several threads at once."""

    def __init__(self, bundle: str | Path, file: str = "model.tflite") -> None:
        """`bundle` is models/<policy>/<version>, or models/<policy> for the newest version in it."""
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
        self._no_noise = np.zeros((1, interface.noise.size if interface.noise else 0), np.float32)
        self._memory: Arrays = {}
        self.reset()

    def act(self, observation: Any, *, explore: Explore | None = None, seed: int | None = None) -> Any:
        """The action: an int (discrete), or an array of the action's shape."""
        inputs = read(observation, self._tree)
        noise = self._no_noise
        if explore is not None:
            check_explore(explore, self.manifest.action, self.manifest.noise)
            noise = draw_noise(explore, 1, noise.shape[1], np.random.default_rng(seed))
        if self.manifest.noise is not None:
            inputs[self.manifest.noise.name] = noise
        outputs = self.run(inputs | self._memory)
        if self._memory:
            self._memory = {spec.name: outputs[NEXT + spec.name] for spec in self.manifest.state}
            self._memory[RESET.name] = np.zeros(1, np.bool_)
        action = outputs["action"][0]
        return int(action) if action.ndim == 0 and self.manifest.action.is_discrete else action

    def reset(self) -> None:
        """The next action begins an episode, of which a policy with a memory remembers nothing yet."""
        if self.manifest.state:
            self._memory = {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in self.manifest.state}
            self._memory[RESET.name] = np.ones(1, np.bool_)

    def run(self, inputs: Arrays) -> Arrays:  # [1, …] by name -> likewise
        """The file's outputs for one row of each of its inputs."""
        interpreter = self._interpreter
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _indices(path: Path, kind: str, details: dict[str, Any], specs: list[TensorSpec]) -> dict[str, int]:
    """Where the interpreter has the tensors, once they are known to be those of the manifest."""
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
