"""Completion in a real shell: what stands on the line after TAB."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.cli.test_command_line import needs_world_without_tensorflow
from tests.clients.conftest import MISUSED, Fail, Succeed
from tests.shells import PATIENCE_S, RLWAY, completed


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ser",), ["serve"]),
        (("comp",), ["completion"]),
        (("act", "--p"), ["--policy"]),
        (("bench", "--arrivals", ""), ["poisson", "even"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_bash_completes_commands_options_and_values(words: tuple[str, ...], offered: list[str]) -> None:
    """And prints nothing else between the words that someone types."""
    assert completed(*words) == (offered, "")


@needs_world_without_tensorflow
def test_a_command_that_is_not_installed_is_not_explained_while_someone_types() -> None:
    """Its sentence would stand in the middle of the line."""
    assert completed("train", "") == ([], "")


@needs_world_without_tensorflow
def test_completing_a_command_imports_none() -> None:
    """TAB is to answer at once: no subcommand's module is loaded for the names of all."""
    program = "import sys; from rlway_client.cli.main import main\ntry: main([])\nfinally: print(*sys.modules)"
    environment = os.environ | {"_RLWAY_COMPLETE": "complete_bash", "COMP_WORDS": "rlway ", "COMP_CWORD": "1"}
    python = str(Path(RLWAY).with_name("python"))
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=True
    )
    assert "serve" in done.stdout.splitlines()
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"rlway_serve", "rlway_client.cli.act", "rlway_client.cli.bench", "rlway_client.cli.play"}


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _rlway_completion rlway"),
        ("zsh", "compdef _rlway_completion rlway"),
        ("fish", "complete --command rlway "),
    ],
)
def test_each_shell_has_a_script(shell: str, line: str, succeed: Succeed) -> None:
    """A shell that is installed here reads it without a fault."""
    script = succeed("completion", shell)
    assert line in script
    program = shutil.which(shell)
    if program is not None:
        done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_misuse(fail: Fail) -> None:
    assert "tcsh" in fail("completion", "tcsh", status=MISUSED)
