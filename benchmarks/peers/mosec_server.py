"""mosec: one worker with batches of at most RLWAY_ROWS, gathered for at most RLWAY_WAIT_S."""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker
from session import ROWS, WAIT_S, Session


class PolicyWorker(Worker):  # type: ignore[misc]
    """Answers a batch of bodies."""

    def __init__(self) -> None:
        self.session = Session()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, int]]:
        return [{"action": int(a)} for a in self.session.act([body["observation"] for body in data])]


if __name__ == "__main__":
    server = Server()
    server.append_worker(PolicyWorker, num=1, max_batch_size=ROWS, max_wait_time=int(WAIT_S * 1000))
    server.run()
