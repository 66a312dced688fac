"""Runs a policy's model, whatever its file format and device.

In:      arrays by input name, first dimension B: the observation, and noise float32[B, n] if the policy takes noise.
Out:     arrays by output name, first dimension B; the run time of each batch size, measured at load.
Refuses: a file that its runtime cannot load, or whose inputs or outputs are not the manifest's (BundleInvalid).

With buckets, every run has one of a few sizes: rows are padded to the next size, and a batch above the largest size
runs in parts. GPUs need that. With a single bucket, every run has that size, so an action's bits never depend on the
other rows of its run; `check_invariance` verifies this for the model at load.
"""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Protocol

import numpy as np

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec

AMPLE_S = 2e-3  # beside a run of this length, the hand-over to a thread costs little
NEARLY = 1.05  # times the best time per row counts as equally cheap
INLINE_BELOW_S = 500e-6  # the longest run that may block the event loop
MEASURED_BATCHES = (1, 8, 64, 256, 1024)  # those below the largest batch; the largest is measured as well
MEASURED_RUNS = 20
MEASURING_S = 0.1  # per batch size; a slow model has fewer runs


class RunFailed(Exception):
    """The model raised an error for these rows."""


class Session(Protocol):
    """A model file loaded by a runtime. `on_cpu` is true if it runs on the calling thread only."""

    name: str
    on_cpu: bool

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        """One run. The returned arrays are valid until the next run."""

    def signature(self) -> tuple[set[str], set[str]]:
        """The names of its inputs and of its outputs."""


