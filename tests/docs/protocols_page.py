"""The text and the tables of docs/protocols.md, and a server that has all that the page speaks of.

In:      a folder, options of `rlway serve`.
Out:     rows and columns of the tables; `Running`.
Refuses: a table that is not there (ValueError, StopIteration).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bundles import linear_policy, robot_policy, summing_policy
from tests.conftest import ROOT
from tests.docs.words import Speaker
from tests.naming import name_elements
from tests.ports import free_port
from tests.servers import Answer, Server, running_server

PAGE = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
NO = "✗"
MOST_ROWS = 8
CART = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]


def read_table(first_cell: str, after: str) -> list[list[str]]:
    """The rows below the head that begins with a cell, in the section that begins with a line."""
    lines = PAGE[PAGE.index(f"\n{after}\n") :].splitlines()
    head = f"| {first_cell}".rstrip() + " |"
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    end = next(i for i, line in enumerate(lines) if i > start and not line.startswith("|"))
    rows = [line[1:-1].split("|") for line in lines[start:end] if "---" not in line]
    return [[cell.strip() for cell in row] for row in rows]


def read_columns(after: str) -> dict[str, dict[str, str]]:
    """A table with a column for each protocol: the cells by column and row."""
    head, *rows = read_table("", after)
    return {column: {row[0]: row[i] for row in rows} for i, column in enumerate(head) if column}


SAYS = read_columns("## What each can say")
ERRORS = read_columns("## Errors")


class Running(NamedTuple):
    """A server with all protocols."""

    server: Server
    grpc_port: int

    def speaker(self, column: str, kind: Callable[..., Speaker], key: str | None = None) -> Speaker:
        """One that uses the words of a column."""
        return kind(self.server, self.grpc_port, SAYS[column], key)

    def post(self, path: str, body: str, method: str = "POST") -> Answer:
        """The answer to one request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.server.ask(head.encode() + body.encode())


@contextmanager
def running_protocols(folder: Path, *options: str) -> Iterator[Running]:
    """A server with two versions of `cartpole`, which is the default and has names, `recurrent` and `robot`."""
    models = folder / "models"
    for bundle in (linear_policy(models, "cartpole"), linear_policy(models, "cartpole", 2, bias=1.0)):
        name_elements(bundle, "observation", CART)
    (models / "cartpole/labels.json").write_text(json.dumps({"stable": 1, "canary": 2}))
    summing_policy(models, "recurrent")
    robot_policy(models)
    port = free_port()
    given = ["--grpc-port", str(port), "--default", "cartpole", "--max-rows", str(MOST_ROWS), *options]
    with running_server(models, folder / "log", *given) as server:
        yield Running(server, port)
        assert server.process.poll() is None
        assert b"Traceback" not in server.log.read_bytes()
