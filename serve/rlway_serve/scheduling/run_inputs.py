"""The inputs of a run besides the observations: noise, the time step, and the policy state.

In:      a batch of calls.
Out:     arrays by input name, with the rows of the calls one after the other.
Refuses: a step with another number of rows than its episode's state (as faults).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from rlway_client.contract.exploration import Explore, draw_noise
from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import Fault, FloatArray
from rlway_serve.codec.time_step import TimeStepForm
from rlway_serve.messages.call import AnyCall


class RunInputs:
    """One policy's version. Used by one thread at a time."""

    def __init__(self, manifest: Manifest) -> None:
        self.noise_size = manifest.noise.size if manifest.noise else 0
        self.state = manifest.state
        self._draws = manifest.interface.noise_draws
        self._explore = manifest.explore  # of calls that do not say; None: they are greedy
        self._time_step = TimeStepForm(manifest.time_step)
        self._generator = np.random.default_rng()

    def draw(self, explore: Explore, rows: int) -> FloatArray:  # -> [rows, n]
        """Noise for calls without a seed."""
        return draw_noise(explore, rows, self._draws, self._generator)

    def add(self, batch: Sequence[AnyCall], inputs: Arrays) -> None:
        """Adds all of them to the observations."""
        if self.noise_size:
            inputs["noise"] = self._noise(batch)
        if self._time_step.specs:
            inputs.update(self._time_step.fill([(call.rows, call.time_step) for call in batch]))
        if self.state:
            self._add_state(batch, inputs)

    def state_faults(self, call: AnyCall) -> list[Fault]:
        """Why a step cannot continue from the state of its episode; empty if it can."""
        if call.first or call.state is None or call.given_state is not None:
            return []
        before = call.state.arrays or call.state.actions  # a policy without state may have a guard that remembers
        if not before or rows_of(before) == call.rows:
            return []
        return [Fault("observations", f"{rows_of(before)}, as at the step before", str(call.rows))]

    def keep_state(self, batch: Sequence[AnyCall], results: Arrays, given: Sequence[bool]) -> None:
        """Stores the states after the run in the episodes of the calls that are `given` their actions."""
        start = 0
        for call, is_given in zip(batch, given, strict=True):
            rows = slice(start, start := start + call.rows)
            if call.state is not None and is_given:
                call.state.arrays = {spec.name: results[NEXT + spec.name][rows].copy() for spec in self.state}

    def _state_before(self, call: AnyCall) -> Arrays | None:
        if call.given_state is not None:
            return call.given_state
        return None if call.first or call.state is None or not self.state else call.state.arrays

    def _add_state(self, batch: Sequence[AnyCall], inputs: Arrays) -> None:
        """Adds the policy states to the inputs, zeros where an episode begins, and `reset`, which marks those rows."""
        states = [self._state_before(call) for call in batch]
        for spec in self.state:
            inputs[spec.name] = np.concatenate(
                [
                    np.zeros((call.rows, *spec.shape), spec.numpy_dtype) if state is None else state[spec.name]
                    for call, state in zip(batch, states, strict=True)
                ]
            )
        reset = np.repeat([state is None for state in states], [call.rows for call in batch])
        start = 0
        for call in batch:
            if call.reset is not None:
                reset[start : start + call.rows] |= call.reset
            start += call.rows
        inputs[RESET.name] = reset

    def _noise(self, batch: Sequence[AnyCall]) -> FloatArray:  # -> [rows, n]
        noise = np.zeros((sum(call.rows for call in batch), self.noise_size), np.float32)
        start = 0
        for (explore, seeded), calls in groupby(batch, self._drawn_with):
            group = list(calls)
            end = start + sum(call.rows for call in group)
            if group[0].noise is not None:
                noise[start:end] = group[0].noise
            elif explore is not None:
                generator = self._generator if seeded is None else np.random.default_rng(seeded.seed)
                noise[start:end] = draw_noise(explore, end - start, self._draws, generator)
            start = end
        return noise

    def _drawn_with(self, call: AnyCall) -> tuple[Explore | None, AnyCall | None]:
        """Calls with equal keys share their draws, which saves time; one with a seed or noise has its own."""
        return call.explore or self._explore, None if call.seed is None and call.noise is None else call
