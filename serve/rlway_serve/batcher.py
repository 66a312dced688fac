"""Groups concurrent calls into one run of the policy.

In:      calls, each with a deadline or none.
Out:     a response to each, in order of arrival.
Refuses: QueueFull once `capacity` rows wait (as many again in calls of more than `max_batch` rows, so that large calls
         never keep small ones out); DeadlineExceeded before running, never after; SpecViolated for the calls whose
         observations are not finite, while the others of their batch are answered.

Batching is natural: whatever has arrived by the time the runtime is free is one batch, and nothing waits on a timer.
When more waits than fits into one batch, connections take turns, so that nobody gains by asking much at once.
A short run happens on the event loop; a long one on a thread, while the next batch gathers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rlway_client.errors import DeadlineExceeded, NotReady, QueueFull, SpecViolated
from rlway_client.exploration import draw_noise
from rlway_client.interface import NEXT, RESET
from rlway_client.manifest import Manifest
from rlway_client.parity import Arrays, rows_of
from rlway_client.specs import AnyArray, Fault, FloatArray
from rlway_serve.call import Call
from rlway_serve.decoder import ActDecoder
from rlway_serve.encoder import ActEncoder
from rlway_serve.metrics import PolicyMetrics
from rlway_serve.observation import ObservationForm
from rlway_serve.response import JSON, Response, new_internal_error, problem_response
from rlway_serve.runtime import Runtime

ABANDONED = Response(499, JSON, b"")  # nobody reads it

log = logging.getLogger(__name__)


class Batcher:
    """The queue in front of one policy's runtime. It lives on one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        runtime: Runtime,
        decoder: ActDecoder,
        metrics: PolicyMetrics,
        *,
        max_batch: int,
        capacity: int,
    ) -> None:
        self._form = ObservationForm(manifest.observation)
        self._observation = manifest.observation[0].name
        self._dtype = manifest.observation[0].numpy_dtype
        self._noise_size = manifest.noise.size if manifest.noise else 0
        self._runtime = runtime
        self._state = manifest.state
        self._next_state = tuple(spec.name for spec in manifest.interface.next_state)
        self._decoder = decoder
        self._encoder = ActEncoder(manifest)
        self._metrics = metrics
        self._max_batch = max_batch
        self._capacity = capacity
        self._name = manifest.policy
        self._queue: deque[Call] = deque()  # in order of arrival
        self._turns: dict[object, deque[Call]] = {}  # by connection, once more waits than fits into a batch
        self._rows = 0  # waiting in either
        self._large_rows = 0  # likewise, in calls of more than `max_batch` rows
        self._scheduled = False  # whether `_next_batch` is about to run, or a batch is on the thread
        self._generator = np.random.default_rng()
        self._thread = None if runtime.inline else ThreadPoolExecutor(1, thread_name_prefix=f"rlway-{self._name}")
        self._closed = False

    @property
    def queued_rows(self) -> int:
        return self._rows + self._large_rows

    def submit(self, call: Call) -> None:
        """Queues the call; its `reply` is called later from the event loop. Raises QueueFull, NotReady."""
        if self._closed:
            raise NotReady(f"policy {self._name!r}: the server is stopping.")
        rows = call.rows
        if rows > self._max_batch:
            if self._large_rows and self._large_rows + rows > self._capacity:
                raise self._full(self._large_rows)
            self._large_rows += rows
        else:
            if self._rows and self._rows + rows > self._capacity:
                raise self._full(self._rows)
            self._rows += rows
        self._queue.append(call)
        if not self._scheduled:
            self._scheduled = True
            # After the callbacks of this turn of the loop: every socket that is readable now joins the batch.
            asyncio.get_running_loop().call_soon(self._next_batch)

    def _full(self, waiting: int) -> QueueFull:
        return QueueFull(f"policy {self._name!r}: {waiting} observations are waiting already; try again in a second.")

    def close(self) -> None:
        """Refuses what comes from now on, and waits for the batch that runs."""
        self._closed = True
        if self._thread:
            self._thread.shutdown(wait=True)

    def _next_batch(self) -> None:
        batch = self._take()
        if not batch:
            self._schedule_next()
        elif self._thread is None:
            self._answer(batch, self._execute(batch))
        else:
            running = asyncio.get_running_loop().run_in_executor(self._thread, self._execute, batch)
            running.add_done_callback(lambda done: self._answer(batch, done.result()))

    def _answer(self, batch: list[Call], responses: list[Response]) -> None:
        try:
            self._metrics.count_batch(batch, responses, time.perf_counter())
            for call, response in zip(batch, responses, strict=True):
                call.reply(response)
        finally:
            self._schedule_next()

    def _schedule_next(self) -> None:
        self._scheduled = bool(self._queue or self._turns)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next_batch)

    def _take(self) -> list[Call]:
        """Up to `max_batch` rows (a larger single call runs alone) without the calls that are too late."""
        if self._rows <= self._max_batch and not self._large_rows and not self._turns:
            taken = list(self._queue)
            self._queue.clear()
            self._rows = 0
        else:
            taken = self._take_in_turn()
        if self._state:
            taken = self._one_per_episode(taken)
        if any(call.deadline_s for call in taken):
            return self._without_late(taken)
        return taken

    def _take_in_turn(self) -> list[Call]:
        """One call of each connection after the other; those of connections that have gone are dropped."""
        turns = self._turns
        for call in self._queue:
            turns.setdefault(getattr(call.reply, "connection", call), deque()).append(call)
        self._queue.clear()
        taken: list[Call] = []
        rows = 0
        while turns:
            connection = next(iter(turns))
            calls = turns[connection]
            call = calls[0]
            wanted = not getattr(call.reply, "abandoned", False)
            if wanted and taken and rows + call.rows > self._max_batch:
                break
            calls.popleft()
            del turns[connection]
            if calls:
                turns[connection] = calls  # behind the others
            if call.rows > self._max_batch:
                self._large_rows -= call.rows
            else:
                self._rows -= call.rows
            if wanted:
                taken.append(call)
                rows += call.rows
            else:
                call.reply(ABANDONED)
        return taken

    def _one_per_episode(self, taken: list[Call]) -> list[Call]:
        """A step needs what the one before it has left: the further steps of an episode wait for the next run."""
        batch: list[Call] = []
        later: list[Call] = []
        playing: set[object] = set()
        for call in taken:
            (later if call.episode in playing else batch).append(call)
            playing.add(call.episode)
        for call in reversed(later):
            connection = getattr(call.reply, "connection", call)
            if connection in self._turns:
                self._turns[connection].appendleft(call)
            else:
                self._queue.appendleft(call)
            if call.rows > self._max_batch:
                self._large_rows += call.rows
            else:
                self._rows += call.rows
        return batch

    def _without_late(self, taken: list[Call]) -> list[Call]:
        batch = []
        now = time.perf_counter()
        expected_s = self._runtime.expected_s(sum(call.rows for call in taken))
        for call in taken:
            if call.deadline_s is not None and now + expected_s > call.deadline_s:
                waited_ms = (now - call.arrived_s) * 1e3
                late = DeadlineExceeded(f"deadline_ms: cannot be met any more after {waited_ms:.1f} ms in the queue.")
                self._metrics.count_refusal(late)
                call.reply(problem_response(late))
            else:
                batch.append(call)
        return batch

    def _execute(self, batch: list[Call]) -> list[Response]:
        """One run over all rows of the batch, and the answer to each call. Touches nothing of the event loop's."""
        try:
            plain = not self._state and not any(call.batched or call.outputs or call.explore for call in batch)
            inputs = self._stack_single(batch) if plain and self._form.plain else self._stack(batch)
            if not all(np.isfinite(array).all() for array in inputs.values()) or (
                self._state and any(map(self._misfit, batch))
            ):
                return self._execute_without_faulty(batch)
            if plain:
                if self._noise_size:
                    inputs["noise"] = self._runtime.zero_noise(len(batch))
                actions = self._runtime.run(inputs, ("action",))[0]
                if np.isfinite(actions).all():
                    return [self._encoder.encode_single(action) for action in actions.tolist()]
                return self._execute_apart(batch)
            if self._noise_size:
                inputs["noise"] = self._noise(batch)
            if self._state:
                self._remember(batch, inputs)
            wanted = any(call.outputs for call in batch)
            names = self._runtime.outputs if wanted else ("action", *self._next_state)
            results = self._runtime.run(inputs, names)
            if not np.isfinite(results[0]).all():
                return self._execute_apart(batch)
            by_name = dict(zip(names, results, strict=True))
            if self._state:
                self._keep(batch, by_name)
            return self._encode(batch, by_name)
        except Exception:
            return [self._failed(batch)] * len(batch)

    def _execute_without_faulty(self, batch: list[Call]) -> list[Response]:
        faults = [self._decoder.faults(call) or self._misfit(call) for call in batch]
        sound = [call for call, found in zip(batch, faults, strict=True) if not found]
        answered = iter(self._execute(sound) if sound else [])
        return [problem_response(SpecViolated(found)) if found else next(answered) for found in faults]

    def _encode(self, batch: list[Call], results: dict[str, AnyArray]) -> list[Response]:
        actions = results["action"]
        responses = []
        start = 0
        for call in batch:
            rows = slice(start, start := start + call.rows)
            outputs = {name: results[name][rows] for name in call.outputs}
            responses.append(self._encoder.encode(call, actions[rows], outputs))
        return responses

    def _execute_apart(self, batch: list[Call]) -> list[Response]:
        """Some action is not finite, which no motor should be told: its caller hears so, and nobody else."""
        if len(batch) > 1:
            return [self._execute([call])[0] for call in batch]
        place = "observations" if batch[0].batched else "observation"
        return [problem_response(SpecViolated([Fault(place, "values with a finite action", "an action that is not")]))]

    def _failed(self, batch: list[Call]) -> Response:
        error = new_internal_error()
        log.exception("policy %s: a batch of %d calls failed (request id %s)", self._name, len(batch), error.request_id)
        return problem_response(error)

    def _stack_single(self, batch: list[Call]) -> Arrays:
        with np.errstate(over="ignore"):  # what becomes infinite is found before the run
            return {self._observation: np.array([call.observations for call in batch], self._dtype)}

    def _stack(self, batch: list[Call]) -> Arrays:
        return self._form.stack([call.observations for call in batch])

    def _misfit(self, call: Call) -> list[Fault]:
        """Why a step cannot go on from what its episode remembers."""
        memory = self._memory(call)
        if memory is None or rows_of(memory) == call.rows:
            return []
        return [Fault("observations", f"{rows_of(memory)}, as at the step before", str(call.rows))]

    def _memory(self, call: Call) -> Arrays | None:
        return None if call.first or call.episode is None or not self._state else call.episode.memory

    def _remember(self, batch: list[Call], inputs: Arrays) -> None:
        """Adds what the episodes remember to the inputs, and where nothing is to be."""
        memories = [self._memory(call) for call in batch]
        for spec in self._state:
            inputs[spec.name] = np.concatenate(
                [
                    np.zeros((call.rows, *spec.shape), spec.numpy_dtype) if memory is None else memory[spec.name]
                    for call, memory in zip(batch, memories, strict=True)
                ]
            )
        inputs[RESET.name] = np.repeat([memory is None for memory in memories], [call.rows for call in batch])

    def _keep(self, batch: list[Call], results: Arrays) -> None:
        """The episodes remember what the run has left of them."""
        start = 0
        for call in batch:
            rows = slice(start, start := start + call.rows)
            if call.episode is not None:
                call.episode.memory = {spec.name: results[NEXT + spec.name][rows].copy() for spec in self._state}

    def _noise(self, batch: list[Call]) -> FloatArray:  # -> [rows, n]
        noise = np.zeros((sum(call.rows for call in batch), self._noise_size), np.float32)
        start = 0
        for call in batch:
            if call.explore is not None:
                generator = self._generator if call.seed is None else np.random.default_rng(call.seed)
                noise[start : start + call.rows] = draw_noise(call.explore, call.rows, self._noise_size, generator)
            start += call.rows
        return noise
