"""The rig on which servers are measured: the server runs on one core, the load on another.

In:      commands of servers and requests; wrk and nginx (Debian's packages of those names), a C compiler.
Out:     `Load` and `Offer`, what the clients saw; ratios per round, because a shared machine's speed drifts.
Refuses: to go on when a request of a measurement fails or a program is not installed, in one sentence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

HERE = Path(__file__).parent
RLWAY = Path(sys.executable).parent / "rlway"
OBSERVATION = [0.01, -0.02, 0.03, 0.04]
PLAIN = json.dumps({"observation": OBSERVATION}).encode()
JSON, OCTETS = "application/json", "application/octet-stream"
T = TypeVar("T")
NGINX = """worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections {connections}; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder};
  server {{ listen 127.0.0.1:{port};
    location /act {{ default_type application/json; return 200 '{{"action":0}}'; }} }} }}
"""
SERVER_CORE, LOAD_CORE = "0", "1"
END_S = 20.0  # a server that has not ended this long after SIGTERM is killed
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class Load(NamedTuple):
    """What the clients of a closed loop saw."""

    rps: float
    p50_ms: float
    p99_ms: float
    cpu: float  # share of the load's core; near 1, the load may have been the limit


class Offer(NamedTuple):
    """Requests per second of an open or closed loop, by outcome; latency counts from when a request was due."""

    rps: float  # answered with 200 in time
    late: float  # answered with 200 after their deadline
    refused: float  # 429
    unavailable: float  # 503
    expired: float  # 504
    given_up: float  # never sent, because earlier ones of their connection were unanswered
    mean_ms: float
    p50_ms: float
    p99_ms: float
    lag_p99_ms: float  # how late the load itself was
    cpu: float


def require(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            sys.exit(f"{sys.argv[0]}: {program} is not installed; Debian's package is called {program}.")


def take_turns(loads: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measures every load in turn, `rounds` times; the results of one round have the same index."""
    results: dict[str, list[T]] = {name: [] for name in loads}
    for _ in range(rounds):
        for name, measure in loads.items():
            results[name].append(measure())
    return results


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def medians(loads: Sequence[Load | Offer]) -> dict[str, float]:
    """The median of each field."""
    return {field: statistics.median(getattr(load, field) for load in loads) for field in loads[0]._fields}


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    print("\n" + "\n".join(f"| {' | '.join(map(str, row))} |" for row in (columns, ["---"] * len(columns), *rows)))


# Servers.


@contextmanager
def running(
    command: Sequence[str],
    environment: dict[str, str] | None = None,
    log: Path | None = None,
    folder: Path | None = None,
    cores: str = SERVER_CORE,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server on its cores, which is ended with its children on leaving; its output goes to the log, or nowhere."""
    with (log or Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            [*pinned(cores), *command],
            env=os.environ | (environment or {}),
            stdout=output,
            stderr=output if log else None,
            cwd=folder,
        )
        try:
            yield process
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            _, left = psutil.wait_procs([*children, process], END_S)
            for child in left:
                child.kill()
            process.wait()


def rlway_command(models: Path, port: int, *options: str, rlway: Path = RLWAY) -> list[str]:
    return [str(rlway), "serve", str(models), "--port", str(port), *options]


def nginx_command(folder: Path, port: int, connections: int = 1024) -> list[str] | None:
    """nginx that returns a constant, an upper bound for any HTTP server; None where it is not installed."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        return None
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, connections=connections))
    return [nginx, "-c", str(config)]


def pinned(core: str) -> list[str]:
    """The prefix that binds a command to cores, where that is possible; nothing without cores."""
    return ["taskset", "-c", core] if core and shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


def wait_until_answering(port: int, path: str = "/act", body: bytes = PLAIN, timeout_s: float = 60.0) -> bytes:
    """Waits until the server answers a request, and returns the answer."""
    deadline = time.monotonic() + timeout_s
    request = Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": JSON})
    while True:
        try:
            with urlopen(request, timeout=timeout_s) as answer:
                content: bytes = answer.read()
                return content
        except (URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


# Loads.


def write_request(folder: Path, body: bytes = PLAIN, media_type: str = JSON, **headers: str) -> Path:
    """Writes a script for wrk. `headers` are further ones, with _ for -."""
    script = folder / f"{sha256(body).hexdigest()[:16]}.lua"
    quoted = "".join(f"\\{byte:03}" for byte in body)
    all_headers = {"Content-Type": media_type} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f'wrk.headers["{name}"]="{value}"' for name, value in all_headers.items()]
    script.write_text(" ".join((f'wrk.method="POST" wrk.body="{quoted}"', *lines)))
    return script


def run_wrk(port: int, connections: int, seconds: float, script: Path, path: str = "/act") -> Load:
    """A closed loop; a failed request ends the benchmark."""
    command = ["wrk", "-t1", "--timeout", "10s", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    before = os.times()
    text = subprocess.check_output([*pinned(LOAD_CORE), *command, f"http://127.0.0.1:{port}{path}"], text=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    if re.search(r"Non-2xx|Socket errors", text):
        sys.exit(f"{sys.argv[0]}: the server on port {port} failed requests:\n{text}")
    percentiles = {
        int(percent): float(value) * UNITS[unit]
        for percent, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)", text)
    }
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None, text
    return Load(float(rate.group(1)), percentiles[50], percentiles[99], cpu_s / (after.elapsed - before.elapsed))


def find_compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compile_load(folder: Path) -> Path:
    """Compiles load.c."""
    compiler = find_compiler()
    if compiler is None:
        sys.exit(f"{sys.argv[0]}: there is no C compiler for load.c; Debian's package is called gcc.")
    program = folder / "load"
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "load.c")], check=True)
    return program


def run_load(
    program: Path,
    port: int,
    request: Path,
    connections: int,
    seconds: float,
    *,
    in_flight: int = 1,
    rate: float = 0.0,
    deadline_ms: float = 0.0,
    handshake: Path | None = None,
    answer_bytes: int = 0,
    greetings: int = 0,
) -> Offer:
    """A closed loop at rate 0, else an open one; see load.c. A failed request ends the benchmark."""
    numbers = [str(port), str(request), str(connections), str(in_flight), str(seconds), str(rate), str(deadline_ms)]
    stream = [str(handshake), str(answer_bytes), str(greetings)] if handshake else []
    done = subprocess.run([*pinned(LOAD_CORE), str(program), *numbers, *stream], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{sys.argv[0]}: the load on port {port} failed.")
    return Offer(**json.loads(done.stdout))
