"""What the two game engines do with a model, written from their sources, for the tests to hold the files against.

ML-Agents' package for Unity, commit e12369b (3.0.0, Inference Engine 2.2.1), Runtime/Inference: TensorNames,
SentisModelInfo and SentisModelParamLoader (what is checked), GeneratorImpl (what is fed), ApplierImpl (what is read),
ModelRunner (one batch of all agents). Godot RL Agents' plugin, commit bf5d6a2: ONNXInference.cs, ONNX_wrapper.gd and
sync.gd. Neither engine runs here: onnxruntime stands for Unity's Inference Engine, and is what Godot's plugin uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, FloatArray

FLOAT, INTS = onnx.TensorProto.FLOAT, (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def shapes(values: Any) -> dict[str, list[int]]:
    """The shapes by name; −1 for a dimension of any size."""
    kinds = {value.name: value.type.tensor_type for value in values}
    return {
        name: [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        for name, kind in kinds.items()
    }


class Brain(NamedTuple):
    """What a Unity agent has: its sensors, as sorted by their names, and its action."""

    sensors: Sequence[tuple[int, ...]]
    continuous: int
    branches: Sequence[int]


class Unity:
    """A behavior with a model, and the memories of its agents."""

    def __init__(self, file: Path, deterministic: bool) -> None:
        self.model = onnx.load(file)
        self._session = ort.InferenceSession(file)
        self._prefix = "deterministic_" if deterministic else ""
        self.inputs, self.outputs = shapes(self.model.graph.input), shapes(self.model.graph.output)
        # SentisModelInfo runs the model once with zeros, and takes every output, before anything is known of it.
        zeros = {name: np.zeros([1 if n < 0 else n for n in shape], np.float32) for name, shape in self.inputs.items()}
        names = list(self.outputs)
        self._first = dict(zip(names, self._session.run(names, zeros), strict=True))
        self._memories: dict[int, FloatArray] = {}

    def faults(self, brain: Brain) -> Iterator[str]:
        """What the loader would warn of."""
        if self.number("version_number") != 3:
            yield "version"
        if self.number("memory_size") < 0 or "memory_size" not in self._first:
            yield "memory size"
        for i, shape in enumerate(brain.sensors):
            if self.inputs.get(f"obs_{i}", [])[1:] != [*shape]:
                yield f"obs_{i}"
        known = {*(f"obs_{i}" for i in range(len(brain.sensors))), "action_masks", "epsilon", "recurrent_in"}
        yield from (f"unexpected {name}" for name in self.inputs.keys() - known)
        if self.number("memory_size") > 0 and not {"recurrent_in"} <= self.inputs.keys():
            yield "recurrent_in"
        if self.number("memory_size") > 0 and not {"recurrent_out"} <= self.outputs.keys():
            yield "recurrent_out"
        if brain.branches and self.inputs.get("action_masks") != [-1, sum(brain.branches)]:
            yield "action_masks"
        if self.number("continuous_action_output_shape") != brain.continuous:
            yield "continuous size"
        told = self._first.get("discrete_action_output_shape", np.zeros(0, np.float32))
        if told.ravel().tolist() != [*brain.branches] or told.dtype != np.float32:
            yield "branches"
        for name, size in (("continuous_actions", brain.continuous), ("discrete_actions", len(brain.branches))):
            if size and self.outputs.get(self._prefix + name) != [-1, size]:
                yield self._prefix + name

    def number(self, name: str) -> float:
        """A constant, which the loader reads as a tensor of floats; 0 where there is none."""
        value = self._first.get(name)
        if value is None:
            return 0
        assert value.dtype == np.float32
        return float(value.ravel()[0])

    def decide(
        self,
        observations: Sequence[AnyArray],
        episodes: Sequence[int],
        masks: AnyArray | None = None,
        normal: np.random.Generator | None = None,
    ) -> tuple[FloatArray, AnyArray]:
        """The continuous and the discrete actions of all agents, [agents, n]. A new number is a new episode."""
        rows = len(episodes)
        given = {f"obs_{i}": array.astype(np.float32) for i, array in enumerate(observations)}
        if "action_masks" in self.inputs:
            given["action_masks"] = (
                np.ones((rows, self.inputs["action_masks"][1]), np.float32) if masks is None else masks
            )
        if "epsilon" in self.inputs:
            generator = normal or np.random.default_rng(0)
            given["epsilon"] = generator.standard_normal((rows, self.inputs["epsilon"][1])).astype(np.float32)
        if "recurrent_in" in self.inputs:
            nothing = np.zeros(self.inputs["recurrent_in"][2], np.float32)
            given["recurrent_in"] = np.stack([self._memories.get(one, nothing) for one in episodes])[:, None]
        found = dict(zip(self.outputs, self._session.run(list(self.outputs), given), strict=True))
        if "recurrent_out" in found:
            self._memories |= dict(zip(episodes, found["recurrent_out"][:, 0], strict=True))
        empty: Arrays = {"continuous": np.zeros((rows, 0), np.float32), "discrete": np.zeros((rows, 0), np.int64)}
        continuous, discrete = (found.get(f"{self._prefix}{kind}_actions", none) for kind, none in empty.items())
        assert (continuous.dtype, discrete.dtype.kind) == (np.float32, "i")  # else ML-Agents' casts fail
        return continuous, discrete

    def told(self, observations: Sequence[AnyArray], names: Sequence[str]) -> list[AnyArray]:
        """What the policy gives besides its action, which ML-Agents does not read."""
        rows = len(observations[0])
        given = {name: np.zeros((rows, *shape[1:]), np.float32) for name, shape in self.inputs.items()}
        given |= {f"obs_{i}": array.astype(np.float32) for i, array in enumerate(observations)}
        found: list[AnyArray] = self._session.run([*names], given)
        return found


class Godot:
    """The plugin's ONNXModel, and its Sync node for one agent."""

    def __init__(self, file: Path, action_space: Mapping[str, tuple[int, str]]) -> None:
        """`action_space` has the size and the type of each action, as `get_action_space()` gives them, in order."""
        self._session = ort.InferenceSession(file)
        self._space = action_space
        size = next(one.shape[1] for one in self._session.get_outputs() if one.name == "output")
        assert isinstance(size, int)
        self.output_size = size
        kinds = {kind for _, kind in action_space.values()}
        self._means_only = kinds == {"continuous"} and sum(n for n, _ in action_space.values()) == size

    def infer(self, obs: Mapping[str, Sequence[float]]) -> FloatArray:
        """`output` for what `get_obs()` gives: one flat array of floats for each key."""
        given = {key: np.array([values], np.float32) for key, values in obs.items()}
        output, state = self._session.run(["output", "state_outs"], given | {"state_ins": np.ones(1, np.float32)})
        assert output.dtype == state.dtype == np.float32
        found: FloatArray = output.ravel()
        return found

    def action(self, obs: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """What `set_action` gets, with deterministic inference."""
        output, at = self.infer(obs), 0
        action: dict[str, Any] = {}
        for key, (size, kind) in self._space.items():
            columns = output[at : at + size]
            if kind == "discrete":
                action[key] = int(columns.argmax())
                at += size
            else:
                action[key] = np.clip(columns, -1, 1)
                at += size if self._means_only else 2 * size
        assert at == self.output_size
        return action
