"""What an installed wheel contains, and what the lock files say."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, SERVE, TRAIN, run_command

pytestmark = pytest.mark.slow

DISTRIBUTIONS = {
    "train": {"rlway_train"},
    "export": {"rlway_export"},
    "serve": {"rlway_serve"},
    "clients/python": {"rlway_client"},
    ".": set(),
}
LOCKS = sorted((ROOT / "locks").glob("*.txt"))


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_a_wheel_holds_its_one_package_and_nothing_else(folder: str, tmp_path: Path) -> None:
    """Nobody's site-packages gets a `train`, `serve` or `tests`."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT / folder),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == DISTRIBUTIONS[folder]
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    if folder == "serve":  # the pages, and the JavaScript client that they import through a link
        served = {"index.html", "main.js", "page.css", "client/remote/stream.js", "client/contract/errors.js"}
        assert {f"rlway_serve/ui/static/{name}" for name in served} <= set(names)
    for package in DISTRIBUTIONS[folder]:
        assert f"{package}/py.typed" in names
    if folder == "clients/python":  # `rlway new` copies these
        template = "rlway_client/project/template"
        files = {f"{template}/{file.name}" for file in (ROOT / folder / template).iterdir() if file.is_file()}
        assert len(files) == 7
        assert {name for name in names if name.startswith(template)} == files


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_pins_every_package_with_hashes_and_no_address(lock: Path) -> None:
    """`name==version` with sha256: plain pip can read it, and it names no index."""
    text = lock.read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert len(entries) > 10
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_the_serving_lock_has_no_tensorflow() -> None:
    """A server needs none of the packages that trained its policies."""
    text = (ROOT / "locks/serve.txt").read_text() + (ROOT / "locks/serve-dev.txt").read_text()
    assert not re.search(r"^(tensorflow|tf-agents|keras|dm-reverb|tf2onnx)", text, re.MULTILINE)


def test_each_environment_offers_its_own_commands() -> None:
    """`rlway --help` lists the installed commands; another one is answered with the package to install."""
    serving, training = run_command(SERVE, "--help"), run_command(TRAIN, "--help")
    assert serving.status == training.status == 0

    def offered(help_text: str) -> set[str]:
        return set(re.findall(r"^  ([a-z]+)  ", help_text.partition("Commands:\n")[2], re.MULTILINE))

    common = {"new", "inspect", "verify", "act", "play", "edge", "bench", "doctor", "completion"}
    assert offered(serving.stdout) == common | {"serve"}
    assert offered(training.stdout) == common | {"train", "env", "export"}
    for command, missing, package in ((SERVE, "train", "rlway-train"), (TRAIN, "serve", "rlway-serve")):
        done = run_command(command, missing)
        assert done.status == 2
        assert f"install '{package}' with pip or uv" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
