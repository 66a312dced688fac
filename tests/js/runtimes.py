"""Where the JavaScript client runs: Node, and Chromium without a window.

In:      a script for Node; the URL of a page for Chromium.
Out:     the process, which posts its results.
Refuses: a machine without either of them: its tests are skipped, with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "clients/js"
UNPACKED = PACKAGE / "node_modules/.chromium"
# Node 22 has a WebSocket without the flag, and accepts it.
NODE = ("node", "--experimental-websocket", "--no-warnings")


def need_node() -> None:
    """Skips the test unless `make setup` has found Node."""
    if not (PACKAGE / "node_modules/ready").exists():
        pytest.skip("clients/js: no Node 20 or newer when `make setup` ran; install it and run that again")


def chromium() -> tuple[str, dict[str, str]]:
    """The system's browser, or the one of `make setup` with its libraries; skips the test if neither starts."""
    system = shutil.which("chromium") or shutil.which("google-chrome")
    libraries = {} if system else {"LD_LIBRARY_PATH": str(UNPACKED / "al2023/lib")}
    browser, environment = system or str(UNPACKED / "chromium"), os.environ | libraries
    try:
        subprocess.run([browser, "--version"], env=environment, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no Chromium starts here: {error}")
    return browser, environment


@contextmanager
def open_page(url: str, profile: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Chromium with a page."""
    browser, environment = chromium()
    # No sandbox: it needs rights that containers lack. No GPU, no shared memory: likewise.
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [browser, *flags, f"--user-data-dir={profile}", url]
    log = profile.with_suffix(".log")
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def run_node(*words: str, cwd: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """Node with a script."""
    with subprocess.Popen([*NODE, *words], cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()
