"""Who is let in, by which keys, over which transport, and what is written down about it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.bundles import linear_policy
from tests.servers import ACT, ANSWER_S, LANES, Server, act_request, get_request, running_server, wait_until

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """API keys and admin keys in files beside the models, an origin that browsers may ask from, an access log."""
    models = tmp_path_factory.mktemp("guarded") / "models"
    linear_policy(models)
    for name in ("api", "admin"):
        models.with_name(name).write_text(f"{name}-key\n")
    options = ["--api-keys", str(models.with_name("api")), "--admin-keys", str(models.with_name("admin"))]
    options += ["--cors-origin", "https://lab.example", "--access-log", str(models.with_name("access"))]
    with running_server(models, models.with_name("log"), *options) as server:
        yield server


def bearer(key: str, scheme: str = "Bearer") -> str:
    return f"authorization: {scheme} {key}"


def act_status(server: Server, key: str, lane: str = "hot", scheme: str = "Bearer") -> int:
    return server.ask(act_request(BODY, lane=lane, headers=[bearer(key, scheme)])).status


def refusals(server: Server) -> float:
    """How many requests had a key that is not accepted."""
    lines = server.ask(get_request("/metrics", bearer("admin-key"))).body.decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("rlway_refusals_total") and "KeyRefused" in line
    )


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_an_admin_key_opens_what_an_api_key_opens(guarded: Server, lane: str) -> None:
    """And not the reverse; health needs neither."""
    assert act_status(guarded, "api-key", lane) == 200
    assert act_status(guarded, "admin-key", lane) == 200
    refused = refusals(guarded)
    assert act_status(guarded, "another-key", lane) == 403
    assert refusals(guarded) == refused + 1
    statuses = {key: guarded.ask(get_request("/metrics", bearer(key))).status for key in ("api-key", "admin-key")}
    assert statuses == {"api-key": 403, "admin-key": 200}
    assert guarded.ask(get_request("/metrics")).status == 401
    assert guarded.ask(get_request("/healthz")).status == guarded.ask(get_request("/readyz")).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "Api-Key", "API-KEY"])
def test_a_key_comes_as_a_bearer_or_as_an_api_key(guarded: Server, scheme: str) -> None:
    """Robots that use openpi's client write it in the second way; other schemes are none."""
    assert act_status(guarded, "api-key", scheme=scheme) == 200
    assert act_status(guarded, "wrong-key", scheme=scheme) == 403
    assert act_status(guarded, "api-key", scheme="Basic") == 401


def test_keys_are_rotated_when_their_file_changes(tmp_path: Path, log: Path) -> None:
    """On open connections, too, and at once on SIGHUP; a file that holds no key any more leaves those before it."""
    linear_policy(tmp_path / "models")
    keys = tmp_path / "keys"
    keys.write_text("old\n")
    with running_server(tmp_path / "models", log, "--api-keys", str(keys)) as server, server.connect() as wire:

        def status(key: str) -> int:
            wire.send(act_request(BODY, headers=[bearer(key)]))
            return wire.answer().status

        assert (status("old"), status("new")) == (200, 403)
        keys.write_text("old\nnew\n")
        wait_until(lambda: status("new") == 200, "the new key to count")
        assert status("old") == 200
        keys.write_text("")
        wait_until(lambda: "holds no key" in log.read_text(), "the fault to be logged")
        assert (status("old"), status("new")) == (200, 200)
        keys.write_text("newest\n")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: status("newest") == 200, "the newest key to count")
        assert (status("old"), status("new")) == (403, 403)


def test_keys_that_change_while_the_server_starts_count(tmp_path: Path, log: Path) -> None:
    """A change during a long load is not missed, and SIGHUP does not end a server that is not ready yet."""
    linear_policy(tmp_path / "models")
    manifest = tmp_path / "models" / "linear" / "2" / "manifest.json"
    manifest.parent.mkdir()
    os.mkfifo(manifest)
    keys = tmp_path / "keys"
    keys.write_text("old\n")
    loading: list[int] = []

    def server_is_loading() -> bool:
        with suppress(OSError):  # until the server reads
            loading.append(os.open(manifest, os.O_WRONLY | os.O_NONBLOCK))
        return bool(loading)

    def meddle() -> None:
        wait_until(server_is_loading, "the server to load")
        keys.write_text("new and longer\n")
        for process in psutil.Process().children():
            if str(keys) in process.cmdline():
                process.send_signal(signal.SIGHUP)
        os.write(loading[0], b"{")
        os.close(loading[0])

    with ThreadPoolExecutor(1) as pool:
        meddling = pool.submit(meddle)
        with running_server(tmp_path / "models", log, "--api-keys", str(keys), "--poll-s", "60") as server:
            meddling.result()
            wait_until(lambda: act_status(server, "new and longer") == 200, "the new key to count")
            assert act_status(server, "old") == 403


