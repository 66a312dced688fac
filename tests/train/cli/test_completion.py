"""Completion in bash, of the commands that only this environment has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.shells import PATIENCE_S, completed


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("tr",), ["train"]),
        (("train", ""), ["dqn", "sac", "learner", "replay", "actor", "compare"]),
        (("train", "dqn", "--pres"), ["--preset"]),
        (("export", "--check"), ["--checkpoint"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_bash_completes_what_trains_and_exports(words: tuple[str, ...], offered: list[str]) -> None:
    """And prints nothing else between the words that someone types."""
    found, printed = completed(*words)
    assert (sorted(found), printed) == (sorted(offered), "")


@pytest.mark.parametrize("words", ["train dqn --pres", "export --check"])
def test_completing_an_option_loads_no_tensorflow(words: str) -> None:
    """It would take seconds for each TAB."""
    program = "import sys; from rlway_client.cli.main import main\ntry: main([])\nfinally: print(*sys.modules)"
    asked = {"_RLWAY_COMPLETE": "complete_bash", "COMP_WORDS": f"rlway {words}", "COMP_CWORD": str(len(words.split()))}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ | asked, check=True
    )
    assert done.stdout.startswith("--")
    assert not {"tensorflow", "tf_agents"} & set(done.stdout.split())
