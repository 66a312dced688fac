"""Mixed traffic for a policy server at a steady rate; every answer is checked.

In:      a server's address; the policies `linear` (q = observation · W + b), `summing` (the same over the sum of an
         episode's observations) and `broken` (which has no sound version).
Out:     how often each kind of request was answered as expected; a sentence for each fault.

The traffic consists of single requests, batches and raw rows through both lanes; requests that are refused, of one kind
for each status; episodes by id that are never ended; WebSockets with a policy state; connections that open and close.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from tests.bundles import BIAS, WEIGHTS
from tests.servers import LANES, OCTETS, act_request, get_request

KEY, ADMIN_KEY = "soak-key", "soak-admin-key"
HEADERS = (f"authorization: Bearer {KEY}",)
LINEAR, SUMMING = "/v1/policies/linear/act", "/v1/policies/summing/act"
ROW = [1.0, 0.5, -1.0, 2.0]
# The server's options: low limits, so that small requests can reach them.
MAX_ROWS, MAX_BATCH, QUEUE_CAPACITY = 512, 64, 512
OPTIONS = (
    *("--max-rows", str(MAX_ROWS), "--max-batch", str(MAX_BATCH), "--queue-capacity", str(QUEUE_CAPACITY)),
    *("--header-timeout-s", "2", "--episode-ttl-s", "30"),
)
ANSWER_S = 10.0
MOST_FAULTS = 20  # that are reported


def octets(rows: int) -> bytes:
    return np.resize(np.array(ROW, "<f4"), (rows, 4)).tobytes()


def ask(body: bytes | dict[str, Any], path: str = LINEAR, headers: tuple[str, ...] = HEADERS, **how: Any) -> bytes:
    return act_request(body, path=path, headers=headers, **how)


REFUSED: dict[int, list[bytes]] = {
    400: [ask(b"{"), ask({}), ask({"observation": ROW, "observatoin": 1})],
    401: [ask({"observation": ROW}, headers=())],
    403: [ask({"observation": ROW}, headers=("authorization: Bearer wrong",))],
    404: [
        ask({"observation": ROW}, path="/v1/policies/nobody/act"),
        ask({"observation": ROW, "version": 10**6}),
        ask({"observation": ROW, "label": "nobody"}),
        ask({"observation": ROW, "episode": "nobody"}, path=SUMMING),
    ],
    405: [get_request(LINEAR, *HEADERS)],
    413: [ask(octets(MAX_ROWS + 1), media_type=OCTETS)],
    415: [ask(b"hello", media_type="text/plain")],
    422: [
        ask({"observation": [1, 2, 3]}),
        ask({"observation": [1, 2, 3, float("nan")]}),
        ask(b"12345", media_type=OCTETS),
        ask({"observation": ROW}, path=SUMMING),
    ],
    431: [
        ask(
            {"observation": ROW},
            headers=(
                *HEADERS,
                "x-long: " + "x" * 70_000,
            ),
        )
    ],
    503: [ask({"observation": ROW}, path="/v1/policies/broken/act")],
    504: [ask({"observation": ROW, "deadline_ms": 1e-6})],
}


class Wire:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.asked = 0

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.asked += 1
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        while True:
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            if status >= 200:
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                return status, await self.reader.readexactly(length)


class Traffic:
    """Callers of one server; `answered` counts by kind, `faults` describes wrong answers."""

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        self.host, self.port = host, port
        self.answered: Counter[str] = Counter()
        self.faults: list[str] = []
        self.faulty = 0
        self._random = random.Random(seed)
        self._episodes = 0
        kinds: dict[Callable[[Wire], Any], int] = {
            self._one: 50,
            self._batch: 10,
            self._raw: 10,
            self._explore: 5,
            self._refused: 15,
            self._too_many: 2,
            self._step: 15,
            self._look: 3,
        }
        self._kinds, self._weights = list(kinds), list(kinds.values())

    def fault(self, what: str) -> None:
        self.faulty += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(what)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()

    async def call(self, per_second: float) -> None:
        """One caller after another, each with a connection of its own."""
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            try:
                async with self.connection() as wire:
                    for _ in range(self._random.randint(1, 200)):
                        kind = self._random.choices(self._kinds, self._weights)[0]
                        await asyncio.wait_for(kind(wire), ANSWER_S)
                        due_s = max(due_s + 1 / per_second, clock() - 1)  # a busy machine's delay is not caught up
                        await asyncio.sleep(due_s - clock())
            except (OSError, EOFError, TimeoutError) as error:
                self.fault(f"a connection broke: {type(error).__name__} {error}")
                await asyncio.sleep(0.1)

    async def stream(self, per_second: float) -> None:
        """WebSockets one after the other; each is an episode, whose sum the actions must show."""
        url = f"ws://{self.host}:{self.port}/v1/policies/summing/stream"
        while True:
            try:
                async with connect(url, additional_headers={"authorization": f"Bearer {KEY}"}) as stream:
                    total = np.zeros(4, np.float32)
                    for i in range(self._random.randint(1, 300)):
                        observation = self._observation()
                        total += observation
                        text = i % 2 == 0
                        frame = json.dumps({"observation": observation.tolist()}) if text else observation.tobytes()
                        await stream.send(frame)
                        answer = await asyncio.wait_for(stream.recv(), ANSWER_S)
                        if isinstance(answer, bytes):
                            action = np.frombuffer(answer, "<i8")[0]
                        else:
                            action = json.loads(answer).get("action", answer)
                        self._expect("stream step", action, best(total))
                        await asyncio.sleep(1 / per_second)
            except (OSError, EOFError, TimeoutError) as error:
                self.fault(f"a stream broke: {type(error).__name__} {error}")
                await asyncio.sleep(0.1)

    async def dawdle(self) -> None:
        """Callers that never finish their request; each is answered with 408."""
        while True:
            async with self.connection() as wire:
                wire.writer.write(b"POST /v1/policies/linear/act HTTP/1.1\r\nhost: x\r\n")
                status, _ = await wire.answer()
                self._expect("refused with 408", status, 408)
                self._expect("closed after 408", await wire.reader.read(), b"")

    # Kinds of requests.

    async def _one(self, wire: Wire) -> None:
        observation = self._observation()
        lane = LANES[0] if self._random.random() < 0.8 else self._random.choice(LANES)
        status, body = await wire.ask(ask({"observation": observation.tolist()}, lane=lane))
        self._expect(f"one, {lane}", status == 200 and json.loads(body)["action"], best(observation), body)

    async def _batch(self, wire: Wire) -> None:
        rows = [self._observation() for _ in range(self._random.randint(1, 16))]
        status, body = await wire.ask(ask({"observations": [row.tolist() for row in rows]}))
        self._expect("batch", status == 200 and json.loads(body)["actions"], [best(row) for row in rows], body)

    async def _raw(self, wire: Wire) -> None:
        rows = np.array([self._observation() for _ in range(self._random.randint(1, MAX_BATCH))])
        status, body = await wire.ask(ask(rows.tobytes(), media_type=OCTETS))
        actions = np.frombuffer(body, "<i8").tolist() if status == 200 else body
        self._expect("raw rows", actions, [best(row) for row in rows])

    async def _explore(self, wire: Wire) -> None:
        explored = {"observation": ROW, "explore": {"temperature": 1.0}, "seed": 7, "outputs": ["q_values"]}
        first, again = await wire.ask(ask(explored)), await wire.ask(ask(explored))
        actions = [status == 200 and json.loads(body)["action"] for status, body in (first, again)]
        self._expect("sampled twice with one seed", actions[0], actions[1], first[1])

    async def _refused(self, wire: Wire) -> None:
        status = self._random.choice(list(REFUSED))
        request = self._random.choice(REFUSED[status])
        if status == 431:  # which ends a connection
            async with self.connection() as other:
                answered, body = await other.ask(request)
        else:
            answered, body = await wire.ask(request)
        self._expect(f"refused with {status}", answered, status, body)

    async def _too_many(self, _: Wire) -> None:
        """Sends more rows at once than may wait, so that at least the last request is refused."""
        async with self.connection() as wire:
            requests = 3
            wire.writer.write(ask(octets(QUEUE_CAPACITY // 2 + 1), media_type=OCTETS) * requests)
            statuses = [(await wire.answer())[0] for _ in range(requests)]
        self._expect("refused with 429", statuses[-1], 429, str(statuses).encode())
        self._expect("nothing but 200 and 429", {200, 429}, {200, 429, *statuses}, str(statuses).encode())

    async def _step(self, wire: Wire) -> None:
        """A short episode by id, which is not ended."""
        self._episodes += 1
        episode = f"episode-{self._episodes}"
        total = np.zeros(4, np.float32)
        for i in range(self._random.randint(1, 5)):
            observation = self._observation()
            total += observation
            step = {"observation": observation.tolist(), "episode": episode, "first": i == 0}
            status, body = await wire.ask(ask(step, path=SUMMING))
            self._expect("episode's step", status == 200 and json.loads(body)["action"], best(total), body)

    async def _look(self, wire: Wire) -> None:
        path = self._random.choice(["/healthz", "/readyz", "/v1/policies", "/v1/policies/linear", "/openapi.json"])
        status, body = await wire.ask(get_request(path, *HEADERS))
        self._expect("looked at", status, 200, body)

    def _observation(self) -> Any:
        """An observation of quarters, so that sums are exact, with clearly different Q-values."""
        while True:
            row = np.array([self._random.randint(-8, 8) / 4 for _ in range(4)], "<f4")
            if abs(np.subtract(*(row @ WEIGHTS + BIAS))) > 1e-3:
                return row

    def _expect(self, kind: str, got: Any, expected: Any, body: bytes = b"") -> None:
        if got == expected and type(got) is not bool:
            self.answered[kind] += 1
        else:
            self.fault(f"{kind}: expected {expected}, got {got} {body[:200].decode(errors='replace')}".strip())


def best(observation: Any) -> int:
    """The expected action."""
    return int(np.argmax(observation @ WEIGHTS + BIAS))
