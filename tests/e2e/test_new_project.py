"""`rlway new`, and then the commands that it prints, as a newcomer runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import SERVE, TRAIN
from tests.ports import free_port, wait_for

PATIENCE_S = 800.0  # of a machine that does other work besides
RANDOM = -20.0  # random actions get about -30, two thousand steps of training about -5


def make(project: Path, *words: str) -> str:
    """What `make` prints; it must succeed."""
    command = ["make", "-C", str(project), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_new_project_leads_to_a_policy_that_is_served(tmp_path: Path) -> None:
    """Its tests pass, it trains, exports, serves and plays, and the doctor finds nothing wrong with it.

    `rlway new` of one environment finds the other one beside it, so nothing has to be set.
    """
    subprocess.run([str(SERVE), "new", "my_boat"], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    project = tmp_path / "my_boat"
    local = (project / "local.mk").read_text()
    assert f"RLWAY_TRAIN ?= {TRAIN}\n" in local
    assert f"RLWAY_SERVE ?= {SERVE}\n" in local
    checked = make(project, "test")
    assert "keeps to its specs" in checked
    assert re.search(r"Ran 4 tests.*\nOK", checked, re.DOTALL)
    assert "exported my_boat version 1 to models/my_boat/1" in make(project, "train", "export", "STEPS=2000")
    port = free_port()
    serve = ["make", "-C", str(project), "serve", f"PORT={port}"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(serve, stdout=log, stderr=log, start_new_session=True) as server,
    ):
        try:
            wait_for(lambda: is_ready(f"http://127.0.0.1:{port}"), "the server to be ready", PATIENCE_S)
            played = make(project, "play", f"PORT={port}")
            seen = subprocess.run(
                [str(SERVE), "doctor", str(project / "models"), "--port", str(port)],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
        finally:
            os.killpg(server.pid, signal.SIGINT)  # as Ctrl-C does
        server.wait(PATIENCE_S)
    found = re.search(r"mean return (-?[\d.]+)", played)
    assert found is not None, played
    assert float(found[1]) > RANDOM
    assert seen.returncode == 0, seen.stdout
    assert "ready, serves my_boat v1" in seen.stdout
    assert "version 1; 1 would be active" in seen.stdout
    assert make(project, "clean")
    assert not (project / "models").exists()
