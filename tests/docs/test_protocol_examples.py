"""The examples in docs/protocols.md, each run as it is printed, apart from the address."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.docs.protocols_page import PAGE, Running

# The environment of a client, by the package that an example imports.
ENVIRONMENTS = {
    "openpi_client": ".venv-openpi",
    "kserve": ".venv-kserve",
    "tensorflow_serving": ".venv-train",
    "tritonclient": ".venv",
    "ovmsclient": ".venv",
}
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"(curl .*)\n# (.*)", PAGE)


def _package(example: str) -> str:
    return next(package for package in ENVIRONMENTS if f"{package}" in example)


def _addressed(text: str, running: Running) -> str:
    """An example that asks this server."""
    here = text.replace("localhost:8080", f"{running.server.host}:{running.server.port}")
    return here.replace("localhost:8500", f"{running.server.host}:{running.grpc_port}")


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=_package)
def test_an_example_prints_what_its_comments_say(example: str, running: Running) -> None:
    """In the environment of its client, unmodified apart from the address."""
    python = ROOT / ENVIRONMENTS[_package(example)] / "bin/python"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    own |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [str(python), "-c", _addressed(example, running)], env=own, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"print\(.*\)  # (.*)", example)


def test_every_client_of_the_page_has_an_example() -> None:
    """And every print says what it prints."""
    assert {_package(example) for example in EXAMPLES} == set(ENVIRONMENTS)
    for example in EXAMPLES:
        assert re.findall(r"print\(.*", example) == re.findall(r"print\(.*\)  # .*", example)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[str(i) for i in range(len(COMMANDS))])
def test_a_command_prints_what_the_line_below_says(command: str, expected: str, running: Running) -> None:
    """As it is typed."""
    words = shlex.split(_addressed(command, running))
    done = subprocess.run([*words, "--silent", "--show-error"], capture_output=True, text=True, timeout=60)
    assert done.stdout == expected


def test_links_within_the_page_lead_somewhere() -> None:
    """To its own headings, and to those of other pages."""
    for page, anchor in re.findall(r"\]\(([a-z/]*(?:\.md)?)(?:#([a-z0-9-]+))?\)", PAGE):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8") if page else PAGE
        titles = re.findall(r"^#+ (.+)", text, re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, anchor
