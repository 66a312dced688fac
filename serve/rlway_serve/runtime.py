"""Runs a policy, whatever file and device it runs on.

In:      observations [B, …], noise float32[B, n].
Out:     arrays by output name, first dimension B; how long runs of each size take, measured at load.
Refuses: a file that its runtime cannot load, or whose inputs or outputs are not the manifest's (BundleInvalid).

With buckets, a run has one of a few sizes: rows are padded up to the next one, and what exceeds the largest runs in
several. GPUs want that. With a single bucket every run is of that size, so that the bits of an action never depend on
who else asked at the same moment; `check_invariance` holds that against the model at load.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from rlway_client.errors import BundleInvalid
from rlway_client.manifest import Manifest
from rlway_client.specs import AnyArray, FloatArray

INLINE_BELOW_S = 200e-6  # a run shorter than this costs the event loop less than the hop to a thread and back
MEASURED_BATCHES = (1, 8, 64, 256)
MEASURED_RUNS = 20
MEASURING_S = 0.1  # per batch size; a slow model is run fewer times


class Session(Protocol):
    """A file in a runtime. `on_cpu` is true of what runs on the thread that calls it, and nowhere else."""

    name: str
    on_cpu: bool

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """One run; what it gives back is good until the next."""

    def signature(self) -> tuple[set[str], set[str]]:
        """The names of inputs and outputs."""


class Runtime:
    """One policy in one session. Used by one thread at a time."""

    def __init__(self, session: Session, manifest: Manifest, where: str, buckets: tuple[int, ...] = ()) -> None:
        if len(manifest.observation) != 1 or manifest.state:
            raise BundleInvalid(f"{where}: policies with several observation inputs or with state are not served yet.")
        self.name = session.name
        self._session = session
        self._buckets = buckets
        self._spec = manifest.observation[0]
        self._noise_size = manifest.noise.size if manifest.noise else 0
        self._output_specs = (manifest.action, *manifest.outputs)
        self.outputs = tuple(spec.name for spec in self._output_specs)
        self._zeros: FloatArray = np.zeros((0, self._noise_size), np.float32)
        self._padded: dict[int, tuple[AnyArray, FloatArray]] = {}  # by bucket
        self._check_signature(where)
        try:
            self.latency_s = self._measure()
        except BundleInvalid:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise BundleInvalid(f"{where}: does not take what its manifest says: {reason}.") from error

    @property
    def inline(self) -> bool:
        """Whether a run is short enough for the event loop."""
        return self._session.on_cpu and max(self.latency_s.values()) < INLINE_BELOW_S

    def expected_s(self, rows: int) -> float:
        """How long a run of so many rows takes, by what was measured at load."""
        largest = max(self.latency_s)
        if rows > largest:
            return self.latency_s[largest] * rows / largest
        return self.latency_s[min(size for size in self.latency_s if size >= rows)]

    def zero_noise(self, rows: int) -> FloatArray:  # -> [rows, n]
        """Noise for greedy actions: a view of one shared array."""
        if rows > len(self._zeros):
            self._zeros = np.zeros((rows, self._noise_size), np.float32)
        return self._zeros[:rows]

    def run(self, observations: AnyArray, noise: FloatArray, outputs: Sequence[str]) -> list[AnyArray]:
        """The arrays in the order of `outputs`; they are good until the next run."""
        if not self._buckets:
            return self._session.run(self._feed(observations, noise), outputs)
        rows, largest = len(observations), self._buckets[-1]
        if rows <= largest:
            return self._run_padded(observations, noise, outputs)
        starts = range(0, rows, largest)
        parts = [
            [array.copy() for array in self._run_padded(observations[i : i + largest], noise[i : i + largest], outputs)]
            for i in starts
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run_padded(self, observations: AnyArray, noise: FloatArray, outputs: Sequence[str]) -> list[AnyArray]:
        rows = len(observations)
        bucket = next(size for size in self._buckets if size >= rows)
        if bucket not in self._padded:
            self._padded[bucket] = (
                np.zeros((bucket, *self._spec.shape), self._spec.numpy_dtype),
                np.zeros((bucket, self._noise_size), np.float32),
            )
        padded, padded_noise = self._padded[bucket]
        # Rows beyond these keep what was there before: sound observations, whose actions nobody reads.
        padded[:rows], padded_noise[:rows] = observations, noise
        results = self._session.run(self._feed(padded, padded_noise), outputs)
        return [result[:rows] for result in results]

    def _feed(self, observations: AnyArray, noise: FloatArray) -> dict[str, AnyArray]:
        return {self._spec.name: observations, "noise": noise} if self._noise_size else {self._spec.name: observations}

    def check_invariance(self, where: str) -> None:
        """Raises BundleInvalid unless a row's bits are the same in every place of the one bucket, in any company."""
        (bucket,) = self._buckets
        kept = bucket - bucket // 2
        generator = np.random.default_rng(0)
        observations, noise = self._random_rows(bucket, generator)
        expected = [array[:kept].tobytes() for array in self.run(observations, noise, self.outputs)]
        for shift in sorted({0, 1, bucket // 3, bucket // 2, bucket - 1}):
            company, company_noise = self._random_rows(bucket, generator)
            company[:kept], company_noise[:kept] = observations[:kept], noise[:kept]
            shifted = self.run(np.roll(company, shift, 0), np.roll(company_noise, shift, 0), self.outputs)
            if expected != [np.roll(array, -shift, 0)[:kept].tobytes() for array in shifted]:
                raise BundleInvalid(
                    f"{where}: an action of this policy depends on the other rows of its run, so it cannot be served "
                    f"with --batch-invariant and --max-batch {bucket}; a multiple of 64 may do."
                )

    def _random_rows(self, rows: int, generator: np.random.Generator) -> tuple[AnyArray, FloatArray]:
        shape = (rows, *self._spec.shape)
        real = self._spec.numpy_dtype.kind == "f"
        values = generator.standard_normal(shape) if real else generator.integers(0, 2, shape)
        return values.astype(self._spec.numpy_dtype), generator.standard_normal((rows, self._noise_size)).astype(
            np.float32
        )

    def _check_signature(self, where: str) -> None:
        expected = {self._spec.name} | ({"noise"} if self._noise_size else set())
        found, given = self._session.signature()
        missing = set(self.outputs) - given
        if found != expected or missing:
            raise BundleInvalid(
                f"{where}: expected inputs {sorted(expected)} and outputs {sorted(self.outputs)} by its manifest, "
                f"got inputs {sorted(found)}{f' and no {sorted(missing)}' if missing else ''}."
            )

    def _check_outputs(self, results: list[AnyArray], rows: int) -> None:
        for spec, result in zip(self._output_specs, results, strict=True):
            if result.shape != (rows, *spec.shape) or result.dtype.kind != spec.numpy_dtype.kind:
                got = f"{result.dtype}{list(result.shape)}"
                raise ValueError(f"{spec.name}: expected {spec.dtype}{[rows, *spec.shape]}, got {got}")

    def _measure(self) -> dict[int, float]:
        """Warms the session up and takes the median run time in seconds for some batch sizes.

        On the CPU it is the thread's own time: a server under load interrupts a thread that loads the next version, and
        what the run takes would seem to be many times what it is.
        """
        clock: Callable[[], float] = time.thread_time if self._session.on_cpu else time.perf_counter
        curve = {}
        for rows in self._buckets or MEASURED_BATCHES:
            observations = np.zeros((rows, *self._spec.shape), self._spec.numpy_dtype)
            noise = np.zeros((rows, self._noise_size), np.float32)
            self._check_outputs(self.run(observations, noise, self.outputs), rows)
            times: list[float] = []
            while len(times) < MEASURED_RUNS and (len(times) < 3 or sum(times) < MEASURING_S):
                start = clock()
                self.run(observations, noise, self.outputs)
                times.append(clock() - start)
            curve[rows] = statistics.median(times)
        return curve
