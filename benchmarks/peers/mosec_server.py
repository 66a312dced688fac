"""mosec: one worker that is given batches, of RLWAY_ROWS at most, gathered for RLWAY_WAIT_S at most."""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker
from session import ROWS, WAIT_S, Session


class Policy(Worker):  # type: ignore[misc]
    """A batch of bodies in, as many answers out."""

    def __init__(self) -> None:
        self.session = Session()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, int]]:
        return [{"action": int(a)} for a in self.session.act([body["observation"] for body in data])]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Policy, num=1, max_batch_size=ROWS, max_wait_time=int(WAIT_S * 1000))
    server.run()
