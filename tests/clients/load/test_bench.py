"""`rlway bench` against a real server: every protocol, every way to measure, and what it says."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from rlway_client.cli.load_progress import load_progress
from rlway_client.load.loops import Tally
from rlway_client.load.report import describe
from tests.bundles import linear_policy
from tests.clients.conftest import MISUSED, Fail, Rlway, Succeed
from tests.clients.load.conftest import POLICIES, Bench, Loaded
from tests.clients.load.test_search import measured
from tests.clients.remote.peers import answering, peer
from tests.ports import free_port
from tests.servers import PATIENCE_S, RLWAY, running_server
from tests.stalled import make_certificate

PROTOCOLS = {
    "native": ["native"],
    "stream": ["stream"],
    "openpi": ["openpi"],
    "oip": ["oip"],
    "oip-json": ["oip", "--no-binary"],
    "tfs": ["tfs"],
    "oip-grpc": ["oip-grpc"],
    "tfs-grpc": ["tfs-grpc"],
}
KEYS = {
    "protocol",
    "connections",
    "rate",
    "duration_s",
    "offered_rps",
    "achieved_rps",
    "latency_ms",
    "sent_ms",
    "errors",
    "errors_by_kind",
    "first_error",
    "generator_cpu",
    "lag_p99_ms",
}
PERCENTILES = ["p50", "p90", "p99", "p999", "max"]


def words_for(protocol: str, loaded: Loaded) -> list[str]:
    port = ["--grpc-port", str(loaded.grpc_port)] if protocol.endswith("grpc") else []
    return ["--protocol", *PROTOCOLS[protocol], *port]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_asks_every_policy(protocol: str, policy: str, bench: Bench, loaded: Loaded) -> None:
    """Without an error; each connection's first answer is held against the action's spec."""
    load = bench("--policy", policy, *words_for(protocol, loaded))
    assert (load["errors"], load["first_error"]) == (0, None)
    assert load["achieved_rps"] > 0


def test_a_closed_loop_has_these_keys(bench: Bench) -> None:
    """Scripts rely on them."""
    load = bench("--protocol", "stream")
    assert set(load) == KEYS
    assert [*load["latency_ms"]] == PERCENTILES
    assert sorted(load["latency_ms"].values()) == [*load["latency_ms"].values()]
    assert load["latency_ms"] == load["sent_ms"]
    assert (load["protocol"], load["rate"], load["lag_p99_ms"], load["errors_by_kind"]) == ("stream", None, None, {})


def test_an_open_loop_offers_the_rate(bench: Bench) -> None:
    """As many requests as are due, and their latencies from when they were due."""
    load = bench("--rate", "200", "--arrivals", "even", "--duration-s", "0.5")
    assert load["rate"] == load["offered_rps"] == 200
    assert load["lag_p99_ms"] >= 0
    assert bench("--rate", "200", "--duration-s", "0.5")["offered_rps"] == pytest.approx(200, rel=0.5)


def test_a_table_over_the_number_of_robots(bench: Bench, loaded: Loaded, succeed: Succeed) -> None:
    """In JSON a list, in text a row for each."""
    load = bench("--robots", "1,2, 5")
    assert [run["robots"] for run in load["robots"]] == [run["connections"] for run in load["robots"]] == [1, 2, 5]
    assert load["connections"] == 5
    assert load.keys() == KEYS | {"robots"}
    said = succeed("bench", "--url", loaded.server.url, "--robots", "1,2", "--duration-s", "0.1").splitlines()
    assert said[0].split()[:2] == ["robots", "actions/s"]
    assert [line.split()[0] for line in said[1:3]] == ["1", "2"]


def test_the_highest_rate_within_a_limit(loaded: Loaded, rlway: Rlway, tmp_path: Path) -> None:
    """All trials are listed, and the chart is written. On a machine that is busy, it may be that no rate holds."""
    pytest.importorskip("matplotlib")
    png = tmp_path / "latency.png"
    words = ["--slo-ms", "10", "--protocol", "openpi", "--png", str(png), "--duration-s", "0.1", "--json"]
    done = rlway("bench", "--url", loaded.server.url, *words)
    load = json.loads(done.stdout)
    assert load.keys() == KEYS | {"slo_ms", "highest_rate", "trials"}
    held = [trial["rate"] for trial in load["trials"] if trial["holds"]]
    assert load["highest_rate"] == (max(held) if held else None)
    assert done.status == (0 if held else 1)
    assert any(not trial["holds"] for trial in load["trials"])
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_limit_that_no_rate_holds_fails(loaded: Loaded, rlway: Rlway) -> None:
    """The trials are printed, and the sentence says so; the exit status is 1."""
    done = rlway("bench", "--url", loaded.server.url, "--slo-ms", "0.001", "--duration-s", "0.2", "--json")
    assert done.status == 1
    assert "at no rate 99 % of the requests were answered within 0.001 ms" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    values = json.loads(done.stdout)
    assert values["highest_rate"] is None
    assert not any(trial["holds"] for trial in values["trials"])


@pytest.mark.parametrize("ways", [[], ["--rate", "100"], ["--robots", "1,2"]], ids=["closed", "open", "robots"])
def test_each_way_draws_its_chart(ways: list[str], bench: Bench, tmp_path: Path) -> None:
    """A PNG of the distribution."""
    pytest.importorskip("matplotlib")
    bench(*ways, "--png", tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_text_says_what_was_measured(loaded: Loaded, succeed: Succeed, rlway: Rlway) -> None:
    """One line for a run, a table for a search; its trials are long enough to fill a queue."""
    asked = ["bench", "--url", loaded.server.url, "--duration-s", "0.1"]
    assert "requests/s that were due over 32 connections" in succeed(*asked, "--rate", "100")
    said = rlway(*asked, "--slo-ms", "0.001").stdout.splitlines()
    assert said[0] == "each trial takes 0.1 s unless it fails sooner, over 32 connections"
    assert said[1].split()[0] == "rate/s"
    assert all("no" in line.split() for line in said[2:])
    longer = rlway(*asked, "--slo-ms", "6", "--connections", "1")
    assert longer.stdout.startswith("each trial takes 0.12 s unless it fails sooner, over 1 connection\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rate", "5", "--slo-ms", "5"], "--rate and --slo-ms: expected one of them"),
        (["--robots", "1", "--slo-ms", "5"], "--slo-ms and --robots: expected one of them"),
        (["--robots", "1", "--connections", "5"], "--connections and --robots"),
        (["--robots", "1,,2"], "--robots: expected whole numbers from 1 to 65536"),
        (["--robots", "0"], "--robots: expected whole numbers"),
        (["--robots", "1,99999999999"], "--robots: expected whole numbers"),
        (["--rate", "50", "--duration-s", "0.1"], "--rate 50: expected at least 10 requests to be due in 0.1 s"),
        (["--arrivals", "even"], "--arrivals: expected --rate or --slo-ms"),
        (["--protocol", "oip-grpc"], "expected --grpc-port"),
        (["--grpc-port", "1"], "--grpc-port: expected none for the protocol native"),
        (["--protocol", "smtp"], "'smtp'"),
        (["--png", "/nowhere/latency.png"], "there is no folder /nowhere"),
        (["--png", "/"], "expected a file, got a folder"),
        (["--png", "latency.jpg"], "expected a name that ends with .png"),
        (["--no-binary"], "--no-binary: expected only for the protocol oip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_misuse(words: list[str], sentence: str, fail: Fail) -> None:
    """Before any server is asked."""
    assert sentence in fail("bench", "--url", "http://127.0.0.1:1", *words, status=MISUSED)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, fail: Fail) -> None:
    """What to install, in one sentence."""
    monkeypatch.setattr("rlway_client.load.protocols.find_spec", lambda _: None)
    monkeypatch.setattr("rlway_client.load.chart.find_spec", lambda _: None)
    for words in (["--protocol", "tfs-grpc", "--grpc-port", "1"], ["--png", "latency.png"]):
        assert "install 'rlway-client[bench]' with pip" in fail("bench", *words, status=MISUSED)


def test_a_protocol_that_is_closed_is_an_error(tmp_path: Path, fail: Fail) -> None:
    """The server's own words, over HTTP and over a WebSocket, and a gRPC port where nobody listens."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", tmp_path / "log", "--protocols", "") as server:
        asked = ["bench", "--url", server.url, "--duration-s", "0.1"]
        for protocol in ("oip", "tfs"):
            said = fail(*asked, "--protocol", protocol)
            assert f"{server.url}: answered none of 32 requests with a success: HTTP 404" in said
        assert "refused the WebSocket with HTTP 404" in fail(*asked, "--protocol", "openpi")
        for protocol in ("oip-grpc", "tfs-grpc"):
            assert "no gRPC server answers there" in fail(*asked, "--protocol", protocol, "--grpc-port", "1")


