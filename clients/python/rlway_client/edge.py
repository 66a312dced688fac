"""A policy in this very process, from its TFLite file, as on a robot: no server, no TensorFlow.

In:      one observation of the spec's shape.
Out:     one action.
Refuses: a bundle without the file, an observation that does not fit (SpecViolated).

    policy = EdgePolicy("models/cartpole/1")
    action = policy.act(observation)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.bundle import Bundle, newest_bundle
from rlway_client.errors import BundleInvalid, SpecViolated, UsageError
from rlway_client.exploration import Explore, check_explore, draw_noise
from rlway_client.runners import SIGNATURE
from rlway_client.specs import AnyArray, Fault, find_faults


class EdgePolicy:
    """One policy in one LiteRT interpreter. Not for several threads at once."""

    def __init__(self, bundle: str | Path, file: str = "model.tflite") -> None:
        """`bundle` is models/<policy>/<version>, or models/<policy> for the newest version in it."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            raise UsageError("running TFLite files needs LiteRT: pip install 'rlway-client[edge]'.") from None
        self.bundle = Bundle.open(newest_bundle(Path(bundle)))
        self.manifest = self.bundle.manifest
        if len(self.manifest.observation) != 1 or self.manifest.state:
            raise BundleInvalid(
                f"{self.bundle.path}: its policy takes several arrays or remembers, which cannot be run here yet; only "
                f"policies of one array and no memory can."
            )
        if file not in self.manifest.files:
            raise BundleInvalid(f"{self.bundle.path}: has no {file}; export the policy with that format.")
        try:
            self._interpreter = Interpreter(model_path=str(self.bundle.path / file), num_threads=1)
            self._interpreter.allocate_tensors()
            signature = self._interpreter.get_signature_runner(SIGNATURE)
        except (RuntimeError, ValueError) as error:
            raise BundleInvalid(f"{self.bundle.path / file}: LiteRT cannot load it: {error}.") from None
        self._spec = self.manifest.observation[0]
        self._inputs = {name: detail["index"] for name, detail in signature.get_input_details().items()}
        self._outputs = {name: detail["index"] for name, detail in signature.get_output_details().items()}
        if self._spec.name not in self._inputs or "action" not in self._outputs:
            raise BundleInvalid(f"{self.bundle.path / file}: its inputs and outputs are not those of the manifest.")
        self._greedy = np.zeros((1, self.manifest.noise.size if self.manifest.noise else 0), np.float32)

    def act(self, observation: Any, *, explore: Explore | None = None, seed: int | None = None) -> Any:
        """The action: an int (discrete), or an array of the action's shape."""
        with np.errstate(over="ignore"):
            row = np.asarray(observation, self._spec.numpy_dtype)
        if row.shape != self._spec.shape or not np.isfinite(row).all():
            raise SpecViolated(self._faults(observation))
        noise = self._greedy
        if explore is not None:
            check_explore(explore, self.manifest.action, self.manifest.noise)
            noise = draw_noise(explore, 1, self._greedy.shape[1], np.random.default_rng(seed))
        action = self.run(row[None], noise)["action"][0]
        return int(action) if action.ndim == 0 and self.manifest.action.is_discrete else action

    def run(self, observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]:
        """The file's outputs by name for one row: observations [1, …], noise [1, n]."""
        interpreter = self._interpreter
        interpreter.set_tensor(self._inputs[self._spec.name], observations)
        if "noise" in self._inputs:
            interpreter.set_tensor(self._inputs["noise"], noise)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def _faults(self, observation: Any) -> list[Fault]:
        value = observation.tolist() if isinstance(observation, np.ndarray) else observation
        faults = find_faults(value, self._spec, "observation")
        return faults or [Fault("observation", self._spec.label, f"an array of shape {np.shape(observation)}")]
