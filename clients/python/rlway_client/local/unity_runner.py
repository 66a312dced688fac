"""Runs a policy's file for Unity as ML-Agents runs it, in onnxruntime.

In:      `model.unity.onnx`, the manifest; inputs by the manifest's names, first dimension B.
Out:     outputs by the manifest's names.
Refuses: a file that onnxruntime does not load, or that lacks a tensor of ML-Agents (BundleInvalid).

No action is masked. A row without noise gets the deterministic actions, and a row with noise the sampled ones, from the
`epsilon` of which the file makes that noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_client.contract.unity_tensors import UnityObservation, UnityTensors
from rlway_client.local.onnx_session import open_session

DETERMINISTIC = "deterministic_"


class UnityRunner:
    """The file in onnxruntime, on the CPU."""

    batch_sizes = (1, 7, 64)

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._tensors = UnityTensors.of(manifest.interface)
        self._session = open_session(path)
        groups = {"continuous_actions": self._tensors.continuous, "discrete_actions": self._tensors.discrete}
        self._actions = [name for name, parts in groups.items() if parts]
        memory = ["recurrent_out"] if self._tensors.state else []
        further = [spec.name for spec in self._tensors.outputs]
        self._outputs = [*self._actions, *(DETERMINISTIC + name for name in self._actions), *memory, *further]
        lacking = {*self._outputs} - {output.name for output in self._session.get_outputs()}
        if lacking:
            raise BundleInvalid(f"{path}: expected an output {min(lacking)}, as ML-Agents reads it, got none.")

    def run(self, inputs: Arrays) -> Arrays:
        found = dict(zip(self._outputs, self._session.run(self._outputs, self.feed(inputs)), strict=True))
        outputs = {spec.name: found[spec.name] for spec in self._tensors.outputs}
        chosen = {name: self._chosen(found, name, inputs) for name in self._actions}
        at = 0
        for span in self._tensors.continuous:
            outputs[span.spec.name] = span.widened(chosen["continuous_actions"][:, at : at + span.spec.size])
            at += span.spec.size
        at = 0
        for part in self._tensors.discrete:
            outputs[part.spec.name] = part.actions(chosen["discrete_actions"][:, at : at + len(part.sizes)])
            at += len(part.sizes)
        return outputs | self._next_state(found)

    def call(self, inputs: Arrays) -> Callable[[], object]:
        """What Unity calls for an action."""
        given = self.feed(inputs)
        return lambda: self._session.run(self._actions, given)

    def feed(self, inputs: Arrays) -> Arrays:
        """The same inputs by the names of ML-Agents, as float32."""
        tensors, rows = self._tensors, rows_of(inputs)
        given = {one.name: _sensed(inputs[one.spec.name], one) for one in tensors.observations}
        if tensors.discrete:
            given["action_masks"] = np.ones((rows, sum(tensors.branch_sizes)), np.float32)
        if tensors.draws:
            given["epsilon"] = self._epsilon(inputs["noise"])
        if tensors.state:
            given["recurrent_in"] = _memory(inputs, tensors.state)
        return given

    def _epsilon(self, noise: AnyArray) -> FloatArray:  # [B, n] -> [B, epsilon_size]
        """Numbers of which the file makes this noise: −log((a² + b²) / 2) is a Gumbel number."""
        parts, at = [], 0
        for draw in self._tensors.draws:
            drawn = noise[:, at : at + draw.size].astype(np.float64)
            parts += [np.sqrt(2 * np.exp(-drawn)), 0 * drawn] if draw.distribution == "gumbel" else [drawn]
            at += draw.size
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _chosen(self, found: Arrays, name: str, inputs: Arrays) -> AnyArray:
        if not self._tensors.draws:
            return found[DETERMINISTIC + name]
        is_drawn = inputs["noise"].any(axis=1, keepdims=True)
        return np.where(is_drawn, found[name], found[DETERMINISTIC + name])

    def _next_state(self, found: Arrays) -> Arrays:
        parts, at = {}, 0
        for spec in self._tensors.state:
            values = found["recurrent_out"][:, 0, at : at + spec.size]
            parts[NEXT + spec.name] = values.reshape(-1, *spec.shape).astype(spec.numpy_dtype)
            at += spec.size
        return parts


def _sensed(rows: AnyArray, given: UnityObservation) -> FloatArray:
    """An observation as a sensor writes it."""
    turned = np.moveaxis(rows, -1, 1) if given.is_turned else rows
    sensed: FloatArray = (turned.astype(np.float32) / np.float32(given.scale)).reshape(len(rows), *given.shape)
    return sensed


def _memory(inputs: Arrays, state: list[TensorSpec]) -> FloatArray:  # -> [B, 1, memory_size]
    """The state, and at its end a number that tells that the episode has begun."""
    flat = [inputs[spec.name].reshape(rows_of(inputs), -1) for spec in state]
    return np.concatenate([*flat, ~inputs[RESET.name][:, None]], axis=1).astype(np.float32)[:, None]