@pytest.mark.parametrize("protocol", ["native", "tfs"])
def test_refusals_are_counted_and_quoted(protocol: str, tmp_path: Path, succeed: Succeed) -> None:
    """More than `--max-rate`: HTTP 429, with the server's words in the protocol's own form."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", tmp_path / "log", "--max-rate", "20") as server:
        asked = ["bench", "--url", server.url, "--duration-s", "0.2", "--connections", "2", "--protocol", protocol]
        load = json.loads(succeed(*asked, "--json"))
    assert load["errors"] == load["errors_by_kind"]["HTTP 429"] > 0
    assert load["first_error"].startswith("HTTP 429: {")
    assert "expected at most 20 requests per second" in load["first_error"]


def test_errors_are_said_in_text() -> None:
    """By kind, with the first one."""
    faults = {"HTTP 429": 3, "connection lost": 1}
    run = measured(100.0, 4)
    load = structs.replace(run.load, errors=4, errors_by_kind=faults, first_error="HTTP 429: slow down")
    said = describe(run._replace(load=load))
    assert "4 errors" in said[0]
    assert said[1] == "errors: 3 HTTP 429, 1 connection lost; the first: HTTP 429: slow down"
    busy = structs.replace(load, generator_cpu=0.97)
    assert "the load test itself used 97% of a core" in describe(run._replace(load=busy))[2]


def test_a_wrong_key_is_refused_in_the_servers_words(tmp_path: Path, fail: Fail) -> None:
    """Before anything is measured."""
    linear_policy(tmp_path / "models")
    (tmp_path / "keys").write_text("right\n")
    with running_server(tmp_path / "models", tmp_path / "log", "--api-keys", str(tmp_path / "keys")) as server:
        assert "API key" in fail("bench", "--url", server.url, "--key", "wrong")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """A server that asks for a key, over TLS."""
    folder = tmp_path_factory.mktemp("guarded")
    linear_policy(folder / "models")
    (folder / "keys").write_text("right\n")
    make_certificate(folder)
    port = free_port()
    options = ["--api-keys", str(folder / "keys"), "--grpc-port", str(port)]
    options += ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    with running_server(folder / "models", folder / "log", *options) as server:
        yield Loaded(server, port)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_goes_over_tls_with_a_key(
    protocol: str, guarded: Loaded, monkeypatch: pytest.MonkeyPatch, succeed: Succeed
) -> None:
    """The key is sent as the protocol's clients send it; one variable names the certificates to trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(guarded.server.log.with_name("cert.pem")))
    asked = ["bench", "--url", guarded.server.url, "--duration-s", "0.1", "--key", "right", "--json"]
    assert json.loads(succeed(*asked, *words_for(protocol, guarded)))["errors"] == 0


