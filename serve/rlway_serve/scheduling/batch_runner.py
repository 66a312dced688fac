"""Runs a policy over the rows of several calls, and writes each call's answer.

In:      a batch of calls that fit the spec. What is cheaper to check for all of them at once is checked here.
Out:     their responses, in the same order.
Refuses: SpecViolated for each call with an observation or action that is not finite, a value outside its lookup table,
         a policy state with another number of rows, or an observation on which the model fails. ActionRefused where
         the policy's guard refuses; with a guard, an action that is not finite is for it to judge. The other calls are
         answered. InternalError for all calls, if the model fails even on neutral observations, and for a call whose
         answer cannot be written.

It uses nothing of the event loop, so it may run on a thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.guarding import REFUSE, Guarded
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray, Fault
from rlway_serve.backends.base import RunFailed, Runtime
from rlway_serve.codec.action import ActionForm
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.codec.encoder import ActEncoder
from rlway_serve.codec.observation import ObservationForm, all_finite
from rlway_serve.messages.call import AnyCall, Call, ExpressCall, PlainCall
from rlway_serve.messages.response import Response, new_internal_error, problem_response
from rlway_serve.messages.wire import PlainReply, Wire
from rlway_serve.scheduling.run_guard import RunGuard, are_given
from rlway_serve.scheduling.run_inputs import RunInputs
from rlway_serve.telemetry.drift import Drift

log = logging.getLogger(__name__)

LOG_EVERY_S = 60.0  # between two log lines about observations on which the model fails
UNSOUND = Fault("observation", "values that the policy's model takes", "some on which it fails")


class BatchRunner:
    """One policy's version. Used by one thread at a time."""

    def __init__(
        self, manifest: Manifest, runtime: Runtime, decoder: ActDecoder, drift: Drift, guard: RunGuard | None = None
    ) -> None:
        self._form = ObservationForm(manifest.observation)
        self._observation = manifest.observation[0].name
        self._action = ActionForm(manifest.actions)
        self._runtime = runtime
        self._inputs = RunInputs(manifest)
        self._guard = guard
        self._in_episodes = bool(manifest.state) or (guard is not None and guard.remembers)
        self._noise_size = self._inputs.noise_size
        by_default = manifest.explore
        self._plain_noise = partial(self._inputs.draw, by_default) if by_default else runtime.zero_noise
        self._needed = (*self._action.names, *(spec.name for spec in manifest.interface.next_state))
        self._decoder = decoder
        self._drift = drift
        self._encoder = ActEncoder(manifest)
        self._name = manifest.policy
        self._log_from_s = 0.0  # when the log may next report an observation on which the model failed

    def run(self, batch: Sequence[AnyCall]) -> list[Response]:
        """The answer to each call. Raises RunFailed, and nothing else, where the model fails."""
        try:
            return self._run([self._as_call(call) for call in batch])
        except RunFailed:
            raise
        except Exception as error:
            return self._failed(batch, error)

    def run_apart(self, batch: Sequence[AnyCall]) -> list[Response]:
        """As `run`, after the model has failed: refuses only the calls on which it fails. Never raises.

        To find one observation among 512 takes about thirty runs.
        """
        try:
            calls = [self._as_call(call) for call in batch]
            try:
                return self._run(calls)
            except RunFailed as failed:
                return self._by_halves(calls, failed) if self._runtime.works() else self._failed(batch, failed)
        except Exception as error:
            return self._failed(batch, error)

    def run_plain(self, batch: Sequence[PlainCall | ExpressCall]) -> list[Response]:
        """As `run`, for a batch of plain calls that are all raw or all JSON."""
        raw = batch[0].raw
        actions = self._run_plain_rows([call.observations for call in batch], raw)
        responses = None if actions is None else self._write_plain(actions, raw, [call.wire for call in batch])
        return self.run(batch) if responses is None else responses

    def run_plain_rows(
        self, observations: list[Any], raw: bool = False, wire: Wire | None = None
    ) -> list[Response] | None:
        """The answers to plain calls of one wire with these observations.

        None if any row is not sound, the run fails, or an answer cannot be written.
        """
        actions = self._run_plain_rows(observations, raw)
        return None if actions is None else self._write_plain(actions, raw, [wire])

    def _write_plain(self, actions: AnyArray, raw: bool, wires: Sequence[Wire | None]) -> list[Response] | None:
        """The answer to each action: all on one wire, or on one for each; None if one cannot be written."""
        try:
            guarded = None if self._guard is None else self._guard.apply_plain({self._action.names[0]: actions})
            if guarded is not None:
                return None if guarded.has_non_finite else self._write_guarded(guarded, raw, wires)
            return self._write_all(actions, raw, wires)
        except Exception:
            log.debug("policy %s: a plain answer failed, and the batch is run again", self._name, exc_info=True)
            return None

    def _write_all(self, actions: AnyArray, raw: bool, wires: Sequence[Wire | None]) -> list[Response]:
        if len({*wires}) == 1:
            return self._write_on(wires[0], actions, raw)
        places: dict[Wire | None, list[int]] = {}
        for i, wire in enumerate(wires):
            places.setdefault(wire, []).append(i)
        responses: list[Any] = [None] * len(wires)
        for wire, among in places.items():
            for i, response in zip(among, self._write_on(wire, actions[among], raw), strict=True):
                responses[i] = response
        return responses

    def _write_guarded(self, guarded: Guarded, raw: bool, wires: Sequence[Wire | None]) -> list[Response]:
        """As `_write_all`; the answers to rows that the guard changed say so."""
        (actions,) = guarded.actions.values()
        responses = self._write_all(actions, raw, wires)
        for i in np.flatnonzero(guarded.levels).tolist():
            wire = wires[i if len(wires) > 1 else 0]
            refusal = guarded.refusal(i, i + 1) if guarded.levels[i] == REFUSE else None
            if refusal is not None:
                responses[i] = problem_response(refusal) if wire is None else wire.refuse(refusal)
            elif wire is None:
                responses[i] = self._encoder.encode_guarded(actions[i : i + 1], raw, guarded.rules(i, i + 1))
            else:
                responses[i] = wire.write_guarded(actions[i : i + 1], guarded.rules(i, i + 1))
        return responses

    def _write_on(self, wire: Wire | None, actions: AnyArray, raw: bool) -> list[Response]:
        if wire is not None:
            return wire.write_actions(actions)
        return self._encoder.encode_raw(actions) if raw else self._encoder.encode_plain(actions)

    def _run_plain_rows(self, observations: list[Any], raw: bool) -> AnyArray | None:  # -> [rows, *shape]
        try:
            rows = self._form.join(observations) if raw else self._form.stack_plain(observations)
            inputs: Arrays = {self._observation: rows}
            if (not raw or all_finite(rows)) and (not self._form.looks_up or self._form.are_in_tables(inputs)):
                if self._noise_size:
                    inputs["noise"] = self._plain_noise(len(observations))
                actions = self._runtime.run(inputs, ("action",))[0]
                # A guard looks at every action itself.
                if len(actions) == len(observations) and (self._guard is not None or all_finite(actions)):
                    self._drift.look(inputs)
                    return actions
        except Exception:
            log.debug("policy %s: a batch of plain calls failed, and is run again", self._name, exc_info=True)
        return None

    def _as_call(self, call: AnyCall) -> AnyCall:
        if isinstance(call, Call) or not (call.raw or call.wire):
            return call
        rows = self._form.read_rows(call.observations) if call.raw else [call.observations]
        read = Call(rows, 1, call, batched=True, raw=call.wire is None)
        if call.wire is not None:
            read.reply, read.named = PlainReply(call.wire, self._action.names[0]), True
        return read

    def _run(self, batch: list[AnyCall]) -> list[Response]:
        inputs = self._form.stack([call.observations for call in batch])
        in_episodes, guard = self._in_episodes, self._guard
        if not self._form.are_sound(inputs) or (in_episodes and any(map(self._inputs.state_faults, batch))):
            return self._run_without_faulty(batch, _any_of_each(batch, self._form.unsound_rows(inputs)))
        self._inputs.add(batch, inputs)
        names = self._runtime.outputs if any(call.outputs for call in batch) else self._needed
        results = dict(zip(names, self._runtime.run(inputs, names), strict=True))
        odd = self._action.counts(results) - {rows_of(inputs)}
        if odd:
            raise RunFailed(f"it gave {min(odd)} actions for {rows_of(inputs)} observations")
        if not self._action.are_finite(results):
            self._runtime.forget_padding()  # it may now hold a row that spoils the actions of others
            if guard is None or len(batch) > 1:
                return self._run_without_culprits(batch, _any_of_each(batch, self._action.rows_not_finite(results)))
        guarded = None if guard is None else guard.apply(batch, results)
        if guarded is not None:
            results |= guarded.actions
        self._drift.look(inputs)
        responses = self._encoder.encode(batch, results, guarded)
        if in_episodes:  # last, since a failed run may be repeated
            given = are_given(batch, guarded)
            self._inputs.keep_state(batch, results, given)
            if guard is not None:
                guard.keep(batch, results, given)
        return responses

    def _run_without_faulty(self, batch: list[AnyCall], unsound: list[bool]) -> list[Response]:
        """Refuses the calls whose observations are not sound or whose policy state does not fit; runs the others."""
        faults = [
            (self._decoder.faults(call) or [UNSOUND] if odd else []) or self._inputs.state_faults(call)
            for call, odd in zip(batch, unsound, strict=True)
        ]
        sound = [call for call, found in zip(batch, faults, strict=True) if not found]
        answered = iter(self._run(sound) if sound else [])
        return [
            call.refusal(SpecViolated(found)) if found else next(answered)
            for call, found in zip(batch, faults, strict=True)
        ]

    def _run_without_culprits(self, batch: list[AnyCall], unsound: list[bool]) -> list[Response]:
        """Refuses the calls whose action is not finite, since no motor may get it; runs the others once more.

        If a model scales by all rows of its batch, one row may have spoilt the actions of the others. With a guard, the
        calls whose action is not finite run once more as well, and it judges those that are not finite by themselves.
        """
        if all(unsound) and len(batch) > 1:
            half = len(batch) // 2
            return [*self._run(batch[:half]), *self._run(batch[half:])]
        sound = [call for call, odd in zip(batch, unsound, strict=True) if not odd]
        guilty = [call for call, odd in zip(batch, unsound, strict=True) if odd]
        answered = iter(self._run(sound) if sound else [])
        judged = map(_refuse_action, guilty) if self._guard is None else iter(self._run(guilty))
        return [next(judged) if odd else next(answered) for odd in unsound]

    def _by_halves(self, batch: list[AnyCall], failed: RunFailed) -> list[Response]:
        """Runs each half of a batch on which the model failed, down to the single calls on which it fails."""
        if len(batch) == 1:
            return [self._refuse_failing(batch[0], failed)]
        responses: list[Response] = []
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            try:
                responses += self._run(half)
            except RunFailed as error:
                responses += self._by_halves(half, error)
        return responses

    def _refuse_failing(self, call: AnyCall, failed: RunFailed) -> Response:
        now_s = time.monotonic()
        if now_s >= self._log_from_s:  # one caller must not fill the log
            self._log_from_s = now_s + LOG_EVERY_S
            reason = " ".join(str(failed)[:1000].split())[:300]
            log.warning("policy %s: the model fails on an observation (%s)", self._name, reason)
        place = "observations" if call.batched and not call.named else "observation"
        row = self._find_failing(call) if call.rows > 1 else 0
        if call.batched and row is not None:
            place = f"{place}[{row}]"
        return call.refusal(SpecViolated([Fault(place, UNSOUND.expected, UNSOUND.got)]))

    def _find_failing(self, call: AnyCall) -> int | None:
        """The first row on which the model fails, found by bisection; None if it fails only on several together."""
        inputs = self._form.stack([call.observations])
        self._inputs.add([call], inputs)
        start, end = 0, call.rows
        while end - start > 1:
            middle = (start + end) // 2
            if self._fails(inputs, start, middle):
                end = middle
            elif self._fails(inputs, middle, end):
                start = middle
            else:
                return None
        return start

    def _fails(self, inputs: Arrays, start: int, end: int) -> bool:
        return self._runtime.fails({name: array[start:end] for name, array in inputs.items()})

    def _failed(self, batch: Sequence[AnyCall], cause: Exception) -> list[Response]:
        error = new_internal_error()
        log.error(
            "policy %s: a batch of %d calls failed (request id %s)",
            self._name,
            len(batch),
            error.request_id,
            exc_info=cause,
        )
        return [call.refusal(error) for call in batch]


def _any_of_each(batch: list[AnyCall], rows: AnyArray) -> list[bool]:
    """For each call, whether the mask `rows` is true for any of its rows."""
    starts = np.cumsum([0, *(call.rows for call in batch[:-1])])
    found: list[bool] = np.logical_or.reduceat(rows, starts).tolist()
    return found


def _refuse_action(call: AnyCall) -> Response:
    place = "observations" if call.batched and not call.named else "observation"
    return call.refusal(SpecViolated([Fault(place, "values with a finite action", "an action that is not")]))