def test_keys_may_come_from_the_environment(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several with spaces between them."""
    linear_policy(tmp_path / "models")
    monkeypatch.setenv("RLWAY_API_KEYS", "one two")
    with running_server(tmp_path / "models", log) as server:
        assert [act_status(server, key) for key in ("one", "two", "one two", "three")] == [200, 200, 403, 403]
        assert server.ask(act_request(BODY)).status == 401


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("body", [BODY, b"{"], ids=["served", "refused"])
def test_a_request_id_comes_back(linear: Server, lane: str, body: bytes | dict[str, object]) -> None:
    """By either lane, the same bytes; what could not stand in a header does not come back."""
    headers = ["X-Request-Id: 7f-3.a"]
    answers = [linear.ask(act_request(body, lane=way, headers=headers)) for way in ("hot", lane)]
    assert answers[0].headers["x-request-id"] == "7f-3.a"
    assert answers[1] == answers[0]
    for bad in ("x-request-id: a b", f"x-request-id: {'a' * 129}", "x-request-id: "):
        assert "x-request-id" not in linear.ask(act_request(body, lane=lane, headers=[bad])).headers
    with linear.connect() as wire:  # an id is the request's that brought it, and not the next one's
        wire.send(act_request(body, lane=lane, headers=headers) + act_request(body, lane=lane))
        assert ["x-request-id" in wire.answer().headers for _ in range(2)] == [True, False]


def test_probes_carry_the_request_id_too(linear: Server) -> None:
    """Whatever is asked, also what is not there."""
    for path in ("/healthz", "/nowhere"):
        assert linear.ask(get_request(path, "x-request-id: abc")).headers["x-request-id"] == "abc"


def test_the_access_log_has_one_json_line_per_request(guarded: Server) -> None:
    """Of either lane alike, with what happened and no secret."""
    log = Path(guarded.log).with_name("access")
    before = len(log.read_text().splitlines()) if log.exists() else 0
    for lane in ("hot", "query"):
        guarded.ask(act_request(BODY, lane=lane, headers=[bearer("api-key"), f"x-request-id: id-{lane}"]))
    guarded.ask(act_request(BODY, headers=[bearer("wrong-key")]))
    guarded.ask(get_request("/healthz"))
    httpx.head(f"{guarded.url}/healthz")
    wait_until(lambda: len(log.read_text().splitlines()) == before + 5, "five lines")
    lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert [line["path"] for line in lines] == [ACT, f"{ACT}?x=1", ACT, "/healthz", "/healthz"]
    assert [line["status"] for line in lines] == [200, 200, 403, 200, 200]
    assert [line["request_id"] for line in lines] == ["id-hot", "id-query", None, None, None]
    assert [line["method"] for line in lines] == ["POST", "POST", "POST", "GET", "HEAD"]
    assert [line["response_bytes"] for line in lines[3:]] == [len(b'{"status":"alive"}'), 0]
    assert lines[0]["response_bytes"] == lines[1]["response_bytes"] == len(b'{"action":0,"version":1}')
    assert lines[0]["request_bytes"] == lines[1]["request_bytes"] > 0
    assert all(line["duration_ms"] >= 0 and line["peer"].startswith("127.0.0.1:") for line in lines)
    assert "-key" not in log.read_text()


def test_the_access_log_has_a_line_per_frame(guarded: Server) -> None:
    """Behind that of the stream's handshake, whose request id they share; refused frames and handshakes alike."""
    log, path = Path(guarded.log).with_name("access"), "/v1/policies/linear/stream"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    url = f"ws://{guarded.host}:{guarded.port}{path}"
    headers = {"authorization": "Bearer api-key", "x-request-id": "robot-7"}
    frames: list[str | bytes] = [json.dumps(BODY), b"\0" * 32, "{"]
    with connect(url, additional_headers=headers) as stream:
        answers = []
        for frame in frames:
            stream.send(frame)
            answers.append(stream.recv(ANSWER_S, decode=False))
    with pytest.raises(InvalidStatus):
        connect(url, additional_headers={"authorization": "Bearer wrong-key"}).close()
    wait_until(lambda: len(log.read_text().splitlines()) == before + 5, "five lines")
    lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert [line["method"] for line in lines] == ["GET", "TEXT", "BINARY", "TEXT", "GET"]
    assert [line["status"] for line in lines] == [101, 200, 200, 400, 403]
    assert [line["request_bytes"] for line in lines] == [None, *map(len, frames), None]
    assert [line["response_bytes"] for line in lines[:4]] == [0, *map(len, answers)]
    assert [line["request_id"] for line in lines] == ["robot-7"] * 4 + [None]
    assert all(line["path"] == path and line["duration_ms"] >= 0 for line in lines)
    assert all(line["peer"].startswith("127.0.0.1:") for line in lines)


def test_the_access_log_may_be_moved_away(tmp_path: Path, log: Path) -> None:
    """After SIGHUP the lines go to a new file; none is lost."""
    linear_policy(tmp_path / "models")
    access, moved = tmp_path / "access", tmp_path / "access.1"
    with running_server(tmp_path / "models", log, "--access-log", str(access)) as server:
        server.ask(get_request("/healthz"))
        access.rename(moved)
        server.process.send_signal(signal.SIGHUP)
        wait_until(access.exists, "a new file")
        server.ask(get_request("/readyz"))
        assert [json.loads(path.read_text())["path"] for path in (moved, access)] == ["/healthz", "/readyz"]


def test_an_access_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before anything is served."""
    from tests.serve.registry.test_startup import fail_to_serve

    linear_policy(tmp_path / "models")
    assert "--access-log" in fail_to_serve(tmp_path / "models", "--access-log", str(tmp_path))


def test_browsers_may_ask_only_from_the_origins_named(guarded: Server, linear: Server) -> None:
    """Without `--cors-origin`, from none: no answer allows any origin."""
    preflight = ["access-control-request-method: POST", "access-control-request-headers: content-type,authorization"]
    for origin, allowed in (("https://lab.example", True), ("https://evil.example", False)):
        headers = [f"origin: {origin}"]
        answer = guarded.ask(act_request(BODY, headers=[*headers, bearer("api-key")]))
        assert answer.status == 200
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        if allowed:  # what the server says in headers of its own
            shown = set(answer.headers["access-control-expose-headers"].split(", "))
            assert {"rlway-version", "rlway-guarded"} <= shown
        answer = guarded.ask(get_request(ACT, *headers, *preflight, method="OPTIONS"))
        assert answer.status == (200 if allowed else 400)
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        for lane in LANES:
            plain = linear.ask(act_request(BODY, lane=lane, headers=headers))
            assert not any(name.startswith("access-control") for name in plain.headers)


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_traced_pages_may_ask(guarded: Server, method: str) -> None:
    """A page that is part of a trace asks first for the headers that say of which, and for the others."""
    names = ["traceparent", "tracestate", "authorization", "content-type", "x-request-id"]
    asked = [f"access-control-request-method: {method}", f"access-control-request-headers: {','.join(sorted(names))}"]
    answer = guarded.ask(get_request(ACT, "origin: https://lab.example", *asked, method="OPTIONS"))
    assert answer.status == 200
    assert set(names) <= set(answer.headers["access-control-allow-headers"].lower().split(", "))
    assert method in answer.headers["access-control-allow-methods"].split(", ")


@pytest.mark.parametrize("path", ["/v1/policies/../../etc/passwd", "/v1/policies/..%2f..%2fetc%2fpasswd", "/../api"])
def test_no_path_reaches_the_file_system(guarded: Server, path: str) -> None:
    """Names are looked up among those that are served, and nowhere else."""
    assert guarded.ask(get_request(path, bearer("api-key"))).status == 404


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed pair for 127.0.0.1."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def test_tls_serves_both_lanes_and_takes_a_new_certificate(tmp_path: Path, log: Path) -> None:
    """The ready line says https; a certificate that is replaced counts for the next connection."""
    linear_policy(tmp_path / "models")
    certificate, key = make_certificate(tmp_path, "first")
    options = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    with running_server(tmp_path / "models", log, *options) as server:
        assert server.url.startswith("https://127.0.0.1:")

        def ask(query: str) -> object:
            context = ssl.create_default_context(cafile=certificate)
            with httpx.Client(verify=context) as client:
                return client.post(f"{server.url}{ACT}{query}", json=BODY).json()

        assert ask("") == ask("?x=1") == {"action": 0, "version": 1}
        make_certificate(tmp_path, "second")

        def takes_the_second() -> bool:
            try:
                return ask("") == {"action": 0, "version": 1}
            except httpx.ConnectError:
                return False

        wait_until(takes_the_second, "the new certificate to be used")
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("options", [["--tls-cert", "nowhere"], ["--tls-cert", "nowhere", "--tls-key", "nowhere"]])
def test_certificates_that_cannot_be_used_are_named(tmp_path: Path, options: list[str]) -> None:
    """One without the other, or files that are not there: a sentence, and nothing is served in the clear."""
    from tests.serve.registry.test_startup import fail_to_serve

    linear_policy(tmp_path / "models")
    assert "--tls-cert" in fail_to_serve(tmp_path / "models", *options)