def test_a_certificate_that_nobody_trusts_is_the_reason(guarded: Loaded, fail: Fail) -> None:
    """And no error of the system, whose numbers OpenSSL's look like."""
    said = fail("bench", "--url", guarded.server.url, "--key", "right")
    assert "no policy server answers there" in said
    assert "certificate verify failed" in said


def test_an_answer_that_does_not_fit_ends_the_test(loaded: Loaded, fail: Fail) -> None:
    """A server whose answers have status 200, but hold no action of this policy."""
    description = loaded.server.ask(b"GET /v1/policies/linear HTTP/1.1\r\nhost: test\r\n\r\n").json
    body = json.dumps({**description, "default": "linear", "action": 7}).encode()
    with peer(answering(body)) as url:
        said = fail("bench", "--url", url, "--connections", "1")
    assert "an answer in the protocol native does not fit the action's spec: action: expected 0 to 1, got 7" in said


def test_progress_is_a_plain_line_now_and_then(capfd: pytest.CaptureFixture[str]) -> None:
    """On stderr where it is no terminal: once a second, or ten times in a long run; nothing with --json."""
    for duration_s, expected in ((3.0, ["1", "2"]), (100.0, ["10", "20"])):
        with load_progress("2 robots", duration_s, quiet=False) as watch:
            assert watch is not None
            for elapsed_s in (0.5, 1.0, 1.5, 2.1, 3.0, 10.2, 12.0, 20.0):
                watch(elapsed_s, Tally())
        said = capfd.readouterr()
        assert said.out == ""
        assert [line.split()[2] for line in said.err.splitlines()] == expected
    assert said.err.startswith("2 robots: 10 of 100 s, 0 actions/s")
    with load_progress("2 robots", 3.0, quiet=True) as watch:
        assert watch is None


def test_progress_on_a_terminal_is_one_line_that_goes_away(loaded: Loaded) -> None:
    """Results stay on stdout."""
    terminal, stderr = pty.openpty()
    command = [str(RLWAY), "bench", "--url", loaded.server.url, "--duration-s", "0.7", "--connections", "1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=stderr, env=environment, timeout=PATIENCE_S, check=True
    )
    os.close(stderr)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "1 connection" in shown
    assert done.stdout.decode().count("\n") == 1


def test_the_help_names_units_and_defaults(succeed: Succeed) -> None:
    """At any width."""
    shown = " ".join(succeed("bench", "--help").split())
    for words in ("Requests/s in an open loop", "seconds", "milliseconds", "latency counts from when it was due"):
        assert words in shown
    for name in ("native|stream|openpi|oip|oip-grpc|tfs|tfs-grpc", "poisson|even"):
        assert name in shown


def test_the_load_test_needs_no_extra_package() -> None:
    """Neither gRPC nor matplotlib is imported unless it is asked for."""
    program = (
        "import sys, rlway_client.cli.bench;"
        "print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'google', 'matplotlib', 'hdrh')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
