"""Drift: the share of observed values outside the ranges of the training.

In:      batches of observations before they run; the ranges of the training, from the manifest.
Out:     counters by policy, version, input and feature, for Prometheus: all values, and those outside their range.
Refuses: ranges that do not fit the policy's inputs (BundleInvalid).

Checking a batch takes about 10 µs, so only a sample of the batches is checked. Each row selects its batch with
probability `p`. A check halves `p`, and `p` doubles every `CHECK_EVERY_S`, up to 1. So on average one batch is checked
per `CHECK_EVERY_S`, however busy the server is. A checked batch counts with the inverse of the probability that it was
selected. So every observation counts once on average, at quiet and at busy times alike.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from prometheus_client.core import CounterMetricFamily

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import Manifest, Observed
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec

CHECK_EVERY_S = 0.01
RAREST = 30  # the most halvings of `p`
MOST_VALUES = 8192  # checked per batch; of a larger batch, only every n-th row from a random one is checked
MOST_FEATURES = 512  # of one input that have counters of their own
WHOLE = "all"  # the feature of an input that has one range for all its values


class InputRange:
    """The training's range of one input, and the counts of values."""

    def __init__(self, spec: TensorSpec, observed: Observed) -> None:
        self.name = spec.name
        apart = [len(end) for end in (observed.minimum, observed.maximum) if isinstance(end, list)]
        if apart not in ([], [spec.size] * 2) or (apart and spec.size > MOST_FEATURES):
            expected = "one number" + f" or {spec.size} of them" * (spec.size <= MOST_FEATURES)
            raise BundleInvalid(f"observed[{spec.name!r}]: expected as minimum and as maximum {expected}.")
        self.features = tuple(map(str, range(spec.size))) if apart else (WHOLE,)
        self._lowest, self._highest = (_of_dtype(end, spec) for end in (observed.minimum, observed.maximum))
        self.values = 0.0  # per feature
        self.outside: AnyArray = np.zeros(len(self.features))

    def count(self, rows: AnyArray, weight: float) -> None:
        """Counts these rows, each as `weight` rows."""
        values = rows.reshape(len(rows), -1)
        outside = (values < self._lowest) | (values > self._highest)
        if self.features == (WHOLE,):
            self.values += values.size * weight
            self.outside += np.count_nonzero(outside) * weight
        else:
            self.values += len(values) * weight
            self.outside += outside.sum(axis=0) * weight


class Drift:
    """The drift of one version's observations. Used by one thread at a time."""

    def __init__(self, manifest: Manifest, clock: Callable[[], float] = time.perf_counter) -> None:
        specs = {spec.name: spec for spec in manifest.observation}
        unknown = [observed.name for observed in manifest.observed if observed.name not in specs]
        if unknown:
            raise BundleInvalid(f"observed: expected inputs among {', '.join(specs)}, got {unknown[0]!r}.")
        self.ranges = [InputRange(specs[observed.name], observed) for observed in manifest.observed]
        size = sum(specs[known.name].size for known in self.ranges)
        self._clock = clock
        self._first = manifest.observation[0].name  # all inputs have the same number of rows
        self._most_rows = max(1, MOST_VALUES // max(1, size))
        self._halvings = 0.0
        self._rows_left = 1  # rows up to the drawn one, whose batch is checked
        self._drawn_s = 0.0  # when that row was drawn

    def look(self, inputs: Arrays) -> None:
        """Counts the batch if it is part of the sample."""
        if not self.ranges:
            return
        now_s = self._clock()
        if now_s - self._drawn_s >= CHECK_EVERY_S:
            self._draw(now_s)
        rows = len(inputs[self._first])
        self._rows_left -= rows
        if self._rows_left > 0:
            return
        step = -(-rows // self._most_rows)
        weight = step / self._chance(rows)
        first = random.randrange(step) if step > 1 else 0
        for known in self.ranges:
            known.count(inputs[known.name][first::step], weight)
        self._draw(now_s, looks=1)

    def _chance(self, rows: int) -> float:
        """The probability that a batch of so many rows is checked."""
        p = 0.5**self._halvings
        return 1.0 if p == 1.0 else -math.expm1(rows * math.log1p(-p))

    def _draw(self, now_s: float, looks: int = 0) -> None:
        """Draws the next row to check, with the present `p`.

        Draws do not depend on earlier ones, so a new one may replace a row that was not reached.
        """
        recovered = (now_s - self._drawn_s) / CHECK_EVERY_S
        self._halvings = min(RAREST, max(0.0, self._halvings - recovered) + looks)
        p = 0.5**self._halvings
        self._rows_left = 1 if p == 1.0 else 1 + int(math.log(1.0 - random.random()) / math.log1p(-p))
        self._drawn_s = now_s


class Drifts:
    """The drift of all loaded versions; a Prometheus collector."""

    def __init__(self) -> None:
        self._labels: WeakKeyDictionary[Drift, tuple[str, str]] = WeakKeyDictionary()

    def add(self, manifest: Manifest) -> Drift:
        """The drift of a version that is about to be served."""
        drift = Drift(manifest)
        self._labels[drift] = (manifest.policy, str(manifest.version))
        return drift

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        outside: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for ref in self._labels.keyrefs():
            if (drift := ref()) is None:
                continue
            for known in drift.ranges:  # a version that is loaded again is here twice for a moment
                for feature, count in zip(known.features, known.outside.tolist(), strict=True):
                    key = (*self._labels[drift], known.name, feature)
                    values[key] += known.values
                    outside[key] += count
        labels = ["policy", "version", "input", "feature"]
        for name, words, counts in (
            ("rlway_observation_values", "Observed values, estimated from samples", values),
            ("rlway_observation_out_of_range", "Those outside of the training's range, likewise", outside),
        ):
            family = CounterMetricFamily(name, words, labels=labels)
            for labelled, number in counts.items():
                family.add_metric(labelled, number)
            yield family


def _of_dtype(end: float | list[float], spec: TensorSpec) -> AnyArray:
    """The bound in the input's dtype, clipped to what that can hold, so that comparing converts nothing."""
    dtype = spec.numpy_dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(end, dtype)
    limits = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    whole = [min(max(int(value), limits[0]), limits[1]) for value in (end if isinstance(end, list) else [end])]
    return np.array(whole if isinstance(end, list) else whole[0], dtype)
