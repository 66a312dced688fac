"""Runs the commands of a model card as they stand.

In:      bundles in a folder `models`.
Out:     the names of the commands, once all have succeeded.
Refuses: a command that fails (the assertion has its output).

The commands run in the serving environment, in the folder that holds `models`. The server takes a free port, and the
client learns it from an environment variable.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlway_client.contract.bundle import Bundle
from tests.conftest import SERVE

PATIENCE_S = 120.0


def commands_of(bundle: Bundle) -> list[list[str]]:
    """The lines of the card's shell block, without their comments."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", (bundle.path / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def run_commands(bundles: Iterable[Bundle], log: Path) -> list[list[str]]:
    """Runs the commands of bundles in one folder and returns their names by bundle. All share one server."""
    environment, done = dict(os.environ), []
    with ExitStack() as stack:
        for bundle in bundles:
            done.append([verb for _, verb, *_ in commands_of(bundle)])
            place = bundle.path.parents[2]
            for program, verb, *words in commands_of(bundle):
                assert program == "rlway"
                if verb != "serve":
                    _run(verb, words, place, environment)
                elif "RLWAY_URL" not in environment:
                    environment["RLWAY_URL"] = stack.enter_context(_serving(words, place, log))
    return done


@contextmanager
def _serving(words: list[str], place: Path, log: Path) -> Iterator[str]:
    """The server's URL, while it runs."""
    command = [str(SERVE), "serve", *words, "--port", "0", "--json"]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, cwd=place) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the server did not start: {log.read_text()}"
            yield json.loads(line)["url"]
        finally:
            process.terminate()


def _run(verb: str, words: list[str], place: Path, environment: dict[str, str]) -> None:
    command = [str(SERVE), verb, *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=place, env=environment)
    assert ran.returncode == 0, f"{shlex.join(command)}: {ran.stderr}"