class Runtime:
    """A policy's model, measured at load. Used by one thread at a time; `where` is its file, for error messages."""

    def __init__(
        self, session: Session, manifest: Manifest, where: str, buckets: tuple[int, ...] = (), max_batch: int = 512
    ) -> None:
        self.name = session.name
        self._session = session
        self._buckets = buckets
        self._inputs = manifest.interface.inputs
        self._results = manifest.interface.results
        self.outputs = tuple(spec.name for spec in self._results)
        self._zeros: FloatArray = np.zeros((0, manifest.noise.size if manifest.noise else 0), np.float32)
        self._padded: dict[int, Arrays] = {}  # by bucket
        self._check_signature(where)
        try:
            self.latency_s = self._measure(buckets or (*takewhile(max_batch.__gt__, MEASURED_BATCHES), max_batch))
        except BundleInvalid:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise BundleInvalid(f"{where}: does not take what its manifest says: {reason}.") from error

    @cached_property
    def inline_rows(self) -> int:
        """The largest batch that may run on the event loop; 0 if even one row takes too long."""
        if not self._session.on_cpu:
            return 0
        largest = max(self.latency_s)
        if self.expected_s(largest) < INLINE_BELOW_S:
            return int(largest * INLINE_BELOW_S / self.expected_s(largest))
        return next((rows for rows in range(largest, 0, -1) if self.expected_s(rows) < INLINE_BELOW_S), 0)

    @cached_property
    def enough_rows(self) -> int:
        """The batch size from which more rows make a run on a CPU longer but no row cheaper.

        It is the smallest whose time per row is near the best and whose run takes `AMPLE_S`.
        """
        sizes = [*self.latency_s]
        if not self._session.on_cpu or self._buckets:
            return sizes[-1]
        best_s = min(seconds / rows for rows, seconds in self.latency_s.items())
        cheap = (rows for rows in range(1, sizes[-1]) if self.expected_s(rows) <= NEARLY * best_s * rows)
        return next((rows for rows in cheap if self.expected_s(rows) >= AMPLE_S), sizes[-1])

    def expected_s(self, rows: int) -> float:
        """The expected time of a run: interpolated between the sizes that were measured at load."""
        sizes = [*self.latency_s]
        if rows > sizes[-1]:
            return self.latency_s[sizes[-1]] * rows / sizes[-1]
        i = bisect_left(sizes, rows)
        above = self.latency_s[sizes[i]]
        if self._buckets or i == 0:
            return above
        below = self.latency_s[sizes[i - 1]]
        return below + (above - below) * (rows - sizes[i - 1]) / (sizes[i] - sizes[i - 1])

    def zero_noise(self, rows: int) -> FloatArray:  # -> [rows, n]
        """Zero noise, for greedy actions: a view of one shared array."""
        if rows > len(self._zeros):
            self._zeros = np.zeros((rows, self._zeros.shape[1]), np.float32)
        return self._zeros[:rows]

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> list[AnyArray]:
        """The arrays in the order of `outputs`, valid until the next run. Raises RunFailed."""
        try:
            return self._run(inputs, outputs)
        except Exception as error:  # runtimes raise errors of many types
            self.forget_padding()
            raise RunFailed(str(error)) from error

    def _run(self, inputs: Arrays, outputs: Sequence[str]) -> list[AnyArray]:
        if not self._buckets:
            return self._session.run(inputs, outputs)
        rows, largest = rows_of(inputs), self._buckets[-1]
        if rows <= largest:
            return self._run_padded(inputs, outputs)
        parts = [
            [array.copy() for array in self._run_padded(_part(inputs, start, start + largest), outputs)]
            for start in range(0, rows, largest)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run_padded(self, inputs: Arrays, outputs: Sequence[str]) -> list[AnyArray]:
        rows = rows_of(inputs)
        bucket = next(size for size in self._buckets if size >= rows)
        if bucket not in self._padded:
            self._padded[bucket] = self._neutral_rows(bucket)
        padded = self._padded[bucket]
        # The padding keeps rows of earlier runs, which the model accepted. Their actions are dropped.
        for name, array in inputs.items():
            padded[name][:rows] = array
        return [result[:rows] for result in self._session.run(padded, outputs)]

    def forget_padding(self) -> None:
        """Clears the padding: after a failed run it may hold rows that make later runs fail."""
        self._padded.clear()

    def works(self) -> bool:
        """Whether the model still runs on the rows that it was measured with."""
        return not self.fails(self._neutral_rows(1))

    def fails(self, inputs: Arrays) -> bool:
        """Whether the model fails on these rows."""
        try:
            self._check_outputs(self.run(inputs, self.outputs), rows_of(inputs))
        except Exception:
            return True
        return False

    def _neutral_rows(self, rows: int) -> Arrays:
        return neutral_rows(self._inputs, rows)

    def check_invariance(self, where: str) -> None:
        """Raises BundleInvalid if an action's bits depend on its row's place in the bucket, or on the other rows."""
        (bucket,) = self._buckets
        kept = bucket - bucket // 2
        generator = np.random.default_rng(0)
        inputs = self._random_rows(bucket, generator)
        expected = [array[:kept].tobytes() for array in self.run(inputs, self.outputs)]
        for shift in sorted({0, 1, bucket // 3, bucket // 2, bucket - 1}):
            company = self._random_rows(bucket, generator)
            for name, array in company.items():
                array[:kept] = inputs[name][:kept]
            rolled = {name: np.roll(array, shift, 0) for name, array in company.items()}
            shifted = self.run(rolled, self.outputs)
            if expected != [np.roll(array, -shift, 0)[:kept].tobytes() for array in shifted]:
                raise BundleInvalid(
                    f"{where}: an action of this policy depends on the other rows of its run, so it cannot be served "
                    f"with --batch-invariant and --max-batch {bucket}; a multiple of 64 may do."
                )

    def _random_rows(self, rows: int, generator: np.random.Generator) -> Arrays:
        inputs: Arrays = {}
        for spec in self._inputs:
            shape = (rows, *spec.shape)
            real = spec.numpy_dtype.kind == "f"
            values = generator.standard_normal(shape) if real else generator.integers(0, 2, shape)
            inputs[spec.name] = np.clip(values, *spec.lookup_bounds()).astype(spec.numpy_dtype)
        return inputs

    def _check_signature(self, where: str) -> None:
        expected = {spec.name for spec in self._inputs}
        found, given = self._session.signature()
        missing = set(self.outputs) - given
        if found != expected or missing:
            raise BundleInvalid(
                f"{where}: expected inputs {sorted(expected)} and outputs {sorted(self.outputs)} by its manifest, "
                f"got inputs {sorted(found)}{f' and no {sorted(missing)}' if missing else ''}."
            )

    def _check_outputs(self, results: list[AnyArray], rows: int) -> None:
        for spec, result in zip(self._results, results, strict=True):
            if result.shape != (rows, *spec.shape) or result.dtype.kind != spec.numpy_dtype.kind:
                got = f"{result.dtype}{list(result.shape)}"
                raise ValueError(f"{spec.name}: expected {spec.dtype}{[rows, *spec.shape]}, got {got}")

    def _measure(self, sizes: Iterable[int]) -> dict[int, float]:
        """Warms the session up, and measures the median run time in seconds for each of these batch sizes.

        On the CPU it measures the thread's own processor time. A server under load interrupts the thread that loads the
        next version, so wall time would be many times too long.
        """
        clock: Callable[[], float] = time.thread_time if self._session.on_cpu else time.perf_counter
        curve = {}
        for rows in sizes:
            inputs = self._neutral_rows(rows)
            self._check_outputs(self.run(inputs, self.outputs), rows)
            times: list[float] = []
            while len(times) < MEASURED_RUNS and sum(times) < MEASURING_S:
                start = clock()
                self.run(inputs, self.outputs)
                times.append(clock() - start)
            curve[rows] = statistics.median(times)
        return curve


def neutral_rows(specs: Iterable[TensorSpec], rows: int) -> Arrays:
    """Rows that a model with these inputs accepts: zeros, or the allowed values nearest to zero."""
    return {spec.name: spec.neutral(rows) for spec in specs}


def _part(inputs: Arrays, start: int, end: int) -> Arrays:
    return {name: array[start:end] for name, array in inputs.items()}
