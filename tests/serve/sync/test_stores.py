"""`rlway serve URL`: a real server whose models it reaches only through fsspec."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from rlway_client.contract.errors import RlwayError
from rlway_serve.settings import Settings
from rlway_serve.sync import copier as copier_module
from rlway_serve.sync.copier import LOCK, MARK, Copier, CopyTask, Mark
from tests.bundles import linear_policy
from tests.serve.registry.test_startup import flip_a_byte
from tests.servers import PATIENCE_S, RLWAY, Server, act_request, get_request, read_metrics, running_server, wait_until

pytestmark = pytest.mark.slow

OFTEN = ("--poll-s", "0.05")
CHATTY = """
from fsspec.implementations.local import LocalFileSystem

print("hello from a library", flush=True)


class Chatty(LocalFileSystem):
    protocol = "chatty"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("chatty://"))
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder that plays the bucket."""
    return tmp_path / "bucket"


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The servers' folder for temporary files, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def served(store: Path, log: Path) -> Iterator[Server]:
    """A server that was started before the store existed."""
    with running_server(f"file://{store}", log, *OFTEN) as server:
        yield server


def act(server: Server, **body: Any) -> tuple[int, Any]:
    answer = server.ask(act_request({"observation": [1, 0, 0, 0]} | body))
    return answer.status, answer.json


def wait_until_active(server: Server, version: int) -> None:
    wait_until(lambda: act(server) == (200, {"action": 0, "version": version}), f"version {version} to act")


def copiers(server: Server) -> list[psutil.Process]:
    """The copier processes among the children of the server."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if child.is_running() and "rlway_serve.sync.copier" in child.cmdline()]


