"""Runs the commands of a model card as they stand.

In:      bundles in a folder `models`.
Out:     the names of the commands, once all have succeeded.
Refuses: a command that fails (the assertion has its output).

The commands run in the serving environment, in the folder that holds `models`: one process has all of them, because
starting Python takes longer than most. The server takes a free port, and the client learns it from an environment
variable.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rlway_client.contract.bundle import Bundle
from tests.conftest import SERVE

TIME_LIMIT_S = 600.0
ONE_AFTER_THE_OTHER = """
import json, sys
from rlway_client.cli.main import main

for words in json.loads(sys.argv[1]):
    print(*words, file=sys.stderr)
    try:
        main(words)
    except SystemExit as ended:
        if ended.code:
            raise
"""


def commands_of(bundle: Bundle) -> list[list[str]]:
    """The lines of the card's shell block, without their comments."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", (bundle.path / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def run_commands(bundles: Iterable[Bundle], log: Path) -> list[list[str]]:
    """Runs the commands of bundles in one folder and returns their names by bundle. All share one server."""
    cards = [commands_of(bundle) for bundle in bundles]
    assert {program for card in cards for program, *_ in card} == {"rlway"}
    (place,) = {bundle.path.parents[2] for bundle in bundles}
    words = [words for card in cards for _, *words in card]
    serve = next(line for line in words if line[0] == "serve")
    with _serving(serve, place, log) as url:
        others = json.dumps([line for line in words if line[0] != "serve"])
        command = [str(SERVE.parent / "python"), "-c", ONE_AFTER_THE_OTHER, others]
        environment = os.environ | {"RLWAY_URL": url}
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, cwd=place, env=environment)
    assert ran.returncode == 0, ran.stderr
    return [[verb for _, verb, *_ in card] for card in cards]


@contextmanager
def _serving(words: list[str], place: Path, log: Path) -> Iterator[str]:
    """The server's URL, while it runs."""
    command = [str(SERVE), *words, "--port", "0", "--json"]
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
