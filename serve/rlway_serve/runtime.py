"""Runs a policy's ONNX file.

In:      observations [B, …], noise float32[B, n].
Out:     arrays by output name, first dimension B.
Refuses: a file that onnxruntime cannot load, or whose inputs are not the manifest's (BundleInvalid).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlway_client.errors import BundleInvalid
from rlway_client.manifest import Manifest
from rlway_client.specs import AnyArray, FloatArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime would report home and write to the home directory
import onnxruntime as ort

INLINE_BELOW_S = 200e-6  # a run shorter than this costs the event loop less than the hop to a thread and back
MEASURED_BATCHES = (1, 8, 64, 256)


class OnnxRuntime:
    """One policy in one onnxruntime session, on the CPU, with one thread: these networks are too small to share."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated kinds
            raise BundleInvalid(f"{path}: onnxruntime cannot load it: {str(error).splitlines()[0]}.") from error
        if len(manifest.observation) != 1 or manifest.state:
            raise BundleInvalid(f"{path}: policies with several observation inputs or with state are not served yet.")
        self._spec = manifest.observation[0]
        self._noise_size = manifest.noise.size if manifest.noise else 0
        self._output_specs = (manifest.action, *manifest.outputs)
        self.outputs = tuple(spec.name for spec in self._output_specs)
        self._check_signature(path)
        self._zeros: FloatArray = np.zeros((0, self._noise_size), np.float32)
        try:
            self.latency_s = self._measure()
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise BundleInvalid(f"{path}: does not take what its manifest says: {reason}.") from error

    @property
    def inline(self) -> bool:
        """Whether a run is short enough for the event loop."""
        return max(self.latency_s.values()) < INLINE_BELOW_S

    def zero_noise(self, rows: int) -> FloatArray:  # -> [rows, n]
        """Noise for greedy actions: a view of one shared array."""
        if rows > len(self._zeros):
            self._zeros = np.zeros((rows, self._noise_size), np.float32)
        return self._zeros[:rows]

    def run(self, observations: AnyArray, noise: FloatArray, outputs: Sequence[str]) -> list[AnyArray]:
        """One run; the arrays come in the order of `outputs`."""
        feed = {self._spec.name: observations}
        if self._noise_size:
            feed["noise"] = noise
        results: list[AnyArray] = self._session.run(outputs, feed)
        return results

    def _check_signature(self, path: Path) -> None:
        expected = {self._spec.name} | ({"noise"} if self._noise_size else set())
        found = {i.name for i in self._session.get_inputs()}
        missing = set(self.outputs) - {o.name for o in self._session.get_outputs()}
        if found != expected or missing:
            raise BundleInvalid(
                f"{path}: expected inputs {sorted(expected)} and outputs {sorted(self.outputs)} by its manifest, "
                f"got inputs {sorted(found)}{f' and no {sorted(missing)}' if missing else ''}."
            )

    def _check_outputs(self, results: list[AnyArray], rows: int) -> None:
        for spec, result in zip(self._output_specs, results, strict=True):
            if result.shape != (rows, *spec.shape) or result.dtype.kind != spec.numpy_dtype.kind:
                got = f"{result.dtype}{list(result.shape)}"
                raise ValueError(f"{spec.name}: expected {spec.dtype}{[rows, *spec.shape]}, got {got}")

    def _measure(self) -> dict[int, float]:
        """Warms the session up and takes the median run time in seconds for some batch sizes."""
        curve = {}
        for rows in MEASURED_BATCHES:
            observations = np.zeros((rows, *self._spec.shape), self._spec.numpy_dtype)
            noise = np.zeros((rows, self._noise_size), np.float32)
            times = []
            for _ in range(20):
                start = time.perf_counter()
                self.run(observations, noise, self.outputs)
                times.append(time.perf_counter() - start)
            curve[rows] = statistics.median(times)
            self._check_outputs(self.run(observations, noise, self.outputs), rows)
        return curve