def fail_to_serve(url: str, *options: str) -> str:
    """The sentence with which `rlway serve URL` ends."""
    command = [str(RLWAY), "serve", url, "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode in (1, 2), done.stdout) == (True, ""), done
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("rlway: ")
    assert "Traceback" not in done.stderr
    return sentence


def test_a_store_is_followed_and_its_outages_are_outlived(served: Server, store: Path, temporary: Path) -> None:
    """Ready with the first policy; then swaps, labels and rollbacks. An outage changes nothing and is logged once."""
    assert served.policies == []
    assert served.ask(get_request("/readyz")).status == 503
    linear_policy(store)
    wait_until_active(served, 1)
    linear_policy(store, version=2)
    wait_until_active(served, 2)
    (store / "linear" / "labels.json").write_text('{"stable": 1}')
    wait_until_active(served, 1)
    (store / "linear" / "labels.json").unlink()
    wait_until_active(served, 2)
    away = store.rename(store.with_name("away"))
    wait_until(lambda: served.log.read_text().count("no such folder") == 2, "the outage to be noticed")
    assert act(served)[1]["version"] == 2
    shutil.rmtree(away / "linear" / "2")
    away.rename(store)
    wait_until_active(served, 1)
    wait_until(lambda: served.log.read_text().count("can be read again") == 2, "the end of the outage to be noticed")
    assert served.log.read_text().count("cannot be read") == 2
    (cache,) = temporary.glob("rlway-cache-*")
    assert served.stop() == 0
    assert not cache.exists()


def test_a_version_that_cannot_be_copied_shows_among_the_failures(served: Server, store: Path) -> None:
    """The description and the metrics have the reason; once it is whole, it is active."""
    draft = linear_policy(store.with_name("draft")).path
    flip_a_byte(draft)
    store.mkdir()
    draft.parent.rename(store / "linear")
    wait_until(lambda: "could not be copied" in act(served)[1]["detail"], "the failure")
    assert act(served)[0] == 503
    linear_policy(store, version=2)
    wait_until_active(served, 2)
    (failed,) = httpx.get(f"{served.url}/v1/policies/linear").json()["failed"]
    assert (failed["version"], failed["reason"]) == (1, "copy")
    assert failed["detail"].startswith("not copied: model.onnx: damaged: expected SHA-256")
    assert read_metrics(served)["rlway_load_failures_total", "linear", "copy"] == 1
    shutil.rmtree(store / "linear" / "1")
    linear_policy(store)
    wait_until(lambda: act(served, version=1)[0] == 200, "the mended version")
    wait_until(lambda: httpx.get(f"{served.url}/v1/policies/linear").json()["failed"] == [], "the fault to go")


def test_workers_share_one_process_that_copies(store: Path, log: Path) -> None:
    """A killed copier is replaced by one; it ends with the workers, also if they are killed."""
    linear_policy(store)
    with running_server(f"file://{store}", log, *OFTEN, "--workers", "2") as server:
        assert server.policies == [{"name": "linear", "version": 1}]
        (first,) = copiers(server)
        first.kill()
        linear_policy(store, version=2)
        wait_until_active(server, 2)
        (second,) = copiers(server)
        assert second.pid != first.pid
        server.process.kill()
        second.wait(PATIENCE_S)


def test_a_kept_cache_serves_without_the_store(store: Path, tmp_path: Path, log: Path) -> None:
    """A server that starts during an outage serves its cache; a cache belongs to one store."""
    linear_policy(store)
    cache, url = tmp_path / "cache", f"file://{store}"
    for _ in range(2):
        with running_server(url, log, *OFTEN, "--cache", str(cache)) as server:
            assert server.policies == [{"name": "linear", "version": 1}]
            wait_until_active(server, 1)
        if store.exists():
            store.rename(store.with_name("away"))
    assert sorted(path.name for path in cache.iterdir()) == [LOCK, MARK, "linear"]
    assert f"holds copies from {url}" in fail_to_serve(f"file://{store}-other", "--cache", str(cache))


def test_a_folder_that_is_no_cache_is_left_alone(store: Path, tmp_path: Path) -> None:
    """Copying removes what the store does not have, so it refuses a folder with other contents."""
    linear_policy(store)
    models = linear_policy(tmp_path / "models", "precious").path
    assert "neither empty nor a cache" in fail_to_serve(f"file://{store}", "--cache", str(tmp_path / "models"))
    assert models.exists()
    unusable = tmp_path / "unusable"
    (unusable / LOCK).mkdir(parents=True)
    (unusable / MARK).write_bytes(msgspec.json.encode(Mark(f"file://{store}")))
    assert "cannot be used: Is a directory" in fail_to_serve(f"file://{store}", "--cache", str(unusable))
    assert "only what lies at a URL" in fail_to_serve(str(tmp_path / "models"), "--cache", str(tmp_path / "cache"))


def test_a_url_that_will_never_do_stops_the_start() -> None:
    """One sentence says so before any worker starts."""
    assert "nosuch://bucket/models: not a URL" in fail_to_serve("nosuch://bucket/models", "--workers", "2")


def test_nothing_is_imported_from_the_working_directory(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module there could replace a library and read the store's credentials."""
    (tmp_path / "fsspec.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert "no such folder" in fail_to_serve(f"file://{store}", "--poll-s", "0")


def test_a_library_may_print(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """Its output goes to the log, and is not taken for the report of the process."""
    linear_policy(store)
    library = tmp_path / "library"
    (library / "chatty-1.dist-info").mkdir(parents=True)
    (library / "chatty-1.dist-info" / "entry_points.txt").write_text("[fsspec.specs]\nchatty = chatty.Chatty\n")
    (library / "chatty.py").write_text(CHATTY)
    monkeypatch.setenv("PYTHONPATH", str(library))
    with running_server(f"chatty://{store}", log, *OFTEN) as server:
        assert server.policies == [{"name": "linear", "version": 1}]
        assert "hello from a library" in log.read_text()


def test_a_process_that_cannot_be_started_is_tried_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server that waits for the lock tries again, releases the lock in between, and logs it once."""
    monkeypatch.setattr(copier_module, "REPLACE_AFTER_S", 0.01)
    copier = Copier(Settings(models=tmp_path, store=f"file://{store}"))
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(tmp_path / "missing"))
        with pytest.raises(RlwayError, match="cannot be started: No such file or directory"):
            copier.start()
        copier.stand_by()
        wait_until(lambda: "cannot be replaced" in caplog.text, "the failure")
    wait_until(lambda: "it is replaced" in caplog.text, "the process")
    copier.stop()
    assert caplog.text.count("cannot be replaced") == 1


def test_a_look_that_hangs_ends_the_process(tmp_path: Path) -> None:
    """The store accepts the connection and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        job = CopyTask(f"ftp://127.0.0.1:{silent.getsockname()[1]}/models", str(tmp_path), 1.0, 1)
        code = "from rlway_serve.sync import copier, watchdog; watchdog.STUCK_S = 0.5; copier.main()"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            assert process.wait(PATIENCE_S) == 1
            assert b"nothing has come for" in process.stderr.read()


def test_without_polling_the_store_must_be_there(store: Path, log: Path) -> None:
    """`--poll-s 0` looks once, serves what is there, and leaves no process running."""
    assert "cannot be read" in fail_to_serve(f"file://{store}", "--poll-s", "0")
    linear_policy(store)
    with running_server(f"file://{store}", log, "--poll-s", "0") as server:
        assert server.policies == [{"name": "linear", "version": 1}]
        assert copiers(server) == []


def test_credentials_do_not_reach_the_log(log: Path, temporary: Path) -> None:
    """The log names a failing store without user and password; the server waits for it."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"ftp://robot:hush-hush@127.0.0.1:{nobody.getsockname()[1]}/models"
        with running_server(url, log, *OFTEN) as server:
            assert server.ask(get_request("/readyz")).status == 503
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(PATIENCE_S) == 0
    assert "ConnectionRefusedError" in log.read_text()
    assert "hush" not in log.read_text()
    assert "robot" not in log.read_text()
    assert not list(temporary.iterdir())
